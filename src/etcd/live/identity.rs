//! Who answers, what its newest revision is, and how far its history reaches back.

use super::range::end_of;
use super::{Etcd, EtcdError, pb};

/// One cluster, as one member saw it at one linearizable read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The cluster: the same for all members, for good; another after a restore from a snapshot.
    pub cluster_id: u64,
    /// The member that answered.
    pub member_id: u64,
    /// The newest revision: every write that was acknowledged before the call is at or below it.
    pub revision: u64,
    /// The raft term: it grows with each election.
    pub raft_term: u64,
    /// The member's version, such as `3.7.0`.
    pub version: String,
    /// Size of the member's database file in bytes.
    pub db_size: u64,
    /// The leader's member id.
    pub leader: u64,
    /// What the member complains of: a full or corrupt database. Empty when all is well.
    pub alarms: Vec<String>,
}

impl Etcd {
    /// Asks for the newest revision, from a quorum. Version, size, leader and alarms are the member's word at the time of connection.
    pub async fn identity(&mut self) -> Result<Identity, EtcdError> {
        let answer = self.ask(&self.probe(0)).await?;
        let header = answer.header.unwrap_or_default();
        let status = self.session.as_ref().map(|session| session.status().clone()).unwrap_or_default();
        Ok(Identity {
            cluster_id: header.cluster_id,
            member_id: header.member_id,
            revision: u64::try_from(header.revision).unwrap_or_default(),
            raft_term: header.raft_term,
            version: status.version,
            db_size: u64::try_from(status.db_size).unwrap_or_default(),
            leader: status.leader,
            alarms: status.errors,
        })
    }

    /// The oldest revision that can still be read: where etcd was compacted to, or 1 when it never was. No older value of any key is
    /// left in this cluster's live data (backups and the disk's unused pages are another matter).
    ///
    /// etcd has no call for it, and `compact_rev_key`, which API servers write, knows their own compactions only. But a read at a compacted
    /// revision fails and one at any later revision does not, so it is found by halving, in at most 63 small reads. A compaction
    /// meanwhile moves the answer up, never down: what is returned was compacted away below.
    pub async fn oldest_revision(&mut self) -> Result<u64, EtcdError> {
        let newest = self.identity().await?.revision;
        // Readable from `high` on; compacted below `low`.
        let (mut low, mut high) = (1, newest.max(1));
        while low < high {
            let middle = low + (high - low) / 2;
            match self.ask(&self.probe(middle)).await {
                Ok(_) => high = middle,
                Err(error) if is_compacted(&error) => low = middle.saturating_add(1),
                Err(error) => return Err(error),
            }
        }
        Ok(low)
    }

    /// A read of no value: the first key of the prefix, so that a user who may read the prefix may ask it.
    fn probe(&self, revision: u64) -> pb::RangeRequest {
        let prefix = self.prefix().into_bytes();
        pb::RangeRequest {
            range_end: end_of(&prefix),
            key: prefix,
            limit: 1,
            revision: i64::try_from(revision).unwrap_or(i64::MAX),
            keys_only: true,
            count_only: false,
        }
    }
}

fn is_compacted(error: &EtcdError) -> bool {
    matches!(error.refusal(), Some(super::Refusal::Compacted))
}
