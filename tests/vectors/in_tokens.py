"""The cases of keyring-2.json and envelope-1-tokens.json: keys in PKCS#11 tokens. See generate.py.

What is in the tokens stands in clear in the vectors, so a test can put it into a token and read all of it there.
"""

import places
import reading as r
from keyrings import described
from reading import counting, material

KEYRING, ROOT = material("tokens: keyring id", 8), material("tokens: root key", 32)
COORDINATION = material("tokens: coordination key", 32)
# A label that has to be written in another way, and one of every length that there may be.
ONE, TWO = ("Schl\u00fcssel 1; 100%", "0a1b-2C"), ("t" * 32, "s" * 16)
LABEL, SEAL_LABEL = f"keywright-{KEYRING.hex()}", f"keywright-seal-{KEYRING.hex()}"


def key_id_of(number):
    return material(f"tokens: CKA_ID {number}", 16)


def named(token, number, label=LABEL):
    return places.place(*token, label, key_id_of(number))


def aes(number):
    return material(f"tokens: AES key {number}", 32)


def mac(number):
    return material(f"tokens: HMAC key {number}", 32)


# Version: token, algorithm, who chooses the IVs, state, created, changed, why nothing needs it. Version 3 is local.
WHY = "risk accepted: every object was written anew"
IN_TOKENS = {
    1: (ONE, r.GCM, "host", "destroyed", "2026-01-01T00:00:00Z", "2026-02-11T00:00:00Z", WHY),
    2: (TWO, r.CBC_HMAC, "host", "disabled", "2026-02-01T00:00:00Z", "2026-03-03T00:00:00Z", WHY),
    4: (ONE, r.GCM, "token", "retired", "2026-04-01T00:00:00Z", "2026-05-01T00:00:00Z", None),
    5: (TWO, r.CBC_HMAC, "host", "primary", "2026-05-01T00:00:00Z", "2026-05-01T00:00:00Z", None),
    6: (TWO, r.GCM, "host", "staged", "2026-06-01T00:00:00Z", "2026-06-01T00:00:00Z", None),
}


def version(number):
    nonce = lambda algorithm: material(f"tokens: canary nonce {number}", r.SIZES[algorithm][0])
    if number not in IN_TOKENS:
        return r.Version(aes(number), KEYRING, number, nonce(r.XAES))
    algorithm = IN_TOKENS[number][1]
    kek = (aes(number), mac(number)) if algorithm == r.CBC_HMAC else aes(number)
    return r.Version(kek, KEYRING, number, nonce(algorithm), algorithm)


VERSIONS = [version(number) for number in range(1, 7)]
STATES = [IN_TOKENS[number][3] if number in IN_TOKENS else "retired" for number in range(1, 7)]
LOCAL = VERSIONS[2]
WRAPPED = r.wrapped_kek(ROOT, KEYRING, LOCAL.kek, LOCAL.key_id, material("tokens: KEK nonce 3", 24))
EXPORT = material("tokens: digest of an export", 32)


def mac_id(number):
    """The id of the HMAC key beside the AES key of that version."""
    return key_id_of(100 + number)


def line(number):
    if number not in IN_TOKENS:
        return r.version_line(LOCAL, "retired", "2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z", WRAPPED, EXPORT, "!")
    token, algorithm, iv, state, created, changed, why = IN_TOKENS[number]
    second = mac_id(number) if algorithm == r.CBC_HMAC else None
    return r.token_version_line(VERSIONS[number - 1], state, created, changed, named(token, number), second, iv, None, why)


ATTEMPTS = [
    # In a place that has nothing to do with the tokens, under the longest label there is, with every sign that stands as it is.
    f"attempt 2026-03-05T01:02:03Z {places.place('elsewhere', '-._~', 'L' * 128, bytes(16))}",
    f"attempt 2026-06-02T00:00:00Z {named(ONE, 7)}",
]
HAPPENED = [("2026-01-01T00:00:00Z", "init"), ("2026-02-01T00:00:00Z", "begin 2"), ("2026-06-02T00:00:00Z", "attempt")]
HISTORY, HEAD = r.history_lines(HAPPENED)
KEY_FILE, CREDENTIAL = ("key-file", None, counting(0x80, 32)), ("credential", "keywright-seal", material("tokens: second secret", 32))
TOKEN = ("pkcs11", places.token(*ONE), None)
SLOT_KEY = material("tokens: key of the slot", 32)
SLOT_PLACE = named(ONE, 200, SEAL_LABEL)


