use super::*;
use crate::entropy::{Counted, OsEntropy};
use crate::etcd::bolt::testing::{PAGE, bucket, file, inline, leaf};

/// One change: revision, sub-revision, key, and the value unless it is a deletion.
type Change<'a> = (u64, u64, &'a str, Option<&'a str>);

fn stored((main, sub, key, value): &Change<'_>) -> (Vec<u8>, Vec<u8>) {
    let mut at = [&main.to_be_bytes()[..], b"_", &sub.to_be_bytes()].concat();
    let mut message = [&[0x0a, key.len() as u8], key.as_bytes()].concat();
    match value {
        None => at.push(b't'),
        Some(value) => {
            message.extend([0x18, *main as u8, 0x2a, value.len() as u8]);
            message.extend(value.as_bytes());
        }
    }
    (at, message)
}

/// A file with these changes on one page, and with `meta`.
fn snapshot(changes: &[Change<'_>], meta: &[(&str, &[u8])]) -> Vec<u8> {
    let stored: Vec<_> = changes.iter().map(stored).collect();
    let items: Vec<_> = stored.iter().map(|(key, value)| (0, key.as_slice(), value.as_slice())).collect();
    with_items(&items, meta)
}

fn with_items(items: &[(u32, &[u8], &[u8])], meta: &[(&str, &[u8])]) -> Vec<u8> {
    let meta: Vec<_> = meta.iter().map(|(key, value)| (0, key.as_bytes(), *value)).collect();
    let root = leaf(2, &[(1, b"key", &bucket(3)), (1, b"meta", &inline(&leaf(0, &meta)))]);
    file(&[root, leaf(3, items)])
}

fn revision(main: u64) -> Vec<u8> {
    [&main.to_be_bytes()[..], b"_", &[0; 8]].concat()
}

/// Everything as text: `=` is current, `-` is superseded.
fn read(bytes: Vec<u8>, prefix: &str) -> Result<(String, Summary), SnapshotError> {
    let snapshot = Snapshot::from_bytes(bytes)?;
    let mut shown = String::new();
    let summary = snapshot.every_revision(prefix.as_bytes(), &Counted::default(), &mut |standing, entry| {
        let mark = if standing == Standing::Current { '=' } else { '-' };
        let text = |bytes| std::str::from_utf8(bytes).expect("made above").to_owned();
        shown += &format!("{}{mark}{}@{} ", text(entry.key), text(entry.value), entry.mod_revision);
        ControlFlow::Continue(())
    })?;
    Ok((shown.trim_end().to_owned(), summary))
}

const CHANGES: [Change<'static>; 8] = [
    (2, 0, "a", Some("1")),
    (3, 0, "b", Some("22")),
    (4, 0, "a", Some("333")),
    (5, 0, "b", None),
    (5, 1, "c", Some("4")),
    (5, 2, "d", Some("5")),
    (6, 0, "e", Some("6")),
    (7, 0, "e", None),
];

#[test]
fn the_newest_value_of_each_key_is_current_and_the_rest_is_history() {
    let (shown, summary) = read(snapshot(&CHANGES, &[]), "").expect("a good file");
    assert_eq!(shown, "e-6@6 d=5@5 c=4@5 a=333@4 b-22@3 a-1@2");
    let expected = Summary { revision: 7, keys: 3, bytes: 5, superseded: 3, superseded_bytes: 4, tombstones: 2, ..Summary::default() };
    assert_eq!(summary, expected);
}

#[test]
fn a_prefix_chooses_keys_and_not_revisions() {
    let (shown, summary) = read(snapshot(&CHANGES, &[]), "a").expect("a good file");
    assert_eq!(shown, "a=333@4 a-1@2");
    assert_eq!((summary.revision, summary.keys, summary.superseded, summary.tombstones), (7, 1, 1, 0));
}

#[test]
fn current_shows_no_history() {
    let snapshot = Snapshot::from_bytes(snapshot(&CHANGES, &[])).expect("a good file");
    let mut keys = Vec::new();
    let summary = snapshot.current(b"", &OsEntropy, &mut |entry| {
        keys.push(entry.key.to_vec());
        ControlFlow::Continue(())
    });
    assert_eq!(keys, [b"d", b"c", b"a"]);
    assert_eq!(summary.expect("a good file").superseded, 3);
}

#[test]
fn a_walk_that_is_stopped_gives_no_summary() {
    let snapshot = Snapshot::from_bytes(snapshot(&CHANGES, &[])).expect("a good file");
    let mut visits = 0;
    let stopped = snapshot.current(b"", &OsEntropy, &mut |_| {
        visits += 1;
        ControlFlow::Break(())
    });
    assert!(matches!(stopped, Err(SnapshotError::Stopped)));
    assert_eq!(visits, 1);
}

#[test]
fn the_revision_is_that_of_a_compaction_where_nothing_newer_is_left() {
    let meta = [("finishedCompactRev", revision(4)), ("scheduledCompactRev", revision(9))];
    let meta = meta.each_ref().map(|(key, value)| (*key, value.as_slice()));
    let bytes = snapshot(&CHANGES, &meta);
    let (_, summary) = read(bytes.clone(), "").expect("a good file");
    assert_eq!((summary.revision, summary.compaction_revision), (9, 9));
    let compaction = Snapshot::from_bytes(bytes).expect("a good file").compaction().expect("two revisions");
    assert_eq!(compaction, Compaction { scheduled: 9, finished: 4 });
}

#[test]
fn the_mark_of_a_restore_that_raised_the_revision_is_no_key() {
    let (at, value) = stored(&CHANGES[0]);
    let bytes = with_items(&[(0, &at, &value), (0, &revision(1_000_002), b"")], &[]);
    let (shown, summary) = read(bytes, "").expect("a good file");
    assert_eq!((shown.as_str(), summary.revision, summary.keys), ("a=1@2", 1_000_002, 1));
}

#[test]
fn what_is_no_revision_is_named_and_ends_the_walk() {
    let (at, value) = stored(&CHANGES[0]);
    let long = [b'x'; 100];
    for (key, said) in [(&b"short"[..], "`short`"), (&long, "x` and more")] {
        let error = read(with_items(&[(0, &at, &value), (0, key, &value)], &[]), "").expect_err("a foreign key");
        assert!(matches!(error, SnapshotError::Revision { page: 3, .. }), "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
    let sub_bucket = with_items(&[(1, &at, &bucket(3))], &[]);
    assert!(matches!(read(sub_bucket, ""), Err(SnapshotError::Revision { page: 3, .. })));
    // The same change cannot have written and deleted.
    let twice = snapshot(&[(2, 0, "a", Some("1")), (2, 0, "a", None)], &[]);
    assert!(matches!(read(twice, ""), Err(SnapshotError::Revision { page: 3, .. })));
}

#[test]
fn a_value_that_does_not_belong_to_its_revision_ends_the_walk() {
    let (at, _) = stored(&CHANGES[0]);
    let (_, other) = stored(&CHANGES[1]);
    let error = read(with_items(&[(0, &at, &other)], &[]), "").expect_err("of revision 3");
    assert!(matches!(error, SnapshotError::KeyValue { page: 3, revision: 2, fault: KeyValueFault::Revision(3) }), "{error}");
    let blank = [&at[..], b"t"].concat();
    let error = read(with_items(&[(0, &blank, b"")], &[]), "").expect_err("a deletion of nothing");
    assert!(matches!(error, SnapshotError::KeyValue { fault: KeyValueFault::Key, .. }), "{error}");
}

#[test]
fn a_file_of_somebody_else_is_told_by_its_buckets() {
    let foreign = file(&[leaf(2, &[(1, b"kubelet", &inline(&leaf(0, &[])))])]);
    assert!(matches!(read(foreign, ""), Err(SnapshotError::NoBucket("key"))));
    assert!(matches!(read(Vec::new(), ""), Err(SnapshotError::Bolt(BoltError::Empty))));
}

#[test]
fn nonsense_about_the_cluster_is_an_error() {
    let bytes = snapshot(&CHANGES, &[("consistent_index", b"seven"), ("finishedCompactRev", b"4")]);
    let snapshot = Snapshot::from_bytes(bytes.clone()).expect("a good file");
    let error = snapshot.consistent_index().expect_err("five bytes");
    assert_eq!(error.to_string(), "page 2: `consistent_index` in bucket `meta` is not what etcd writes there");
    assert!(matches!(read(bytes, ""), Err(SnapshotError::About { page: 2, bucket: "meta", .. })));
}

#[test]
fn a_digest_is_compared_where_there_is_one() {
    use sha2::Digest as _;
    let database = snapshot(&CHANGES, &[]);
    let verify = |bytes: &[u8]| Snapshot::from_bytes(bytes.to_vec()).expect("a good file").verify(&mut |_, _| {});
    assert_eq!(verify(&database).expect("nothing to compare"), Digest::Absent);
    let mut saved = [&database[..], &sha2::Sha256::digest(&database)].concat();
    assert_eq!(verify(&saved).expect("the same bytes"), Digest::Good);
    // A bit in no page that is used.
    saved[PAGE - 1] ^= 1;
    assert!(matches!(verify(&saved), Err(SnapshotError::Digest)));
}

#[test]
fn a_folder_and_a_missing_file_are_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(matches!(Snapshot::open(folder.path()), Err(SnapshotError::NotRegular(_))));
    assert!(matches!(Snapshot::open(&folder.path().join("none")), Err(SnapshotError::Open { .. })));
}

#[test]
fn a_failing_generator_is_an_error_before_anything_is_shown() {
    struct Broken;
    impl Entropy for Broken {
        fn fill(&self, _: &mut [u8]) -> Result<(), EntropyError> {
            Err(EntropyError("broken".to_owned()))
        }
    }
    let snapshot = Snapshot::from_bytes(snapshot(&CHANGES, &[])).expect("a good file");
    assert!(matches!(snapshot.current(b"", &Broken, &mut |_| panic!("nothing is shown")), Err(SnapshotError::Entropy(_))));
}
