//! A drill: does what is at hand open what a backup holds? A sample of every key is opened, and a dated report says what was seen.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use comfy_table::{Table, presets};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Opener;
use super::cipher::looks_like_an_object;
use super::label::{Kind, Label, label, printable};
use crate::keyring::document::Time;

/// Keys that are told apart; a snapshot with more is hostile, or from a cluster of another kind.
pub const MAX_KEYS: usize = 1_000;
/// Values of one key that are opened at most, and so held at a time.
pub const MAX_SAMPLE: usize = 1_000;
/// Failures that are named for each key; all are counted.
const NAMED: usize = 10;

/// What to open.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Values of each key, from 1 to [`MAX_SAMPLE`]: kept within.
    pub sample: usize,
    /// Decides which ones: every object is as likely as any other, and the same seed takes the same again.
    pub seed: u64,
    /// When.
    pub date: Time,
}

/// What was seen. A stable JSON form: fields are added, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Version of this form: 1.
    pub drill: u32,
    /// When, RFC 3339, UTC.
    pub date: String,
    /// Values of each key that were to be opened.
    pub sample: usize,
    /// What decided which ones.
    pub seed: u64,
    /// One line for each provider and key, sorted.
    pub keys: Vec<KeyReport>,
    /// Values that do not say who wrote them.
    pub unreadable: u64,
    /// The first of them, with the reason.
    pub unreadable_named: Vec<Failure>,
    /// Encrypted values of keys beyond [`MAX_KEYS`], of which none was opened.
    pub not_sampled: u64,
}

/// What was seen of one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyReport {
    /// The provider's kind, such as `kms v2`.
    pub kind: String,
    /// The provider's or the key's name; empty for plaintext.
    pub name: String,
    /// Its key_id, where values tell.
    pub key_id: Option<String>,
    /// Values under it.
    pub values: u64,
    /// How many were taken to be opened.
    pub sampled: u64,
    /// How many of these opened to an object.
    pub opened: u64,
    /// The first of those that did not.
    pub failures: Vec<Failure>,
}

/// A value that was not restorable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Its key in etcd.
    pub key: String,
    /// Why.
    pub reason: String,
}

/// One key's values while they are counted: those whose rank is lowest are kept.
#[derive(Default)]
struct Group {
    values: u64,
    kept: BTreeMap<[u8; 32], (Vec<u8>, Vec<u8>)>,
}

/// A drill under way: it is shown every entry, then opens its sample.
///
/// Holds `sample` stored values for each key; plaintext is counted, never held.
pub struct Drill<'a> {
    opener: &'a Opener,
    plan: Plan,
    sample: usize,
    groups: BTreeMap<Label, Group>,
    unreadable: u64,
    unreadable_named: Vec<Failure>,
    not_sampled: u64,
}

impl<'a> Drill<'a> {
    /// Will open what it takes with `opener`.
    pub fn new(opener: &'a Opener, plan: Plan) -> Self {
        let sample = plan.sample.clamp(1, MAX_SAMPLE);
        Self { opener, plan, sample, groups: BTreeMap::new(), unreadable: 0, unreadable_named: Vec::new(), not_sampled: 0 }
    }

    /// One entry: its etcd key and what is stored there.
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        let label = match label(value, self.opener.configuration()) {
            Ok(label) => label,
            Err(error) => {
                self.unreadable += 1;
                return name(&mut self.unreadable_named, key, error.to_string());
            }
        };
        let known = self.groups.len();
        let group = match self.groups.entry(label) {
            Entry::Occupied(group) => group.into_mut(),
            Entry::Vacant(_) if known >= MAX_KEYS => {
                self.not_sampled += 1;
                return;
            }
            Entry::Vacant(place) => place.insert(Group::default()),
        };
        group.values += 1;
        if value.starts_with(b"k8s:enc:") {
            group.keep(rank(self.plan.seed, key), self.sample, key, value);
        }
    }

    /// Opens the sample.
    pub fn finish(self) -> Report {
        let Self { opener, plan, sample, groups, unreadable, unreadable_named, not_sampled } = self;
        let keys = groups.into_iter().map(|(label, group)| open(opener, label, group)).collect();
        Report { drill: 1, date: plan.date.to_string(), sample, seed: plan.seed, keys, unreadable, unreadable_named, not_sampled }
    }
}

