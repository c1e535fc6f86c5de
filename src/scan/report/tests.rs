use super::*;
use crate::etcd::Entry;
use crate::etcd::key::Prefix;
use crate::scan::tally::{FIRST, Names, Settings};

const PRIMARY: &str = "kw1.0011223344556677.2.000102030405060708090a0b0c0d0e0f";

fn key() -> SecretKey {
    SecretKey::from_slice(&[7; 32]).expect("32 bytes")
}

fn v2(key_id: &str) -> Vec<u8> {
    let data = [&[0x0a, 60][..], &[1; 60]].concat();
    [b"k8s:enc:kms:v2:kw:", &data[..], &[0x12, key_id.len() as u8], key_id.as_bytes(), &[0x1a, 1, 1, 0x28, 1]].concat()
}

fn witness() -> Witness {
    Witness {
        id: "0011223344556677".parse().expect("an id"),
        generation: 9,
        head: Digest::of(b"head"),
        primary: PRIMARY.parse().expect("a key_id"),
    }
}

fn report() -> Report {
    let settings = Settings { prefix: Prefix::default(), names: Names::default(), primary: Some(PRIMARY.into()), first: FIRST };
    let mut tally = Tally::new(settings);
    let (new, old) = (v2(PRIMARY), v2("old"));
    for (at, (key, value)) in [
        ("/registry/secrets/default/a", &new[..]),
        ("/registry/secrets/default/b", &old),
        ("/registry/configmaps/default/c", b"k8s\0plain"),
        ("/registry/example.com/widgets/w", b"{}"),
        ("compact_rev_key", b"12"),
        ("/elsewhere/x", &new),
    ]
    .into_iter()
    .enumerate()
    {
        tally.add(&Entry { key: key.as_bytes(), value, mod_revision: 10 + at as u64 });
    }
    tally.add_old(&Entry { key: b"/registry/secrets/default/a", value: &old, mod_revision: 2 });
    let store = Store {
        source: Source::Live,
        cluster_id: Some(0x00f8_1819_4e3a_8c32),
        prefix: "/registry/".into(),
        revision: 15,
        compaction_revision: Some(1),
    };
    let time = |text: &str| text.parse().expect("a time");
    Report::new(&tally, store, Some(witness()), (time("2026-01-02T03:04:05Z"), time("2026-01-02T03:04:06Z")), true, vec![])
}

#[test]
fn a_sealed_report_opens_to_what_was_sealed() {
    let sealed = report().seal(&key());
    assert_eq!(sealed.lines().count(), 3);
    assert_eq!(Report::open(&sealed, &key()), Ok(report()));
}

#[test]
fn references_are_counted_wherever_they_are_and_the_primary_only_where_an_api_server_serves() {
    let report = report();
    assert_eq!((report.references(PRIMARY), report.references("old"), report.references(""), report.references("other")), (2, 2, 0, 0));
    assert_eq!(report.under_primary(), 1);
    assert_eq!(Report { keyring: None, ..report }.under_primary(), 0);
}

#[test]
fn values_whose_key_nobody_can_name_are_counted() {
    let with = |kind: Kind, key_id: &str| {
        let mut report = report();
        report.counts[0] = Count { kind, key_id: key_id.into(), values: 5, ..report.counts[0].clone() };
        report.of_unknown_key()
    };
    assert_eq!(report().of_unknown_key(), 0);
    assert_eq!([Kind::Unknown, Kind::Unreadable, Kind::KmsV1].map(|kind| with(kind, "")), [5, 5, 5]);
    assert_eq!((with(Kind::KmsV1, PRIMARY), with(Kind::Aesgcm, ""), with(Kind::KmsV2, "old")), (0, 0, 0));
}

#[test]
fn a_report_is_whole_only_if_everything_was_read_and_counted() {
    let unread = vec![Unread { from: "/a".into(), to: String::new(), why: "it is gone".into() }];
    assert!(report().is_whole());
    assert!(!Report { unread, ..report() }.is_whole());
    assert!(!Report { uncounted: 1, ..report() }.is_whole());
}

