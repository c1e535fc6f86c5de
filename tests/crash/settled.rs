//! What a plugin serves is durable before it is named: whoever wrote the file, and whether they lived to sync it.

use std::path::PathBuf;

use keywright_testbed::process::ending;

use super::cases::{self, stations};
use super::ground::{Ground, SOON};
use super::serving::{ready, serve_watched, stop};
use super::trace::{Call, calls, traced};

/// The keyring file, its folder, and the next record of what was seen.
fn watched(ground: &Ground) -> [PathBuf; 3] {
    let keyring = ground.path("keyring");
    let folder = keyring.parent().expect("a folder").to_owned();
    [keyring, folder, ground.path("state/.seen.new")]
}

/// Where among `calls` the plugin syncs the file, syncs the folder, and begins to remember that it has seen the keyring.
fn places(ground: &Ground, calls: &[Call]) -> [Option<usize>; 3] {
    let synced = |path: &PathBuf| {
        let handle = format!("<{}>", path.display());
        calls.iter().position(|call| call.name == "fsync" && call.line.contains(&handle) && call.result().is_some())
    };
    let [file, folder, _] = watched(ground);
    [synced(&file), synced(&folder), calls.iter().position(|call| call.line.contains("/state/.seen.new>"))]
}

#[test]
fn a_keyring_that_was_not_seen_before_is_synced_before_it_is_remembered_and_served_and_a_known_one_is_not() {
    let ground = Ground::new(&stations().staged);
    let process = serve_watched(&ground, &watched(&ground), &[]);
    ready(&process);
    stop(&ground, process);
    let first = calls(&ground);
    let [file, folder, remembers] = places(&ground, &first);
    assert!(file.is_some() && file < folder && folder < remembers, "{first:?}");

    // At a usual restart nothing is paid for it.
    let process = serve_watched(&ground, &watched(&ground), &[]);
    ready(&process);
    stop(&ground, process);
    assert_eq!(places(&ground, &calls(&ground)), [None; 3]);
}

#[test]
fn a_keyring_that_cannot_be_synced_is_not_served_and_not_remembered() {
    for which in [0, 1] {
        let ground = Ground::new(&stations().staged);
        let path = &watched(&ground)[which];
        let mut process = serve_watched(&ground, std::slice::from_ref(path), &["-e", "inject=fsync:error=EIO"]);
        assert_eq!(ending(process.wait(SOON).expect("ends")), "exit 5", "{path:?}");
        let said = process.err().lines().join("\n");
        assert!(said.contains("the keyring file may not outlive a power cut: sync ") && said.contains("  next: "), "{said}");
        assert!(!said.contains(" INFO ready "), "{said}");
        assert_eq!(ground.files(), stations().staged, "{path:?}");
    }
}

#[test]
fn a_restored_keyring_is_accepted_only_once_it_is_synced() {
    let case = cases::all().into_iter().find(|case| case.name == "keyring accept-restore").expect("it is there");
    let ground = Ground::new(&case.before);
    let (ran, calls) = traced(&ground, &case.words, &[]);
    ran.succeeds();
    let [file, folder, remembers] = places(&ground, &calls);
    assert!(file.is_some() && file < folder && folder < remembers, "{calls:?}");

    let ground = Ground::new(&case.before);
    let [keyring, ..] = watched(&ground);
    let faulty = ["-P", keyring.to_str().expect("text"), "-e", "inject=fsync:error=EIO"];
    traced(&ground, &case.words, &faulty).0.fails(5, &["cannot accept the keyring: sync "]);
    assert_eq!(ground.files(), case.before);
}
