"""An independent reading of docs/formats.md, sharing no code with Keywright. See generate.py.

The ciphers are OpenSSL's, through the PyPI package `cryptography`; XAES-256-GCM is put together here from the C2SP text
(https://c2sp.org/XAES-256-GCM).
"""

import hashlib
import hmac
import re
import struct
from datetime import datetime

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

import places

XAES, GCM, CBC_HMAC = 1, 2, 3
ALGORITHMS = {XAES: "xaes-256-gcm", GCM: "aes-256-gcm", CBC_HMAC: "aes-256-cbc-hmac-sha-256"}
# Bytes of nonce and tag.
SIZES = {XAES: (24, 16), GCM: (12, 16), CBC_HMAC: (16, 32)}
CANARY = b"keywright canary: fixed, public."


# Bytes for vectors


def material(label, length):
    """Bytes without structure that anybody can make again."""
    return hashlib.shake_128(b"keywright vector: " + label.encode()).digest(length)


def counting(start, length):
    return bytes(range(start, start + length))


# Ciphers


def xaes_key(key, nonce):
    """SP 800-108 in counter mode over CMAC: 16-bit counter, label X, context the first half of the nonce."""
    derived = b""
    for counter in (1, 2):
        mac = CMAC(AES(key))
        mac.update(struct.pack(">HBB", counter, 0x58, 0) + nonce[:12])
        derived += mac.finalize()
    return derived


def xaes_seal(key, nonce, plaintext, aad):
    return AESGCM(xaes_key(key, nonce)).encrypt(nonce[12:], plaintext, aad)


def xaes_open(key, nonce, sealed, aad):
    """The plaintext, or None."""
    try:
        return AESGCM(xaes_key(key, nonce)).decrypt(nonce[12:], sealed, aad)
    except (InvalidTag, ValueError):
        return None


def cbc_tag(mac_key, aad, iv, ciphertext):
    return hmac.digest(mac_key, struct.pack(">H", len(aad)) + aad + iv + ciphertext, "sha256")


def cbc_seal(keys, iv, plaintext, aad):
    """`keys`: the one that encrypts, the one that authenticates."""
    aes, mac_key = keys
    padding = 16 - len(plaintext) % 16
    encryptor = Cipher(AES(aes), modes.CBC(iv)).encryptor()
    ciphertext = encryptor.update(plaintext + bytes([padding]) * padding) + encryptor.finalize()
    return ciphertext + cbc_tag(mac_key, aad, iv, ciphertext)


def cbc_open(keys, iv, sealed, aad):
    """The plaintext, or None."""
    aes, mac_key = keys
    ciphertext, tag = sealed[:-32], sealed[-32:]
    if not hmac.compare_digest(cbc_tag(mac_key, aad, iv, ciphertext), tag) or len(ciphertext) % 16 or not ciphertext:
        return None
    decryptor = Cipher(AES(aes), modes.CBC(iv)).decryptor()
    padded = decryptor.update(ciphertext) + decryptor.finalize()
    count = padded[-1]
    return padded[:-count] if 1 <= count <= 16 and padded.endswith(bytes([count]) * count) else None


def gcm_seal(key, nonce, plaintext, aad):
    return AESGCM(key).encrypt(nonce, plaintext, aad)


def gcm_open(key, nonce, sealed, aad):
    """The plaintext, or None."""
    try:
        return AESGCM(key).decrypt(nonce, sealed, aad)
    except (InvalidTag, ValueError):
        return None


SEAL = {XAES: xaes_seal, GCM: gcm_seal, CBC_HMAC: cbc_seal}
OPEN = {XAES: xaes_open, GCM: gcm_open, CBC_HMAC: cbc_open}


def hkdf(secret, salt, label):
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=label).derive(secret)


# Section 1: key_id


def key_id_text(keyring, version, check):
    return f"kw1.{keyring.hex()}.{version}.{check.hex()}"


def key_id_error(text):
    if len(text.encode()) > 64:
        return "TooLong"
    parts = text.split(".")
    if len(parts) != 4 or parts[0] != "kw1":
        return "Shape"
    if not re.fullmatch("[0-9a-f]{16}", parts[1]):
        return "Keyring"
    if not re.fullmatch("[1-9][0-9]*", parts[2]) or int(parts[2]) >= 1 << 32:
        return "Version"
    return None if re.fullmatch("[0-9a-f]{32}", parts[3]) else "Check"


