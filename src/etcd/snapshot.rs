//! A snapshot of etcd, read from a file: what `etcdctl snapshot save` wrote, or a copy of a member's `db`.
//!
//! Every key is shown once with its newest value, and, where asked, every older value that the file still holds as a revision. The order is by
//! revision, newest first: what is seen of a key first is what is current. For that a fingerprint of 16 bytes is kept per key, see `seen`.
//!
//! What is damaged is an error, never a smaller count: there is no report without the last page. Two things only the caller can judge:
//! - A copied `db` carries no digest, so a flipped bit inside of a name or a value goes unnoticed; and a copy made while etcd wrote to it may be
//!   of two states. `etcdctl snapshot save` has neither weakness: prefer it, and let [`Snapshot::verify`] read it.
//! - Pages that are in no bucket any more may hold bytes of values that were deleted or compacted, until etcd is defragmented. They are not
//!   revisions: nothing reads them, and nothing here counts them.
//!
//! The cluster's id is not in the file: etcd keeps it in its write-ahead log. It is the first 8 bytes of SHA-1 over the ids of the members that
//! it *began* with (ascending, 8 bytes each, big endian), so [`Snapshot::members`] tell it only as long as membership never changed.

mod about;
mod digest;
mod key_value;
mod revision;
mod seen;

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use thiserror::Error;

use super::Entry;
use super::bolt::{Bolt, BoltError, Bucket, Item, Source};
use crate::entropy::{Entropy, EntropyError};

pub use about::{Compaction, Member};
pub use digest::Digest;
pub use key_value::KeyValueFault;

use key_value::KeyValue;
use revision::Revision;
use seen::Seen;

/// The bucket of all revisions.
const KEY_BUCKET: &[u8] = b"key";

/// Why a snapshot was not read, or not to its end. What was counted until then counts nothing.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// It cannot be opened.
    #[error("open {path}: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder, a pipe, a device.
    #[error("{0} is not a regular file")]
    NotRegular(PathBuf),
    /// Not bbolt, or damaged.
    #[error(transparent)]
    Bolt(#[from] BoltError),
    /// bbolt, and somebody else's.
    #[error("not a database of etcd: there is no bucket `{0}` in it")]
    NoBucket(&'static str),
    /// The digest at its end is of other bytes.
    #[error("the SHA-256 at the end of the file is not the one of what stands before it: the file is damaged, save the snapshot again")]
    Digest,
    /// A key of the bucket of revisions is none.
    #[error("page {page}: {key} is not a revision of etcd, or not older than the one behind it")]
    Revision {
        /// Where.
        page: u64,
        /// What stands there, escaped and cut.
        key: String,
    },
    /// What is stored at a revision is not a key with a value.
    #[error("page {page}: what is stored at revision {revision} is not readable: {fault}")]
    KeyValue {
        /// Where.
        page: u64,
        /// Which.
        revision: u64,
        /// Why.
        fault: KeyValueFault,
    },
    /// An entry about the cluster is not what etcd writes.
    #[error("page {page}: {key} in bucket `{bucket}` is not what etcd writes there")]
    About {
        /// Where.
        page: u64,
        /// Its bucket.
        bucket: &'static str,
        /// Its key, escaped and cut.
        key: String,
    },
    /// No randomness for the fingerprints.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The caller stopped it.
    #[error("stopped before the end, at the caller's wish")]
    Stopped,
}

/// What a value in the file is to its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The newest, and the key is not deleted.
    Current,
    /// History: the key has a newer value in the file, or is deleted.
    Superseded,
}

