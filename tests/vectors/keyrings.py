"""The cases of keyring-1.json, acknowledgement-1.json and seen-1.json. See generate.py."""

import reading as r
from reading import counting, material

KEYRING, ROOT = material("keyring: id", 8), material("keyring: root key", 32)
OTHER_ID, OTHER_ROOT = material("keyring: another id", 8), material("keyring: another root key", 32)
COORDINATION = material("keyring: coordination key", 32)
STATES = ["destroyed", "disabled", "retired", "retired", "primary", "staged"]
VERSIONS = [r.Version(material(f"keyring: KEK {n}", 32), KEYRING, n, material(f"keyring: canary nonce {n}", 24)) for n in range(1, 7)]
NODES = ["10.0.0.3", "cp-1", "cp-2.example"]
# The least that a slot may ask for.
LEAST = (1 << 16, 3, 1)
OPENERS = [
    ("key-file", None, material("keyring: first secret", 32)),
    ("credential", "keywright-seal", material("keyring: second secret", 64)),
    ("passphrase", None, b"a passphrase of the vectors"),
]
WHY = "risk accepted: every object was written anew"
HAPPENED = [
    ("2026-01-01T00:00:00Z", "init"),
    ("2026-02-01T00:00:00Z", "begin 2"),
    ("2026-02-01T00:10:00Z", "promote 2"),
    ("2026-02-02T00:00:00Z", f"verify 1 {WHY}"),
    ("2026-02-03T00:00:00Z", "disable 1"),
    ("2026-02-11T00:00:00Z", "destroy 1"),
    ("2026-03-01T00:00:00Z", "begin 3"),
    # A clock that was set back is no matter of the chain.
    ("2026-02-28T23:59:59Z", "promote 3"),
    ("2026-03-02T00:00:00Z", "!~"),
    ("9999-12-31T23:59:59Z", "w" * 200),
]
# Of each version: created, changed, digest of its last export, why nothing needs it.
EXPORT = material("keyring: digest of an export", 32)
RECORDS = [
    ("2026-01-01T00:00:00Z", "2026-02-11T00:00:00Z", None, WHY),
    ("2026-02-01T00:00:00Z", "2026-03-03T00:00:00Z", EXPORT, WHY),
    ("2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z", None, "!"),
    ("2026-04-01T00:00:00Z", "2026-05-01T00:00:00Z", None, None),
    ("2026-05-01T00:00:00Z", "1970-01-01T00:00:00Z", EXPORT, None),
    ("2026-06-01T00:00:00Z", "9999-12-31T23:59:59Z", None, None),
]


def wrapped(version, kek=None):
    """The KEK of `version`, or another in its place, wrapped for its key_id."""
    return r.wrapped_kek(ROOT, KEYRING, kek or version.kek, version.key_id, material(f"keyring: KEK nonce {version.number}", 24))


def coordination(keyring=KEYRING):
    return r.wrapped_coordination(ROOT, keyring, COORDINATION, material("keyring: coordination nonce", 24))


def slot(number, keyring=KEYRING, root=ROOT, opener=None):
    kind, name, secret = opener or OPENERS[number]
    salt, nonce = material(f"keyring: salt {number}", 16), material(f"keyring: slot nonce {number}", 24)
    if kind == "passphrase":
        return r.slot_passphrase(keyring, root, secret, LEAST, salt, nonce)
    return r.slot_secret(f"{kind} {name}" if name else kind, keyring, root, secret, salt, nonce)


def version_lines():
    made = zip(VERSIONS, STATES, RECORDS)
    return [r.version_line(v, s, *when, None if s == "destroyed" else wrapped(v), *more) for v, s, (*when, e, w) in made for more in [(e, w)]]


HISTORY, HEAD = r.history_lines(HAPPENED)
SLOTS = [slot(0), slot(1), slot(2)]
BODY = r.keyring_body(KEYRING, len(HAPPENED), 604800, NODES, coordination(), SLOTS, version_lines(), HISTORY)
GOOD = r.authentic(ROOT, KEYRING, BODY)
# Where things stand in BODY.
ADVICE, ID, GENERATION, HOLD, NODE, COORD, SLOT, VERSION, ENTRY = 1, 2, 3, 4, 5, 6, 7, 10, 16
assert BODY[SLOT] == SLOTS[0] and BODY[VERSION].startswith("version ") and BODY[ENTRY] == HISTORY[0]


def authentic(*edits):
    """The good file with lines replaced (at, line or list of lines), authentic all the same."""
    body = [[line] for line in BODY]
    for at, line in edits:
        body[at] = line if isinstance(line, list) else [line]
    return r.authentic(ROOT, KEYRING, sum(body, []))