def slot_in_token(place=SLOT_PLACE, key=SLOT_KEY, keyring=KEYRING):
    return r.slot_token(place, keyring, ROOT, key, material("tokens: slot nonce", 12))


SLOTS = [
    r.slot_secret("key-file", KEYRING, ROOT, KEY_FILE[2], material("tokens: salt 0", 16), material("tokens: slot nonce 0", 24)),
    slot_in_token(),
    r.slot_secret("credential keywright-seal", KEYRING, ROOT, CREDENTIAL[2], material("tokens: salt 2", 16), material("tokens: slot nonce 2", 24)),
]
COORDINATION_WRAPPED = r.wrapped_coordination(ROOT, KEYRING, COORDINATION, material("tokens: coordination nonce", 24))
BODY = r.keyring_body(
    KEYRING, len(HAPPENED), 604800, ["cp-1", "cp-2"], COORDINATION_WRAPPED, SLOTS, [line(n) for n in range(1, 7)] + ATTEMPTS, HISTORY, 2)
GOOD = r.authentic(ROOT, KEYRING, BODY)
MAGIC, GENERATION, COORD, SLOT, VERSION, ATTEMPT, ENTRY = 0, 3, 6, 7, 10, 16, 18
assert BODY[SLOT] == SLOTS[0] and BODY[VERSION].startswith("version ") and BODY[ATTEMPT] == ATTEMPTS[0] and BODY[ENTRY] == HISTORY[0]


def in_tokens():
    """Every key of the two tokens: place, kind, bytes."""
    keys = [(SLOT_PLACE, "aes", SLOT_KEY)]
    for number, (token, algorithm, _, state, *_) in IN_TOKENS.items():
        if state != "destroyed":
            keys.append((named(token, number), "aes", aes(number)))
            if algorithm == r.CBC_HMAC:
                keys.append((places.beside(named(token, number), mac_id(number)), "hmac", mac(number)))
    return keys


KEYS = {place: secret for place, _, secret in in_tokens()}


def authentic(*edits):
    """The good file with lines replaced (at, line or list of lines), authentic all the same."""
    body = [[line] for line in BODY]
    for at, line in edits:
        body[at] = line if isinstance(line, list) else [line]
    return r.authentic(ROOT, KEYRING, sum(body, []))


def replaced(at, old, new):
    assert old in BODY[at], (at, old)
    return authentic((at, BODY[at].replace(old, new, 1)))


def forged():
    """Changed by somebody without the root key."""
    edited = lambda at, old, new: GOOD[:at] + [GOOD[at].replace(old, new, 1)] + GOOD[at + 1 :]
    id_ = lambda number: "".join(f"%{byte:02X}" for byte in key_id_of(number))
    at = lambda number: VERSION + number - 1
    return [
        ("another key named for a version", edited(at(4), id_(4), id_(6)), "NotAuthentic"),
        ("another token named for a version", edited(at(5), places.token(*TWO), places.token(*ONE)), "NotAuthentic"),
        ("another label named for a version", edited(at(5), f";object={LABEL}", f";object={SEAL_LABEL}"), "NotAuthentic"),
        ("another key for HMAC", edited(at(5), mac_id(5).hex(), mac_id(2).hex()), "NotAuthentic"),
        ("the host made to choose the IVs", edited(at(4), "iv token", "iv host"), "NotAuthentic"),
        ("an attempt taken out", GOOD[:ATTEMPT] + GOOD[ATTEMPT + 1 :], "NotAuthentic"),
        ("two attempts exchanged", GOOD[:ATTEMPT] + [GOOD[ATTEMPT + 1], GOOD[ATTEMPT]] + GOOD[ATTEMPT + 2 :], "NotAuthentic"),
        ("another key named for the slot", edited(SLOT + 1, id_(200), id_(4)), "NotAuthentic"),
        ("the slot in a token taken out", GOOD[: SLOT + 1] + GOOD[SLOT + 2 :], "NotAuthentic"),
        ("the disabled version made retired", edited(at(2), "disabled", "retired"), "NotAuthentic"),
        ("format 1", edited(MAGIC, "2", "1"), "Line"),
        ("format 3", edited(MAGIC, "2", "3"), "Format"),
        ("without its last line", GOOD[:-1], "NoAuthentication"),
    ]


