#!/usr/bin/env python3
"""Made the vectors beside it, out of reading.py: a second, independent reading of docs/formats.md.

The vectors are frozen: a test pins their SHA-256. This script documents how they came about; it is no part of the build or of the
tests. Without arguments it makes everything anew and compares: a file that differs is named and the exit code is 1. `--write` adds
files that do not exist yet and never changes one that does. It needs Python 3.11 and the PyPI package `cryptography`, 44 or later
for Argon2id.
"""

import hashlib
import json
import sys
from pathlib import Path

import in_tokens
import keyrings
import reading as r
import reports
import stored
from reading import counting, material

HERE = Path(__file__).parent


def put(data, at, value):
    return data[:at] + value + data[at + len(value) :]


def flip(data, at):
    return put(data, at, bytes([data[at] ^ 1]))


EXAMPLE = r.Version(counting(0x00, 32), counting(0xA0, 8), 1, counting(0x20, 24))
OTHER = r.Version(material("another KEK", 32), material("another keyring", 8), 7, material("another canary nonce", 24))
# Every field of fixed width at its largest: the longest key_id.
LAST = r.Version(b"\xff" * 32, b"\xff" * 8, (1 << 32) - 1, b"\xff" * 24)
# The same key and number as EXAMPLE with another canary: only the check tells them apart.
TWIN = r.Version(EXAMPLE.kek, EXAMPLE.keyring, EXAMPLE.number, material("twin canary nonce", 24))


def check_ciphers():
    """The vectors of the C2SP text."""
    nonce = b"ABCDEFGHIJKLMNOPQRSTUVWX"
    for key, aad, sealed in (
        (b"\1" * 32, b"", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
        (b"\3" * 32, b"c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"),
    ):
        assert r.xaes_seal(key, nonce, b"XAES-256-GCM", aad).hex() == sealed


def key_ids():
    keyring, check = "0011223344556677", "000102030405060708090a0b0c0d0e0f"
    good = f"kw1.{keyring}.42.{check}"
    valid = [
        ("shortest", f"kw1.{keyring}.1.{check}"),
        ("ordinary", good),
        ("largest version, 64 bytes", f"kw1.{keyring}.4294967295.{check}"),
        ("all zero but the version", f"kw1.{'0' * 16}.1.{'0' * 32}"),
        ("all ff", f"kw1.{'f' * 16}.4294967295.{'f' * 32}"),
        ("of the worked example", EXAMPLE.key_id),
    ]
    invalid = [
        ("empty", "", "Shape"),
        ("prefix alone", "kw1", "Shape"),
        ("no prefix", f"{keyring}.42.{check}", "Shape"),
        ("another prefix", f"kw2.{keyring}.42.{check}", "Shape"),
        ("upper-case prefix", f"KW1.{keyring}.42.{check}", "Shape"),
        ("three parts", f"kw1.{keyring}.42", "Shape"),
        ("five parts", f"{good}.0", "Shape"),
        ("final full stop", f"{good}.", "Shape"),
        ("leading space", f" {good}", "Shape"),
        ("comma for a full stop", good.replace(".", ",", 1), "Shape"),
        ("full-width full stops", good.replace(".", "\uff0e"), "Shape"),
        ("keyring id of 14 digits", f"kw1.{keyring[2:]}.42.{check}", "Keyring"),
        ("keyring id of 15 digits", f"kw1.{keyring[1:]}.42.{check}", "Keyring"),
        ("keyring id of 17 digits", f"kw1.{keyring}0.42.{check}", "Keyring"),
        ("keyring id empty", f"kw1..42.{check}", "Keyring"),
        ("keyring id in upper case", f"kw1.{'ABCDEF' + keyring[6:]}.42.{check}", "Keyring"),
        ("keyring id with a g", f"kw1.{keyring[:-1]}g.42.{check}", "Keyring"),
        ("version zero", f"kw1.{keyring}.0.{check}", "Version"),
        ("version with a leading zero", f"kw1.{keyring}.042.{check}", "Version"),
        ("version with a plus", f"kw1.{keyring}.+42.{check}", "Version"),
        ("version with a minus", f"kw1.{keyring}.-42.{check}", "Version"),
        ("version empty", f"kw1.{keyring}..{check}", "Version"),
        ("version with a space", f"kw1.{keyring}. 42.{check}", "Version"),
        ("version with an underscore", f"kw1.{keyring}.4_2.{check}", "Version"),
        ("version in hexadecimal", f"kw1.{keyring}.2a.{check}", "Version"),
        ("version in Arabic-Indic digits", f"kw1.{keyring}.\u0664\u0662.{check}", "Version"),
        ("version 2^32", f"kw1.{keyring}.4294967296.{check}", "Version"),
        ("check empty", f"kw1.{keyring}.42.", "Check"),
        ("check of 31 digits", f"kw1.{keyring}.42.{check[:-1]}", "Check"),
        ("check of 33 digits", f"kw1.{keyring}.42.{check}0", "Check"),
        ("check in upper case", f"kw1.{keyring}.42.{check.upper()}", "Check"),
        ("check with an x", f"kw1.{keyring}.42.0x{check[2:]}", "Check"),
        ("final space", f"{good} ", "Check"),
        ("final line feed", f"{good}\n", "Check"),
        ("final NUL", f"{good}\0", "Check"),
        ("65 bytes", f"kw1.{keyring}.4294967295.{check}0", "TooLong"),
        ("1024 bytes", "k" * 1024, "TooLong"),
    ]
    for _, text in valid:
        assert r.key_id_error(text) is None, text
    for _, text, error in invalid:
        assert r.key_id_error(text) == error, text
    fields = lambda text: dict(zip(("keyring", "version", "check"), text.split(".")[1:]))
    return {
        "valid": [
            {"name": n, "text": t, **fields(t), "sha256": "sha256:" + hashlib.sha256(t.encode()).hexdigest()} for n, t in valid
        ],
        "invalid": [{"defect": n, "text": t, "error": e} for n, t, e in invalid],
    }


def version_fields(v):
    fields = {"kek": v.kek, "keyring": v.keyring, "version": v.number, "canary": v.canary, "check": v.check, "key_id": v.key_id}
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in fields.items()}