def with_word(at, word, text):
    """As above, with one word of a line replaced; -1 appends one."""
    words = BODY[at].split(" ")
    words[word:] = [text] + words[word + 1 :] if word >= 0 else words[word:] + [text]
    return authentic((at, " ".join(words)))


def replaced(at, old, new):
    assert old in BODY[at], (at, old)
    return authentic((at, BODY[at].replace(old, new)))


def first(name, openers, nodes=(), hold=0):
    """What a keyring with one version must look like when the generator gives `entropy` and the clock stands at `created_unix`."""
    pick = lambda label, length: material(f"{name}: {label}", length)
    keyring, root, coordination, coordination_nonce = (
        pick("keyring id", 8), pick("root key", 32), pick("coordination key", 32), pick("coordination nonce", 24))
    entropy, slots, now = keyring + root + coordination + coordination_nonce, [], "2026-01-02T03:04:05Z"
    for number, (kind, of, secret) in enumerate(openers):
        salt, nonce = pick(f"salt {number}", 16), pick(f"slot nonce {number}", 24)
        if kind == "insecure-development":
            slots.append(r.slot_development(root))
            continue
        entropy += salt + nonce
        if kind == "passphrase":
            slots.append(r.slot_passphrase(keyring, root, secret, (1 << 16, 3, 4), salt, nonce))
        else:
            slots.append(r.slot_secret(f"{kind} {of}" if of else kind, keyring, root, secret, salt, nonce))
    v, kek_nonce = r.Version(pick("KEK", 32), keyring, 1, pick("canary nonce", 24)), pick("KEK nonce", 24)
    entropy += v.kek + v.canary[:24] + kek_nonce
    line = r.version_line(v, "primary", now, now, r.wrapped_kek(root, keyring, v.kek, v.key_id, kek_nonce))
    wrapped = r.wrapped_coordination(root, keyring, coordination, coordination_nonce)
    body = r.keyring_body(keyring, 1, hold, nodes, wrapped, slots, [line], r.history_lines([(now, "init")])[0])
    lines = r.authentic(root, keyring, body)
    for opener in openers:
        assert r.loaded(lines, opener) == coordination, name
    return {"name": name, "openers": described(openers), "nodes": list(nodes), "hold": hold, "created_unix": 1767323045,
            "entropy": entropy.hex(), "root": root.hex(), "lines": lines}


def described(openers):
    return [{"kind": kind, "name": name, "secret": secret.hex() if secret is not None else None} for kind, name, secret in openers]


