//! The clock of one process moved by libfaketime: back, and nothing is lost or shortened; forward, and it is trusted.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::cases::stations;
use super::ground::{Files, Ground, Ran, binary, run};

/// Where Debian's package puts the library, by the package's own account.
fn library() -> PathBuf {
    let listed = run(Command::new("dpkg").args(["-L", "libfaketime"])).succeeds();
    let found = listed.out.lines().map(Path::new).find(|path| path.ends_with("faketime/libfaketime.so.1"));
    found.expect("the package libfaketime has its library").to_owned()
}

/// A command whose clock is off by `shift` (`-365d`, `+8d`).
fn at(ground: &Ground, shift: &str, words: &[&str]) -> Ran {
    let words = [words, &["--config", "DIR/config.toml"]].concat();
    run(Command::new(binary()).args(ground.arguments(&words)).env("LD_PRELOAD", library()).env("FAKETIME", shift))
}

/// A keyring with a hold of a week and version 1 retired and verified.
fn with_a_hold() -> (Ground, String) {
    let ground = Ground::new(&Files::default());
    let take = |words: &[&str]| ground.run(&[words, &["--config", "DIR/config.toml"]].concat()).succeeds();
    take(&["init", "--hold", "7days"]);
    let listed = ground.json(&["keyring", "list", "--config", "DIR/config.toml"]);
    let old = listed[0]["key_id"].as_str().expect("key_id").to_owned();
    take(&["rotate", "begin"]);
    take(&["rotate", "promote"]);
    take(&["rotate", "verify", &old, "--accept-risk", "test"]);
    (ground, old)
}

fn destroy(old: &str) -> [&str; 7] {
    ["rotate", "destroy", old, "--yes-destroy", old, "--accept-risk", "test"]
}

#[test]
fn with_the_clock_a_year_back_every_command_works_and_generations_count_on() {
    let old = stations().old.as_str();
    let ground = Ground::new(&stations().first);
    let mut generation = ground.shape("config.toml").generation;
    let steps: [&[&str]; 8] = [
        &["rotate", "begin"],
        &["rotate", "promote"],
        &["rotate", "verify", old, "--accept-risk", "test"],
        &["rotate", "disable", old, "--accept-risk", "test"],
        &["rotate", "enable", old],
        &["rotate", "verify", old, "--accept-risk", "test"],
        &["rotate", "disable", old, "--accept-risk", "test"],
        &["keyring", "reseal", "--to-key-file", "DIR/seal.key"],
    ];
    let year_before = at(&ground, "-365d", &["keyring", "verify"]).succeeds();
    assert!(year_before.out.contains("yes"), "{year_before:?}");
    let plugin = ground.serve("config.toml");
    for step in steps {
        let from = plugin.log().len();
        at(&ground, "-365d", step).succeeds();
        generation += 1;
        assert_eq!(ground.shape("config.toml").generation, generation, "{step:?}");
        // It is the generation that makes it newer, not a time.
        plugin.wait_line(from, super::ground::SOON, "keyring reloaded").unwrap_or_else(|e| panic!("{step:?}: {e}"));
    }
}

#[test]
fn a_clock_set_back_after_the_disable_does_not_shorten_the_hold() {
    let (ground, old) = with_a_hold();
    at(&ground, "+0", &["rotate", "disable", &old, "--accept-risk", "test"]).succeeds();
    let before = ground.files();
    for shift in ["-365d", "-1d", "+0", "+6d"] {
        at(&ground, shift, &destroy(&old)).fails(6, &["was disabled too short a time ago"]);
        assert_eq!(ground.files(), before, "{shift}");
    }
    let back = at(&ground, "-365d", &destroy(&old));
    assert!(back.err.contains("7days of the hold are left"), "not more than the hold, and not less: {back:?}");
}

#[test]
fn a_clock_set_forward_is_trusted_and_ends_the_hold() {
    let (ground, old) = with_a_hold();
    at(&ground, "+0", &["rotate", "disable", &old, "--accept-risk", "test"]).succeeds();
    // Nothing on the machine could tell it from a week that has passed; formats and threats say so.
    at(&ground, "+8d", &destroy(&old)).succeeds();
    assert_eq!(ground.shape("config.toml").states[0], (1, "destroyed".to_owned()));
}

#[test]
fn a_disable_under_a_clock_that_is_a_year_back_starts_the_hold_no_earlier_than_the_changes_before_it() {
    let (ground, old) = with_a_hold();
    at(&ground, "-365d", &["rotate", "disable", &old, "--accept-risk", "test"]).succeeds();
    // The clock is right again. The version was verified a moment ago, so it cannot have been disabled a week ago.
    at(&ground, "+0", &destroy(&old)).fails(6, &["was disabled too short a time ago"]);
    assert_eq!(ground.shape("config.toml").states[0], (1, "disabled".to_owned()));
}
