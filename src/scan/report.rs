//! What a scan found, kept: read by people as tables, by scripts as JSON, and by a later step as evidence.
//!
//! Sealed, a report is authenticated by the coordination key of the keyring that made it, as an acknowledgement is. Frozen format 1, see
//! `docs/formats.md` section 9: never change it, a field more included; add another format number.

mod text;
mod words;

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use thiserror::Error;

use super::findings::is_under;
use super::tally::Tally;
use super::{Count, Kind, Limit, Seeds};
use crate::key_id::{KeyId, KeyringId};
use crate::keyring::Keyring;
use crate::keyring::document::Time;
use crate::keyring::history::Digest;
use crate::secret::SecretKey;

const MAGIC: &str = "keywright-report ";
const FORMAT: u32 = 1;
const DOMAIN: &[u8] = b"keywright report 1";
/// Longest sealed report, in bytes. The limits of a [`Tally`] keep it well below.
pub const MAX_LEN: usize = 64 << 20;

/// Why a text is no report to believe.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReportError {
    /// Not of the form.
    #[error("it is no sealed report")]
    Form,
    /// Of another format number.
    #[error("it is a report of format {0}, which this release does not know")]
    Format(u32),
    /// Not made by a holder of the key, or changed.
    #[error("it is not authentic: changed since, or of another keyring")]
    NotAuthentic,
    /// Authentic, but not what this format has.
    #[error("it is authentic but not understood: {0}")]
    Content(String),
}

/// Where the values came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A running etcd.
    Live,
    /// A snapshot file.
    Snapshot,
}

/// The store that was read, and its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// Live, or a file.
    pub source: Source,
    /// etcd's cluster id; none if it is not known, as of a snapshot.
    #[serde(with = "words::cluster_id")]
    pub cluster_id: Option<u64>,
    /// `--etcd-prefix` of the API server, from `/` to `/`.
    pub prefix: String,
    /// The revision that was read, one for all values.
    pub revision: u64,
    /// Up to which revision etcd had forgotten what was overwritten; none if it is not known.
    #[serde(deserialize_with = "words::nullable")]
    pub compaction_revision: Option<u64>,
}

/// The keyring as it was when the scan began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Witness {
    /// Which keyring.
    #[serde(with = "words::as_text")]
    pub id: KeyringId,
    /// Its generation.
    pub generation: u64,
    /// The last digest of its history.
    #[serde(with = "words::as_text")]
    pub head: Digest,
    /// Its primary.
    #[serde(with = "words::as_text")]
    pub primary: KeyId,
}

impl Witness {
    /// What `keyring` is now.
    pub fn of(keyring: &Keyring) -> Self {
        Self { id: keyring.id(), generation: keyring.generation(), head: keyring.head(), primary: *keyring.primary() }
    }
}

/// Keys that could not be read, so that nothing is known of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unread {
    /// The first key, escaped.
    pub from: String,
    /// The key after the last one, escaped; empty for the end of the store.
    pub to: String,
    /// Why not.
    pub why: String,
}

/// Everything that a scan found. Times are for people; what came first is decided by revision and generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// What was read.
    pub store: Store,
    /// The keyring that makes this evidence; none if the scan had none.
    #[serde(deserialize_with = "words::nullable")]
    pub keyring: Option<Witness>,
    /// When reading began, by the clock of the machine.
    #[serde(with = "words::as_text")]
    pub started: Time,
    /// When it ended.
    #[serde(with = "words::as_text")]
    pub ended: Time,
    /// What could not be read.
    pub unread: Vec<Unread>,
    /// Number of current values.
    pub values: u64,
    /// Number of values that were overwritten or deleted since; none if they were not read.
    #[serde(deserialize_with = "words::nullable")]
    pub old_values: Option<u64>,
    /// Number of values that stand in no count.
    pub uncounted: u64,
    /// The highest revision that wrote one of the values; 0 if there are none.
    pub newest: u64,
    /// What was left out because there was too much of it.
    pub limits: Vec<Limit>,
    /// Every combination of resource and key, sorted, each once.
    pub counts: Vec<Count>,
    /// Distinct wrapped seeds by key, sorted.
    pub seeds: Vec<Seeds>,
}

impl Report {
    /// The report of what was counted. `old` says whether values of old revisions were read at all.
    pub fn new(tally: &Tally, store: Store, keyring: Option<Witness>, times: (Time, Time), old: bool, unread: Vec<Unread>) -> Self {
        Self {
            store,
            keyring,
            started: times.0,
            ended: times.1,
            unread,
            values: tally.values(),
            old_values: old.then(|| tally.old_values()),
            uncounted: tally.uncounted(),
            newest: tally.newest(),
            limits: tally.limits(),
            counts: tally.counts(),
            seeds: tally.seeds(),
        }
    }