def forged():
    """Changed by somebody without the root key, or damaged."""
    edited = lambda at, old, new: GOOD[:at] + [GOOD[at].replace(old, new)] + GOOD[at + 1 :]
    tag = GOOD[-1]
    moved = r.authentic(ROOT, KEYRING, BODY)
    moved[SLOT], moved[SLOT + 1] = moved[SLOT + 1], moved[SLOT]
    return [
        ("generation set back", edited(GENERATION, "10", "9"), "NotAuthentic"),
        ("another generation", edited(GENERATION, "10", "11"), "NotAuthentic"),
        ("hold of none", edited(HOLD, "604800", "0"), "NotAuthentic"),
        ("a node taken out", edited(NODE, " cp-1", ""), "NotAuthentic"),
        ("the disabled version made retired", edited(VERSION + 1, "disabled", "retired"), "NotAuthentic"),
        ("the reason of a version changed", edited(VERSION, "every object", "no object"), "NotAuthentic"),
        ("digest of an export taken out", edited(VERSION + 4, f" exported {EXPORT.hex()}", ""), "NotAuthentic"),
        ("two slots exchanged", moved, "NotAuthentic"),
        ("a slot taken out", GOOD[: SLOT + 2] + GOOD[SLOT + 3 :], "NotAuthentic"),
        ("last entry of the history taken out", GOOD[:-2] + GOOD[-1:], "NotAuthentic"),
        ("last version taken out", GOOD[: ENTRY - 1] + GOOD[ENTRY:], "NotAuthentic"),
        ("authentication of zeros", GOOD[:-1] + [f"hmac-sha256 {'0' * 64}"], "NotAuthentic"),
        ("authentication over the body without its last line feed", GOOD[:-1] + [
            "hmac-sha256 " + r.hmac.digest(r.hkdf(ROOT, KEYRING, b"keywright authenticate file 1"), "\n".join(BODY).encode(), "sha256").hex()],
         "NotAuthentic"),
        ("slots of another root key", r.authentic(OTHER_ROOT, KEYRING, BODY), "NotAuthentic"),
        ("authentication under the root key itself", GOOD[:-1] + [
            "hmac-sha256 " + r.hmac.digest(ROOT, "".join(f"{line}\n" for line in BODY).encode(), "sha256").hex()], "NotAuthentic"),
        ("authentication of 31 bytes", GOOD[:-1] + [tag[:-2]], "NoAuthentication"),
        ("authentication of 33 bytes", GOOD[:-1] + [tag + "00"], "NoAuthentication"),
        ("authentication in upper case", GOOD[:-1] + [tag[:12] + tag[12:].upper()], "NoAuthentication"),
        ("authentication of another name", GOOD[:-1] + [tag.replace("sha256", "sha512")], "NoAuthentication"),
        ("a space behind the authentication", GOOD[:-1] + [tag + " "], "NoAuthentication"),
        ("a carriage return behind the authentication", GOOD[:-1] + [tag + "\r"], "NoAuthentication"),
        ("no authentication", BODY, "NoAuthentication"),
        ("a line after the authentication", GOOD + ["# more"], "NoAuthentication"),
        ("an empty line after the authentication", GOOD + [""], "NoAuthentication"),
        ("authentication before the last line", GOOD[:-2] + [GOOD[-1], GOOD[-2]], "NoAuthentication"),
        ("two authentications", GOOD + [tag], "Line"),
        ("format 2", ["keywright-keyring 2"] + GOOD[1:], "Format"),
        ("format 2 of another form", ["keywright-keyring 2", "anything = { is = [\"allowed\"] }"], "Format"),
        ("format 0", ["keywright-keyring 0"] + GOOD[1:], "Format"),
        ("no format", ["keywright-keyring"] + GOOD[1:], "NotAKeyring"),
        ("format in words", ["keywright-keyring one"] + GOOD[1:], "NotAKeyring"),
        ("magic in upper case", ["KEYWRIGHT-KEYRING 1"] + GOOD[1:], "NotAKeyring"),
        ("byte order mark", ["\ufeff" + GOOD[0]] + GOOD[1:], "NotAKeyring"),
        ("an empty line first", [""] + GOOD, "NotAKeyring"),
        ("the keyring of the drafts", ["# A Keywright keyring.", "", "format = 1"], "NotAKeyring"),
    ]


