//! Proof from etcd: how many values of each resource are encrypted with which key, and what is not.
//!
//! Counting needs no key. [`tally`] counts, [`findings`] judges what was counted, [`report`] is what is printed, kept and believed later.

pub mod evidence;
pub mod findings;
pub mod report;
pub mod run;
pub mod stale;
pub mod tally;
pub mod writers;

use serde::{Deserialize, Serialize};

/// What the keys of counted values stand for: [`Located`](crate::etcd::key::Located) without the names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Objects of a resource that is part of Kubernetes.
    BuiltIn,
    /// Objects of a custom resource.
    Custom,
    /// The API server's own notes, which no REST API serves and nothing encrypts.
    NotServed,
    /// Not under the prefix of this API server.
    Outside,
}

impl Class {
    /// Whether an API server serves the objects, and so can encrypt and rewrite them.
    pub const fn is_served(self) -> bool {
        matches!(self, Self::BuiltIn | Self::Custom)
    }
}

/// What encrypted a value, if anything did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Nothing: `identity`, or no provider at all.
    Plaintext,
    /// `aescbc`
    Aescbc,
    /// `aesgcm`
    Aesgcm,
    /// `secretbox`
    Secretbox,
    /// `kms`, `apiVersion: v1`
    KmsV1,
    /// `kms`, `apiVersion: v2`
    KmsV2,
    /// A provider that we do not know.
    Unknown,
    /// A provider that we know, but damaged.
    Unreadable,
}

impl Kind {
    /// As in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Aescbc => "aescbc",
            Self::Aesgcm => "aesgcm",
            Self::Secretbox => "secretbox",
            Self::KmsV1 => "kms-v1",
            Self::KmsV2 => "kms-v2",
            Self::Unknown => "unknown",
            Self::Unreadable => "unreadable",
        }
    }
}

/// How many values are alike in everything that is counted apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Count {
    /// Whether an API server serves them.
    pub class: Class,
    /// Their resource, such as `secrets` or `deployments.apps`; for what is not served, a word for it.
    pub resource: String,
    /// What encrypted them.
    pub kind: Kind,
    /// The name of the provider or, for aescbc, aesgcm and secretbox, of the key in the EncryptionConfiguration; else empty.
    pub provider: String,
    /// The key, where the values name it: always for KMS v2, for KMS v1 if Keywright wrapped them. Else empty.
    pub key_id: String,
    /// For plaintext its form, for KMS v2 `seed` or `key`, else what is wrong. May be empty.
    pub detail: String,
    /// True for values that were overwritten or deleted since, and are not compacted yet.
    pub old: bool,
    /// How many.
    pub values: u64,
    /// The highest revision that wrote one of them.
    pub newest: u64,
    /// The etcd keys of the first of them, escaped; none for what the primary encrypts.
    pub first: Vec<String>,
}

/// How many different wrapped seeds, or keys, one key_id has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seeds {
    /// The key.
    pub key_id: String,
    /// How many were seen, in current values of KMS v2.
    pub distinct: u64,
}

/// What a count leaves out because there was too much of it. Whatever is left out is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// Some values stand in no count: there were too many kinds of them.
    Counts,
    /// Some counts name fewer first keys than they could.
    FirstKeys,
    /// There are more distinct seeds than were counted.
    Seeds,
}
