//! Counts entries, one by one, in memory that does not grow with their number.
//!
//! Kept are only things that differ: one row for each combination of resource, provider and key, its first etcd keys, and 64 bits for each
//! wrapped seed. Each has a limit of its own. What goes beyond is counted as such and said in [`Tally::limits`].

mod rows;
mod strings;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use self::rows::{Rows, Says, What};
use self::strings::Text;
use super::{Class, Count, Kind, Limit, Seeds};
use crate::etcd::Entry;
use crate::etcd::key::{self, Located, ObjectKey, Prefix, Resource};
use crate::etcd::object::SourceType;
use crate::etcd::value::{self, Damage, Form, KmsV1Body, Local, Named, Stored};
use crate::key_id::KeyId;

/// Most distinct seeds, of all keys together: 16 bytes each in a table that may be half empty.
const MAX_SEEDS: usize = 200_000;
/// How many keys each count names, unless told otherwise.
pub const FIRST: usize = 10;

/// Names of keys and providers in the EncryptionConfiguration, in its order; without it, all empty and names are guessed.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Of the keys of `aescbc`.
    pub aescbc: Vec<String>,
    /// Of the keys of `aesgcm`.
    pub aesgcm: Vec<String>,
    /// Of the keys of `secretbox`.
    pub secretbox: Vec<String>,
    /// Of the providers of KMS v1.
    pub kms_v1: Vec<String>,
}

/// What to count by.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `--etcd-prefix` of the API server.
    pub prefix: Prefix,
    /// What is configured.
    pub names: Names,
    /// The key_id of the primary: what it encrypts is as it should be, and no first keys of it are kept.
    pub primary: Option<String>,
    /// How many first keys each count names.
    pub first: usize,
}

/// Counts so far.
pub struct Tally {
    settings: Settings,
    rows: Rows,
    seeds: HashSet<(Text, u64)>,
    limits: BTreeSet<Limit>,
    uncounted: u64,
    values: u64,
    old_values: u64,
    newest: u64,
    /// Where the key_id of an envelope is written as text.
    scratch: String,
}

impl Tally {
    /// Nothing counted yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            rows: Rows::default(),
            seeds: HashSet::new(),
            limits: BTreeSet::new(),
            uncounted: 0,
            values: 0,
            old_values: 0,
            newest: 0,
            scratch: String::new(),
        }
    }

    /// Counts a current value.
    pub fn add(&mut self, entry: &Entry<'_>) {
        self.values = self.values.saturating_add(1);
        self.count(entry, false);
    }

    /// Counts a value that was overwritten or deleted since: who watches from an old revision may still be sent it, and needs its key.
    pub fn add_old(&mut self, entry: &Entry<'_>) {
        self.old_values = self.old_values.saturating_add(1);
        self.count(entry, true);
    }

    fn count(&mut self, entry: &Entry<'_>, old: bool) {
        self.newest = self.newest.max(entry.mod_revision);
        let stored = value::read(entry.value);
        self.scratch.clear();
        let says = says(&stored, &self.settings.names, &mut self.scratch);
        let (class, resource) = place(entry.key, &self.settings.prefix);
        let is_primary = !old && self.settings.primary.as_deref() == Some(says.key_id);
        let first = if is_primary { 0 } else { self.settings.first };
        let counted = self.rows.count(What { class, resource, says, old }, entry, first, &mut self.limits);
        match (counted, &stored) {
            (Some(key_id), Stored::KmsV2 { object, .. }) if !old => self.count_seed(key_id, object.source),
            (Some(_), _) => {}
            (None, _) => {
                self.uncounted = self.uncounted.saturating_add(1);
                self.limits.insert(Limit::Counts);
            }
        }
    }

    /// By 64 bits of SHA-256. Two of 200,000 seeds are taken for one with a probability of one in a billion; who forges such a pair
    /// makes the number smaller by one, and nothing is decided by it.
    fn count_seed(&mut self, key_id: Text, source: &[u8]) {
        let digest = Sha256::digest(source);
        let seed = digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        if self.seeds.len() < MAX_SEEDS {
            self.seeds.insert((key_id, seed));
        } else if !self.seeds.contains(&(key_id, seed)) {
            self.limits.insert(Limit::Seeds);
        }
    }

    /// Number of current values, counted or not.
    pub fn values(&self) -> u64 {
        self.values
    }

    /// Number of values of old revisions, counted or not.
    pub fn old_values(&self) -> u64 {
        self.old_values
    }

    /// Number of values that stand in no count.
    pub fn uncounted(&self) -> u64 {
        self.uncounted
    }

    /// The highest revision that wrote any of them; 0 if there are none.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// What was left out.
    pub fn limits(&self) -> Vec<Limit> {
        self.limits.iter().copied().collect()
    }

    /// The counts, sorted.
    pub fn counts(&self) -> Vec<Count> {
        self.rows.counts()
    }

    /// Distinct seeds by key, sorted.
    pub fn seeds(&self) -> Vec<Seeds> {
        let mut by_key = BTreeMap::<&str, u64>::new();
        for (key_id, _) in &self.seeds {
            *by_key.entry(self.rows.text(*key_id)).or_default() += 1;
        }
        by_key.into_iter().map(|(key_id, distinct)| Seeds { key_id: key_id.to_owned(), distinct }).collect()
    }
}