def misshapen():
    """By a holder of the root key: authentic, and yet not what stands in a keyring."""
    v1, v5, v6 = BODY[VERSION], BODY[VERSION + 4], BODY[VERSION + 5]
    passphrase, nodes = BODY[SLOT + 2], "nodes"
    cost = lambda *numbers: authentic((SLOT + 2, passphrase.replace("65536 3 1", " ".join(map(str, numbers)))))
    swapped = lambda a, b: authentic((a, BODY[b]), (b, BODY[a]))
    first_two = VERSION, VERSION + 1
    return [
        ("a carriage return at the end of a line", authentic((HOLD, "hold 604800\r"))),
        ("carriage returns everywhere", r.authentic(ROOT, KEYRING, [line + "\r" for line in BODY])),
        ("a carriage return within a text", replaced(ENTRY + 3, "verify 1", "verify\r1")),
        ("a trailing space", authentic((GENERATION, "generation 10 "))),
        ("a trailing space behind the nodes", authentic((NODE, BODY[NODE] + " "))),
        ("a trailing space behind no nodes", authentic((NODE, "nodes "))),
        ("a trailing space behind the coordination key", authentic((COORD, BODY[COORD] + " "))),
        ("a trailing space behind a slot", authentic((SLOT, BODY[SLOT] + " "))),
        ("a trailing space behind a version", authentic((VERSION + 3, BODY[VERSION + 3] + " "))),
        ("a trailing space behind a reason", authentic((VERSION, v1 + " "))),
        ("a trailing space behind an entry", authentic((ENTRY, BODY[ENTRY] + " "))),
        ("a leading space", authentic((HOLD, " hold 604800"))),
        ("two spaces", authentic((HOLD, "hold  604800"))),
        ("two spaces in a text", replaced(ENTRY + 1, "begin 2", "begin  2")),
        ("a tab for a space", authentic((HOLD, "hold\t604800"))),
        ("an empty line", authentic((HOLD, ["hold 604800", ""]))),
        ("an empty line before the history", authentic((ENTRY, ["", BODY[ENTRY]]))),
        ("an empty line at the end", r.authentic(ROOT, KEYRING, BODY + [""])),
        ("another comment", authentic((ADVICE, BODY[ADVICE].replace("Read", "Reed")))),
        ("no comment", authentic((ADVICE, []))),
        ("one comment more", authentic((ADVICE, [BODY[ADVICE], "# mine"]))),
        ("a comment among the versions", authentic((VERSION, ["# mine", v1]))),
        ("the warning without a development slot", authentic((ADVICE, [BODY[ADVICE], r.WARNING]))),
        ("a development slot without the warning", authentic((SLOT, r.slot_development(ROOT)), (SLOT + 1, []), (SLOT + 2, []))),
        ("a development slot beside another without the warning", authentic((SLOT, [SLOTS[0], r.slot_development(ROOT)]))),
        ("an unknown line", authentic((HOLD, ["hold 604800", "mode strict"]))),
        ("generation before keyring", swapped(ID, GENERATION)),
        ("hold before generation", swapped(GENERATION, HOLD)),
        ("nodes before hold", swapped(HOLD, NODE)),
        ("a slot before the coordination key", swapped(COORD, SLOT)),
        ("a version before a slot", swapped(SLOT + 2, VERSION)),
        ("history before a version", swapped(ENTRY - 1, ENTRY)),
        ("a version after the history", authentic((VERSION + 5, []), (ENTRY + 9, [BODY[ENTRY + 9], v6]))),
        ("a slot after the versions", authentic((SLOT + 2, []), (ENTRY, [passphrase, BODY[ENTRY]]))),
        ("hold twice", authentic((HOLD, ["hold 604800"] * 2))),
        ("no keyring id", authentic((ID, []))),
        ("no generation", authentic((GENERATION, []))),
        ("no hold", authentic((HOLD, []))),
        ("no line of nodes", authentic((NODE, []))),
        ("no coordination key", authentic((COORD, []))),
        ("no slot", authentic((SLOT, []), (SLOT + 1, []), (SLOT + 2, []))),
        ("keyring id in upper case", authentic((ID, f"keyring {KEYRING.hex().upper()}"))),
        ("keyring id of 7 bytes", authentic((ID, BODY[ID][:-2]))),
        ("a word behind the keyring id", authentic((ID, BODY[ID] + " x"))),
        ("generation 0", authentic((GENERATION, "generation 0"))),
        ("generation with a leading zero", authentic((GENERATION, "generation 010"))),
        ("generation with a plus", authentic((GENERATION, "generation +10"))),
        ("generation in hexadecimal", authentic((GENERATION, "generation 0xa"))),
        ("generation with an underscore", authentic((GENERATION, "generation 1_0"))),
        ("generation 2^63", authentic((GENERATION, f"generation {1 << 63}"))),
        ("generation without a number", authentic((GENERATION, "generation"))),
        ("a word behind the generation", authentic((GENERATION, "generation 10 10"))),
        ("hold with a unit", authentic((HOLD, "hold 604800s"))),
        ("hold with a leading zero", authentic((HOLD, "hold 0604800"))),
        ("hold below zero", authentic((HOLD, "hold -1"))),
        ("hold of minus zero", authentic((HOLD, "hold -0"))),
        ("hold with a fraction", authentic((HOLD, "hold 1.5"))),
        ("hold 2^63", authentic((HOLD, f"hold {1 << 63}"))),
        ("nodes that are not in order", authentic((NODE, "nodes cp-2 cp-1"))),
        ("nodes in the order of numbers", authentic((NODE, "nodes cp-2 cp-10"))),
        ("a node twice", authentic((NODE, "nodes cp-1 cp-1"))),
        ("two spaces between nodes", authentic((NODE, "nodes cp-1  cp-2"))),
        ("nodes with commas", authentic((NODE, "nodes cp-1,cp-2"))),
        ("a node in upper case", authentic((NODE, "nodes CP-1"))),
        ("a node of 64 bytes", authentic((NODE, "nodes " + "n" * 64))),
        ("a node that ends with a hyphen", authentic((NODE, "nodes cp-"))),
        ("a node with an underscore", authentic((NODE, "nodes cp_1"))),
        ("coordination key of 71 bytes", authentic((COORD, BODY[COORD][:-2]))),
        ("coordination key in upper case", authentic((COORD, "coordination " + BODY[COORD][13:].upper()))),
        ("a word behind the coordination key", authentic((COORD, BODY[COORD] + " 00"))),
        ("a slot of a kind that does not exist", with_word(SLOT, 1, "secret")),
        ("a slot of a kind in upper case", with_word(SLOT, 1, "Key-File")),
        ("a slot without its wrapped key", authentic((SLOT, BODY[SLOT][:-145]))),
        ("a slot with a word more", authentic((SLOT, BODY[SLOT] + " x"))),
        ("salt of 15 bytes", with_word(SLOT, 2, "00" * 15)),
        ("salt of 17 bytes", with_word(SLOT, 2, "00" * 17)),
        ("wrapped root key of 73 bytes", authentic((SLOT, BODY[SLOT] + "00"))),
        ("a credential without a name", authentic((SLOT + 1, BODY[SLOT + 1].replace("keywright-seal ", "")))),
        ("a credential with a path", with_word(SLOT + 1, 2, "../seal")),
        ("a credential with a leading full stop", with_word(SLOT + 1, 2, ".seal")),
        ("a credential of 65 bytes", with_word(SLOT + 1, 2, "c" * 65)),
        ("a credential beyond ASCII", with_word(SLOT + 1, 2, "schl\u00fcssel")),
        ("argon2 with less than 64 MiB", cost(65535, 3, 1)),
        ("argon2 with more than 1 GiB", cost(1048577, 3, 1)),
        ("argon2 with 4 TiB", cost(4294967295, 3, 1)),
        ("argon2 with 2^32 KiB", cost(4294967296, 3, 1)),
        ("argon2 with no memory", cost(0, 3, 1)),
        ("argon2 with 2 passes", cost(65536, 2, 1)),
        ("argon2 with 17 passes", cost(65536, 17, 1)),
        ("argon2 with 4294967295 passes", cost(65536, 4294967295, 1)),
        ("argon2 with no lane", cost(65536, 3, 0)),
        ("argon2 with 17 lanes", cost(65536, 3, 17)),
        ("argon2 memory with a leading zero", cost("065536", 3, 1)),
        ("argon2 passes with a plus", cost(65536, "+3", 1)),
        ("argon2 without lanes", cost(65536, 3)),
        ("argon2 with parameters of another form", cost("m=65536,t=3,p=1")),
        ("argon2i", replaced(SLOT + 2, "argon2id", "argon2i")),
        ("a development root key of 31 bytes", authentic((ADVICE, [BODY[ADVICE], r.WARNING]), (SLOT, f"slot insecure-development {ROOT[:31].hex()}"))),
        ("a gap in the versions", authentic((VERSION + 1, []))),
        ("versions from 2", authentic((VERSION, []))),
        ("two versions exchanged", swapped(*first_two)),
        ("a version twice", authentic((VERSION, [v1, v1]))),
        ("a key_id in upper case", with_word(VERSION, 1, VERSIONS[0].key_id.upper())),
        ("a key_id with a leading zero", replaced(VERSION, ".1.", ".01.")),
        ("a version of another keyring", with_word(VERSION, 1, VERSIONS[0].key_id.replace(KEYRING.hex(), OTHER_ID.hex()))),
        ("a state that does not exist", with_word(VERSION + 4, 2, "active")),
        ("a state in upper case", with_word(VERSION + 4, 2, "Primary")),
        ("another provider", with_word(VERSION + 4, 3, "remote")),
        ("another algorithm", with_word(VERSION + 4, 4, "aes-256-gcm")),
        ("changed before created", authentic((VERSION + 4, v5.replace("created", "x").replace("changed", "created").replace("x ", "changed ", 1)))),
        ("a time with a fraction", replaced(VERSION + 4, "00Z changed", "00.5Z changed")),
        ("a time with an offset", replaced(VERSION + 4, "00Z changed", "00+00:00 changed")),
        ("a time in lower case", replaced(VERSION + 4, "2026-05-01T00:00:00Z", "2026-05-01t00:00:00z")),
        ("a day that does not exist", replaced(VERSION + 4, "2026-05-01", "2026-02-30")),
        ("a leap second", replaced(VERSION + 4, "05-01T00:00:00Z", "06-30T23:59:60Z")),
        ("a year before 1970", replaced(VERSION + 4, "1970-01-01", "1969-12-31")),
        ("canary of 71 bytes", replaced(VERSION + 4, VERSIONS[4].canary.hex(), VERSIONS[4].canary.hex()[:-2])),
        ("canary in upper case", replaced(VERSION + 4, VERSIONS[4].canary.hex(), VERSIONS[4].canary.hex().upper())),
        ("wrapped key of 73 bytes", replaced(VERSION + 4, wrapped(VERSIONS[4]).hex(), wrapped(VERSIONS[4]).hex() + "00")),
        ("a destroyed version with a key", replaced(VERSION, " verified", f" wrapped {wrapped(VERSIONS[0]).hex()} verified")),
        ("a retired version without its key", replaced(VERSION + 3, f" wrapped {wrapped(VERSIONS[3]).hex()}", "")),
        ("exported before wrapped", authentic((VERSION + 4, v5.split(" wrapped ")[0] + f" exported {EXPORT.hex()} wrapped {wrapped(VERSIONS[4]).hex()}"))),
        ("exported twice", authentic((VERSION + 4, f"{v5} exported {EXPORT.hex()}"))),
        ("digest of an export of 31 bytes", authentic((VERSION + 4, v5[:-2]))),
        ("digest of an export in upper case", authentic((VERSION + 4, v5[:-64] + v5[-64:].upper()))),
        ("verified without a reason", authentic((VERSION + 3, BODY[VERSION + 3] + " verified"))),
        ("a verified primary", authentic((VERSION + 4, v5 + " verified x"))),
        ("a verified staged version", authentic((VERSION + 5, v6 + " verified x"))),
        ("a reason of 201 bytes", authentic((VERSION + 3, BODY[VERSION + 3] + " verified " + "w" * 201))),
        ("a reason beyond ASCII", authentic((VERSION + 3, BODY[VERSION + 3] + " verified caf\u00e9"))),
        ("a reason with a NUL", authentic((VERSION + 3, BODY[VERSION + 3] + " verified a\0b"))),
        ("an unknown word in a version", authentic((VERSION + 3, BODY[VERSION + 3] + " note x"))),
        ("an entry without a text", authentic((ENTRY, BODY[ENTRY].removesuffix(" init")))),
        ("an entry of 201 bytes", authentic((ENTRY + 9, BODY[ENTRY + 9] + "w"))),
        ("an entry with a generation in another form", with_word(ENTRY, 1, "01")),
        ("an entry with a digest in upper case", with_word(ENTRY, 3, BODY[ENTRY].split(" ")[3].upper())),
        ("an entry without a time", with_word(ENTRY, 2, "now")),
    ]