# Section 2: envelope


def header(keyring, version, check, magic=b"KW", form=1, algorithm=XAES):
    return struct.pack(">2sBB8sI16s", magic, form, algorithm, keyring, version, check)


def envelope_error(envelope):
    if len(envelope) > 1024:
        return "TooLong"
    if len(envelope) < 32:
        return "TooShort"
    magic, form, algorithm, _, version, _ = struct.unpack(">2sBB8sI16s", envelope[:32])
    if magic != b"KW":
        return "Magic"
    if form != 1:
        return f"Format({form})"
    if algorithm not in SIZES:
        return f"Algorithm({algorithm})"
    if version == 0:
        return "Version"
    nonce, tag = SIZES[algorithm]
    ciphertext = len(envelope) - 32 - nonce - tag
    return "TooShort" if ciphertext < 1 or algorithm == CBC_HMAC and ciphertext % 16 else None


def envelope_open(kek, envelope, purpose):
    """The plaintext of what parses, under the name that it gives itself; else None."""
    assert envelope_error(envelope) is None
    _, _, algorithm, keyring, version, check = struct.unpack(">2sBB8sI16s", envelope[:32])
    behind = 32 + SIZES[algorithm][0]
    return OPEN[algorithm](kek, envelope[32:behind], envelope[behind:], envelope_aad(keyring, version, check, purpose, algorithm))


# Section 3: associated data, canary, check


def prefixed(text):
    return struct.pack(">H", len(text)) + text.encode()


def envelope_aad(keyring, version, check, purpose, algorithm=XAES):
    texts = (keyring.hex(), key_id_text(keyring, version, check), purpose)
    return header(keyring, version, check, algorithm=algorithm) + b"".join(map(prefixed, texts))


def subject(keyring, version, algorithm=XAES):
    return struct.pack(">B8sI", algorithm, keyring, version)


def canary_aad(keyring, version, algorithm=XAES):
    return b"keywright canary 1" + subject(keyring, version, algorithm)


def make_canary(kek, keyring, version, nonce, plaintext=CANARY, algorithm=XAES):
    return nonce + SEAL[algorithm](kek, nonce, plaintext, canary_aad(keyring, version, algorithm))


def canary_proves(kek, keyring, version, canary, algorithm=XAES):
    nonce = SIZES[algorithm][0]
    return OPEN[algorithm](kek, canary[:nonce], canary[nonce:], canary_aad(keyring, version, algorithm)) == CANARY


def check_of(keyring, version, canary, algorithm=XAES):
    return hashlib.sha256(b"keywright check 1" + subject(keyring, version, algorithm) + canary).digest()[:16]


class Version:
    """One key version and everything that follows from its KEK and the nonce of its canary."""

    def __init__(self, kek, keyring, number, canary_nonce, algorithm=XAES):
        """`kek` of algorithm 3: a pair, the key that encrypts and the one that authenticates."""
        self.kek, self.keyring, self.number, self.algorithm = kek, keyring, number, algorithm
        self.canary = make_canary(kek, keyring, number, canary_nonce, algorithm=algorithm)
        self.check = check_of(keyring, number, self.canary, algorithm)
        self.key_id = key_id_text(keyring, number, self.check)
        assert key_id_error(self.key_id) is None

    def aad(self, purpose):
        return envelope_aad(self.keyring, self.number, self.check, purpose, self.algorithm)

    def wrap(self, purpose, nonce, plaintext):
        head = header(self.keyring, self.number, self.check, algorithm=self.algorithm)
        return head + nonce + SEAL[self.algorithm](self.kek, nonce, plaintext, self.aad(purpose))


# Section 4: keyring file

ADVICE = "# Read it, copy it, but do not edit it: the last line authenticates every byte above it."
WARNING = "# INSECURE: a development keyring. Its root key stands below in clear: whoever reads this file has every key in it."


def sealed_under(key, nonce, plaintext, aad):
    return nonce + xaes_seal(key, nonce, plaintext, aad)


def slot_development(root):
    return f"slot insecure-development {root.hex()}"