    /// Number of values that name `key_id` as their key, anywhere in the store, old revisions included if they were read.
    ///
    /// A value that stands in no count may be another one: look at [`Report::is_whole`].
    pub fn references(&self, key_id: &str) -> u64 {
        self.sum(|count| is_under(count, key_id))
    }

    /// Number of encrypted values of which nobody can say whether they need a key of a KMS: of an unknown provider, damaged, or of KMS v1
    /// with a ciphertext that is no envelope of Keywright. Old revisions are included if they were read.
    pub fn of_unknown_key(&self) -> u64 {
        self.sum(|count| match count.kind {
            Kind::Unknown | Kind::Unreadable => true,
            Kind::KmsV1 => count.key_id.is_empty(),
            Kind::Plaintext | Kind::Aescbc | Kind::Aesgcm | Kind::Secretbox | Kind::KmsV2 => false,
        })
    }

    /// Number of current values of served resources under the primary: none means that it is the wrong etcd, or prefix.
    pub fn under_primary(&self) -> u64 {
        let Some(keyring) = &self.keyring else { return 0 };
        let primary = keyring.primary.to_string();
        self.sum(|count| !count.old && count.class.is_served() && is_under(count, &primary))
    }

    /// Whether every value was read and stands in a count.
    pub fn is_whole(&self) -> bool {
        self.unread.is_empty() && self.uncounted == 0
    }

    fn sum(&self, which: impl Fn(&Count) -> bool) -> u64 {
        self.counts.iter().filter(|count| which(count)).fold(0, |sum, count| sum.saturating_add(count.values))
    }

    /// One line of JSON, without line feeds.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("a report is made of texts, numbers, lists and fields with fixed names")
    }

    /// The report as evidence, under the coordination key: three lines.
    pub fn seal(&self, coordination: &SecretKey) -> String {
        let mut text = format!("{MAGIC}{FORMAT}\n{}\n", self.json());
        let tag = mac(coordination, &text).finalize().into_bytes();
        // Writing to a String does not fail.
        let _ = writeln!(text, "hmac-sha256 {}", base16ct::lower::encode_string(&tag));
        text
    }

    /// The report in `sealed`, if a holder of the coordination key made it. It is not parsed before that is known.
    pub fn open(sealed: &str, coordination: &SecretKey) -> Result<Self, ReportError> {
        if sealed.len() > MAX_LEN {
            return Err(ReportError::Form);
        }
        let (magic, rest) = sealed.split_once('\n').ok_or(ReportError::Form)?;
        let number = magic.strip_prefix(MAGIC).ok_or(ReportError::Form)?;
        let format: u32 = number.parse().map_err(|_| ReportError::Form)?;
        if format.to_string() != number {
            return Err(ReportError::Form);
        }
        if format != FORMAT {
            return Err(ReportError::Format(format));
        }
        let (json, tag) = rest.strip_suffix('\n').and_then(|rest| rest.split_once('\n')).ok_or(ReportError::Form)?;
        let covered = sealed.get(..magic.len() + json.len() + 2).ok_or(ReportError::Form)?;
        let mut bytes = [0; 32];
        let tag = tag.strip_prefix("hmac-sha256 ").filter(|tag| tag.len() == 64);
        let tag = tag.and_then(|tag| base16ct::lower::decode(tag, &mut bytes).ok()).ok_or(ReportError::Form)?;
        mac(coordination, covered).verify_slice(tag).map_err(|_| ReportError::NotAuthentic)?;
        let report: Self = serde_json::from_str(json).map_err(|error| ReportError::Content(error.to_string()))?;
        report.check()?;
        Ok(report)
    }

    /// That the numbers agree with each other: an authentic report that does not add up was made by a faulty program.
    fn check(&self) -> Result<(), ReportError> {
        let refuse = |why: &str| Err(ReportError::Content(why.into()));
        let sorted = self.counts.is_sorted_by(|a, b| identity(a) < identity(b));
        if !sorted || !self.seeds.is_sorted_by(|a, b| a.key_id < b.key_id) {
            return refuse("its counts are not sorted");
        }
        let all = self.values.checked_add(self.old_values.unwrap_or(0));
        let counted = self.counts.iter().try_fold(self.uncounted, |sum, count| sum.checked_add(count.values));
        if all.is_none() || all != counted {
            return refuse("its counts do not add up");
        }
        Ok(())
    }
}

/// What no two counts of a report have in common.
fn identity(count: &Count) -> impl Ord + '_ {
    (count.class, &count.resource, count.kind, &count.provider, &count.key_id, &count.detail, count.old)
}

fn mac(key: &SecretKey, covered: &str) -> Hmac<Sha256> {
    let mac = Hmac::<Sha256>::new_from_slice(key.expose_secret()).expect("HMAC takes a key of any length");
    mac.chain_update(DOMAIN).chain_update(covered.as_bytes())
}

#[cfg(test)]
mod tests;