def misshapen():
    """By a holder of the root key: authentic, and yet not what stands in a keyring."""
    gcm, cbc, local = VERSION + 3, VERSION + 4, VERSION + 2
    gcm_line, cbc_line = BODY[gcm], BODY[cbc]
    place, tail = named(ONE, 4), BODY[gcm].split(" at ")[1]
    at = lambda text: replaced(gcm, place, text)
    attempt = ATTEMPTS[1]
    cases = [
        ("a place without its scheme", at(place.removeprefix("pkcs11:"))),
        ("a place with its scheme in upper case", at(place.replace("pkcs11:", "PKCS11:"))),
        ("a place with lower-case digits", at(place.replace("%C3", "%c3"))),
        ("a place with a letter percent-encoded", at(place.replace("token=S", "token=%53"))),
        ("a place with a space", at(place.replace("%20", " "))),
        ("a place with a sign that is not encoded", at(place.replace("%25", "%"))),
        ("a place with a plus", at(place.replace("%20", "+"))),
        ("a label of a token that is no text", at(place.replace("%C3%BC", "%C3"))),
        ("a label of a token of 33 bytes", replaced(cbc, "t" * 32, "t" * 33)),
        ("an empty label of a token", replaced(cbc, "t" * 32, "")),
        ("a serial number of 17 bytes", replaced(cbc, "s" * 16, "s" * 17)),
        ("an empty serial number", replaced(cbc, "s" * 16, "")),
        ("a label of a key of 129 bytes", replaced(ATTEMPT, "L" * 128, "L" * 129)),
        ("an empty label of a key", at(place.replace(LABEL, ""))),
        ("an id of 15 bytes", at(place[:-3])),
        ("an id of 17 bytes", at(place + "%00")),
        ("an id in hexadecimal", at(place.split(";id=")[0] + ";id=" + key_id_of(4).hex())),
        ("an id with a letter as it is", at(place[:-3] + "A")),
        ("a place without a token", at("pkcs11:" + place.split(";", 1)[1])),
        ("a place without a serial number", at(place.replace(";serial=0a1b-2C", ""))),
        ("a place without a label", at(place.replace(f";object={LABEL}", ""))),
        ("a place without an id", at(place.split(";id=")[0])),
        ("a place with the id before the label", at(place.split(";object=")[0] + ";id=" + place.split(";id=")[1] + f";object={LABEL}")),
        ("a place with an attribute twice", at(place.replace(";serial=", ";serial=x;serial="))),
        ("a place with a PIN", at(place + "?pin-value=1234")),
        ("a place with a module", at(place + "?module-path=/lib/x.so")),
        ("a place with its type", at(place + ";type=secret-key")),
        ("a place with a semicolon behind", at(place + ";")),
        ("no place", authentic((gcm, gcm_line.split(" at ")[0]))),
        ("no word before the place", replaced(gcm, " at ", " ")),
        ("another word before the place", replaced(gcm, " at ", " in ")),
        ("no iv", replaced(gcm, " iv token", "")),
        ("an iv without who", replaced(gcm, " iv token", " iv")),
        ("an iv of somebody else", replaced(gcm, " iv token", " iv module")),
        ("an iv in upper case", replaced(gcm, " iv token", " iv Token")),
        ("an iv twice", replaced(gcm, " iv token", " iv token iv token")),
        ("an iv before the place", authentic((gcm, gcm_line.replace(f" at {tail}", f" iv token at {place}")))),
        ("a key for HMAC with AES-GCM", replaced(gcm, " iv token", f" mac {mac_id(4).hex()} iv token")),
        ("no key for HMAC with AES-CBC", replaced(cbc, f" mac {mac_id(5).hex()}", "")),
        ("a key for HMAC of 15 bytes", replaced(cbc, mac_id(5).hex(), mac_id(5).hex()[:-2])),
        ("a key for HMAC in upper case", replaced(cbc, f"mac {mac_id(5).hex()}", f"mac {mac_id(5).hex().upper()}")),
        ("a key for HMAC as a place", replaced(cbc, f"mac {mac_id(5).hex()}", f"mac {named(TWO, 105)}")),
        ("a key for HMAC behind the iv", authentic((cbc, cbc_line.replace(f" mac {mac_id(5).hex()} iv host", f" iv host mac {mac_id(5).hex()}")))),
        ("a key in the file beside one in a token", replaced(gcm, " iv token", f" iv token wrapped {WRAPPED.hex()}")),
        ("a key in the file instead of one in a token", authentic((gcm, gcm_line.split(" at ")[0] + f" wrapped {WRAPPED.hex()}"))),
        ("a place for a key in the file", replaced(local, " exported", f" at {place} iv host exported")),
        ("a destroyed version that does not say where its key was", authentic((VERSION, BODY[VERSION].replace(f" at {named(ONE, 1)} iv host", "")))),
        ("an algorithm of local keys", replaced(gcm, "pkcs11 aes-256-gcm", "pkcs11 xaes-256-gcm")),
        ("an algorithm of tokens for a local key", replaced(local, "local xaes-256-gcm", "local aes-256-gcm")),
        ("a provider that does not exist", replaced(gcm, "pkcs11 aes", "pkcs12 aes")),
        ("the canary of the other algorithm", replaced(gcm, VERSIONS[3].canary.hex(), VERSIONS[4].canary.hex())),
        ("the other algorithm for a canary", replaced(gcm, "aes-256-gcm", "aes-256-cbc-hmac-sha-256")),
        ("canary of 59 bytes", replaced(gcm, VERSIONS[3].canary.hex(), VERSIONS[3].canary.hex()[:-2])),
        ("canary of 97 bytes", replaced(cbc, VERSIONS[4].canary.hex(), VERSIONS[4].canary.hex() + "00")),
        ("canary in upper case", replaced(gcm, VERSIONS[3].canary.hex(), VERSIONS[3].canary.hex().upper())),
        ("verified before the place", authentic((VERSION, BODY[VERSION].replace(f" verified {WHY}", "").replace(" at ", f" verified {WHY} at ")))),
        ("a verified primary", authentic((cbc, cbc_line + " verified x"))),
        ("an unknown word in a version", authentic((gcm, gcm_line + " note x"))),
        ("a trailing space behind the iv", authentic((gcm, gcm_line + " "))),
        ("an attempt without a time", authentic((ATTEMPT, f"attempt {named(ONE, 7)}"))),
        ("an attempt with a time that does not exist", authentic((ATTEMPT, attempt.replace("06-02", "06-31")))),
        ("an attempt without a key", authentic((ATTEMPT, "attempt 2026-03-05T01:02:03Z"))),
        ("an attempt with a place in another form", authentic((ATTEMPT, attempt.replace("%C3", "%c3")))),
        ("an attempt with a word too many", authentic((ATTEMPT, attempt + " x"))),
        ("an attempt with a trailing space", authentic((ATTEMPT, attempt + " "))),
        ("an attempt before the versions", authentic((VERSION, [attempt, BODY[VERSION]]))),
        ("an attempt among the versions", authentic((VERSION + 3, [attempt, BODY[VERSION + 3]]))),
        ("an attempt behind the history", authentic((ENTRY, [BODY[ENTRY]]), (ENTRY + 2, [BODY[ENTRY + 2], attempt]))),
        ("a version behind the attempts", authentic((VERSION + 5, []), (ATTEMPT + 1, [attempt, BODY[VERSION + 5]]))),
        ("a slot in a token with a salt", replaced(SLOT + 1, f" {SLOT_PLACE}", f" {SLOT_PLACE} {'00' * 16}")),
        ("a slot in a token without a key", replaced(SLOT + 1, f" {SLOT_PLACE}", "")),
        ("a slot in a token that is named alone", replaced(SLOT + 1, SLOT_PLACE, places.token(*ONE))),
        ("a slot in a token with a place in another form", replaced(SLOT + 1, "%C3", "%c3")),
        ("a slot in a token of 72 bytes", authentic((SLOT + 1, BODY[SLOT + 1] + "00" * 12))),
        ("a slot in a token of 59 bytes", authentic((SLOT + 1, BODY[SLOT + 1][:-2]))),
        ("a slot in a token in upper case", authentic((SLOT + 1, BODY[SLOT + 1][:-120] + BODY[SLOT + 1][-120:].upper()))),
        ("a slot in a token with a word too many", authentic((SLOT + 1, BODY[SLOT + 1] + " x"))),
        ("format 1 with a token", authentic((MAGIC, "keywright-keyring 1"))),
        ("format 2 without a token", format_2_without_a_token()),
    ]
    return cases


