//! How far back etcd can be read, and what a compaction does to a scan.

use keywright::etcd::live::{EtcdError, Request};
use keywright_testbed::etcd as bed;

use crate::support::{PREFIX, connect, pairs, read, tools};

#[tokio::test]
async fn the_oldest_readable_revision_is_the_one_that_was_compacted_to() {
    let server = bed::Etcd::start(tools()).expect("etcd starts");
    let mut etcd = connect(&[&server]).await;
    assert_eq!(etcd.oldest_revision().await.expect("found"), 1, "an empty etcd");
    for at in 0..40 {
        server.put_all(&pairs(1, at)).expect("puts");
    }
    assert_eq!(etcd.oldest_revision().await.expect("found"), 1, "nothing was compacted");
    server.etcdctl(&["compaction", "17"]).expect("compacts");
    assert_eq!(etcd.oldest_revision().await.expect("found"), 17);
    let newest = server.compact().expect("compacts");
    assert_eq!(etcd.oldest_revision().await.expect("found"), newest);
    let old = Request { revision: Some(newest - 1), ..Request::all(PREFIX.as_bytes()) };
    let error = read(&mut etcd, &old).await.expect_err("compacted");
    assert!(matches!(error.why, EtcdError::Compacted { revision } if revision == newest - 1), "{error}");
    assert_eq!((error.read, error.total), (0, None));
}

#[tokio::test]
async fn a_revision_that_is_not_there_yet_is_an_error() {
    let server = bed::Etcd::start(tools()).expect("etcd starts");
    let mut etcd = connect(&[&server]).await;
    let future = Request { revision: Some(1_000_000), ..Request::all(PREFIX.as_bytes()) };
    let error = read(&mut etcd, &future).await.expect_err("not there");
    assert!(error.to_string().contains("future revision"), "{error}");
}

/// Writes and compacts once, at the first entry that is visited after `armed`.
fn compact_once(server: &bed::Etcd, armed: &mut bool) {
    if std::mem::take(armed) {
        server.put_all(&pairs(1, 5)).expect("puts");
        server.compact().expect("compacts");
    }
}

#[tokio::test]
async fn a_compaction_during_a_scan_is_an_error_that_says_how_far_it_came() {
    let server = bed::Etcd::start(tools()).expect("etcd starts");
    server.put_all(&pairs(400, 100_000)).expect("puts");
    let mut etcd = connect(&[&server]).await;
    let mut armed = true;
    let mut visited = 0;
    let visit = |_: keywright::etcd::Entry<'_>| {
        compact_once(&server, &mut armed);
        visited += 1;
    };
    let error = etcd.range(&Request::all(PREFIX.as_bytes()), visit, |_| {}).await.expect_err("cut off");
    assert!(matches!(error.why, EtcdError::Compacted { .. }), "{error}");
    assert_eq!((error.read, error.total), (visited, Some(400)));
    assert!((1..400).contains(&visited), "{visited} visited");
}

#[tokio::test]
async fn a_fold_begins_again_with_nothing_counted_twice() {
    let server = bed::Etcd::start(tools()).expect("etcd starts");
    server.put_all(&pairs(400, 100_000)).expect("puts");
    let mut etcd = connect(&[&server]).await;
    let request = Request::all(PREFIX.as_bytes());
    let (mut armed, mut states) = (true, 0);
    let new = || {
        states += 1;
        0_u64
    };
    let visit = |count: &mut u64, _: keywright::etcd::Entry<'_>| {
        compact_once(&server, &mut armed);
        *count += 1;
    };
    let (count, done) = etcd.fold(&request, 1, new, visit, |_| {}).await.expect("the second time is quiet");
    assert_eq!((count, done.entries, states), (400, 400, 2));
    // A revision that the caller fixed is not replaced by another.
    let fixed = Request { revision: Some(done.revision - 1), ..request };
    let error = etcd.fold(&fixed, 3, || (), |(), _| {}, |_| {}).await.expect_err("compacted");
    assert!(matches!(error.why, EtcdError::Compacted { .. }), "{error}");
}

#[tokio::test]
async fn restarts_are_bounded() {
    let server = bed::Etcd::start(tools()).expect("etcd starts");
    server.put_all(&pairs(400, 100_000)).expect("puts");
    let mut etcd = connect(&[&server]).await;
    let mut scans = 0;
    // Every scan is cut off.
    let visit = |armed: &mut bool, _: keywright::etcd::Entry<'_>| compact_once(&server, armed);
    let new = || {
        scans += 1;
        true
    };
    let error = etcd.fold(&Request::all(PREFIX.as_bytes()), 2, new, visit, |_| {}).await.map(|_| ()).expect_err("cut off");
    assert!(matches!(error.why, EtcdError::Compacted { .. }), "{error}");
    assert_eq!(scans, 3);
}