#[test]
fn no_changed_byte_and_no_truncation_of_a_sealed_report_is_accepted() {
    let whole = report().seal(&key());
    for at in 0..whole.len() {
        assert!(Report::open(&whole[..at], &key()).is_err(), "cut at {at}");
        for bit in 0..7 {
            let changed = char::from(whole.as_bytes()[at] ^ (1 << bit));
            let text = format!("{}{changed}{}", &whole[..at], &whole[at + 1..]);
            assert!(Report::open(&text, &key()).is_err(), "byte {at}, bit {bit}");
        }
    }
    let other = SecretKey::from_slice(&[8; 32]).expect("32 bytes");
    assert_eq!(Report::open(&whole, &other), Err(ReportError::NotAuthentic));
}

/// Authentic, with whatever JSON.
fn sealed(json: &str) -> String {
    let text = format!("{MAGIC}{FORMAT}\n{json}\n");
    let tag = base16ct::lower::encode_string(&mac(&key(), &text).finalize().into_bytes());
    format!("{text}hmac-sha256 {tag}\n")
}

#[test]
fn an_authentic_report_that_contradicts_itself_is_refused() {
    let refused = |report: Report| match Report::open(&report.seal(&key()), &key()) {
        Err(ReportError::Content(why)) => why,
        other => panic!("not refused: {other:?}"),
    };
    let mut twice = report();
    twice.counts.insert(0, twice.counts[0].clone());
    assert_eq!(refused(twice), "its counts are not sorted");
    assert_eq!(refused(Report { values: 7, ..report() }), "its counts do not add up");
    assert_eq!(refused(Report { old_values: None, ..report() }), "its counts do not add up");
    assert_eq!(refused(Report { values: u64::MAX, ..report() }), "its counts do not add up");
    let json = report().json();
    for (from, to) in [
        ("{\"store\"", "{\"more\":1,\"store\""),
        ("\"values\":6", "\"values\":6,\"values\":6"),
        ("00f818194e3a8c32", "f818194e3a8c32"),
        ("00f818194e3a8c32", "00F818194e3a8c32"),
        ("2026-01-02T03:04:05Z", "2026-01-02 03:04:05"),
        ("kw1.0011223344556677.2", "kw1.0011223344556677.02"),
        ("\"values\":6", "\"values\":-6"),
        ("\"live\"", "\"dead\""),
        ("\"uncounted\":0,", ""),
        ("}", ""),
    ] {
        assert!(json.contains(from), "{from}");
        let opened = Report::open(&sealed(&json.replacen(from, to, 1)), &key());
        assert!(matches!(opened, Err(ReportError::Content(_))), "{from} to {to}: {opened:?}");
    }
    assert_eq!(Report::open(&sealed(&json), &key()), Ok(report()));
}

#[test]
fn a_report_of_another_format_is_refused_by_its_number() {
    let text = report().seal(&key());
    assert_eq!(Report::open(&text.replacen("report 1", "report 2", 1), &key()), Err(ReportError::Format(2)));
    for number in ["01", "+1", "x", "", "4294967296"] {
        assert_eq!(Report::open(&text.replacen("report 1", &format!("report {number}"), 1), &key()), Err(ReportError::Form), "{number}");
    }
}

#[test]
fn people_read_a_table_that_says_what_is_missing_and_steers_no_terminal() {
    let unread = vec![Unread { from: "/registry/x".into(), to: String::new(), why: "compacted".into() }];
    let mut report = Report { unread, keyring: None, uncounted: 4, limits: vec![Limit::Counts, Limit::Seeds], ..report() };
    report.counts[0].provider = "\u{1b}[2J".into();
    let text = report.text();
    for line in [
        "6 values in the etcd of cluster 00f818194e3a8c32 at revision 15, compacted up to 1, prefix /registry/",
        "no keyring: this report is no evidence",
        "not read: from /registry/x to the end: compacted",
        "not counted: 4 values, for there are too many kinds of values",
        "there are more wrapped seeds than were counted",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
    }
    assert!(text.contains(r"\u{1b}[2J") && !text.contains('\u{1b}'), "{text}");
    let row: Vec<_> = text.lines().find(|line| line.trim_start().starts_with("secrets (old")).expect(&text).split_whitespace().collect();
    assert_eq!(row, ["secrets", "(old", "revisions)", "1", "kms-v2", "kw", "old", "seed"]);
}
