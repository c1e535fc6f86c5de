//! A range is read whole, at one revision, whatever is written meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use keywright::etcd::live::Request;
use keywright_testbed::etcd as bed;

use crate::support::{PREFIX, connect, pairs, read, tools, value};

/// 5,000 keys: most small, some empty, some of up to a mebibyte, the large ones behind many small ones and among them.
fn mixed() -> Vec<(String, Vec<u8>)> {
    let len = |at: usize| match at {
        at if at % 7 == 0 => 0,
        at if at % 500 == 499 => 1 << 20,
        at if at > 4_000 && at % 50 == 0 => 300_000,
        at => at % 1_500,
    };
    (0..5_000).map(|at| (format!("{PREFIX}secrets/default/s{at:06}"), value(at, len(at)))).collect()
}

/// Changes keys and adds others all over the range until it is stopped, or dropped.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<usize>>,
}

impl Writer {
    fn start(server: &Arc<bed::Etcd>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (server, until) = (Arc::clone(server), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut written = 0;
            while !until.load(Ordering::Relaxed) {
                let at = written * 37 % 5_000;
                let pair = |more: &str| (format!("{PREFIX}secrets/default/s{at:06}{more}"), b"written meanwhile".to_vec());
                server.put_all(&[pair(""), pair("-new")]).expect("puts");
                written += 1;
            }
            written
        });
        Self { stop, thread: Some(thread) }
    }

    /// How often it has written.
    fn stop(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("is stopped once").join().expect("no panic")
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn five_thousand_keys_are_read_at_one_revision_while_another_client_writes() {
    let server = bed::Etcd::start(tools()).expect("etcd starts");
    let stored = mixed();
    server.put_all(&stored).expect("puts");
    // Neighbours that a careless end of the range would take in.
    server
        .put_all(&[("/registry".to_owned(), vec![1]), ("/registry0".to_owned(), vec![1]), ("/registry2/a".to_owned(), vec![1])])
        .expect("puts");
    let mut etcd = connect(&[&server]).await;
    let before = etcd.identity().await.expect("answers").revision;
    let server = Arc::new(server);
    let writer = Writer::start(&server);
    let (mut steps, mut found) = (Vec::new(), BTreeMap::new());
    let request = Request { revision: Some(before), ..Request::all(PREFIX.as_bytes()) };
    let visit = |entry: keywright::etcd::Entry<'_>| {
        assert!(entry.mod_revision <= before);
        found.insert(String::from_utf8_lossy(entry.key).into_owned(), entry.value.to_vec());
    };
    let done = etcd.range(&request, visit, |step| steps.push(step)).await.unwrap_or_else(|e| panic!("{e}"));
    assert!(writer.stop() > 0, "nothing was written meanwhile");
    assert_eq!((done.revision, done.entries), (before, 5_000));
    assert_eq!(done.bytes, stored.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum::<u64>());
    assert!(found == stored.into_iter().collect(), "another content than was stored");
    assert!(steps.len() > 5, "only {} pages", steps.len());
    assert!(steps.windows(2).all(|pair| pair[0].read < pair[1].read), "no progress");
    assert!(steps.iter().all(|step| step.total == 5_000 && step.revision == before));
    assert!(etcd.identity().await.expect("answers").revision > before, "the store has moved on");
}

#[tokio::test]
async fn the_newest_state_is_what_etcdctl_prints() {
    let server = bed::Etcd::start(tools()).expect("etcd starts");
    server.put_all(&pairs(3_000, 900)).expect("puts");
    server.etcdctl(&["del", "/registry/secrets/default/s000007"]).expect("deletes");
    let mut etcd = connect(&[&server]).await;
    let (found, done) = read(&mut etcd, &Request::all(PREFIX.as_bytes())).await.expect("is read whole");
    assert!(found == server.values(PREFIX).expect("etcdctl reads").into_iter().collect());
    assert_eq!(done.entries, 2_999);
    assert_eq!(server.count(PREFIX).expect("etcdctl counts"), 2_999);
    assert_eq!(etcd.count(PREFIX.as_bytes()).await.expect("counts"), 2_999);
}

#[tokio::test]
async fn keys_alone_and_everything_and_nothing_can_be_asked_for() {
    let server = bed::Etcd::start(tools()).expect("etcd starts");
    server.put_all(&pairs(500, 10)).expect("puts");
    server.put_all(&[("\u{1}first".to_owned(), vec![]), ("zlast".to_owned(), vec![9])]).expect("puts");
    let mut etcd = connect(&[&server]).await;
    let keys_only = Request { keys_only: true, ..Request::all(PREFIX.as_bytes()) };
    let (keys, _) = read(&mut etcd, &keys_only).await.expect("is read whole");
    assert_eq!(keys.len(), 500);
    assert!(keys.values().all(Vec::is_empty), "a value came along");
    let (all, done) = read(&mut etcd, &Request::all(b"")).await.expect("is read whole");
    assert_eq!((all.len(), done.entries), (502, 502));
    let (none, done) = read(&mut etcd, &Request::all(b"/nothing/")).await.expect("is read whole");
    assert_eq!((none.len(), done.entries), (0, 0));
    assert!(done.revision > 1);
}

#[tokio::test]
async fn the_identity_is_what_etcdctl_says() {
    let server = bed::Etcd::start(tools()).expect("etcd starts");
    server.put_all(&pairs(3, 1)).expect("puts");
    let identity = connect(&[&server]).await.identity().await.expect("answers");
    let status = server.etcdctl(&["endpoint", "status", "-w", "json"]).expect("etcdctl answers");
    let status: serde_json::Value = serde_json::from_slice(&status).expect("JSON");
    let status = &status[0]["Status"];
    let header = &status["header"];
    assert_eq!(header["cluster_id"], identity.cluster_id);
    assert_eq!(header["member_id"], identity.member_id);
    assert_eq!(header["revision"], identity.revision);
    assert_eq!(header["raft_term"], identity.raft_term);
    assert_eq!((&status["version"], &status["leader"]), (&identity.version.clone().into(), &identity.leader.into()));
    assert_eq!(identity.alarms, [""; 0]);
}
