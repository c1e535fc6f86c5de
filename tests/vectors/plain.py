"""An independent reading of two texts with nothing but Python's standard library: an export (docs/export.md) and a development keyring
(docs/formats.md, section 4).

Standard input is either. A keyring is authenticated, its keys are unwrapped, and it is put into the words of an export. Then every word is
checked: the grammar, the history as a chain, each check as the hash of its canary, each key by opening its canary; of a key in a token, which is
not here, the place. The text of the export goes to standard output; whatever is wrong ends the script with 1. `cargo test --features cluster-tests --test format` runs it.

The cipher is written out here, from FIPS 197, SP 800-38D and https://c2sp.org/XAES-256-GCM: slow, not in constant time, for tests only.
"""

import hashlib
import hmac
import re
import struct
import sys


# The cipher


def sbox():
    box, p, q = [0x63] * 256, 1, 1
    while True:
        p = (p ^ p << 1 ^ (0x11B if p & 0x80 else 0)) & 0xFF
        q ^= q << 1
        q ^= q << 2
        q ^= q << 4
        q = (q ^ (0x09 if q & 0x80 else 0)) & 0xFF
        box[p] = q ^ rotl(q, 1) ^ rotl(q, 2) ^ rotl(q, 3) ^ rotl(q, 4) ^ 0x63
        if p == 1:
            return box


def rotl(byte, bits):
    return (byte << bits | byte >> 8 - bits) & 0xFF


SBOX = sbox()


def round_keys(key):
    words, rcon = [list(key[i : i + 4]) for i in range(0, 32, 4)], 1
    for i in range(8, 60):
        word = words[-1]
        if i % 8 == 0:
            word = [SBOX[b] for b in word[1:] + word[:1]]
            word[0] ^= rcon
            rcon <<= 1
        elif i % 8 == 4:
            word = [SBOX[b] for b in word]
        words.append([a ^ b for a, b in zip(words[i - 8], word)])
    return [sum(words[i : i + 4], []) for i in range(0, 60, 4)]


def double(byte):
    return (byte << 1 ^ (0x1B if byte & 0x80 else 0)) & 0xFF


def aes(key, block):
    """AES-256 of one block."""
    keys = round_keys(key)
    state = [a ^ b for a, b in zip(block, keys[0])]
    for turn, round_key in enumerate(keys[1:], 1):
        state = [SBOX[state[(i + 4 * (i % 4)) % 16]] for i in range(16)]
        if turn < 14:
            mixed = []
            for c in range(0, 16, 4):
                column = state[c : c + 4]
                whole = column[0] ^ column[1] ^ column[2] ^ column[3]
                mixed += [column[r] ^ whole ^ double(column[r] ^ column[(r + 1) % 4]) for r in range(4)]
            state = mixed
        state = [a ^ b for a, b in zip(state, round_key)]
    return bytes(state)


def number(data):
    return int.from_bytes(data, "big")


def multiply(x, y):
    """In the field of GCM."""
    product = 0
    for bit in range(127, -1, -1):
        if x >> bit & 1:
            product ^= y
        y = y >> 1 ^ (0xE1 << 120 if y & 1 else 0)
    return product


