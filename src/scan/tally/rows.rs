//! The table of counts: a row for each combination, within limits.

use std::collections::{BTreeSet, HashMap};

use super::strings::{Strings, Text};
use crate::etcd::Entry;
use crate::etcd::key::Resource;
use crate::scan::{Class, Count, Kind, Limit};

/// Most bytes of all rows together, by [`ROW`] and their texts: some 20,000 rows.
pub(super) const MAX_ROWS: usize = 8 << 20;
/// What a row takes besides its texts, roughly: its place in the table, and its field names in a report.
const ROW: usize = 256;
/// Longest text that a row has, in bytes: the limit of a key_id.
const MAX_TEXT: usize = 1024;
/// Most bytes of all first keys together.
pub(super) const MAX_FIRST: usize = 1 << 20;
/// Most bytes shown of one etcd key.
const MAX_KEY: usize = 512;

/// What a value says about itself, in texts that live elsewhere.
#[derive(Clone, Copy)]
pub(super) struct Says<'a> {
    pub(super) kind: Kind,
    pub(super) provider: &'a str,
    pub(super) key_id: &'a str,
    pub(super) detail: &'a str,
}

/// What is counted apart.
#[derive(Clone, Copy)]
pub(super) struct What<'a> {
    pub(super) class: Class,
    pub(super) resource: Resource<'a>,
    pub(super) says: Says<'a>,
    pub(super) old: bool,
}

/// The same, small.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct RowKey {
    class: Class,
    kind: Kind,
    old: bool,
    plural: Text,
    /// `None` if it is unknown.
    group: Option<Text>,
    provider: Text,
    key_id: Text,
    detail: Text,
}

#[derive(Default)]
struct Row {
    values: u64,
    newest: u64,
    first: Vec<String>,
}

/// Every row.
#[derive(Default)]
pub(super) struct Rows {
    strings: Strings,
    rows: HashMap<RowKey, Row>,
    bytes: usize,
    first_bytes: usize,
}

impl Rows {
    /// Counts one value, and keeps its key if there are fewer than `first`. The text of its key_id; `None` if there is no room for its row.
    pub(super) fn count(&mut self, what: What<'_>, entry: &Entry<'_>, first: usize, limits: &mut BTreeSet<Limit>) -> Option<Text> {
        let key = self.key(what)?;
        let row = self.rows.entry(key).or_default();
        row.values = row.values.saturating_add(1);
        row.newest = row.newest.max(entry.mod_revision);
        if row.first.len() < first {
            let shown = shown(entry.key);
            let bytes = self.first_bytes.saturating_add(shown.len());
            if bytes <= MAX_FIRST {
                self.first_bytes = bytes;
                row.first.push(shown);
            } else {
                limits.insert(Limit::FirstKeys);
            }
        }
        Some(key.key_id)
    }

    /// The key of a row that exists or for which there is room.
    fn key(&mut self, What { class, resource, says, old }: What<'_>) -> Option<RowKey> {
        let texts = [resource.plural, resource.group.unwrap_or_default(), says.provider, says.key_id, says.detail];
        if texts.iter().any(|text| text.len() > MAX_TEXT) {
            return None;
        }
        let bytes = texts.iter().map(|text| text.len()).sum::<usize>().saturating_add(self.bytes).saturating_add(ROW);
        let has_room = bytes <= MAX_ROWS;
        let [plural, group, provider, key_id, detail] = texts.map(|text| self.strings.find_or_add(text, has_room));
        let group = if resource.group.is_some() { Some(group?) } else { None };
        let (plural, provider, key_id, detail) = (plural?, provider?, key_id?, detail?);
        let key = RowKey { class, kind: says.kind, old, plural, group, provider, key_id, detail };
        if !self.rows.contains_key(&key) {
            if !has_room {
                return None;
            }
            self.bytes = bytes;
        }
        Some(key)
    }

    /// The text that stands in rows.
    pub(super) fn text(&self, text: Text) -> &str {
        self.strings.text(text)
    }

    /// The counts, sorted.
    pub(super) fn counts(&self) -> Vec<Count> {
        let mut counts: Vec<_> = self.rows.iter().map(|(key, row)| self.shown(key, row)).collect();
        counts.sort();
        counts
    }

    fn shown(&self, key: &RowKey, row: &Row) -> Count {
        let text = |text| self.strings.text(text).to_owned();
        let group = key.group.map(|group| self.strings.text(group));
        Count {
            class: key.class,
            resource: Resource { plural: self.strings.text(key.plural), group }.to_string(),
            kind: key.kind,
            provider: text(key.provider),
            key_id: text(key.key_id),
            detail: text(key.detail),
            old: key.old,
            values: row.values,
            newest: row.newest,
            first: row.first.clone(),
        }
    }
}

/// An etcd key on one line of printable ASCII, cut if it is very long.
fn shown(key: &[u8]) -> String {
    let (head, rest) = key.split_at(key.len().min(MAX_KEY));
    let mut text = head.escape_ascii().to_string();
    if !rest.is_empty() {
        text.push_str("...");
    }
    text
}