def envelopes():
    seed, nonce = counting(0x60, 32), counting(0x40, 24)
    cases = [
        ("worked example: a seed of 32 bytes, KMS v2", EXAMPLE, "kms-v2", nonce, seed),
        ("the same key, nonce and seed, KMS v1", EXAMPLE, "kms-v1", nonce, seed),
        ("ping, KMS v1", EXAMPLE, "kms-v1", material("ping", 24), b"ping"),
        ("1 byte", OTHER, "kms-v2", material("one", 24), b"\0"),
        ("4 bytes", OTHER, "kms-v2", material("four", 24), b"ping"),
        ("16 bytes: one block", OTHER, "kms-v2", material("16", 24), material("16 bytes", 16)),
        ("17 bytes: one block and one byte", OTHER, "kms-v1", material("17", 24), material("17 bytes", 17)),
        ("32 bytes, KMS v1", OTHER, "kms-v1", material("32", 24), material("32 bytes", 32)),
        ("952 bytes: the longest", OTHER, "kms-v2", material("952", 24), material("952 bytes", 952)),
        ("largest version", LAST, "kms-v2", material("last", 24), seed),
        ("nonce of zeros", LAST, "kms-v1", bytes(24), seed),
        ("another check for the same key and number", TWIN, "kms-v2", nonce, seed),
    ]
    valid = []
    for name, v, purpose, nonce_, plaintext in cases:
        envelope = v.wrap(purpose, nonce_, plaintext)
        assert r.envelope_open(v.kek, envelope, purpose) == plaintext
        valid.append({"name": name, **version_fields(v), "purpose": purpose, "nonce": nonce_.hex(), "plaintext": plaintext.hex(),
                      "associated_data": v.aad(purpose).hex(), "envelope": envelope.hex()})
    return {"format": 1, "valid": valid, "invalid": damaged_envelopes(seed, nonce)}


