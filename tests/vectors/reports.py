"""The cases of report-1.json. See generate.py."""

import json

import keyrings as k
import reading as r
from reading import material

PRIMARY, OLD = k.VERSIONS[4].key_id, k.VERSIONS[3].key_id


def count(of, resource, kind, values, newest, provider="", key_id="", detail="", old=False, first=()):
    return {"class": of, "resource": resource, "kind": kind, "provider": provider, "key_id": key_id, "detail": detail, "old": old,
            "values": values, "newest": newest, "first": list(first)}


COUNTS = [
    count("built-in", "configmaps", "plaintext", 3, 41, detail="protobuf", first=["/registry/configmaps/default/a", "/registry/configmaps/default/b"]),
    count("built-in", "deployments.apps", "aescbc", 2, 17, "key1", first=["/registry/deployments/default/d"]),
    count("built-in", "podsecuritypolicy.?", "unknown", 1, 4, detail="kms:v3", first=["/registry/podsecuritypolicy/\\xff"]),
    count("built-in", "secrets", "kms-v1", 1, 8, "kw:1", OLD, first=["/registry/secrets/default/v1"]),
    count("built-in", "secrets", "kms-v2", 5, 12, "kw", OLD, "seed", first=["/registry/secrets/default/s1"]),
    count("built-in", "secrets", "kms-v2", 4, 9, "kw", OLD, "seed", True, ["/registry/secrets/default/s2"]),
    count("built-in", "secrets", "kms-v2", 1000000, 52, "kw", PRIMARY, "seed"),
    count("built-in", "secrets", "unreadable", 1, 6, detail="damaged message", first=["/registry/secrets/default/cut"]),
    count("custom", "widgets.example.com", "kms-v2", 7, 51, "\u00e9\"\\\t\u001b\u007f", "kek/\u00e9", "key", first=["/registry/example.com/widgets/w"]),
    count("not-served", "ranges", "plaintext", 2, 3, detail="protobuf", first=["/registry/ranges/serviceips"]),
    count("outside", "outside the prefix", "plaintext", 1, 2, detail="other", first=["/x"]),
]
# In the order of the key_ids as bytes.
SEEDS = [{"key_id": key_id, "distinct": n} for key_id, n in sorted([(OLD, 2), (PRIMARY, 3), ("kek/\u00e9", 1)], key=lambda s: s[0].encode())]


def report(**changes):
    values = sum(c["values"] for c in COUNTS if not c["old"])
    fields = {
        "store": {"source": "live", "cluster_id": "00f818194e3a8c32", "prefix": "/registry/", "revision": 60, "compaction_revision": 1},
        "keyring": {"id": k.KEYRING.hex(), "generation": len(k.HAPPENED), "head": k.HEAD.hex(), "primary": PRIMARY},
        "started": "2026-05-02T00:00:00Z", "ended": "2026-05-02T00:01:00Z", "unread": [], "values": values, "old_values": 4, "uncounted": 0,
        "newest": 52, "limits": [], "counts": COUNTS, "seeds": SEEDS,
    }
    assert set(changes) <= set(fields)
    return fields | changes


def line(fields):
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False)


