//! Reads a store to its end and reports what was counted.

use std::ops::ControlFlow;

use thiserror::Error;

use super::report::{Report, Source, Store, Witness};
use super::tally::{Settings, Tally};
use crate::entropy::Entropy;
use crate::etcd::Entry;
use crate::etcd::live::{Etcd, EtcdError, Incomplete, Progress, Request};
use crate::etcd::snapshot::{Digest, Snapshot, SnapshotError, Standing};
use crate::keyring::document::Time;

/// How often a scan begins anew when etcd compacts the revision away under it: each time a whole read, so few.
const RESTARTS: u32 = 3;

/// Why there is no report. What had been counted by then counts nothing.
#[derive(Debug, Error)]
pub enum ScanError {
    /// etcd did not answer, or refused.
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    /// It did, and not to the end.
    #[error(transparent)]
    Incomplete(#[from] Incomplete),
    /// The snapshot is not readable to its end.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// How far a snapshot file vouches for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Integrity {
    /// Whether it carries a digest, which then was compared.
    pub digest: Digest,
    /// One of its two meta pages is damaged: it may hold a newer state that was not read.
    pub one_meta: bool,
}

impl Integrity {
    /// Why nothing follows from what was read, if so: a byte may have changed unnoticed, or a newer state was passed over.
    pub const fn objection(self) -> Option<&'static str> {
        match (self.digest, self.one_meta) {
            (Digest::Absent, _) => Some("it carries no digest, so that a changed byte in it would go unnoticed"),
            (Digest::Good, true) => Some("one of its two meta pages is damaged, so that it may hold a newer state that was not read"),
            (Digest::Good, false) => None,
        }
    }
}

/// What to count by, and whose evidence it will be.
#[derive(Debug, Clone)]
pub struct Job {
    /// How values are counted.
    pub settings: Settings,
    /// The keyring that makes it evidence.
    pub witness: Option<Witness>,
}

/// Counts every key of a live etcd, at one revision. What `collect` gathers of the same entries comes back beside the report.
///
/// `now` is asked at the beginning and at the end, for people. Memory: that of a [`Tally`], two pages, and what `collect` keeps.
pub async fn live<C>(
    etcd: &mut Etcd,
    job: &Job,
    now: &dyn Fn() -> Time,
    mut new: impl FnMut() -> C,
    mut collect: impl FnMut(&mut C, &Entry<'_>),
    progress: impl FnMut(Progress),
) -> Result<(Report, C), ScanError> {
    let started = now();
    // All of it, not the prefix alone: what lies outside shows that the prefix is another one, or that somebody else writes here too.
    let everything = Request::all(b"");
    let ((tally, collected), done) = etcd
        .fold(
            &everything,
            RESTARTS,
            || (Tally::new(job.settings.clone()), new()),
            |(tally, collected), entry| {
                tally.add(&entry);
                collect(collected, &entry);
            },
            progress,
        )
        .await?;
    // After the read, so that it says how little history there was then at the most.
    let oldest = etcd.oldest_revision().await?;
    let store = Store {
        source: Source::Live,
        cluster_id: Some(etcd.cluster_id()),
        prefix: job.settings.prefix.as_str().to_owned(),
        revision: done.revision,
        compaction_revision: Some(oldest),
    };
    Ok((Report::new(&tally, store, job.witness, (started, now()), false, Vec::new()), collected))
}

/// Counts every key of a snapshot, and every older value that is still in the file.
///
/// `progress` gets pages read and pages in the file. Beside the report comes how far the file vouches for itself.
pub fn snapshot(
    snapshot: &Snapshot,
    job: &Job,
    now: &dyn Fn() -> Time,
    entropy: &dyn Entropy,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(Report, Integrity), ScanError> {
    let started = now();
    let digest = snapshot.verify(&mut |_, _| {})?;
    let mut tally = Tally::new(job.settings.clone());
    let mut visited = 0u32;
    let summary = snapshot.every_revision(b"", entropy, &mut |standing, entry| {
        match standing {
            Standing::Current => tally.add(&entry),
            Standing::Superseded => tally.add_old(&entry),
        }
        visited = visited.wrapping_add(1);
        if visited.is_multiple_of(4096) {
            let (read, all) = snapshot.progress();
            progress(read, all);
        }
        ControlFlow::Continue(())
    })?;
    let store = Store {
        source: Source::Snapshot,
        cluster_id: None,
        prefix: job.settings.prefix.as_str().to_owned(),
        revision: summary.revision,
        compaction_revision: Some(summary.compaction_revision),
    };
    Ok((Report::new(&tally, store, job.witness, (started, now()), true, Vec::new()), Integrity { digest, one_meta: summary.one_meta }))
}