def slot_secret(kind, keyring, root, secret, salt, nonce):
    """`kind` is `key-file`, or `credential` with its name."""
    wrapped = sealed_under(hkdf(secret, salt, b"keywright slot 1"), nonce, root, b"keywright root key 1" + keyring)
    return f"slot {kind} {salt.hex()} {wrapped.hex()}"


def slot_token(place, keyring, root, key, nonce):
    """`key`: the one in the token that `place` names."""
    return f"slot pkcs11 {place} {(nonce + gcm_seal(key, nonce, root, b'keywright root key 1' + keyring)).hex()}"


def passphrase_key(passphrase, salt, cost):
    memory, passes, lanes = cost
    stretched = Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory).derive(passphrase)
    return hkdf(stretched, salt, b"keywright passphrase slot 1")


def slot_passphrase(keyring, root, passphrase, cost, salt, nonce):
    wrapped = sealed_under(passphrase_key(passphrase, salt, cost), nonce, root, b"keywright root key 1" + keyring)
    return f"slot passphrase argon2id {' '.join(map(str, cost))} {salt.hex()} {wrapped.hex()}"


def wrapped_kek(root, keyring, kek, key_id, nonce):
    return sealed_under(hkdf(root, keyring, b"keywright wrap KEKs 1"), nonce, kek, b"keywright KEK 1" + key_id.encode())


def wrapped_coordination(root, keyring, key, nonce):
    return sealed_under(hkdf(root, keyring, b"keywright wrap KEKs 1"), nonce, key, b"keywright coordination 1" + keyring)


def version_line(version, state, created, changed, wrapped, exported=None, verified=None):
    """`wrapped` is None for a destroyed version."""
    words = ["version", version.key_id, state, "local", "xaes-256-gcm", "created", created, "changed", changed, "canary", version.canary.hex()]
    words += ["wrapped", wrapped.hex()] if wrapped else []
    words += ["exported", exported.hex()] if exported else []
    return " ".join(words + (["verified", verified] if verified else []))


def token_version_line(version, state, created, changed, place, mac=None, iv="host", exported=None, verified=None):
    """`mac`: id of the key that authenticates, with algorithm 3."""
    words = ["version", version.key_id, state, "pkcs11", ALGORITHMS[version.algorithm], "created", created, "changed", changed]
    words += ["canary", version.canary.hex(), "at", place, *(["mac", mac.hex()] if mac else []), "iv", iv]
    words += ["exported", exported.hex()] if exported else []
    return " ".join(words + (["verified", verified] if verified else []))


def history_digest(before, generation, at, what):
    return hashlib.sha256(b"keywright history 1" + before + struct.pack(">Q", generation) + at.encode() + what.encode()).digest()


def history_lines(happened):
    """`happened`: time and text of each generation. The lines, and the digest of the last."""
    lines, digest = [], bytes(32)
    for generation, (at, what) in enumerate(happened, 1):
        digest = history_digest(digest, generation, at, what)
        lines.append(f"history {generation} {at} {digest.hex()} {what}")
    return lines, digest


def keyring_body(keyring, generation, hold, nodes, coordination, slots, versions, history, form=1):
    """The lines above the last one; of format 2, `versions` has the attempts behind them."""
    warning = [WARNING] if any(slot.startswith("slot insecure-development ") for slot in slots) else []
    head = [f"keyring {keyring.hex()}", f"generation {generation}", f"hold {hold}", " ".join(["nodes", *nodes])]
    return [f"keywright-keyring {form}", ADVICE, *warning, *head, f"coordination {coordination.hex()}", *slots, *versions, *history]


def file_tag(root, keyring, body):
    covered = "".join(line + "\n" for line in body)
    return hmac.digest(hkdf(root, keyring, b"keywright authenticate file 1"), covered.encode(), "sha256")


def authentic(root, keyring, body):
    return body + [f"hmac-sha256 {file_tag(root, keyring, body).hex()}"]


# How a keyring file is read

