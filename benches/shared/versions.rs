//! Keyring files with any number of versions.
#![allow(dead_code, reason = "each benchmark takes what it needs")]

use std::path::Path;
use std::time::Duration;

use keywright::entropy::OsEntropy;
use keywright::keyring::create::{First, NewKey};
use keywright::keyring::document::Time;
use keywright::keyring::rotation;
use keywright::keyring::seal::Opener;
use keywright::keyring::store::{self, Changing};
use keywright::provider::pkcs11::Tokens;

/// Makes one with a single version, insecure.
pub(crate) fn create(path: &Path) {
    let first = First { openers: &[Opener::InsecureDevelopment], nodes: vec![], hold: Duration::ZERO, key: NewKey::Local, now: now() };
    store::create(path, first, &Tokens::none(), &OsEntropy).expect("makes");
}

/// Has that many versions in one that has a single one, all but the last of them retired.
pub(crate) fn grow(path: &Path, versions: usize) {
    if versions == 1 {
        return;
    }
    let openers = [Opener::InsecureDevelopment];
    let mut changing = Changing::begin(path, &openers[0], &Tokens::none()).expect("locks");
    for _ in 1..versions {
        let (document, keys) = (&mut changing.opened.document, &changing.opened.keys);
        rotation::begin(document, keys, now(), &OsEntropy).expect("begins");
        rotation::promote(document, None, now()).expect("promotes");
        // As many entries of history as real rotations leave.
        for what in ["begin", "promote"] {
            rotation::record(document, now(), what.parse().expect("a word")).expect("records");
        }
    }
    changing.commit(path, &openers, now(), "last".parse().expect("a word"), &OsEntropy).expect("commits");
}

fn now() -> Time {
    "2026-01-02T03:04:05Z".parse().expect("valid")
}
