"""The cases of stored-1.json: what the API server stores in etcd, put together and read from its formats (docs/formats.md, section 5),
sharing no code with Keywright. See generate.py."""

import hmac
import re

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import keyrings as k
from reading import counting

KEY = b"/registry/secrets/default/s1"
PLAIN = b"k8s\0hello etcd"
DEK, IV, NONCE, INFO, SEED = counting(0x00, 32), counting(0xA0, 16), counting(0xB0, 12), counting(0x40, 32), counting(0x80, 32)
# XSalsa20-Poly1305 of PLAIN, key DEK, nonce c0...d7; by another library.
SECRETBOX = bytes.fromhex("a1b92aee1db169a2419efec308055f05f6cff08932d61c835408b920f316")


def cbc():
    padding = 16 - len(PLAIN) % 16
    encryptor = Cipher(algorithms.AES(DEK), modes.CBC(IV)).encryptor()
    return IV + encryptor.update(PLAIN + bytes([padding]) * padding) + encryptor.finalize()


def gcm(key=DEK, nonce=NONCE):
    return nonce + AESGCM(key).encrypt(nonce, PLAIN, KEY)


def seeded():
    return INFO + gcm(hmac.digest(SEED, INFO + b"\1", "sha256"))


# Protobuf


def varint(number):
    out = b""
    while number > 0x7F:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def put(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def entry(key, value):
    return put(4, put(1, key.encode()) + put(2, value))


def message(data=None, key_id=b"kek-2", source=b"wrapped-seed", annotations=(), kind=1):
    kind_field = b"\x28" + varint(kind & (1 << 64) - 1) if kind else b""
    return put(1, seeded() if data is None else data) + put(2, key_id) + put(3, source) + b"".join(entry(*a) for a in annotations) + kind_field


def fields(data):
    """Number and value of each field; raises IndexError or ValueError."""
    at = 0

    def number():
        nonlocal at
        value, shift = 0, 0
        while True:
            byte, at = data[at], at + 1
            value, shift = value | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                return value

    while at < len(data):
        tag = number()
        if tag & 7 == 0:
            yield tag >> 3, number()
        elif tag & 7 == 2:
            length = number()
            if at + length > len(data):
                raise ValueError
            yield tag >> 3, data[at : at + length]
            at += length
        else:
            raise ValueError


def object_of(data):
    """An EncryptedObject by its field names, or None."""
    out = {"data": b"", "key_id": b"", "source": b"", "annotations": {}, "kind": 0}
    names = {1: "data", 2: "key_id", 3: "source", 5: "kind"}
    try:
        for number, value in fields(data):
            if number == 4:
                pair = {1: b"", 2: b""} | dict(fields(value))
                out["annotations"][pair[1].decode()] = pair[2]
            elif number in names:
                out[names[number]] = value
        out["key_id"] = out["key_id"].decode()
    except (IndexError, ValueError):
        return None
    return out


def reading(value):
    """Kind, provider, key_id, detail and the parts of a value, for names without a colon."""
    out = {"kind": "plaintext", "provider": "", "key_id": "", "detail": "", "parts": []}
    if not value.startswith(b"k8s:enc:"):
        begins = {b"k8s\0": "protobuf", b"{": "json", b"\xd9\xd9\xf7": "cbor"}
        return out | {"detail": next((name for begin, name in begins.items() if value.startswith(begin)), "other")}
    match = re.match(rb"k8s:enc:(aescbc:v1|aesgcm:v1|secretbox:v1|kms:v1|kms:v2):([^:]+):(.*)", value, re.DOTALL)
    if not match:
        return None
    kind, provider, body = match[1].decode(), match[2].decode(), match[3]
    out |= {"provider": provider, "kind": kind.replace(":", "-") if kind.startswith("kms") else kind[:-3], "parts": [body]}
    if kind == "kms:v1":
        length = int.from_bytes(body[:2])
        cipher, data = body[2 : 2 + length], body[2 + length :]
        out["parts"] = [cipher, data]
        if cipher.startswith(b"KW\1\1"):
            out["key_id"] = f"kw1.{cipher[4:12].hex()}.{int.from_bytes(cipher[12:16])}.{cipher[16:32].hex()}"
    if kind == "kms:v2":
        found = object_of(body)
        flat = [part for key in sorted(found["annotations"]) for part in (key.encode(), found["annotations"][key])]
        out |= {"key_id": found["key_id"], "detail": "seed" if found["kind"] & 0xFFFFFFFF == 1 else "key", "parts": [found["data"], found["source"], *flat]}
    return out


V7 = b"k8s:enc:kms:v2:p1:" + message(annotations=[("local-kek.example.com", b"abc")])


def read_vectors():
    v1, v2 = b"k8s:enc:kms:v1:p1:", b"k8s:enc:kms:v2:p1:"
    ours = k.VERSIONS[4].wrap("kms-v1", counting(0x20, 24), DEK)
    ours2 = k.VERSIONS[4].wrap("kms-v2", counting(0x20, 24), SEED)
    counter = b"\xd0\xd1\xd2\xd3" + (1000000001).to_bytes(8, "little")
    a, b = ("a.example.com", b"1"), ("b.example.com", b"")
    shuffled = b"\x28\1" + entry(*b) + put(3, b"wrapped-seed") + put(2, b"kek-2") + entry(*a) + put(1, seeded())
    cases = [
        ("V1 aescbc", b"k8s:enc:aescbc:v1:key1:" + cbc()),
        ("V2 aesgcm", b"k8s:enc:aesgcm:v1:key1:" + gcm()),
        ("V3 secretbox", b"k8s:enc:secretbox:v1:key1:" + counting(0xC0, 24) + SECRETBOX),
        ("V4 KMS v1, AES-GCM", v1 + b"\0\x0bwrapped-dek" + gcm()),
        ("V5 KMS v1, AES-CBC", v1 + b"\0\x0bwrapped-dek" + cbc()),
        ("V6 KMS v2 with a key", v2 + message(gcm(nonce=counter), b"kek-1", b"wrapped-dek", kind=0)),
        ("V7 KMS v2 with a seed", V7),
        ("KMS v1 with an envelope of Keywright", v1 + len(ours).to_bytes(2) + ours + gcm()),
        ("KMS v2 with an envelope of Keywright", v2 + message(key_id=k.VERSIONS[4].key_id.encode(), source=ours2)),
        ("fields in another order", v2 + shuffled),
        ("every field twice, the last ones count", v2 + message(b"1", b"x", b"y", [(a[0], b"0")]) + message(annotations=[a, b])),
        ("kind of the source given as 0", v2 + message(gcm(), kind=0) + b"\x28\0"),
        ("kind of the source in 33 bits", v2 + message(kind=(1 << 32) + 1)),
        ("unknown fields", v2 + put(6, b"x") + message() + b"\x38\1" + put(15, b"") + put(1000, b"y")),
        ("longest key_id and source", v2 + message(key_id=b"k" * 1024, source=b"s" * 1024)),
        ("annotations of 32768 bytes", v2 + message(annotations=[("a.example.com", bytes(32768 - 13))])),
        ("annotation with a final full stop", v2 + message(annotations=[("a.example.com.", b"")])),
        ("plaintext: protobuf", PLAIN),
        ("plaintext: protobuf of no bytes", b"k8s\0"),
        ("plaintext: JSON", b'{"kind":"Widget"}'),
        ("plaintext: CBOR", b"\xd9\xd9\xf7\xa0"),
        ("plaintext: empty", b""),
        ("plaintext: a beginning without its last byte", b"k8s:enc"),
        ("plaintext: compact_rev_key", b"1234"),
        ("plaintext: upper case", b"K8S:ENC:KMS:V2:p1:"),
    ]
    return [{"name": name, "value": value.hex(), **{key: [p.hex() for p in part] if key == "parts" else part for key, part in reading(value).items()}}
            for name, value in cases]


def refused_vectors():
    v2 = b"k8s:enc:kms:v2:p1:"
    many = [("a.example.com", bytes(32769 - 13))]
    cases = [
        ("data empty", v2 + message(b""), "Unreadable(Object(NoData))"),
        ("no field at all", v2, "Unreadable(Object(NoData))"),
        ("source empty", v2 + message(source=b""), "Unreadable(Object(NoSource))"),
        ("source of 1025 bytes", v2 + message(source=b"s" * 1025), "Unreadable(Object(SourceTooLong(1025)))"),
        ("key_id empty", v2 + message(key_id=b""), "Unreadable(Object(NoKeyId))"),
        ("key_id of 1025 bytes", v2 + message(key_id=b"k" * 1025), "Unreadable(Object(KeyIdTooLong(1025)))"),
        ("key_id not UTF-8", v2 + message(key_id=b"\xff"), "Unreadable(Object(NotText))"),
        ("kind 2", v2 + message(kind=2), "Unreadable(Object(SourceType(2)))"),
        ("kind -1", v2 + message(kind=-1), "Unreadable(Object(SourceType(-1)))"),
        ("annotation of one label", v2 + message(annotations=[("com", b"")]), "Unreadable(Object(AnnotationKey))"),
        ("annotation with a capital", v2 + message(annotations=[("A.example.com", b"")]), "Unreadable(Object(AnnotationKey))"),
        ("annotation without a key", v2 + message() + put(4, put(2, b"v")), "Unreadable(Object(AnnotationKey))"),
        ("annotations of 32769 bytes", v2 + message(annotations=many), "Unreadable(Object(AnnotationsTooLong(32769)))"),
        ("a length beyond the end", v2 + message() + b"\x0a\x05abcd", "Unreadable(Object(Malformed))"),
        ("a length of 64 bits", v2 + message() + b"\x0a" + varint((1 << 64) - 1), "Unreadable(Object(Malformed))"),
        ("a varint of 11 bytes", v2 + message() + b"\x28" + b"\x80" * 10 + b"\0", "Unreadable(Object(Malformed))"),
        ("field number 0", v2 + message() + b"\x00\x00", "Unreadable(Object(Malformed))"),
        ("a group that ends and did not begin", v2 + message() + b"\x34", "Unreadable(Object(Malformed))"),
        ("wire type 7", v2 + message() + b"\x37", "Unreadable(Object(Malformed))"),
        ("data of a seed with 59 bytes", v2 + message(bytes(59)), "Unreadable(Length)"),
        ("data of a key with 27 bytes", v2 + message(bytes(27), kind=0), "Unreadable(Length)"),
        ("KMS v2 without a provider", b"k8s:enc:kms:v2::" + message(), "Unreadable(NoName)"),
        ("aescbc without its last byte", b"k8s:enc:aescbc:v1:key1:" + cbc()[:-1], "Unreadable(Length)"),
        ("aescbc of an IV alone", b"k8s:enc:aescbc:v1:key1:" + IV, "Unreadable(Length)"),
        ("aesgcm of 27 bytes", b"k8s:enc:aesgcm:v1:key1:" + bytes(27), "Unreadable(Length)"),
        ("secretbox of 39 bytes", b"k8s:enc:secretbox:v1:key1:" + bytes(39), "Unreadable(Length)"),
        ("KMS v1 with a length beyond the end", b"k8s:enc:kms:v1:p1:\xff\xff" + gcm(), "Unreadable(Length)"),
        ("KMS v1 without data", b"k8s:enc:kms:v1:p1:\0\x0bwrapped-dek", "Unreadable(Length)"),
        ("no name", b"k8s:enc:aesgcm:v1:", "Unreadable(NoName)"),
        ("a provider nobody knows", b"k8s:enc:kms:v3:p1:" + message(), 'Unknown("kms:v3")'),
        ("the beginning alone", b"k8s:enc:", 'Unknown("")'),
    ]
    return [{"defect": name, "value": value.hex(), "read": read} for name, value, read in cases]


def stored_vectors():
    assert len(V7) == 147 and cbc()[16:].hex() == "dcc0f1f4dd3c43ccd3062a6ffc938bf5"
    # Where V7 may be cut so that what is left is a message still, without annotations or of another kind.
    whole = [at for at in range(len(V7)) if V7.startswith(b"k8s:enc:kms:v2:p1:") and at > 18 and complete(V7[18:at])]
    return {"valid": read_vectors(), "invalid": refused_vectors(), "cuts": {"of": V7.hex(), "still_whole": whole}}


def complete(data):
    found = object_of(data)
    return bool(found and found["data"] and found["key_id"] and found["source"])