/// What a whole walk found. The revisions are of the whole file, the counts of the keys that begin with the prefix.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// The revision at which etcd would go on from this file.
    pub revision: u64,
    /// No older revision can be asked for: the newest compaction, done or scheduled; 0 when there was none.
    pub compaction_revision: u64,
    /// Keys with a current value.
    pub keys: u64,
    /// Bytes of the current values.
    pub bytes: u64,
    /// Values that are history.
    pub superseded: u64,
    /// Bytes of these.
    pub superseded_bytes: u64,
    /// Deletions in the file.
    pub tombstones: u64,
    /// One of the two meta pages is damaged: the file may hold a newer state that nothing reads. No evidence, see [`Bolt::has_one_meta`].
    pub one_meta: bool,
}

/// An open snapshot file.
pub struct Snapshot {
    bolt: Bolt,
    source: Box<dyn Source>,
    keys: Bucket,
    length: u64,
}

impl Snapshot {
    /// Opens `path` and finds the revisions in it. Reads a few pages; says nothing yet about the rest, nor about the digest.
    ///
    /// Errors: `Open`, `NotRegular`; `Bolt` when the file is empty, cut, foreign; `NoBucket` when it is not etcd's.
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        let failed = |e: io::Error| SnapshotError::Open { path: path.to_owned(), source: e };
        // A pipe would otherwise hold us up until somebody writes into it.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let handle = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
        let stat = rustix::fs::fstat(&handle).map_err(|e| failed(e.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(SnapshotError::NotRegular(path.to_owned()));
        }
        let file = std::fs::File::from(handle);
        let second = file.try_clone().map_err(failed)?;
        Self::of(Box::new(file), Box::new(second), u64::try_from(stat.st_size).unwrap_or_default())
    }

    /// The same for bytes in memory, for tests and fuzzing.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, SnapshotError> {
        let length = bytes.len() as u64;
        Self::of(Box::new(bytes.clone()), Box::new(bytes), length)
    }

    fn of(source: Box<dyn Source>, second: Box<dyn Source>, length: u64) -> Result<Self, SnapshotError> {
        let bolt = Bolt::open(second, length - digest::length(length))?;
        let keys = bolt.bucket(KEY_BUCKET)?.ok_or(SnapshotError::NoBucket("key"))?;
        Ok(Self { bolt, source, keys, length })
    }

    /// Compares the file with the digest that `etcdctl snapshot save` put at its end.
    ///
    /// Reads the whole file once, at the speed of SHA-256; run it on a thread of its own beside [`current`](Self::current) where time counts.
    /// `progress` gets the bytes read and their number, after every MiB. Errors: `Digest` when they differ; `Bolt` when it cannot be read.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Digest, SnapshotError> {
        digest::verify(&*self.source, self.length, progress)
    }

    /// Pages read so far, and pages in the file, of which unused ones are never read. To be asked from within a visit or another thread.
    pub fn progress(&self) -> (u64, u64) {
        self.bolt.progress()
    }

    /// What is known of compactions.
    pub fn compaction(&self) -> Result<Compaction, SnapshotError> {
        about::compaction(&self.bolt)
    }

    /// How far the member had carried out its log: the consistent index; 0 in a new or restored file.
    pub fn consistent_index(&self) -> Result<u64, SnapshotError> {
        about::consistent_index(&self.bolt)
    }

    /// The version that the cluster had agreed on, such as `3.7.0`; none before etcd 3.5, or in a cluster's first seconds.
    pub fn cluster_version(&self) -> Result<Option<String>, SnapshotError> {
        about::cluster_version(&self.bolt)
    }

    /// The members of the cluster, by id; at most 1,000.
    pub fn members(&self) -> Result<Vec<Member>, SnapshotError> {
        about::members(&self.bolt)
    }

    /// Shows every key that begins with `prefix` once, with its newest value; deleted ones are not shown.
    ///
    /// The order is by revision, newest first. `visit` may stop the walk, which then ends with `Stopped`. Memory: some pages, and at most 48
    /// bytes for each key that begins with `prefix`; `entropy` keys their fingerprints. Errors: see [`SnapshotError`]; there is no summary of
    /// a part.
    pub fn current(
        &self,
        prefix: &[u8],
        entropy: &dyn Entropy,
        visit: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<Summary, SnapshotError> {
        self.every_revision(prefix, entropy, &mut |standing, entry| match standing {
            Standing::Current => visit(entry),
            Standing::Superseded => ControlFlow::Continue(()),
        })
    }

    /// The same, and every older value that is still in the file as well, each after the newer ones of its key.
    pub fn every_revision(
        &self,
        prefix: &[u8],
        entropy: &dyn Entropy,
        visit: &mut dyn FnMut(Standing, Entry<'_>) -> ControlFlow<()>,
    ) -> Result<Summary, SnapshotError> {
        let compaction = self.compaction()?;
        let mut reading = Reading { prefix, seen: Seen::new(entropy)?, older: None, summary: Summary::default(), visit };
        let flow = self.bolt.newest_first(&self.keys, &mut |item| match reading.item(item) {
            Ok(ControlFlow::Continue(())) => ControlFlow::Continue(()),
            Ok(ControlFlow::Break(())) => ControlFlow::Break(SnapshotError::Stopped),
            Err(error) => ControlFlow::Break(error),
        })?;
        if let ControlFlow::Break(error) = flow {
            return Err(error);
        }
        self.bolt.unchanged()?;
        let mut summary = reading.summary;
        summary.compaction_revision = compaction.newest();
        // etcd does the same at its start: compaction may have removed the newest revisions, when they were deletions.
        summary.revision = summary.revision.max(summary.compaction_revision);
        summary.one_meta = self.bolt.has_one_meta();
        Ok(summary)
    }
}

/// A walk under way.
struct Reading<'w> {
    prefix: &'w [u8],
    seen: Seen,
    /// The revision shown last; the next must be older.
    older: Option<Revision>,
    summary: Summary,
    visit: &'w mut dyn FnMut(Standing, Entry<'_>) -> ControlFlow<()>,
}

