//! The SHA-256 that `etcdctl snapshot save` puts behind the database. A copied `db` has none.

use sha2::{Digest as _, Sha256};

use super::SnapshotError;
use crate::etcd::bolt::{BoltError, Source};

const LEN: u64 = 32;
/// Every page is a multiple of this, and so is a file without a digest.
const SECTOR: u64 = 512;
/// Bytes read at once.
const STEP: usize = 1 << 20;

/// What the end of the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digest {
    /// The digest is the one of the file.
    Good,
    /// There is none: a copied `db`, or a snapshot that lost its end.
    Absent,
}

/// Bytes that the digest takes of a file of `length` bytes.
pub(super) fn length(length: u64) -> u64 {
    if length % SECTOR == LEN { LEN } else { 0 }
}

/// See [`Snapshot::verify`](super::Snapshot::verify).
pub(super) fn verify(source: &dyn Source, file: u64, progress: &mut dyn FnMut(u64, u64)) -> Result<Digest, SnapshotError> {
    if length(file) == 0 {
        return Ok(Digest::Absent);
    }
    let database = file - LEN;
    let mut hash = Sha256::new();
    let mut buffer = zeroize::Zeroizing::new(vec![0; STEP]);
    let mut done = 0;
    while done < database {
        let step = usize::try_from(database - done).map_or(STEP, |left| left.min(STEP));
        read(source, &mut buffer[..step], done)?;
        hash.update(&buffer[..step]);
        done += step as u64;
        progress(done, database);
    }
    let mut stored = [0; LEN as usize];
    read(source, &mut stored, database)?;
    if hash.finalize()[..] == stored { Ok(Digest::Good) } else { Err(SnapshotError::Digest) }
}

fn read(source: &dyn Source, into: &mut [u8], offset: u64) -> Result<(), BoltError> {
    let length = into.len() as u64;
    source.read_exact_at(into, offset).map_err(|source| BoltError::Read { offset, length, source })
}