/// Opens a sample of `entries`, pairs of etcd key and stored value, with `opener`.
pub fn drill<K: AsRef<[u8]>, V: AsRef<[u8]>>(opener: &Opener, entries: impl IntoIterator<Item = (K, V)>, plan: Plan) -> Report {
    let mut drill = Drill::new(opener, plan);
    for (key, value) in entries {
        drill.add(key.as_ref(), value.as_ref());
    }
    drill.finish()
}

impl Group {
    fn keep(&mut self, rank: [u8; 32], sample: usize, key: &[u8], value: &[u8]) {
        let full = self.kept.len() >= sample;
        if full && self.kept.last_key_value().is_some_and(|(last, _)| *last <= rank) {
            return;
        }
        self.kept.insert(rank, (key.to_vec(), value.to_vec()));
        if self.kept.len() > sample {
            self.kept.pop_last();
        }
    }
}

/// Where a key stands in the order in which values are taken: random to who does not choose the seed.
fn rank(seed: u64, key: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(b"keywright drill 1").chain_update(seed.to_be_bytes()).chain_update(key).finalize().into()
}

fn open(opener: &Opener, label: Label, group: Group) -> KeyReport {
    let (mut opened, mut failures) = (0, Vec::new());
    let sampled = group.kept.len() as u64;
    for (key, value) in group.kept.into_values() {
        match opener.open(&key, &value) {
            Ok(object) if looks_like_an_object(object.plaintext.expose_secret()) => opened += 1,
            Ok(_) => name(&mut failures, &key, "it opens, but what was encrypted is no Kubernetes object".into()),
            Err(error) => name(&mut failures, &key, error.to_string()),
        }
    }
    let Label { kind, name, key_id } = label;
    KeyReport { kind: kind.name().to_owned(), name, key_id, values: group.values, sampled, opened, failures }
}

fn name(failures: &mut Vec<Failure>, key: &[u8], reason: String) {
    if failures.len() < NAMED {
        failures.push(Failure { key: printable(key), reason });
    }
}

impl Report {
    /// Whether everything that was tried opened, nothing was left out, and there was something to try.
    pub fn is_restorable(&self) -> bool {
        let tried = self.keys.iter().any(|key| key.sampled > 0);
        tried && self.unreadable == 0 && self.not_sampled == 0 && self.keys.iter().all(|key| key.opened == key.sampled)
    }

    /// For people: a line for each key, then what failed.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["PROVIDER", "NAME", "KEY_ID", "VALUES", "SAMPLED", "OPENED"]);
        for key in &self.keys {
            let opened = if key.kind == Kind::Identity.name() { "(plaintext)".to_owned() } else { key.opened.to_string() };
            let key_id = key.key_id.clone().unwrap_or_default();
            table.add_row([key.kind.clone(), key.name.clone(), key_id, key.values.to_string(), key.sampled.to_string(), opened]);
        }
        let mut text = format!("drill of {}, {} values of each key, seed {}\n\n{}\n", self.date, self.sample, self.seed, table.trim_fmt());
        for failure in self.keys.iter().flat_map(|key| &key.failures).chain(&self.unreadable_named) {
            text.push_str(&format!("not restorable: {}: {}\n", failure.key, failure.reason));
        }
        for (count, what) in
            [(self.unreadable, "do not say who wrote them"), (self.not_sampled, "are of keys beyond those that are told apart")]
        {
            if count > 0 {
                text.push_str(&format!("{count} values {what}\n"));
            }
        }
        text.push_str(if self.is_restorable() { "every sampled value opened\n" } else { "NOT RESTORABLE as it stands\n" });
        text
    }
}