impl Reading<'_> {
    fn item(&mut self, item: Item<'_>) -> Result<ControlFlow<()>, SnapshotError> {
        let revision =
            Revision::parse(item.key).filter(|revision| !item.bucket && self.older.is_none_or(|older| revision.is_before(older)));
        let revision = revision.ok_or_else(|| SnapshotError::Revision { page: item.page, key: shown(item.key) })?;
        self.older = Some(revision);
        self.summary.revision = self.summary.revision.max(revision.main);
        let fail = |fault| SnapshotError::KeyValue { page: item.page, revision: revision.main, fault };
        let KeyValue { key, value, .. } = match KeyValue::parse(item.value).map_err(fail)? {
            Some(key_value) => key_value.checked(revision).map_err(fail)?,
            // A restore that raises the revision leaves a mark, which is nobody's key.
            None if !revision.tombstone => return Ok(ControlFlow::Continue(())),
            None => return Err(fail(KeyValueFault::Key)),
        };
        if !key.starts_with(self.prefix) {
            return Ok(ControlFlow::Continue(()));
        }
        let newest = self.seen.insert(key);
        if revision.tombstone {
            self.summary.tombstones += 1;
            return Ok(ControlFlow::Continue(()));
        }
        let standing = if newest { Standing::Current } else { Standing::Superseded };
        let (count, bytes) = match standing {
            Standing::Current => (&mut self.summary.keys, &mut self.summary.bytes),
            Standing::Superseded => (&mut self.summary.superseded, &mut self.summary.superseded_bytes),
        };
        *count += 1;
        *bytes += value.len() as u64;
        Ok((self.visit)(standing, Entry { key, value, mod_revision: revision.main }))
    }
}

/// The start of a key for errors: printable, and short.
fn shown(key: &[u8]) -> String {
    let start = key.get(..64).unwrap_or(key);
    format!("`{}`{}", start.escape_ascii(), if start.len() < key.len() { " and more" } else { "" })
}

#[cfg(test)]
mod tests;