def contradictory():
    """By a holder of the root key, and of the right form."""
    fifth = VERSION + 4
    swap = lambda of, **other: replaced(fifth, of.hex(), other["to"].hex())
    cut = r.history_lines(HAPPENED[:-1])[0]
    other_past = r.history_lines([("2026-01-01T00:00:00Z", "another beginning"), *HAPPENED[1:]])[0]
    forged = r.history_digest(bytes(32), 2, *HAPPENED[1])
    unlabelled = r.hashlib.sha256(bytes(32) + r.struct.pack(">Q", 1) + b"2026-01-01T00:00:00Zinit").digest()
    little = r.hashlib.sha256(b"keywright history 1" + bytes(32) + r.struct.pack("<Q", 1) + b"2026-01-01T00:00:00Zinit").digest()
    alone = lambda line: r.authentic(ROOT, KEYRING, BODY[:SLOT] + [line] + BODY[VERSION:])
    beside = authentic((ADVICE, [BODY[ADVICE], r.WARNING]), (SLOT + 2, r.slot_development(ROOT)))
    many = lambda at, lines: authentic(*[(ENTRY + n, []) for n in range(9)], (ENTRY + 9, lines), (GENERATION, f"generation {at}"))
    return [
        ("a development slot beside another", beside, "NotAlone"),
        ("two development slots", r.authentic(ROOT, KEYRING, [BODY[0], BODY[1], r.WARNING, *BODY[2:SLOT], *[r.slot_development(ROOT)] * 2, *BODY[VERSION:]]),
         "NotAlone"),
        ("a credential slot alone", alone(SLOTS[1]), "NoSlot"),
        ("a passphrase slot alone", alone(SLOTS[2]), "NoSlot"),
        ("slot of another keyring", alone(slot(0, keyring=OTHER_ID)), "WrongSecret"),
        ("slot of another secret", alone(slot(0, opener=("key-file", None, bytes(32)))), "WrongSecret"),
        ("slot over another root key", alone(slot(0, root=OTHER_ROOT)), "NotAuthentic"),
        ("slot made as a passphrase's", alone(SLOTS[2].replace("passphrase argon2id 65536 3 1", "key-file")), "WrongSecret"),
        ("canary of another version", swap(VERSIONS[4].canary, to=VERSIONS[3].canary), "Check"),
        ("canary of another version that is destroyed", replaced(VERSION, VERSIONS[0].canary.hex(), VERSIONS[3].canary.hex()), "Check"),
        ("another check in a key_id", replaced(fifth, VERSIONS[4].check.hex(), VERSIONS[3].check.hex()), "Check"),
        ("key of another version", swap(wrapped(VERSIONS[4]), to=wrapped(VERSIONS[3])), "Canary"),
        ("another key wrapped for this key_id", swap(wrapped(VERSIONS[4]), to=wrapped(VERSIONS[4], bytes(32))), "Canary"),
        ("another key wrapped for a disabled version", replaced(VERSION + 1, wrapped(VERSIONS[1]).hex(), wrapped(VERSIONS[1], bytes(32)).hex()), "Canary"),
        ("coordination key of another keyring", authentic((COORD, f"coordination {coordination(OTHER_ID).hex()}")), "Coordination"),
        ("coordination key in the form of a version's", authentic((COORD, f"coordination {wrapped(VERSIONS[4]).hex()}")), "Coordination"),
        ("no primary", replaced(fifth, "primary", "retired"), "Primary"),
        ("two primaries", replaced(VERSION + 5, "staged", "primary"), "Primary"),
        ("no version", authentic(*[(VERSION + n, []) for n in range(6)]), "Primary"),
        ("no history", authentic(*[(ENTRY + n, []) for n in range(10)]), "History"),
        ("history without its last entry", many(10, cut), "History"),
        ("history without its first entry", authentic((ENTRY, [])), "History"),
        ("history without an entry in its middle", authentic((ENTRY + 4, [])), "History"),
        ("history of more generations than the file", authentic((GENERATION, "generation 9")), "History"),
        ("history of fewer generations than the file", authentic((GENERATION, "generation 11")), "History"),
        ("two entries of the history exchanged", authentic((ENTRY + 1, BODY[ENTRY + 2]), (ENTRY + 2, BODY[ENTRY + 1])), "History"),
        ("the first entry of another past", authentic((ENTRY, other_past[0])), "History"),
        ("a wrong digest in the last entry", with_word(ENTRY + 9, 3, "00" * 32), "History"),
        ("a wrong digest in the first entry", with_word(ENTRY, 3, "00" * 32), "History"),
        ("a digest that leaves out the one before", with_word(ENTRY + 1, 3, forged.hex()), "History"),
        ("a digest without its domain", many(1, f"history 1 2026-01-01T00:00:00Z {unlabelled.hex()} init"), "History"),
        ("a digest over a generation in little endian", many(1, f"history 1 2026-01-01T00:00:00Z {little.hex()} init"), "History"),
        ("an entry with another time", replaced(ENTRY + 5, "2026-02-11", "2026-02-12"), "History"),
        ("an entry with another text", replaced(ENTRY + 5, "destroy 1", "destroy 2"), "History"),
        ("an entry with another generation", with_word(ENTRY + 9, 1, "11"), "History"),
        ("an entry with the last generation there is", with_word(ENTRY + 9, 1, str((1 << 63) - 1)), "History"),
    ]