NUMBER, HEX72 = "(?:0|[1-9][0-9]*)", "[0-9a-f]{144}"
TIME = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"
NODE = "[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?"
SLOTS = {
    "insecure-development": "[0-9a-f]{64}",
    "key-file": f"(?P<salt>[0-9a-f]{{32}}) (?P<wrapped>{HEX72})",
    "credential": f"(?P<name>[A-Za-z0-9_-][A-Za-z0-9._-]{{0,63}}) (?P<salt>[0-9a-f]{{32}}) (?P<wrapped>{HEX72})",
    "passphrase": f"argon2id (?P<cost>{NUMBER} {NUMBER} {NUMBER}) (?P<salt>[0-9a-f]{{32}}) (?P<wrapped>{HEX72})",
}
TOKEN_SLOT = re.compile("slot pkcs11 (?P<place>[^ ]+) (?P<wrapped>[0-9a-f]{120})")
VERSION = re.compile(
    f"version (?P<key_id>[^ ]+) (?P<state>staged|primary|retired|disabled|destroyed) local xaes-256-gcm created (?P<created>{TIME})"
    f" changed (?P<changed>{TIME}) canary (?P<canary>{HEX72})(?: wrapped (?P<wrapped>{HEX72}))?(?: exported [0-9a-f]{{64}})?"
    "(?: verified (?P<verified>.+))?"
)
TOKEN_VERSION = re.compile(
    "version (?P<key_id>[^ ]+) (?P<state>staged|primary|retired|disabled|destroyed) pkcs11 (?P<algorithm>[^ ]+)"
    f" created (?P<created>{TIME}) changed (?P<changed>{TIME}) canary (?P<canary>[0-9a-f]+) at (?P<place>[^ ]+)"
    "(?: mac (?P<mac>[0-9a-f]{32}))? iv (?:host|token)(?: exported [0-9a-f]{64})?(?: verified (?P<verified>.+))?"
)
ATTEMPT = re.compile(f"attempt (?P<at>{TIME}) (?P<place>[^ ]+)")
HISTORY = re.compile(f"history (?P<generation>{NUMBER}) (?P<at>{TIME}) (?P<digest>[0-9a-f]{{64}}) (?P<what>.+)")


# Of canaries in tokens: nonce, 32 bytes (with algorithm 3 a block of padding more), tag.
CANARY_LEN = {GCM: 60, CBC_HMAC: 96}


class Refused(Exception):
    """Name of the error, and the line it is about if it is about one."""


def is_number(text, top=(1 << 63) - 1):
    return re.fullmatch(NUMBER, text) is not None and int(text) <= top


def is_time(text):
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").year >= 1970
    except ValueError:
        return False


def is_text(text):
    return 1 <= len(text) <= 200 and re.fullmatch("[!-~]+(?: [!-~]+)*", text) is not None


def is_cost(cost):
    memory, passes, lanes = map(int, cost.split(" "))
    return 1 << 16 <= memory <= 1 << 20 and 3 <= passes <= 16 and 1 <= lanes <= 16


