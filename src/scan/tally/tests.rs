use super::*;
use crate::envelope::{Algorithm, Envelope, Header};

const OURS: &str = "kw1.0011223344556677.2.000102030405060708090a0b0c0d0e0f";

fn tally() -> Tally {
    with(Names::default())
}

fn with(names: Names) -> Tally {
    Tally::new(Settings { prefix: Prefix::default(), names, primary: Some(OURS.into()), first: 2 })
}

fn object(data: usize, key_id: &str, source: &[u8]) -> Vec<u8> {
    let prefixed = |tag: u8, bytes: &[u8]| {
        let length = [(bytes.len() % 128) as u8 | 0x80, (bytes.len() / 128) as u8];
        [&[tag][..], &length, bytes].concat()
    };
    [prefixed(0x0a, &vec![1; data]), prefixed(0x12, key_id.as_bytes()), prefixed(0x1a, source), vec![0x28, 1]].concat()
}

fn v2(provider: &str, key_id: &str, source: &[u8]) -> Vec<u8> {
    [format!("k8s:enc:kms:v2:{provider}:").as_bytes(), &object(60, key_id, source)].concat()
}

fn add(tally: &mut Tally, key: &str, value: &[u8], mod_revision: u64) {
    tally.add(&Entry { key: key.as_bytes(), value, mod_revision });
}

/// Resource, kind, provider, key_id, detail and number of every count.
fn lines(tally: &Tally) -> Vec<String> {
    let line = |c: Count| format!("{} {} {} {} {} {}", c.resource, c.kind.name(), c.provider, c.key_id, c.detail, c.values);
    tally.counts().into_iter().map(line).collect()
}

#[test]
fn values_are_counted_by_resource_provider_and_key() {
    let mut tally = tally();
    let header = Header { algorithm: Algorithm::Xaes256Gcm, key_id: OURS.parse().expect("valid") };
    let envelope = Envelope { header, nonce: &[5; 24], sealed: &[6; 48] }.write();
    let v1 = [b"k8s:enc:kms:v1:legacy:", &(envelope.len() as u16).to_be_bytes()[..], &envelope, &[9; 40]].concat();
    let foreign = [b"k8s:enc:kms:v1:legacy:\0\x03abc", &[9; 40][..]].concat();
    for (at, (key, value)) in [
        ("/registry/secrets/default/a", v2("kw", OURS, b"one")),
        ("/registry/secrets/default/b", v2("kw", OURS, b"two")),
        ("/registry/secrets/default/c", v2("kw", "kek-1", b"one")),
        ("/registry/secrets/default/d", v1),
        ("/registry/secrets/default/e", foreign),
        ("/registry/configmaps/default/f", b"k8s\0x".to_vec()),
        ("/registry/deployments/default/g", [b"k8s:enc:aescbc:v1:key1:", &[1; 32][..]].concat()),
        ("/registry/example.com/widgets/h", [b"k8s:enc:secretbox:v1:key1:", &[1; 40][..]].concat()),
        ("/registry/example.com/widgets/i", b"{}".to_vec()),
        ("/registry/pods/default/j", b"k8s:enc:kms:v3:x:".to_vec()),
        ("/registry/pods/default/k", b"k8s:enc:kms:v2:x:\x0a\xff".to_vec()),
        ("/registry/ranges/serviceips", b"k8s\0x".to_vec()),
        ("/foreign", b"x".to_vec()),
    ]
    .iter()
    .enumerate()
    {
        add(&mut tally, key, value, 100 - at as u64);
    }
    assert_eq!(
        lines(&tally),
        [
            "configmaps plaintext   protobuf 1".to_owned(),
            "deployments.apps aescbc key1   1".into(),
            "pods unknown   kms:v3 1".into(),
            "pods unreadable   damaged message 1".into(),
            "secrets kms-v1 legacy   1".into(),
            format!("secrets kms-v1 legacy {OURS}  1"),
            "secrets kms-v2 kw kek-1 seed 1".into(),
            format!("secrets kms-v2 kw {OURS} seed 2"),
            "widgets.example.com plaintext   json 1".into(),
            "widgets.example.com secretbox key1   1".into(),
            "ranges plaintext   protobuf 1".into(),
            "outside the prefix plaintext   other 1".into(),
        ]
    );
    assert_eq!((tally.values(), tally.old_values(), tally.uncounted(), tally.newest()), (13, 0, 0, 100));
    assert_eq!(tally.limits(), []);
    let seeds = |key_id: &str, distinct| Seeds { key_id: key_id.into(), distinct };
    assert_eq!(tally.seeds(), [seeds("kek-1", 1), seeds(OURS, 2)]);
}

