"""The cases of keyring-1.json. See generate.py."""

import reading as r
from reading import counting, material

KEYRING, ROOT = material("keyring: id", 8), material("keyring: root key", 32)
STATES = ["destroyed", "disabled", "retired", "primary", "staged"]
SECRETS = [material("keyring: first secret", 32), material("keyring: second secret", 64)]
VERSIONS = [r.Version(material(f"keyring: KEK {n}", 32), KEYRING, n, material(f"keyring: canary nonce {n}", 24)) for n in range(1, 6)]


def wrapped(version, kek=None):
    """The KEK of `version`, or another in its place, wrapped for its key_id."""
    nonce = material(f"keyring: KEK nonce {version.number}", 24)
    return r.wrapped_kek(ROOT, KEYRING, kek or version.kek, version.key_id, nonce)


def slot(number, keyring=KEYRING):
    salt, nonce = material(f"keyring: salt {number}", 16), material(f"keyring: slot nonce {number}", 24)
    return r.slot_secret(keyring, ROOT, SECRETS[number], salt, nonce)


def tables(number=0, **changed):
    """The five versions, one of each state; `changed` holds other values for the fields of version `number`."""
    out = []
    for v, state in zip(VERSIONS, STATES):
        table = r.version_table(v, state, f"2026-0{v.number}-01T00:00:00Z", None if state == "destroyed" else wrapped(v))
        out.append(table | (changed if v.number == number else {}))
    return out


def lines(versions, root=ROOT, slots=None):
    return r.keyring_file(KEYRING, 12, root, [slot(0), slot(1)] if slots is None else slots, versions)


def first(name, secret):
    """What a keyring with one version must look like when the generator gives `entropy` and the clock stands at `created_unix`."""
    pick = lambda label, length: material(f"{name}: {label}", length)
    keyring, root, kek_nonce = pick("keyring id", 8), pick("root key", 32), pick("KEK nonce", 24)
    salt, slot_nonce = (pick("salt", 16), pick("slot nonce", 24)) if secret else (b"", b"")
    v = r.Version(pick("KEK", 32), keyring, 1, pick("canary nonce", 24))
    way = r.slot_secret(keyring, root, secret, salt, slot_nonce) if secret else r.slot_development(root)
    table = r.version_table(v, "primary", "2026-01-02T03:04:05Z", r.wrapped_kek(root, keyring, v.kek, v.key_id, kek_nonce))
    entropy = keyring + root + salt + slot_nonce + v.kek + v.canary[:24] + kek_nonce
    return {"name": name, "secret": secret.hex() if secret else None, "created_unix": 1767323045, "entropy": entropy.hex(),
            "lines": r.keyring_file(keyring, 1, root, [way], [table])}


def invalid():
    good, fourth = lines(tables()), VERSIONS[3]
    edited = lambda old, new: [line.replace(old, new) for line in good]
    other = material("keyring: another id", 8)
    foreign = r.Version(fourth.kek, other, 4, material("keyring: foreign canary nonce", 24))
    foreign_kek = r.wrapped_kek(ROOT, KEYRING, foreign.kek, foreign.key_id, bytes(24))
    return [
        ("a byte of a comment changed", edited("Read it", "Reed it"), "NotAuthentic"),
        ("generation set back", edited("generation = 12", "generation = 11"), "NotAuthentic"),
        ("the disabled version made retired", edited("disabled", "retired"), "NotAuthentic"),
        ("authentication of zeros", good[:-1] + [f'hmac-sha256 = "{"0" * 64}"'], "NotAuthentic"),
        ("authentication of 31 bytes", good[:-1] + [good[-1][:-3] + '"'], "Field"),
        ("authentication in upper case", good[:-1] + [good[-1][:15] + good[-1][15:].upper()], "Field"),
        ("slots of another root key", lines(tables(), root=material("keyring: another root key", 32)), "NotAuthentic"),
        ("slot of another keyring", lines(tables(), slots=[slot(0, other)]), "WrongSecret"),
        ("no slot", lines(tables(), slots=[]), "NoSlot"),
        ("a line after the authentication", good + ["# more"], "NoAuthentication"),
        ("authentication before the last line", good[:-2] + [good[-1], good[-2]], "Syntax"),
        ("format 2", edited("format = 1", "format = 2"), "Format"),
        ("a field that format 1 does not have", good[:4] + ["nodes = 3"] + good[4:], "Syntax"),
        ("authentic, canary of another version", lines(tables(4, canary=VERSIONS[2].canary.hex())), "Check"),
        ("authentic, KEK of another version", lines(tables(4, wrapped=wrapped(VERSIONS[2]).hex())), "Canary"),
        ("authentic, another KEK wrapped for this key_id", lines(tables(4, wrapped=wrapped(fourth, bytes(32)).hex())), "Canary"),
        ("authentic, a version of another keyring",
         lines(tables(4, **{"key-id": foreign.key_id, "canary": foreign.canary.hex(), "wrapped": foreign_kek.hex()})), "Field"),
        ("authentic, generation 0", r.keyring_file(KEYRING, 0, ROOT, [slot(0)], tables()), "Field"),
        ("authentic, a time with a line break", lines(tables(4, created="2026-04-01T00:00:00Z\\nx")), "Field"),
        ("authentic, a time with a fraction", lines(tables(4, created="2026-04-01T00:00:00.5Z")), "Field"),
        ("authentic, a development slot beside another", lines(tables(), slots=[slot(0), r.slot_development(ROOT)]), "NotAlone"),
        ("authentic, no primary", lines(tables(4, state="retired")), "Primary"),
        ("authentic, two primaries", lines(tables(5, state="primary")), "Primary"),
        ("authentic, a gap in the versions", lines(tables()[1:]), "Field"),
        ("authentic, a destroyed version with a KEK", lines(tables(1, wrapped=wrapped(VERSIONS[0]).hex())), "Field"),
        ("authentic, a retired version without its KEK", lines(tables(1, state="retired")), "Field"),
        ("authentic, another provider", lines(tables(4, provider="remote")), "Field"),
        ("authentic, another algorithm", lines(tables(4, algorithm="aes-256-gcm")), "Field"),
        ("authentic, a key_id in upper case", lines(tables(4, **{"key-id": fourth.key_id.upper()})), "Field"),
    ]


def vectors():
    values = []
    for v, state in zip(VERSIONS, STATES):
        nonce, seed = material(f"keyring: nonce {v.number}", 24), material(f"keyring: seed {v.number}", 32)
        values.append({"key_id": v.key_id, "state": state, "nonce": nonce.hex(), "plaintext": seed.hex(),
                       "envelope": v.wrap("kms-v2", nonce, seed).hex()})
    return {
        "format": 1,
        "first": [first("first keyring, sealed by a secret", counting(0x80, 32)), first("first keyring, development", None)],
        "every_state": {"secrets": [s.hex() for s in SECRETS], "generation": 12, "versions": values, "lines": lines(tables())},
        "invalid": [{"defect": n, "error": e, "lines": text} for n, text, e in invalid()],
    }