def body_of(versions, slots, more=(), form=2):
    history = r.history_lines(HAPPENED[:1])[0]
    return r.keyring_body(KEYRING, 1, 0, [], COORDINATION_WRAPPED, slots, [*versions, *more], history, form)


def first_local(state="primary"):
    v = r.Version(aes(50), KEYRING, 1, material("tokens: canary nonce 50", 24))
    wrapped = r.wrapped_kek(ROOT, KEYRING, v.kek, v.key_id, material("tokens: KEK nonce 50", 24))
    return r.version_line(v, state, "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", wrapped)


def format_2_without_a_token():
    return r.authentic(ROOT, KEYRING, body_of([first_local()], [SLOTS[0]]))


def contradictory():
    """By a holder of the root key, and of the right form. The last word says who finds out: the file alone, or only who has the tokens."""
    gcm, cbc = VERSION + 3, VERSION + 4
    alone = lambda line: r.authentic(ROOT, KEYRING, BODY[:SLOT] + [line] + BODY[VERSION:])
    confused = r.key_id_text(KEYRING, 4, r.check_of(KEYRING, 4, VERSIONS[3].canary, r.CBC_HMAC))
    as_local = r.key_id_text(KEYRING, 4, r.check_of(KEYRING, 4, VERSIONS[3].canary))
    other = r.Version((aes(5), mac(2)), KEYRING, 5, VERSIONS[4].canary[:16], r.CBC_HMAC)
    of_another = BODY[cbc].replace(VERSIONS[4].key_id, other.key_id).replace(VERSIONS[4].canary.hex(), other.canary.hex())
    return [
        ("canary of another version", replaced(gcm, VERSIONS[3].canary.hex(), VERSIONS[5].canary.hex()), "Check", True),
        ("a check for another algorithm", replaced(gcm, VERSIONS[3].key_id, confused), "Check", True),
        ("a check for the algorithm of local keys", replaced(gcm, VERSIONS[3].key_id, as_local), "Check", True),
        ("canary of another version that is destroyed", replaced(VERSION, VERSIONS[0].canary.hex(), VERSIONS[3].canary.hex()), "Check", True),
        ("no primary", replaced(cbc, "primary", "retired"), "Primary", True),
        ("two primaries", replaced(VERSION + 5, "staged", "primary"), "Primary", True),
        ("history without its last entry", authentic((ENTRY + 2, [])), "History", True),
        ("the slot in a token alone", alone(SLOTS[1]), "NoSlot", True),
        ("the key of another version named", replaced(VERSION + 5, named(TWO, 6), named(TWO, 5)), "Canary", False),
        ("the key of the slot named for a version", replaced(gcm, named(ONE, 4), SLOT_PLACE), "Canary", False),
        ("the key of another token named", replaced(cbc, f"at {named(TWO, 5)} mac {mac_id(5).hex()}", f"at {named(TWO, 2)} mac {mac_id(2).hex()}"), "Canary", False),
        ("the key for HMAC of another version named", replaced(cbc, mac_id(5).hex(), mac_id(2).hex()), "Canary", False),
        ("a canary whose HMAC is of another key", authentic((cbc, of_another)), "Canary", False),
    ]


