//! A snapshot shows what etcd answers at the same revision, byte for byte.

use std::time::Duration;

use keywright::etcd::snapshot::{Digest, Snapshot};
use keywright_testbed::etcd::Etcd;
use keywright_testbed::{scratch, wait};

use crate::common::{Shown, history, live, read, read_file, tools};

#[test]
fn a_saved_snapshot_shows_every_key_and_every_older_value_as_etcd_does() {
    let etcd = Etcd::start(&tools()).expect("etcd starts");
    live(&etcd);
    let folder = scratch::folder("snapshot").expect("a folder");
    let file = folder.path().join("saved");
    etcd.save(&file).expect("etcdctl saves");
    let snapshot = Snapshot::open(&file).expect("a good file");
    let mut last = (0, 0);
    assert_eq!(snapshot.verify(&mut |done, all| last = (done, all)).expect("a whole file"), Digest::Good);
    assert!(last.0 == last.1 && last.1 > 3_000_000, "{last:?}");

    for prefix in ["", "/registry/", "/registry/secrets/default/s03", "/other/", "/nothing/"] {
        let (now, current, older) = history(&etcd, prefix, 1);
        let shown = read(&snapshot, prefix).expect("a good file");
        assert_eq!((&shown.current, &shown.superseded), (&current, &older), "below {prefix:?}");
        assert_eq!((shown.summary.revision, shown.summary.compaction_revision), (now, 0));
        assert_eq!(shown.summary.keys as usize, current.len());
        assert_eq!(shown.summary.bytes as usize, current.iter().map(|entry| entry.value.len()).sum::<usize>());
        assert_eq!(shown.summary.superseded_bytes as usize, older.iter().map(|entry| entry.value.len()).sum::<usize>());
    }
    let all = read(&snapshot, "").expect("a good file").summary;
    assert_eq!((all.keys, all.superseded, all.tombstones, all.one_meta), (174, 54, 12, false));
}

#[test]
fn compaction_and_defragmentation_leave_what_etcd_still_answers_for() {
    let etcd = Etcd::start(&tools()).expect("etcd starts");
    live(&etcd);
    let folder = scratch::folder("snapshot").expect("a folder");
    let (now, ..) = etcd.entries("", 0).expect("etcd answers");
    let oldest = now - 5;
    etcd.etcdctl(&["compact", "--physical", &oldest.to_string()]).expect("etcd compacts");
    let (now, current, older) = history(&etcd, "", oldest);
    assert!(!older.is_empty() && older.len() < 20, "some of the history is gone, and not all of it: {}", older.len());
    for (name, words) in [("compacted", None), ("defragmented", Some("defrag"))] {
        if let Some(word) = words {
            etcd.etcdctl(&[word]).expect("etcd does it");
        }
        let file = folder.path().join(name);
        etcd.save(&file).expect("etcdctl saves");
        let snapshot = Snapshot::open(&file).expect("a good file");
        let shown = read(&snapshot, "").expect("a good file");
        assert_eq!((&shown.current, &shown.superseded), (&current, &older), "{name}");
        assert_eq!((shown.summary.revision, shown.summary.compaction_revision), (now, oldest), "{name}");
        let compaction = snapshot.compaction().expect("etcd wrote it");
        assert_eq!((compaction.scheduled, compaction.finished), (oldest, oldest), "{name}");
    }
}

#[test]
fn a_store_whose_last_deletion_was_compacted_has_the_revision_of_the_compaction() {
    let etcd = Etcd::start(&tools()).expect("etcd starts");
    for words in [&["put", "a", "1"][..], &["del", "a"], &["compact", "--physical", "3"]] {
        etcd.etcdctl(words).expect("etcd takes it");
    }
    let folder = scratch::folder("snapshot").expect("a folder");
    let file = folder.path().join("saved");
    etcd.save(&file).expect("etcdctl saves");
    let Shown { current, superseded, summary } = read_file(&file, "").expect("a good file");
    assert_eq!((current, superseded), (vec![], vec![]));
    assert_eq!(summary.revision, etcd.entries("", 0).expect("etcd answers").0);
}

#[test]
fn a_small_store_in_inline_buckets_is_read_and_says_whose_it_is() {
    let etcd = Etcd::start(&tools()).expect("etcd starts");
    etcd.etcdctl(&["put", "/registry/secrets/default/one", "1"]).expect("etcd takes it");
    let folder = scratch::folder("snapshot").expect("a folder");
    let file = folder.path().join("saved");
    // etcd agrees on its version a moment after its start.
    let snapshot = wait::until("the cluster's version in the file", Duration::from_secs(30), || {
        let _ = std::fs::remove_file(&file);
        etcd.save(&file).map_err(|e| e.to_string())?;
        let snapshot = Snapshot::open(&file).map_err(|e| e.to_string())?;
        match snapshot.cluster_version().map_err(|e| e.to_string())? {
            Some(_) => Ok(snapshot),
            None => Err("not yet".to_owned()),
        }
    })
    .expect("it comes");
    let before = snapshot.progress().0;
    let shown = read(&snapshot, "").expect("a good file");
    assert_eq!(shown.current, etcd.entries("", 0).expect("etcd answers").1);
    assert_eq!(shown.current.len(), 1);
    // Buckets `meta` and `key` are both looked up in the root page, and neither has a page of its own: the second was found at the opening.
    assert_eq!(snapshot.progress().0, before + 1);

    assert!(snapshot.cluster_version().expect("readable").expect("seen above").starts_with("3.7."));
    assert!(snapshot.consistent_index().expect("readable") > 0);
    let status = etcd.etcdctl(&["endpoint", "status", "-w", "fields"]).expect("etcd answers");
    let status = String::from_utf8_lossy(&status).into_owned();
    let members = snapshot.members().expect("readable");
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].name, "default");
    assert!(status.contains(&format!("\"MemberID\" : {}\n", members[0].id)), "{} in {status}", members[0].id);
}

#[test]
fn the_copied_database_of_a_running_etcd_shows_the_same_as_a_snapshot_of_it() {
    let etcd = Etcd::start(&tools()).expect("etcd starts");
    live(&etcd);
    let folder = scratch::folder("snapshot").expect("a folder");
    let (copy, saved) = (folder.path().join("db"), folder.path().join("saved"));
    etcd.save(&saved).expect("etcdctl saves");
    let saved = read_file(&saved, "").expect("a good file");
    // What is copied before etcd has committed is older, or of two states and an error.
    let copied = wait::until("a copy of the last commit", Duration::from_secs(30), || {
        std::fs::copy(etcd.database(), &copy).map_err(|e| e.to_string())?;
        let copied = read_file(&copy, "").map_err(|e| e.to_string())?;
        if copied.summary.revision == saved.summary.revision { Ok(copied) } else { Err("older".to_owned()) }
    });
    assert_eq!(copied.expect("etcd commits"), saved);
    let snapshot = Snapshot::open(&copy).expect("a good file");
    assert_eq!(snapshot.verify(&mut |_, _| {}).expect("nothing to compare"), Digest::Absent);
}