def parsed(lines, newest=1):
    """The fields of a keyring file of these lines, by a reader that knows formats up to `newest`; raises Refused."""
    found = re.fullmatch("keywright-keyring ([0-9]+)", lines[0].removesuffix("\r"))
    if not found:
        raise Refused("NotAKeyring", None)
    if found[1] not in ("1", "2")[:newest]:
        raise Refused("Format", None)
    if not re.fullmatch("hmac-sha256 [0-9a-f]{64}", lines[-1]):
        raise Refused("NoAuthentication", None)
    for number, line in enumerate(lines[:-1], 1):
        if "\r" in line:
            raise Refused("Line", number)
    at, body = 1, lines[:-1]

    def refuse_unless(good):
        if not good:
            raise Refused("Line", at)

    def take(pattern):
        nonlocal at
        at += 1
        match = re.fullmatch(pattern, body[at - 1]) if at <= len(body) else None
        refuse_unless(match)
        return match

    def several(name, read):
        nonlocal at
        while at < len(body) and body[at].startswith(name + " "):
            at += 1
            yield read(body[at - 1])

    def slot(line):
        for kind, form in SLOTS.items():
            if match := re.fullmatch(f"slot {kind} {form}", line):
                refuse_unless(kind != "passphrase" or is_cost(match["cost"]))
                return {"kind": kind, "line": line} | match.groupdict()
        match = newest > 1 and TOKEN_SLOT.fullmatch(line)
        refuse_unless(match and places.is_place(match["place"]))
        return {"kind": "pkcs11", "name": places.token_of(match["place"]), "line": line} | match.groupdict()

    def version(line):
        match = re.fullmatch(VERSION, line)
        in_token = newest > 1 and match is None
        if in_token:
            match = TOKEN_VERSION.fullmatch(line)
        refuse_unless(match and key_id_error(match["key_id"]) is None and is_time(match["created"]) and is_time(match["changed"]))
        _, id_, number, _ = match["key_id"].split(".")
        refuse_unless(id_ == out["keyring"] and int(number) == len(out["versions"]) + 1)
        if in_token:
            algorithm = next((n for n in (GCM, CBC_HMAC) if ALGORITHMS[n] == match["algorithm"]), None)
            refuse_unless(algorithm and len(match["canary"]) == 2 * CANARY_LEN[algorithm] and places.is_place(match["place"]))
            refuse_unless((match["mac"] is not None) == (algorithm == CBC_HMAC))
        else:
            refuse_unless((match["wrapped"] is None) == (match["state"] == "destroyed"))
        refuse_unless(match["verified"] is None or is_text(match["verified"]) and match["state"] not in ("staged", "primary"))
        out["versions"].append(match.groupdict() | {"algorithm": algorithm if in_token else XAES, "in_token": in_token})

    def attempt(line):
        match = ATTEMPT.fullmatch(line)
        refuse_unless(match and is_time(match["at"]) and places.is_place(match["place"]))
        return match.groupdict()

    def entry(line):
        match = re.fullmatch(HISTORY, line)
        refuse_unless(match and is_number(match["generation"]) and is_time(match["at"]) and is_text(match["what"]))
        return match.groupdict()

    take(re.escape(ADVICE))
    warned = at < len(body) and body[at].startswith("#")
    if warned:
        take(re.escape(WARNING))
    out = {"versions": [], "keyring": take("keyring ([0-9a-f]{16})")[1]}
    out["generation"] = take("generation ([1-9][0-9]*)")[1]
    refuse_unless(is_number(out["generation"]))
    refuse_unless(is_number(take(f"hold ({NUMBER})")[1]))
    out["nodes"] = take(f"nodes((?: {NODE})*)")[1].split()
    refuse_unless(out["nodes"] == sorted(set(out["nodes"])))
    out["coordination"] = take(f"coordination ({HEX72})")[1]
    out["slots"] = list(several("slot", slot))
    refuse_unless(out["slots"] and warned == any(slot["kind"] == "insecure-development" for slot in out["slots"]))
    for _ in several("version", version):
        pass
    out["attempts"] = list(several("attempt", attempt)) if newest > 1 else []
    out["history"] = list(several("history", entry))
    if at < len(body):
        at += 1
        refuse_unless(False)
    tokens = out["attempts"] or any(v["in_token"] for v in out["versions"]) or any(slot["kind"] == "pkcs11" for slot in out["slots"])
    if (found[1] == "2") != bool(tokens):
        raise Refused("Line", 1)
    return out


def root_of(slots, keyring, opener, keys):
    """What `opener` (kind, name, secret) gets out of the slots; raises Refused. That of a token slot is named by the token and has no secret."""
    kind, name, secret = opener
    if len(slots) > 1 and any(slot["kind"] == "insecure-development" for slot in slots):
        raise Refused("NotAlone", None)
    fitting = [slot for slot in slots if slot["kind"] == kind and slot.get("name") == name]
    for slot in fitting:
        if kind == "insecure-development":
            return bytes.fromhex(slot["line"].split(" ")[2])
        if kind == "pkcs11":
            wrapped = bytes.fromhex(slot["wrapped"])
            root = gcm_open(keys[slot["place"]], wrapped[:12], wrapped[12:], b"keywright root key 1" + keyring)
            if root is not None:
                return root
            continue
        salt, wrapped = bytes.fromhex(slot["salt"]), bytes.fromhex(slot["wrapped"])
        costly = kind == "passphrase"
        key = passphrase_key(secret, salt, map(int, slot["cost"].split(" "))) if costly else hkdf(secret, salt, b"keywright slot 1")
        root = xaes_open(key, wrapped[:24], wrapped[24:], b"keywright root key 1" + keyring)
        if root is not None:
            return root
    raise Refused("WrongSecret" if fitting else "NoSlot", None)