def damaged_envelopes(seed, nonce):
    v, purpose = EXAMPLE, "kms-v2"
    good = v.wrap(purpose, nonce, seed)
    head, aad = good[:32], v.aad(purpose)
    sealed = lambda aad, plaintext=seed, kek=v.kek, head=head: head + nonce + r.xaes_seal(kek, nonce, plaintext, aad)
    texts = (v.keyring.hex(), v.key_id, purpose)
    closed = "does not open"
    cases = [
        ("empty", b"", "TooShort"),
        ("header without its last byte", good[:31], "TooShort"),
        ("header alone", head, "TooShort"),
        ("nonce without its last byte", good[:55], "TooShort"),
        ("header and nonce alone", good[:56], "TooShort"),
        ("authentic, but of no bytes", sealed(aad, b""), "TooShort"),
        ("authentic, but of 953 bytes", sealed(aad, bytes(953)), "TooLong"),
        ("magic in lower case", put(good, 0, b"kw"), "Magic"),
        ("magic with one bit flipped", flip(good, 1), "Magic"),
        ("a KMS v2 value of etcd instead of its field 3", b"k8s:enc:kms:v2:keywright:" + good, "Magic"),
        ("behind the length of a KMS v1 value", len(good).to_bytes(2) + good, "Magic"),
        ("in hexadecimal", good.hex().encode(), "Magic"),
        ("format 0", put(good, 2, b"\0"), "Format(0)"),
        ("format 2", put(good, 2, b"\2"), "Format(2)"),
        ("algorithm 0", put(good, 3, b"\0"), "Algorithm(0)"),
        ("algorithm 255", put(good, 3, b"\xff"), "Algorithm(255)"),
        ("version zero", put(good, 12, bytes(4)), "Version"),
        ("version little endian", put(good, 12, b"\1\0\0\0"), closed),
        ("another keyring", put(good, 4, OTHER.keyring), closed),
        ("another version", put(good, 15, b"\2"), closed),
        ("another check", put(good, 16, TWIN.check), closed),
        ("first bit of the nonce flipped", put(good, 32, bytes([good[32] ^ 0x80])), closed),
        ("last bit of the nonce flipped", flip(good, 55), closed),
        ("halves of the nonce exchanged", put(good, 32, nonce[12:] + nonce[:12]), closed),
        ("first byte of the ciphertext changed", flip(good, 56), closed),
        ("last byte of the ciphertext changed", flip(good, 87), closed),
        ("first byte of the tag changed", flip(good, 88), closed),
        ("last byte of the tag changed", flip(good, 103), closed),
        ("tag of zeros", put(good, 88, bytes(16)), closed),
        ("tag before the ciphertext", good[:56] + good[88:] + good[56:88], closed),
        ("last byte cut off", good[:-1], closed),
        ("one byte appended", good + b"\0", closed),
        ("first byte of the ciphertext cut out", good[:56] + good[57:], closed),
        ("seed in clear instead of wrapped", good[:56] + seed + good[88:], closed),
        ("wrapped by another KEK", sealed(aad, kek=OTHER.kek), closed),
        ("wrapped for KMS v1", v.wrap("kms-v1", nonce, seed), closed),
        ("associated data empty", sealed(b""), closed),
        ("associated data is the header alone", sealed(head), closed),
        ("associated data without lengths", sealed(head + "".join(texts).encode()), closed),
        ("lengths in the associated data little endian", sealed(head + b"".join(bytes([len(t), 0]) + t.encode() for t in texts)), closed),
        ("associated data without the keyring id", sealed(head + b"".join(map(r.prefixed, texts[1:]))), closed),
        ("associated data without the key_id", sealed(head + b"".join(map(r.prefixed, texts[::2]))), closed),
        ("associated data without the purpose", sealed(head + b"".join(map(r.prefixed, texts[:2]))), closed),
        ("associated data with the nonce", sealed(head + nonce + aad[32:]), closed),
        ("canary of the version behind its header", head + v.canary, closed),
        ("wrapped with AES-256-GCM under the KEK itself", head + nonce + r.AESGCM(v.kek).encrypt(nonce[12:], seed, aad), closed),
    ]
    for name, envelope, expected in cases:
        error = r.envelope_error(envelope)
        assert (error or closed) == expected, name
        assert error or r.envelope_open(v.kek, envelope, purpose) is None, name
    return [{"defect": n, "kek": v.kek.hex(), "purpose": purpose, "envelope": e.hex(), "refused": x} for n, e, x in cases]