def invalid():
    cases = [(n, t, e, True) for n, t, e in forged()]
    cases += [("authentic, " + n, t, "Line", True) for n, t in misshapen()]
    cases += [("authentic, " + n, t, e, alone) for n, t, e, alone in contradictory()]
    assert len({name for name, *_ in cases}) == len(cases)
    out = []
    for name, text, error, alone in cases:
        assert text != GOOD, name
        refused = r.refusal(r.loaded, text, KEY_FILE, 2, KEYS)
        assert refused and refused[0] == error, (name, error, refused)
        # Who has no tokens takes for away what it cannot ask.
        without = r.refusal(r.loaded, text, KEY_FILE, 2, {})
        assert without == (refused if alone else None), (name, without)
        out.append({"defect": name, "error": error, "line": refused[1], "found_without_tokens": alone, "lines": text})
    return out


def slots_that_do_not_open():
    """Opened by the key in the token."""
    alone = lambda line: r.authentic(ROOT, KEYRING, BODY[:SLOT] + [line] + BODY[VERSION:])
    cases = [
        ("made by another key of the token", alone(slot_in_token(key=aes(4)))),
        ("of another keyring", alone(slot_in_token(keyring=bytes(8)))),
        ("with the last byte of its tag changed", alone(SLOTS[1][:-1] + ("1" if SLOTS[1][-1] == "0" else "0"))),
        ("that names another key of the token", alone(slot_in_token(place=named(ONE, 4)))),
    ]
    for name, lines in cases:
        assert r.refusal(r.loaded, lines, TOKEN, 2, KEYS) == ("WrongSecret", None), name
    return [{"defect": name, "lines": lines} for name, lines in cases]


