"""An independent reading of docs/formats.md, sharing no code with Keywright. See generate.py.

The ciphers are OpenSSL's, through the PyPI package `cryptography`; XAES-256-GCM is put together here from the C2SP text
(https://c2sp.org/XAES-256-GCM).
"""

import hashlib
import hmac
import re
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

XAES = 1
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
    if algorithm != XAES:
        return f"Algorithm({algorithm})"
    if version == 0:
        return "Version"
    return "TooShort" if len(envelope) < 32 + 24 + 1 + 16 else None


def envelope_open(kek, envelope, purpose):
    """The plaintext of what parses, under the name that it gives itself; else None."""
    assert envelope_error(envelope) is None
    _, _, _, keyring, version, check = struct.unpack(">2sBB8sI16s", envelope[:32])
    return xaes_open(kek, envelope[32:56], envelope[56:], envelope_aad(keyring, version, check, purpose))


# Section 3: associated data, canary, check


def prefixed(text):
    return struct.pack(">H", len(text)) + text.encode()


def envelope_aad(keyring, version, check, purpose):
    texts = (keyring.hex(), key_id_text(keyring, version, check), purpose)
    return header(keyring, version, check) + b"".join(map(prefixed, texts))


def subject(keyring, version):
    return struct.pack(">B8sI", XAES, keyring, version)


def canary_aad(keyring, version):
    return b"keywright canary 1" + subject(keyring, version)


def make_canary(kek, keyring, version, nonce, plaintext=CANARY):
    return nonce + xaes_seal(kek, nonce, plaintext, canary_aad(keyring, version))


def canary_proves(kek, keyring, version, canary):
    return xaes_open(kek, canary[:24], canary[24:], canary_aad(keyring, version)) == CANARY


def check_of(keyring, version, canary):
    return hashlib.sha256(b"keywright check 1" + subject(keyring, version) + canary).digest()[:16]


class Version:
    """One key version and everything that follows from its KEK and the nonce of its canary."""

    def __init__(self, kek, keyring, number, canary_nonce):
        self.kek, self.keyring, self.number = kek, keyring, number
        self.canary = make_canary(kek, keyring, number, canary_nonce)
        self.check = check_of(keyring, number, self.canary)
        self.key_id = key_id_text(keyring, number, self.check)
        assert key_id_error(self.key_id) is None

    def aad(self, purpose):
        return envelope_aad(self.keyring, self.number, self.check, purpose)

    def wrap(self, purpose, nonce, plaintext):
        head = header(self.keyring, self.number, self.check)
        return head + nonce + xaes_seal(self.kek, nonce, plaintext, self.aad(purpose))


# Section 4: keyring file


def slot_secret(keyring, root, secret, salt, nonce):
    wrapped = nonce + xaes_seal(hkdf(secret, salt, b"keywright slot 1"), nonce, root, b"keywright root key 1" + keyring)
    return {"kind": "secret", "salt": salt.hex(), "wrapped": wrapped.hex()}


def slot_development(root):
    return {"kind": "insecure-development", "root": root.hex()}


def wrapped_kek(root, keyring, kek, key_id, nonce):
    return nonce + xaes_seal(hkdf(root, keyring, b"keywright wrap KEKs 1"), nonce, kek, b"keywright KEK 1" + key_id.encode())


def version_table(version, state, created, wrapped):
    """`wrapped` is None for a destroyed version."""
    table = {"key-id": version.key_id, "state": state, "provider": "local", "algorithm": "xaes-256-gcm", "created": created}
    return table | {"canary": version.canary.hex()} | ({"wrapped": wrapped.hex()} if wrapped else {})


def keyring_file(keyring, generation, root, slots, versions):
    lines = ["# A Keywright keyring. Read it, copy it, but do not edit it: the last line authenticates every byte above it."]
    if any(slot["kind"] == "insecure-development" for slot in slots):
        lines.append("# INSECURE: a development keyring. Its root key stands below in clear: whoever reads this file has every key in it.")
    lines += ["", "format = 1", f'keyring = "{keyring.hex()}"', f"generation = {generation}"]
    for name, tables in (("slot", slots), ("version", versions)):
        for table in tables:
            lines += ["", f"[[{name}]]"] + [f'{key} = "{value}"' for key, value in table.items()]
    lines += ["", "[authentication]"]
    covered = "".join(line + "\n" for line in lines)
    tag = hmac.digest(hkdf(root, keyring, b"keywright authenticate file 1"), covered.encode(), "sha256")
    return lines + [f'hmac-sha256 = "{tag.hex()}"']