def loaded(lines, opener, newest=1, keys={}):
    """Loads the file of these lines as section 4 says; the coordination key, or raises Refused.

    `keys`: what is in tokens, by place. A version whose key is not there is not proved.
    """
    file = parsed(lines, newest)
    keyring = bytes.fromhex(file["keyring"])
    root = root_of(file["slots"], keyring, opener, keys)
    if lines[-1] != f"hmac-sha256 {file_tag(root, keyring, lines[:-1]).hex()}":
        raise Refused("NotAuthentic", None)
    chain, _ = history_lines([(entry["at"], entry["what"]) for entry in file["history"]])
    if not chain or chain != [line for line in lines if line.startswith("history ")] or len(chain) != int(file["generation"]):
        raise Refused("History", None)
    wrapping = hkdf(root, keyring, b"keywright wrap KEKs 1")
    for number, version in enumerate(file["versions"], 1):
        canary = bytes.fromhex(version["canary"])
        algorithm = version["algorithm"]
        if version["key_id"] != key_id_text(keyring, number, check_of(keyring, number, canary, algorithm)):
            raise Refused("Check", None)
        if version["in_token"]:
            kek = keys.get(version["place"])
            if kek is not None and algorithm == CBC_HMAC:
                mac_key = keys.get(places.beside(version["place"], bytes.fromhex(version["mac"])))
                kek = mac_key and (kek, mac_key)
            if kek and version["state"] != "destroyed" and not canary_proves(kek, keyring, number, canary, algorithm):
                raise Refused("Canary", None)
        elif version["wrapped"] is not None:
            wrapped = bytes.fromhex(version["wrapped"])
            kek = xaes_open(wrapping, wrapped[:24], wrapped[24:], b"keywright KEK 1" + version["key_id"].encode())
            if kek is None or not canary_proves(kek, keyring, number, canary):
                raise Refused("Canary", None)
    wrapped = bytes.fromhex(file["coordination"])
    coordination = xaes_open(wrapping, wrapped[:24], wrapped[24:], b"keywright coordination 1" + keyring)
    if coordination is None:
        raise Refused("Coordination", None)
    if [version["state"] for version in file["versions"]].count("primary") != 1:
        raise Refused("Primary", None)
    return coordination


def refusal(read, *arguments):
    """The error and the line with which `read` refuses, or None."""
    try:
        read(*arguments)
    except Refused as refused:
        return refused.args
    return None


# Section 7: acknowledgement


def acknowledgement(keyring, node, generation, head, coordination):
    text = f"keywright-acknowledgement 1\nkeyring {keyring.hex()}\nnode {node}\ngeneration {generation}\nhead {head.hex()}\n"
    tag = hmac.digest(coordination, b"keywright acknowledgement 1" + text.encode(), "sha256")
    return f"{text}hmac-sha256 {tag.hex()}\n"


# Section 8: what was seen


def seen(keyring, generation, head):
    return f"keywright-seen 1\n{keyring.hex()} {generation} {head.hex()}\n"


# Section 9: report


def report(json_line, coordination, number=1):
    text = f"keywright-report {number}\n{json_line}\n"
    return f"{text}hmac-sha256 {hmac.digest(coordination, b'keywright report 1' + text.encode(), 'sha256').hex()}\n"


def report_opened(text, coordination):
    """The JSON of a sealed report, or the name of the error."""
    match = re.fullmatch("(keywright-report (0|[1-9][0-9]{0,9})\n([^\n]*)\n)hmac-sha256 ([0-9a-f]{64})\n", text)
    if not match:
        # An unknown format may have another form below its first line.
        first = re.match("keywright-report (0|[1-9][0-9]{0,9})\n", text)
        return "Format" if first and first[1] != "1" and int(first[1]) < 1 << 32 else "Form"
    if match[2] != "1":
        return "Format" if int(match[2]) < 1 << 32 else "Form"
    if hmac.digest(coordination, b"keywright report 1" + match[1].encode(), "sha256").hex() != match[4]:
        return "NotAuthentic"
    return match[3]