def invalid():
    cases = forged() + [("authentic, " + n, text, "Line") for n, text in misshapen()] + [("authentic, " + n, t, e) for n, t, e in contradictory()]
    assert len({name for name, _, _ in cases}) == len(cases)
    out = []
    for name, text, error in cases:
        assert text != GOOD, name
        refused = r.refusal(r.loaded, text, OPENERS[0])
        assert refused and refused[0] == error, (name, error, refused)
        out.append({"defect": name, "error": error, "line": refused[1], "lines": text})
    return out


def keyring_vectors():
    values = []
    for v, state in zip(VERSIONS, STATES):
        nonce, seed = material(f"keyring: nonce {v.number}", 24), material(f"keyring: seed {v.number}", 32)
        values.append({"key_id": v.key_id, "state": state, "nonce": nonce.hex(), "plaintext": seed.hex(),
                       "envelope": v.wrap("kms-v2", nonce, seed).hex()})
    for opener in OPENERS:
        assert r.loaded(GOOD, opener) == COORDINATION
    key_file, credential = ("key-file", None, counting(0x80, 32)), ("credential", "seal.2_A-z", counting(0xA0, 32))
    passphrase = ("passphrase", None, b"twelve bytes")
    return {
        "format": 1,
        "first": [
            first("first keyring, key file", [key_file]),
            first("first keyring, credential, of one node", [credential], ["cp-1"], 1),
            first("first keyring, passphrase, of three nodes", [passphrase], ["a", "b.c", "n" * 63], (1 << 63) - 1),
            first("first keyring, three slots", [credential, key_file, passphrase], [], 604800),
            first("first keyring, development", [("insecure-development", None, None)]),
        ],
        "every_state": {"openers": described(OPENERS), "generation": len(HAPPENED), "hold": 604800, "nodes": NODES, "head": HEAD.hex(),
                        "coordination": COORDINATION.hex(), "root": ROOT.hex(), "versions": values, "lines": GOOD},
        "invalid": invalid(),
    }