#[test]
fn the_first_keys_are_named_but_not_of_what_the_primary_encrypts() {
    let mut tally = tally();
    for (key, revision) in [("a", 5), ("b", 9), ("c\n", 7)] {
        add(&mut tally, &format!("/registry/secrets/default/{key}"), &v2("kw", OURS, b"one"), revision);
        add(&mut tally, &format!("/registry/configmaps/default/{key}"), b"k8s\0", revision);
    }
    let counts = tally.counts();
    assert_eq!(counts[0].first, ["/registry/configmaps/default/a", "/registry/configmaps/default/b"]);
    assert_eq!((counts[0].values, counts[0].newest), (3, 9));
    assert_eq!((&counts[1].first[..], counts[1].values), (&[][..], 3));
    let mut odd = self::tally();
    odd.add(&Entry { key: &[&b"/registry/secrets/default/\x1b"[..], &[b'x'; 600]].concat(), value: b"", mod_revision: 1 });
    let first = &odd.counts()[0].first[0];
    assert!(first.starts_with(r"/registry/secrets/default/\x1bxxx") && first.ends_with("x...") && first.len() < 600, "{first}");
}

#[test]
fn old_revisions_are_counted_apart_and_named_even_under_the_primary() {
    let mut tally = tally();
    add(&mut tally, "/registry/secrets/default/a", &v2("kw", OURS, b"one"), 5);
    tally.add_old(&Entry { key: b"/registry/secrets/default/a", value: &v2("kw", OURS, b"two"), mod_revision: 4 });
    let counts: Vec<_> = tally.counts().into_iter().map(|count| (count.old, count.values, count.first.len())).collect();
    assert_eq!(counts, [(false, 1, 0), (true, 1, 1)]);
    assert_eq!((tally.values(), tally.old_values()), (1, 1));
    assert_eq!(tally.seeds()[0].distinct, 1);
}

#[test]
fn configured_names_decide_where_a_name_ends() {
    let value = [b"k8s:enc:aesgcm:v1:a:b:", &[1; 40][..]].concat();
    let mut guessed = tally();
    add(&mut guessed, "/registry/secrets/default/a", &value, 1);
    assert_eq!(lines(&guessed), ["secrets aesgcm a   1"]);
    let mut known = with(Names { aesgcm: vec!["b".into(), "a:b".into()], ..Names::default() });
    add(&mut known, "/registry/secrets/default/a", &value, 1);
    assert_eq!(lines(&known), ["secrets aesgcm a:b   1"]);
}

#[test]
fn a_key_of_ours_is_not_missed_where_another_configured_name_fits_by_chance() {
    let header = Header { algorithm: Algorithm::Xaes256Gcm, key_id: OURS.parse().expect("valid") };
    let envelope = Envelope { header, nonce: &[5; 24], sealed: &[6; 48] }.write();
    let value = [b"k8s:enc:kms:v1:a:b:", &(envelope.len() as u16).to_be_bytes()[..], &envelope, &[9; 60_000]].concat();
    for names in [vec![], vec!["a".into()], vec!["a".into(), "a:b".into()]] {
        let mut tally = with(Names { kms_v1: names, ..Names::default() });
        add(&mut tally, "/registry/secrets/default/a", &value, 1);
        assert_eq!(lines(&tally), [format!("secrets kms-v1 a:b {OURS}  1")]);
    }
}

#[test]
fn too_many_kinds_of_values_are_counted_as_such_and_said() {
    let mut tally = tally();
    add(&mut tally, "/registry/secrets/default/first", &v2("kw", "kek-0", b"s"), 1);
    let more = 40_000_u64;
    for number in 0..more {
        // Long keys and key_ids, each once.
        let key = format!("/registry/secrets/{number:0200}/n");
        add(&mut tally, &key, &v2("kw", &format!("{number:0300}"), b"s"), 1);
    }
    let counts = tally.counts();
    let counted: u64 = counts.iter().map(|count| count.values).sum();
    assert_eq!(tally.values(), more + 1);
    assert_eq!(counted + tally.uncounted(), more + 1);
    assert!(counts.len() * 556 <= rows::MAX_ROWS && counts.len() * 600 > rows::MAX_ROWS, "{} counts", counts.len());
    let first: usize = counts.iter().flat_map(|count| &count.first).map(String::len).sum();
    assert!(first <= rows::MAX_FIRST && first > rows::MAX_FIRST - 300, "{first} bytes of keys");
    assert_eq!(tally.limits(), [Limit::Counts, Limit::FirstKeys]);
    // A row that exists still counts.
    let before = tally.uncounted();
    add(&mut tally, "/registry/secrets/default/last", &v2("kw", "kek-0", b"s"), 1);
    assert_eq!(tally.uncounted(), before);
}

#[test]
fn texts_longer_than_any_of_the_api_server_are_not_kept() {
    let mut tally = tally();
    add(&mut tally, "/registry/secrets/default/a", &v2(&"p".repeat(1025), "kek", b"s"), 1);
    add(&mut tally, &format!("/registry/{}/a", "x".repeat(1025)), b"{}", 1);
    assert_eq!((tally.counts(), tally.uncounted(), tally.limits()), (vec![], 2, vec![Limit::Counts]));
}

#[test]
fn more_seeds_than_are_kept_are_said() {
    let mut tally = tally();
    let total = MAX_SEEDS as u64 + 1;
    for number in 0..total {
        assert_eq!(tally.limits(), []);
        add(&mut tally, "/registry/secrets/default/a", &v2("kw", OURS, &number.to_be_bytes()), 1);
    }
    assert_eq!((tally.seeds()[0].distinct, tally.limits()), (MAX_SEEDS as u64, vec![Limit::Seeds]));
    assert_eq!(tally.uncounted(), 0);
}
