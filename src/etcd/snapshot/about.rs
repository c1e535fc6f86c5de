//! What etcd says in the file about itself: buckets `meta`, `cluster` and `members`.

use std::ops::ControlFlow;

use serde::Deserialize;

use super::revision::Revision;
use super::{SnapshotError, shown};
use crate::etcd::bolt::{Bolt, Item};

/// More members than any cluster has.
const MAX_MEMBERS: usize = 1_000;

/// How far history was cut off. Revisions are 0 where etcd wrote none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compaction {
    /// Older revisions than this are being removed, or are gone already.
    pub scheduled: u64,
    /// Older revisions than this are gone, but for the newest of each key.
    pub finished: u64,
}

impl Compaction {
    /// No client can ask for a revision before this one.
    pub fn newest(self) -> u64 {
        self.scheduled.max(self.finished)
    }
}

/// A member of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id; etcd's tools print it in hexadecimal.
    pub id: u64,
    /// Its name; empty until it started for the first time.
    pub name: String,
}

pub(super) fn compaction(bolt: &Bolt) -> Result<Compaction, SnapshotError> {
    let mut found = Compaction::default();
    each(bolt, "meta", &mut |item| {
        let revision = || Revision::parse(item.value).filter(|revision| !revision.tombstone).map(|revision| revision.main);
        match item.key {
            b"scheduledCompactRev" => found.scheduled = revision()?,
            b"finishedCompactRev" => found.finished = revision()?,
            _ => {}
        }
        Some(())
    })?;
    Ok(found)
}

pub(super) fn consistent_index(bolt: &Bolt) -> Result<u64, SnapshotError> {
    let mut found = 0;
    each(bolt, "meta", &mut |item| {
        if item.key == b"consistent_index" {
            found = u64::from_be_bytes(item.value.try_into().ok()?);
        }
        Some(())
    })?;
    Ok(found)
}

pub(super) fn cluster_version(bolt: &Bolt) -> Result<Option<String>, SnapshotError> {
    let mut found = None;
    each(bolt, "cluster", &mut |item| {
        if item.key == b"clusterVersion" {
            // A version in the form of semver: digits, dots, and a suffix at most.
            let text = std::str::from_utf8(item.value).ok().filter(|text| text.len() <= 64)?;
            found = text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)).then(|| Some(text.to_owned()))?;
        }
        Some(())
    })?;
    Ok(found)
}

pub(super) fn members(bolt: &Bolt) -> Result<Vec<Member>, SnapshotError> {
    #[derive(Deserialize)]
    struct Stored {
        id: u64,
        #[serde(default)]
        name: String,
    }
    let mut found = Vec::new();
    each(bolt, "members", &mut |item| {
        let Stored { id, name } = serde_json::from_slice(item.value).ok()?;
        let named = std::str::from_utf8(item.key).ok().and_then(|key| u64::from_str_radix(key, 16).ok());
        if named != Some(id) || found.len() == MAX_MEMBERS {
            return None;
        }
        found.push(Member { id, name });
        Some(())
    })?;
    found.sort_by_key(|member| member.id);
    Ok(found)
}

/// Shows the items of a small bucket, if it is there; none from `read` means that the item is not what etcd writes.
fn each(bolt: &Bolt, bucket: &'static str, read: &mut dyn FnMut(Item<'_>) -> Option<()>) -> Result<(), SnapshotError> {
    let Some(place) = bolt.bucket(bucket.as_bytes())? else { return Ok(()) };
    let flow = bolt.newest_first(&place, &mut |item| match read(item) {
        Some(()) => ControlFlow::Continue(()),
        None => ControlFlow::Break(SnapshotError::About { page: item.page, bucket, key: shown(item.key) }),
    })?;
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}