def acknowledgement_vectors():
    """Of the keyring with every state in keyring-1.json."""
    make = lambda node="cp-1", keyring=KEYRING, generation=len(HAPPENED), head=HEAD, key=COORDINATION: r.acknowledgement(keyring, node, generation, head, key)
    good, before = make(), bytes.fromhex(HISTORY[-2].split(" ")[3])
    text = good[: good.index("hmac")]
    bare = text + "hmac-sha256 " + r.hmac.digest(COORDINATION, text.encode(), "sha256").hex() + "\n"
    invalid = [
        ("empty", "", "Form"),
        ("without its last line feed", good[:-1], "Form"),
        ("an empty line more", good + "\n", "Form"),
        ("without its last line", text, "Form"),
        ("magic of another number", good.replace("acknowledgement 1", "acknowledgement 2"), "Form"),
        ("the order of two lines exchanged", good.replace("node cp-1\ngeneration 10\n", "generation 10\nnode cp-1\n"), "Form"),
        ("a node that is no name", make("CP-1"), "Form"),
        ("head of 31 bytes", make(head=HEAD[:31]), "Form"),
        ("tag of 31 bytes", good[:-3] + "\n", "Form"),
        ("tag in upper case", good[:-65] + good[-65:].upper(), "Form"),
        ("of another keyring", make(keyring=OTHER_ID), "OtherKeyring"),
        ("another node put in", good.replace("cp-1", "cp-2.example"), "NotAuthentic"),
        ("another generation put in", good.replace("generation 10", "generation 9"), "NotAuthentic"),
        ("another head put in", good.replace(HEAD.hex(), before.hex()), "NotAuthentic"),
        ("tag of zeros", good[:-65] + "0" * 64 + "\n", "NotAuthentic"),
        ("tag without the domain", bare, "NotAuthentic"),
        ("tag under another key", make(key=bytes(32)), "NotAuthentic"),
        ("tag under the root key", make(key=ROOT), "NotAuthentic"),
        ("of a node that the keyring does not have", make("cp-9"), "UnknownNode"),
        ("of the generation before", make(generation=9, head=before), "OtherState"),
        ("of this generation with the head of another", make(head=before), "OtherState"),
        ("of another generation with this head", make(generation=9), "OtherState"),
    ]
    return {
        "domain": b"keywright acknowledgement 1".hex(),
        "valid": [{"node": node, "text": make(node)} for node in NODES],
        "invalid": [{"defect": n, "error": e, "text": t} for n, t, e in invalid],
    }