def canaries():
    valid = []
    named = {"worked example": EXAMPLE, "ordinary": OTHER, "largest version": LAST, "another nonce for the same key and number": TWIN}
    for name, v in named.items():
        assert r.canary_proves(v.kek, v.keyring, v.number, v.canary)
        aad = r.canary_aad(v.keyring, v.number).hex()
        valid.append({"name": name, **version_fields(v), "nonce": v.canary[:24].hex(), "associated_data": aad})
    v, nonce, aad = EXAMPLE, EXAMPLE.canary[:24], r.canary_aad(EXAMPLE.keyring, EXAMPLE.number)
    sealed = lambda aad, kek=v.kek: nonce + r.xaes_seal(kek, nonce, r.CANARY, aad)
    cases = [
        ("empty", b""),
        ("nonce alone", nonce),
        ("last byte cut off", v.canary[:-1]),
        ("one byte appended", v.canary + b"\0"),
        ("first bit of the nonce flipped", put(v.canary, 0, bytes([v.canary[0] ^ 0x80]))),
        ("first byte of the ciphertext changed", flip(v.canary, 24)),
        ("last byte of the tag changed", flip(v.canary, 71)),
        ("of another key", sealed(aad, OTHER.kek)),
        ("of another keyring", sealed(r.canary_aad(OTHER.keyring, v.number))),
        ("of another version", sealed(r.canary_aad(v.keyring, 2))),
        ("of another algorithm", sealed(aad.replace(b"canary 1\1", b"canary 1\2"))),
        ("of another domain", sealed(aad.replace(b"canary 1", b"canary 2"))),
        ("associated data of an envelope", sealed(v.aad("kms-v2"))),
        ("authentic, but over 32 other bytes", r.make_canary(v.kek, v.keyring, v.number, nonce, bytes(32))),
        ("authentic, but over the first 31 bytes", r.make_canary(v.kek, v.keyring, v.number, nonce, r.CANARY[:31])),
    ]
    for name, canary in cases:
        assert not r.canary_proves(v.kek, v.keyring, v.number, canary), name
    fields = {"kek": v.kek.hex(), "keyring": v.keyring.hex(), "version": v.number}
    return {"plaintext": r.CANARY.hex(), "valid": valid, "invalid": [{"defect": n, **fields, "canary": c.hex()} for n, c in cases]}


def main():
    check_ciphers()
    files = {
        "key_id.json": key_ids(),
        "envelope-1.json": envelopes(),
        "canary-1.json": canaries(),
        "envelope-1-tokens.json": in_tokens.envelope_vectors(),
        "keyring-1.json": keyrings.keyring_vectors(),
        "keyring-2.json": in_tokens.keyring_vectors(),
        "acknowledgement-1.json": keyrings.acknowledgement_vectors(),
        "seen-1.json": keyrings.seen_vectors(),
        "report-1.json": reports.report_vectors(),
        "stored-1.json": stored.stored_vectors(),
    }
    differ = []
    for name, content in files.items():
        path, text = HERE / name, json.dumps(content, indent=1) + "\n"
        if not path.exists() and "--write" in sys.argv[1:]:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            differ.append(name)
    print("\n".join(f"{name}: differs or is missing" for name in differ) or "all vectors are as this script makes them")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
