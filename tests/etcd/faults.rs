//! Members that die or stand still in the middle of a scan.

use std::time::{Duration, Instant};

use keywright::etcd::live::{EtcdError, Refusal, Request};
use keywright_testbed::etcd as bed;
use rustix::process::Signal;

use crate::support::{PREFIX, connect, options, pairs, tools};

/// Longest time that any of these may take: elections, time limits and pauses together.
const LIMIT: Duration = Duration::from_secs(40);

#[tokio::test]
async fn an_etcd_that_is_killed_during_a_scan_makes_it_incomplete_within_the_tries() {
    let mut server = bed::Etcd::start(tools()).expect("etcd starts");
    server.put_all(&pairs(400, 100_000)).expect("puts");
    let mut etcd = connect(&[&server]).await;
    let mut visited = 0;
    let start = Instant::now();
    let visit = |_: keywright::etcd::Entry<'_>| {
        visited += 1;
        if visited == 70 {
            server.kill().expect("is killed");
        }
    };
    let error = etcd.range(&Request::all(PREFIX.as_bytes()), visit, |_| {}).await.expect_err("cut off");
    assert!(matches!(error.why, EtcdError::NoAnswer(_)), "{error}");
    assert!(matches!(error.why.refusal(), Some(Refusal::Refused)), "{error}");
    assert_eq!((error.read, error.total), (visited, Some(400)));
    assert!((70..400).contains(&visited), "{visited} visited");
    assert!(start.elapsed() < LIMIT);
}

/// Three members, the leader first.
fn three() -> (bed::Etcd, bed::Etcd, bed::Etcd) {
    let [a, b, c] = bed::Etcd::start_three(tools()).expect("etcd starts");
    a.put_all(&pairs(400, 100_000)).expect("puts");
    let leads = |member: &bed::Etcd| member.is_leader().expect("answers");
    if leads(&a) {
        (a, b, c)
    } else if leads(&b) {
        (b, c, a)
    } else {
        (c, a, b)
    }
}

/// A scan that begins at the leader, to which `harm` is done at its 70th entry.
async fn scan_with(leader: bed::Etcd, others: [&bed::Etcd; 2], harm: impl Fn(&mut bed::Etcd)) -> bed::Etcd {
    let mut etcd = connect(&[&leader, others[0], others[1]]).await;
    let mut leader = leader;
    let before = etcd.identity().await.expect("answers");
    assert_eq!(before.leader, before.member_id, "the scan begins at the leader");
    let mut keys = Vec::new();
    let start = Instant::now();
    let visit = |entry: keywright::etcd::Entry<'_>| {
        keys.push(entry.key.to_vec());
        if keys.len() == 70 {
            harm(&mut leader);
        }
    };
    let done = etcd.range(&Request::all(PREFIX.as_bytes()), visit, |_| {}).await.unwrap_or_else(|e| panic!("{e}"));
    assert!(start.elapsed() < LIMIT);
    assert_eq!((done.entries, done.revision), (400, before.revision));
    keys.dedup();
    assert_eq!(keys.len(), 400, "a key came twice");
    let after = etcd.identity().await.expect("answers");
    assert_eq!(after.cluster_id, before.cluster_id);
    assert_ne!(after.member_id, before.member_id, "another member has answered");
    assert!(after.raft_term > before.raft_term, "there was an election");
    leader
}

#[tokio::test]
async fn a_leader_that_is_killed_during_a_scan_changes_nothing_in_it() {
    let (leader, b, c) = three();
    scan_with(leader, [&b, &c], |leader| leader.kill().expect("is killed")).await;
}

#[tokio::test]
async fn a_leader_that_stands_still_during_a_scan_changes_nothing_in_it() {
    let (leader, b, c) = three();
    let leader = scan_with(leader, [&b, &c], |leader| leader.signal(Signal::STOP).expect("is stopped")).await;
    leader.signal(Signal::CONT).expect("goes on");
}

#[tokio::test]
async fn a_member_without_its_quorum_answers_nothing_that_could_be_old() {
    let (mut leader, mut b, c) = three();
    leader.kill().expect("is killed");
    b.kill().expect("is killed");
    let mut options = options(&[&c]);
    options.command_timeout = Duration::from_secs(1);
    let start = Instant::now();
    // It may connect before the member knows that it has lost its leader; then the read fails.
    let error = match keywright::etcd::live::Etcd::connect(options).await {
        Ok(mut etcd) => etcd.identity().await.expect_err("no quorum"),
        Err(error) => error,
    };
    assert!(matches!(error.refusal(), Some(Refusal::NoLeader | Refusal::Timeout | Refusal::Unavailable(_))), "{error}");
    assert!(start.elapsed() < LIMIT);
}

#[tokio::test]
async fn a_second_endpoint_of_another_cluster_is_refused_when_the_first_is_gone() {
    let (mut ours, other) = (bed::Etcd::start(tools()).expect("etcd starts"), bed::Etcd::start(tools()).expect("etcd starts"));
    ours.put_all(&pairs(400, 100_000)).expect("puts");
    // The same keys, even the same revision: only the id tells.
    other.put_all(&pairs(400, 100_000)).expect("puts");
    let mut etcd = connect(&[&ours, &other]).await;
    let mut visited = 0;
    let visit = |_: keywright::etcd::Entry<'_>| {
        visited += 1;
        if visited == 70 {
            ours.kill().expect("is killed");
        }
    };
    let error = etcd.range(&Request::all(PREFIX.as_bytes()), visit, |_| {}).await.expect_err("cut off");
    assert!(matches!(error.why.refusal(), Some(Refusal::OtherCluster { .. })), "{error}");
    assert!((70..400).contains(&visited), "{visited} visited");
}