def more():
    """Each the least that makes a file one of format 2."""
    attempt = ATTEMPTS[0]
    gone = r.Version(aes(51), KEYRING, 1, material("tokens: canary nonce 51", 12), r.GCM)
    destroyed = r.token_version_line(gone, "destroyed", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", named(ONE, 51), None, "host", EXPORT, "x")
    second = r.Version(aes(52), KEYRING, 2, material("tokens: canary nonce 52", 24))
    wrapped = r.wrapped_kek(ROOT, KEYRING, second.kek, second.key_id, material("tokens: KEK nonce 52", 24))
    local = r.version_line(second, "primary", "2026-01-02T00:00:00Z", "2026-01-02T00:00:00Z", wrapped)
    development = ("insecure-development", None, None)
    cases = [
        ("an attempt", [KEY_FILE], body_of([first_local()], [SLOTS[0]], [attempt])),
        ("a slot in a token", [TOKEN], body_of([first_local()], [SLOTS[1]])),
        ("a destroyed version", [KEY_FILE], body_of([destroyed, local], [SLOTS[0]])),
        ("a development keyring with all of it", [development], r.keyring_body(
            KEYRING, len(HAPPENED), 604800, [], COORDINATION_WRAPPED, [r.slot_development(ROOT)], BODY[VERSION:ENTRY], HISTORY, 2)),
    ]
    out = []
    for name, openers, body in cases:
        lines = r.authentic(ROOT, KEYRING, body)
        assert r.loaded(lines, openers[0], 2, KEYS) == COORDINATION, name
        assert r.refusal(r.loaded, lines, openers[0]) == ("Format", None), name
        out.append({"name": name, "openers": described(openers), "lines": lines})
    return out


def export():
    """The text of the export of the good file (docs/export.md): no slots, keys in clear where the file has them."""
    secret = "# SECRET: every key of the keyring stands below in clear. Import it; do not keep it decrypted."
    lines = ["keywright-export 2", secret, *BODY[2:COORD], f"coordination {COORDINATION.hex()}", *BODY[VERSION:]]
    local = f" wrapped {WRAPPED.hex()} exported {EXPORT.hex()}"
    return [line.replace(local, f" key {LOCAL.kek.hex()}") for line in lines]


def keyring_vectors():
    values = []
    for v, state in zip(VERSIONS, STATES):
        nonce, seed = material(f"tokens: nonce {v.number}", r.SIZES[v.algorithm][0]), material(f"tokens: seed {v.number}", 32)
        values.append({"key_id": v.key_id, "state": state, "nonce": nonce.hex(), "plaintext": seed.hex(),
                       "envelope": v.wrap("kms-v2", nonce, seed).hex()})
    openers = [KEY_FILE, TOKEN, CREDENTIAL]
    for opener in openers:
        assert r.loaded(GOOD, opener, 2, KEYS) == COORDINATION
    keys = [{"place": place, "kind": kind, "secret": secret.hex()} for place, kind, secret in in_tokens()]
    return {
        "format": 2,
        "tokens": [{"label": label, "serial": serial, "name": places.token(label, serial)} for label, serial in (ONE, TWO)],
        "keys": keys,
        "every_state": {"openers": described(openers), "generation": len(HAPPENED), "hold": 604800, "nodes": ["cp-1", "cp-2"], "head": HEAD.hex(),
                        "coordination": COORDINATION.hex(), "root": ROOT.hex(), "versions": values, "lines": GOOD},
        "attempts": [line.split(" ")[2] for line in ATTEMPTS],
        "more": more(),
        "export": export(),
        "invalid": invalid(),
        "slots_that_do_not_open": slots_that_do_not_open(),
    }


# Envelopes

ENVELOPE_GCM = r.Version(counting(0x00, 32), counting(0xA0, 8), 1, counting(0x20, 12), r.GCM)
ENVELOPE_CBC = r.Version((counting(0x00, 32), counting(0x80, 32)), counting(0xA0, 8), 2, counting(0x20, 16), r.CBC_HMAC)
LAST_GCM = r.Version(b"\xff" * 32, b"\xff" * 8, (1 << 32) - 1, b"\xff" * 12, r.GCM)
LAST_CBC = r.Version((b"\xff" * 32, b"\xfe" * 32), b"\xff" * 8, (1 << 32) - 1, b"\xff" * 16, r.CBC_HMAC)


def key_fields(v):
    pair = v.kek if v.algorithm == r.CBC_HMAC else (v.kek, None)
    return {"algorithm": r.ALGORITHMS[v.algorithm], "aes": pair[0].hex(), "hmac": pair[1] and pair[1].hex()}


def envelope_vectors():
    seed = counting(0x60, 32)
    cases = [
        ("AES-GCM, a seed of 32 bytes, KMS v2", ENVELOPE_GCM, "kms-v2", seed),
        ("AES-GCM, the same, KMS v1", ENVELOPE_GCM, "kms-v1", seed),
        ("AES-GCM, 1 byte", ENVELOPE_GCM, "kms-v2", b"\0"),
        ("AES-GCM, 16 bytes: one block", ENVELOPE_GCM, "kms-v2", material("tokens: 16 bytes", 16)),
        ("AES-GCM, 952 bytes: the longest", ENVELOPE_GCM, "kms-v2", material("tokens: 952 bytes", 952)),
        ("AES-GCM, largest version", LAST_GCM, "kms-v1", seed),
        ("AES-CBC with HMAC, a seed of 32 bytes, KMS v2", ENVELOPE_CBC, "kms-v2", seed),
        ("AES-CBC with HMAC, the same, KMS v1", ENVELOPE_CBC, "kms-v1", seed),
        ("AES-CBC with HMAC, 1 byte", ENVELOPE_CBC, "kms-v2", b"\0"),
        ("AES-CBC with HMAC, 15 bytes: one byte of padding", ENVELOPE_CBC, "kms-v2", material("tokens: 15 bytes", 15)),
        ("AES-CBC with HMAC, 16 bytes: a block of padding", ENVELOPE_CBC, "kms-v2", material("tokens: 16 bytes", 16)),
        ("AES-CBC with HMAC, 943 bytes: the longest", ENVELOPE_CBC, "kms-v2", material("tokens: 943 bytes", 943)),
        ("AES-CBC with HMAC, largest version", LAST_CBC, "kms-v1", seed),
    ]
    valid = []
    for name, v, purpose, plaintext in cases:
        nonce = material(f"tokens: {name}", r.SIZES[v.algorithm][0])
        envelope = v.wrap(purpose, nonce, plaintext)
        assert len(envelope) <= 1024 and r.envelope_error(envelope) is None, name
        assert r.envelope_open(v.kek, envelope, purpose) == plaintext, name
        valid.append({"name": name, **key_fields(v), "keyring": v.keyring.hex(), "version": v.number, "canary": v.canary.hex(),
                      "check": v.check.hex(), "key_id": v.key_id, "purpose": purpose, "nonce": nonce.hex(), "plaintext": plaintext.hex(),
                      "associated_data": v.aad(purpose).hex(), "envelope": envelope.hex()})
    return {"format": 1, "valid": valid, "invalid": damaged_gcm(seed) + damaged_cbc(seed)}


def put(data, at, value):
    return data[:at] + value + data[at + len(value) :]


def refused(v, cases):
    closed = "does not open"
    for name, envelope, expected in cases:
        error = r.envelope_error(envelope)
        assert (error or closed) == expected, (name, error)
        # A key has one algorithm: under the header of another it opens nothing (section 2, step 3).
        assert error or envelope[3] != v.algorithm or r.envelope_open(v.kek, envelope, "kms-v2") is None, name
    return [{"defect": n, **key_fields(v), "purpose": "kms-v2", "envelope": e.hex(), "refused": x} for n, e, x in cases]


def damaged_gcm(seed):
    v, nonce, closed = ENVELOPE_GCM, counting(0x40, 12), "does not open"
    good, aad = v.wrap("kms-v2", nonce, seed), v.aad("kms-v2")
    head = good[:32]
    return refused(v, [("AES-GCM, " + name, envelope, expected) for name, envelope, expected in [
        ("header and nonce alone", good[:44], "TooShort"),
        ("authentic, but of no bytes", head + nonce + r.gcm_seal(v.kek, nonce, b"", aad), "TooShort"),
        ("authentic, but of 965 bytes", head + nonce + r.gcm_seal(v.kek, nonce, bytes(965), aad), "TooLong"),
        ("algorithm 4", put(good, 3, b"\4"), "Algorithm(4)"),
        ("under the header of algorithm 1", put(good, 3, b"\1"), closed),
        ("under the header of algorithm 3", put(good, 3, b"\3") + bytes(4), closed),
        ("another version", put(good, 15, b"\2"), closed),
        ("first byte of the nonce changed", put(good, 32, bytes([good[32] ^ 1])), closed),
        ("last byte of the ciphertext changed", put(good, 75, bytes([good[75] ^ 1])), closed),
        ("last byte of the tag changed", put(good, 91, bytes([good[91] ^ 1])), closed),
        ("last byte cut off", good[:-1], closed),
        ("wrapped for KMS v1", v.wrap("kms-v1", nonce, seed), closed),
        ("associated data without the purpose", head + nonce + r.gcm_seal(v.kek, nonce, seed, aad[:-8]), closed),
        ("wrapped with XAES-256-GCM", head + nonce + r.xaes_seal(v.kek, counting(0x40, 24), seed, aad), closed),
        ("canary of the version behind its header", head + v.canary, closed),
    ]])


def damaged_cbc(seed):
    v, iv, closed = ENVELOPE_CBC, counting(0x40, 16), "does not open"
    good, aad = v.wrap("kms-v2", iv, seed), v.aad("kms-v2")
    aes_key, mac_key = v.kek
    head, ciphertext = good[:32], good[48:-32]
    tagged = lambda data, covered=None, key=mac_key, iv=iv: head + iv + data + (
        r.hmac.digest(key, covered, "sha256") if covered is not None else r.cbc_tag(key, aad, iv, data))
    length = len(aad).to_bytes(2)

    def raw(padded):
        encryptor = r.Cipher(r.AES(aes_key), r.modes.CBC(iv)).encryptor()
        return encryptor.update(padded) + encryptor.finalize()

    assert tagged(ciphertext) == good and raw(seed + bytes([16]) * 16) == ciphertext
    return refused(v, [("AES-CBC with HMAC, " + name, envelope, expected) for name, envelope, expected in [
        ("header and IV alone", good[:48], "TooShort"),
        ("no block", tagged(b""), "TooShort"),
        ("one block and a byte", head + iv + ciphertext[:17] + good[-32:], "TooShort"),
        ("authentic, but of 944 bytes", v.wrap("kms-v2", iv, bytes(944)), "TooLong"),
        ("last byte cut off", good[:-1], "TooShort"),
        ("one byte appended", good + b"\0", "TooShort"),
        ("another version", put(good, 15, b"\1"), closed),
        ("under the header of algorithm 2", put(good, 3, b"\2"), closed),
        ("first byte of the IV changed", put(good, 32, bytes([good[32] ^ 1])), closed),
        ("last byte of the ciphertext changed", put(good, 95, bytes([good[95] ^ 1])), closed),
        ("first byte of the tag changed", put(good, 96, bytes([good[96] ^ 1])), closed),
        ("last byte of the tag changed", put(good, 127, bytes([good[127] ^ 1])), closed),
        ("tag of zeros", good[:-32] + bytes(32), closed),
        ("tag cut to 16 bytes", good[:-16], closed),
        ("two blocks exchanged", head + iv + ciphertext[16:32] + ciphertext[:16] + ciphertext[32:] + good[-32:], closed),
        ("wrapped for KMS v1", v.wrap("kms-v1", iv, seed), closed),
        ("tag under the key that encrypts", tagged(ciphertext, key=aes_key), closed),
        ("tag without the length of the associated data", tagged(ciphertext, aad + iv + ciphertext), closed),
        ("tag with that length little endian", tagged(ciphertext, length[::-1] + aad + iv + ciphertext), closed),
        ("tag without the associated data", tagged(ciphertext, bytes(2) + iv + ciphertext), closed),
        ("tag without the IV", tagged(ciphertext, length + aad + ciphertext), closed),
        ("tag over the ciphertext alone", tagged(ciphertext, ciphertext), closed),
        ("tag over the plaintext", tagged(ciphertext, length + aad + iv + seed), closed),
        ("authentic, but with padding of no bytes", tagged(raw(seed[:16] + bytes(16))), closed),
        ("authentic, but with padding of 17", tagged(raw(seed[:16] + bytes([17]) * 16)), closed),
        ("authentic, but with bytes of padding that differ", tagged(raw(seed[:16] + seed[:13] + b"\2\3\3")), closed),
        ("canary of the version behind its header", head + v.canary, closed),
    ]])
