//! Which exports still hold the material of a version: no command reaches into them.

use serde_json::{Value, json};

use crate::key_id::KeyId;
use crate::keyring::document::{Document, Time};
use crate::keyring::history::Digest;

/// One export, as the keyring recorded it.
pub(super) struct Holding {
    generation: u64,
    at: Time,
    /// Only of the last one: the others are known by their entry in the history alone.
    digest: Option<Digest>,
}

/// The exports that were made while the version had its material, oldest first.
pub(super) fn holding(document: &Document, key_id: KeyId) -> Vec<Holding> {
    let Some(version) = document.versions.iter().find(|v| v.key_id == key_id) else { return vec![] };
    // No digest, no export: the record of a version is kept when it is destroyed.
    let Some(last) = version.exported else { return vec![] };
    let history = &document.history;
    let what_of = |word: &str| history.iter().find(|entry| entry.what.as_str() == word).map(|entry| entry.generation);
    // The first version has no such entry.
    let begun = what_of(&format!("begin {key_id}")).unwrap_or(0);
    let destroyed = history.iter().find(|entry| is_destroy(entry.what.as_str(), key_id)).map_or(u64::MAX, |entry| entry.generation);
    let made = history.iter().filter(|entry| entry.what.as_str() == "export" && (begun..destroyed).contains(&entry.generation));
    let mut exports: Vec<Holding> = made.map(|entry| Holding { generation: entry.generation, at: entry.at, digest: None }).collect();
    if let Some(newest) = exports.last_mut() {
        newest.digest = Some(last);
    }
    exports
}

/// As `rotate destroy` is written into the history: the number of the version, then the reason.
fn is_destroy(what: &str, key_id: KeyId) -> bool {
    let mut words = what.split(' ');
    words.next() == Some("destroy") && words.next().is_some_and(|number| number == key_id.version.to_string())
}

/// A line for each.
pub(super) fn lines(exports: &[Holding]) -> Vec<String> {
    exports.iter().map(|export| format!("{} of {} (generation {})", name(export), export.at, export.generation)).collect()
}

fn name(export: &Holding) -> String {
    export.digest.map_or_else(|| "an earlier export".to_owned(), |digest| format!("export {digest}"))
}

/// The same as JSON.
pub(super) fn as_json(exports: &[Holding]) -> Value {
    let one = |export: &Holding| {
        json!({
            "generation": export.generation, "at": export.at.to_string(), "digest": export.digest.map(|digest| digest.to_string()),
        })
    };
    exports.iter().map(one).collect()
}