def seen_vectors():
    """Of the keyring with every state in keyring-1.json."""
    entry = lambda at: bytes.fromhex(HISTORY[at - 1].split(" ")[3])
    good, top = r.seen(KEYRING, 10, HEAD), (1 << 63) - 1
    bad = [
        ("empty", ""),
        ("magic alone", "keywright-seen 1\n"),
        ("magic of another number", good.replace("seen 1", "seen 2")),
        ("without its last line feed", good[:-1]),
        ("an empty line more", good + "\n"),
        ("two keyrings", good + good.split("\n")[1] + "\n"),
        ("carriage returns", good.replace("\n", "\r\n")),
        ("a trailing space", good[:-1] + " \n"),
        ("a word more", good[:-1] + " x\n"),
        ("two spaces", good.replace(" 10 ", "  10 ")),
        ("no generation", good.replace(" 10 ", " ")),
        ("generation in words", good.replace(" 10 ", " ten ")),
        ("generation 2^64", good.replace(" 10 ", f" {1 << 64} ")),
        ("keyring id in upper case", good.replace(KEYRING.hex(), KEYRING.hex().upper())),
        ("digest of 31 bytes", good[:-3] + "\n"),
        ("digest in upper case", good[:-65] + good[-65:].upper()),
    ]
    return {
        "of_the_keyring": good,
        "passes": [
            {"name": "the same state", "text": good},
            {"name": "an earlier state", "text": r.seen(KEYRING, 3, entry(3))},
            {"name": "the first state", "text": r.seen(KEYRING, 1, entry(1))},
            {"name": "another keyring, which says nothing", "text": r.seen(OTHER_ID, top, bytes(32))},
        ],
        "alarms": [
            {"name": "a later state", "text": r.seen(KEYRING, 11, HEAD), "error": "RolledBack"},
            {"name": "the last state there is", "text": r.seen(KEYRING, top, bytes(32)), "error": "RolledBack"},
            {"name": "another past of the same generation", "text": r.seen(KEYRING, 10, entry(9)), "error": "Diverged"},
            {"name": "another past of an earlier generation", "text": r.seen(KEYRING, 3, entry(2)), "error": "Diverged"},
            {"name": "a generation before the first", "text": r.seen(KEYRING, 0, bytes(32)), "error": "Diverged"},
        ],
        "invalid": [{"defect": n, "text": t} for n, t in bad],
    }