def gcm_open(key, nonce, sealed, aad):
    """The plaintext, or None."""
    data, tag = sealed[:-16], sealed[-16:]
    hash_key = number(aes(key, bytes(16)))
    padded = b"".join(part + bytes(-len(part) % 16) for part in (aad, data)) + struct.pack(">QQ", 8 * len(aad), 8 * len(data))
    digest = 0
    for i in range(0, len(padded), 16):
        digest = multiply(digest ^ number(padded[i : i + 16]), hash_key)
    pad = lambda counter: aes(key, nonce + struct.pack(">I", counter))
    if (digest ^ number(pad(1))).to_bytes(16, "big") != tag:
        return None
    stream = b"".join(pad(2 + i) for i in range((len(data) + 15) // 16))
    return bytes(a ^ b for a, b in zip(data, stream))


def xaes_open(key, nonce, sealed, aad):
    last = number(aes(key, bytes(16))) << 1
    subkey = (last & (1 << 128) - 1) ^ (0x87 if last >> 128 else 0)
    half = lambda counter: aes(key, (number(struct.pack(">HBB", counter, 0x58, 0) + nonce[:12]) ^ subkey).to_bytes(16, "big"))
    return gcm_open(half(1) + half(2), nonce[12:], sealed, aad)


SECRET = "# SECRET: every key of the keyring stands below in clear. Import it; do not keep it decrypted."
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
WORDS = r"[!-~]+(?: [!-~]+)*"
VERSION = re.compile(
    rf"version (kw1\.([0-9a-f]{{16}})\.(\d+)\.([0-9a-f]{{32}})) (staged|primary|retired|disabled|destroyed) local xaes-256-gcm created {TIME} "
    rf"changed {TIME} canary ([0-9a-f]{{144}})(?: key ([0-9a-f]{{64}}))?(?: exported [0-9a-f]{{64}})?(?: verified {WORDS})?"
)
PLACE = r"pkcs11:token=([\w.~%-]+);serial=([\w.~%-]+);object=([\w.~%-]+);id=((?:%[0-9A-F]{2}){16})"
IN_TOKEN = re.compile(
    rf"version (kw1\.([0-9a-f]{{16}})\.(\d+)\.([0-9a-f]{{32}})) (staged|primary|retired|disabled|destroyed) pkcs11 "
    rf"(aes-256-gcm|aes-256-cbc-hmac-sha-256) created {TIME} changed {TIME} canary ([0-9a-f]+) at {PLACE}( mac [0-9a-f]{{32}})? iv (?:host|token)"
    rf"(?: exported [0-9a-f]{{64}})?(?: verified {WORDS})?",
    re.ASCII,
)
ATTEMPT = re.compile(rf"attempt {TIME} {PLACE}", re.ASCII)
# Of algorithms in tokens: number, bytes of a canary, whether there is a second key.
TOKEN_ALGORITHMS = {"aes-256-gcm": (2, 60, False), "aes-256-cbc-hmac-sha-256": (3, 96, True)}
HISTORY = re.compile(rf"history (\d+) ({TIME}) ([0-9a-f]{{64}}) ({WORDS})")


def match(pattern, line):
    found = re.fullmatch(pattern, line)
    assert found, f"a line is not of the form {pattern if isinstance(pattern, str) else pattern.pattern}"
    return found


def lines_of(text):
    lines = text.split("\n")
    assert lines.pop() == "", "the last line has no line feed"
    return lines


# From a keyring to an export


def hkdf(root, salt, label):
    """HKDF-SHA256, 32 bytes."""
    return hmac.digest(hmac.digest(salt, root, "sha256"), label + b"\x01", "sha256")


def as_export(text):
    lines = lines_of(text)
    *covered, tag = lines
    form = match("keywright-keyring ([12])", covered[0])[1]
    assert covered[1].startswith("# Read it, ") and covered[2].startswith("# INSECURE: ")
    keyring = bytes.fromhex(match("keyring ([0-9a-f]{16})", covered[3])[1])
    root = bytes.fromhex(match("slot insecure-development ([0-9a-f]{64})", covered[8])[1])
    body = "".join(line + "\n" for line in covered).encode("ascii")
    expected = hmac.digest(hkdf(root, keyring, b"keywright authenticate file 1"), body, "sha256").hex()
    assert tag == f"hmac-sha256 {expected}", "the keyring is not authentic"
    wrapping = hkdf(root, keyring, b"keywright wrap KEKs 1")

    def unwrapped(digits, aad):
        wrapped = bytes.fromhex(digits)
        key = xaes_open(wrapping, wrapped[:24], wrapped[24:], aad)
        assert key is not None, "a key does not unwrap"
        return key.hex()

    out = [f"keywright-export {form}", SECRET, *covered[3:7]]
    coordination = match("coordination ([0-9a-f]{144})", covered[7])[1]
    out.append(f"coordination {unwrapped(coordination, b'keywright coordination 1' + keyring)}")
    for line in covered[9:]:
        words = line.split(" ")
        if words[0] == "version" and words[11:12] == ["wrapped"]:
            words[11:13] = ["key", unwrapped(words[12], b"keywright KEK 1" + words[1].encode())]
            if words[13:14] == ["exported"]:
                del words[13:15]
        out.append(" ".join(words))
    return "".join(line + "\n" for line in out)


# What an export says


def check_value(text, most):
    """A value of a place: what must be encoded is, what need not be is not, but for ids."""
    data = bytes(int(part[1:], 16) if part.startswith("%") else ord(part) for part in re.findall("%[0-9A-F]{2}|[^%]", text))
    plain = lambda byte: chr(byte) if re.fullmatch("[A-Za-z0-9._~-]", chr(byte)) else f"%{byte:02X}"
    assert len(data) <= most and text in ("".join(map(plain, data)), "".join(f"%{byte:02X}" for byte in data)), "a place is not in its one form"


def check_in_token(version, keyring, number):
    """The key is in a token, so the canary cannot be opened here; it fits its key_id all the same."""
    _, of, stated, expected, _, name, canary = version.groups()[:7]
    algorithm, length, second = TOKEN_ALGORITHMS[name]
    assert (of, stated) == (keyring, str(number)), f"version {number} is another one"
    assert len(canary) == 2 * length and (version[12] is not None) == second, f"version {number} does not fit its algorithm"
    subject = struct.pack(">B8sI", algorithm, bytes.fromhex(keyring), number)
    hashed = hashlib.sha256(b"keywright check 1" + subject + bytes.fromhex(canary)).hexdigest()
    assert hashed[:32] == expected, f"the check of version {number}"


def check(text):
    lines = lines_of(text)
    form = match("keywright-export ([12])", lines[0])[1]
    assert lines[1] == SECRET, "the second line"
    keyring = match("keyring ([0-9a-f]{16})", lines[2])[1]
    generation = int(match(r"generation (\d+)", lines[3])[1])
    match(r"hold \d+", lines[4])
    match(r"nodes(?: [a-z0-9.-]+)*", lines[5])
    match("coordination [0-9a-f]{64}", lines[6])
    versions = [VERSION.fullmatch(line) or IN_TOKEN.fullmatch(line) for line in lines[7:] if line.startswith("version ")]
    attempts = [match(ATTEMPT, line) for line in lines[7 + len(versions) :] if line.startswith("attempt ")]
    in_tokens = [version for version in versions if version and version.re is IN_TOKEN]
    for place in [version.groups()[7:11] for version in in_tokens] + [attempt.groups() for attempt in attempts]:
        for value, most in zip(place, (32, 16, 128, 16)):
            check_value(value, most)
    assert (form == "2") == bool(in_tokens or attempts), "it is of format 2 exactly if it names a token"
    for number, version in enumerate(versions, 1):
        assert version, f"version {number} is not of its form"
        if version.re is IN_TOKEN:
            check_in_token(version, keyring, number)
            continue
        _, of, stated, expected, state, canary, key = version.groups()
        assert (of, stated) == (keyring, str(number)), f"version {number} is another one"
        subject, canary = struct.pack(">B8sI", 1, bytes.fromhex(keyring), number), bytes.fromhex(canary)
        assert hashlib.sha256(b"keywright check 1" + subject + canary).hexdigest()[:32] == expected, f"the check of version {number}"
        assert (key is None) == (state == "destroyed"), f"version {number} has a key exactly when it is not destroyed"
        if key:
            opened = xaes_open(bytes.fromhex(key), canary[:24], canary[24:], b"keywright canary 1" + subject)
            assert opened == b"keywright canary: fixed, public.", f"the key of version {number} does not open its canary"
    assert [version[5] for version in versions].count("primary") == 1, "one version is primary"
    before = bytes(32)
    history = [match(HISTORY, line) for line in lines[7 + len(versions) + len(attempts) :]]
    for number, entry in enumerate(history, 1):
        text = b"keywright history 1" + before + struct.pack(">Q", number) + (entry[2] + entry[4]).encode()
        before = hashlib.sha256(text).digest()
        assert (entry[1], entry[3]) == (str(number), before.hex()), f"entry {number} of the history does not follow"
    assert len(history) == generation, "the history ends with another generation"


if __name__ == "__main__":
    given = sys.stdin.buffer.read().decode("ascii")
    export = as_export(given) if given.startswith("keywright-keyring ") else given
    check(export)
    sys.stdout.write(export)
