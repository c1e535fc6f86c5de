//! An etcd with a life behind it, and everything that a snapshot shows.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};

use keywright::entropy::OsEntropy;
use keywright::etcd::snapshot::{Snapshot, SnapshotError, Standing, Summary};
use keywright_testbed::etcd::{Etcd, Stored};
use keywright_testbed::tools::Tools;

pub(crate) fn tools() -> Tools {
    Tools::locate().expect("cargo xtask tools builds them")
}

/// Everything that a walk shows, sorted by key and revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) current: Vec<Stored>,
    pub(crate) superseded: Vec<Stored>,
    pub(crate) summary: Summary,
}

pub(crate) fn read(snapshot: &Snapshot, prefix: &str) -> Result<Shown, SnapshotError> {
    let (mut current, mut superseded) = (Vec::new(), Vec::new());
    let summary = snapshot.every_revision(prefix.as_bytes(), &OsEntropy, &mut |standing, entry| {
        let stored = Stored { key: entry.key.to_vec(), value: entry.value.to_vec(), mod_revision: entry.mod_revision };
        if standing == Standing::Current { &mut current } else { &mut superseded }.push(stored);
        ControlFlow::Continue(())
    })?;
    current.sort();
    superseded.sort();
    Ok(Shown { current, superseded, summary })
}

pub(crate) fn read_file(file: &Path, prefix: &str) -> Result<Shown, SnapshotError> {
    read(&Snapshot::open(file)?, prefix)
}

/// Runs etcdctl with `input`, for values too long for an argument and for transactions.
pub(crate) fn etcdctl(etcd: &Etcd, arguments: &[&str], input: &[u8]) {
    let mut command = Command::new(tools().etcdctl());
    command.args(["--endpoints", etcd.endpoint()]).args(arguments).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().expect("etcdctl starts");
    child.stdin.take().expect("the pipe was asked for above").write_all(input).expect("etcdctl reads");
    assert!(child.wait().expect("it ends").success(), "etcdctl {arguments:?}");
}

/// Puts all pairs in one transaction, so that they differ in their sub-revision only.
pub(crate) fn transaction(etcd: &Etcd, pairs: &[(String, String)]) {
    let puts: String = pairs.iter().map(|(key, value)| format!("put {key} {value}\n")).collect();
    // Comparisons, requests on success, requests on failure: each part ends with an empty line.
    etcdctl(etcd, &["txn"], format!("\n{puts}\n\n").as_bytes());
}

/// A key below the prefix of an API server, with a value of `length` printable bytes.
pub(crate) fn pair(at: usize, round: usize, length: usize) -> (String, String) {
    (format!("/registry/secrets/default/s{at:03}"), format!("{round}-{at}-").repeat(length / 4).chars().take(length).collect())
}

/// Overwrites, deletions, second lives, transactions, large and empty values: some 300 changes in some 20 revisions.
pub(crate) fn live(etcd: &Etcd) {
    for batch in 0..3 {
        transaction(etcd, &(batch * 60..batch * 60 + 60).map(|at| pair(at, 0, 900)).collect::<Vec<_>>());
    }
    transaction(etcd, &(10..50).map(|at| pair(at, 1, 300)).collect::<Vec<_>>());
    for words in [
        &["del", "/registry/secrets/default/s020"][..],
        &["del", "--prefix", "/registry/secrets/default/s03"],
        &["put", "/registry/secrets/default/s031", "a second life"],
        &["put", "/registry/configmaps/default/c1", "x"],
        &["put", "/registry/configmaps/default/c1", ""],
        &["put", "/registry/configmaps/default/gone", "y"],
        &["del", "/registry/configmaps/default/gone"],
        &["put", "/other/key", "not an API server's"],
    ] {
        etcd.etcdctl(words).expect("etcd takes it");
    }
    // Near the most that etcd takes as it is; and the same key short again.
    let large: Vec<_> = (0..1_572_000_u32).map(|at| (at % 251) as u8).collect();
    for key in ["/registry/configmaps/default/large", "/registry/configmaps/default/larger"] {
        etcdctl(etcd, &["put", key], &large);
    }
    etcd.etcdctl(&["put", "/registry/configmaps/default/large", "short"]).expect("etcd takes it");
}

/// Every revision that etcd still answers for, from `oldest` on: what is current, and what is not any more.
pub(crate) fn history(etcd: &Etcd, prefix: &str, oldest: u64) -> (u64, Vec<Stored>, Vec<Stored>) {
    let (now, current) = etcd.entries(prefix, 0).expect("etcd answers");
    let mut older: Vec<_> = (oldest..now).flat_map(|revision| etcd.entries(prefix, revision).expect("etcd answers").1).collect();
    older.sort();
    older.dedup();
    older.retain(|entry| !current.contains(entry));
    (now, current, older)
}

/// Numbers that look random and are the same for the same seed (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }
}