/// Class and resource of a key. What is no object gets a word in the place of the resource.
fn place<'a>(key: &'a [u8], prefix: &Prefix) -> (Class, Resource<'a>) {
    let word = |plural| Resource { plural, group: Some("") };
    match key::locate(key, prefix) {
        Located::BuiltIn(ObjectKey { resource, .. }) => (Class::BuiltIn, resource),
        Located::Custom(ObjectKey { resource, .. }) => (Class::Custom, resource),
        Located::NotServed(what) => (Class::NotServed, word(what.name())),
        Located::Outside => (Class::Outside, word("outside the prefix")),
    }
}

/// What `stored` says about itself. The key_id of an envelope of KMS v1 is written to `scratch`.
fn says<'a>(stored: &Stored<'a>, names: &'a Names, scratch: &'a mut String) -> Says<'a> {
    let nothing = Says { kind: Kind::Plaintext, provider: "", key_id: "", detail: "" };
    match stored {
        Stored::Plain(form) => Says { detail: form_name(*form), ..nothing },
        Stored::Local(local, named) => {
            let (kind, names) = match local {
                Local::AesCbc => (Kind::Aescbc, &names.aescbc),
                Local::AesGcm => (Kind::Aesgcm, &names.aesgcm),
                Local::Secretbox => (Kind::Secretbox, &names.secretbox),
            };
            Says { kind, provider: name_and_body(named, names).0, ..nothing }
        }
        Stored::KmsV1(named) => {
            let (provider, key_id) = v1_name_and_key(named, &names.kms_v1);
            if let Some(key_id) = key_id {
                // Writing to a String does not fail.
                let _ = write!(scratch, "{key_id}");
            }
            Says { kind: Kind::KmsV1, provider, key_id: scratch, ..nothing }
        }
        Stored::KmsV2 { provider, object } => {
            let detail = match object.source_type {
                SourceType::AesGcmKey => "key",
                SourceType::Seed => "seed",
            };
            Says { kind: Kind::KmsV2, provider, key_id: object.key_id, detail }
        }
        Stored::Unknown(label) => Says { kind: Kind::Unknown, detail: label, ..nothing },
        Stored::Unreadable(damage) => Says { kind: Kind::Unreadable, detail: damage_name(*damage), ..nothing },
    }
}

/// As the API server would try first, or a guess where nothing configured fits.
fn name_and_body<'a>(named: &Named<'a>, names: &'a [String]) -> (&'a str, &'a [u8]) {
    named.among(names.iter().map(String::as_str)).next().unwrap_or_else(|| named.guess())
}

/// The same, but a name behind which an envelope of ours stands comes first: where one of several fits by chance, no key of ours is missed.
fn v1_name_and_key<'a>(named: &Named<'a>, names: &'a [String]) -> (&'a str, Option<KeyId>) {
    let fitting = || named.among(names.iter().map(String::as_str)).chain([named.guess()]);
    let key_of = |body| KmsV1Body::parse(body).and_then(|body| body.key_id());
    let ours = fitting().find_map(|(name, body)| Some((name, Some(key_of(body)?))));
    ours.unwrap_or_else(|| (name_and_body(named, names).0, None))
}

const fn form_name(form: Form) -> &'static str {
    match form {
        Form::Protobuf => "protobuf",
        Form::Json => "json",
        Form::Cbor => "cbor",
        Form::Other => "other",
    }
}

const fn damage_name(damage: Damage) -> &'static str {
    match damage {
        Damage::NoName => "no name",
        Damage::Length => "impossible length",
        Damage::Object(_) => "damaged message",
    }
}

#[cfg(test)]
mod tests;