def report_vectors():
    """Of the keyring with every state in keyring-1.json."""
    empty = {"values": 0, "old_values": None, "newest": 0, "counts": [], "seeds": []}
    of_snapshot = {"source": "snapshot", "cluster_id": None, "prefix": "/", "revision": (1 << 63) - 1, "compaction_revision": None}
    unread = [{"from": "/registry/pods/", "to": "/registry/q", "why": "it was compacted"}, {"from": "/registry/z", "to": "", "why": "!"}]
    valid = [
        ("everything that can be counted", report(), PRIMARY, 1000000, 1000000),
        ("an older key, of which an old revision speaks too", report(), OLD, 10, 1000000),
        ("no value at all, out of a snapshot", report(store=of_snapshot, **empty), PRIMARY, 0, 0),
        ("no keyring: no evidence", report(keyring=None), PRIMARY, 1000000, 0),
        ("not whole", report(unread=unread, values=1000023 + 5, uncounted=5, limits=["counts", "first-keys", "seeds"]), "kek/\u00e9", 7, 1000000),
        ("largest numbers", report(**empty | {"values": (1 << 64) - 1, "uncounted": (1 << 64) - 1}), PRIMARY, 0, 0),
    ]
    good = r.report(line(report()), k.COORDINATION)
    body = good[: good.index("hmac-sha256")]
    tag = good[len(body) :]
    bare = body + "hmac-sha256 " + r.hmac.digest(k.COORDINATION, body.encode(), "sha256").hex() + "\n"
    other_domain = r.hmac.digest(k.COORDINATION, b"keywright acknowledgement 1" + body.encode(), "sha256").hex()
    sealed = lambda text: r.report(text, k.COORDINATION)
    without = lambda name: sealed(line({n: v for n, v in report().items() if n != name}))
    refused = [
        ("empty", "", "Form"),
        ("the JSON alone", line(report()), "Form"),
        ("without its last line feed", good[:-1], "Form"),
        ("an empty line more", good + "\n", "Form"),
        ("without its last line", body, "Form"),
        ("the JSON on several lines", sealed(json.dumps(report(), indent=1)), "Form"),
        ("tag of 31 bytes", good[:-3] + "\n", "Form"),
        ("tag in upper case", body + tag[:12] + tag[12:].upper(), "Form"),
        ("format with a leading zero", r.report(line(report()), k.COORDINATION, "01"), "Form"),
        ("an acknowledgement", k.acknowledgement_vectors()["valid"][0]["text"], "Form"),
        ("format 2", r.report(line(report()), k.COORDINATION, 2), "Format"),
        ("a digit changed", good.replace('"values":1000000', '"values":1000001'), "NotAuthentic"),
        ("a space put in", good.replace('"values":1000000', '"values": 1000000'), "NotAuthentic"),
        ("tag of zeros", body + "hmac-sha256 " + "0" * 64 + "\n", "NotAuthentic"),
        ("tag without the domain", bare, "NotAuthentic"),
        ("tag with the domain of an acknowledgement", f"{body}hmac-sha256 {other_domain}\n", "NotAuthentic"),
        ("tag under another key", r.report(line(report()), bytes(32)), "NotAuthentic"),
        ("tag under the root key", r.report(line(report()), k.ROOT), "NotAuthentic"),
        ("no JSON", sealed(""), "Content"),
        ("JSON cut off", sealed(line(report())[:-1]), "Content"),
        ("something behind the JSON", sealed(line(report()) + "{}"), "Content"),
        ("a field more", sealed(line(report() | {"more": 1})), "Content"),
        ("a field twice", sealed(line(report()).replace('"uncounted":0', '"uncounted":0,"uncounted":0')), "Content"),
        *((f"without {name}", without(name), "Content") for name in report()),
        ("without a compaction revision", sealed(line(report()).replace(',"compaction_revision":1', "")), "Content"),
        ("a negative number", sealed(line(report(newest=-1))), "Content"),
        ("a number of 65 bits", sealed(line(report(newest=1 << 64))), "Content"),
        ("a fraction", sealed(line(report(newest=1.5))), "Content"),
        ("a time of another form", sealed(line(report(started="2026-05-02T00:00:00+00:00"))), "Content"),
        ("a primary that is no key_id", sealed(line(report(keyring=report()["keyring"] | {"primary": "kek-1"}))), "Content"),
        ("a cluster id in decimal", sealed(line(report(store=report()["store"] | {"cluster_id": 12}))), "Content"),
        ("an unknown class", sealed(line(report(counts=[COUNTS[0] | {"class": "none"}], values=3))), "Content"),
        ("counts not sorted", sealed(line(report(counts=COUNTS[::-1]))), "Content"),
        ("a count twice", sealed(line(report(counts=[COUNTS[0], COUNTS[0]], values=6, old_values=0))), "Content"),
        ("seeds not sorted", sealed(line(report(seeds=SEEDS[::-1]))), "Content"),
        ("one value too many", sealed(line(report(values=report()["values"] + 1))), "Content"),
        ("old values that were not read", sealed(line(report(old_values=None))), "Content"),
        ("numbers that overflow", sealed(line(report(values=(1 << 64) - 1))), "Content"),
    ]
    for _, text, error in refused:
        opened = r.report_opened(text, k.COORDINATION)
        assert opened == error or error == "Content" and not opened.isalpha(), (error, opened[:60])
    out = []
    for name, fields, key_id, references, under in valid:
        text = sealed(line(fields))
        assert json.loads(r.report_opened(text, k.COORDINATION)) == fields
        out.append({"name": name, "text": text, "key_id": key_id, "references": references, "under_primary": under,
                    "whole": not fields["unread"] and not fields["uncounted"]})
    return {
        "domain": b"keywright report 1".hex(),
        "valid": out,
        "invalid": [{"defect": n, "error": e, "text": t} for n, t, e in refused],
    }
