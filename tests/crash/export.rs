//! An export to a file: whole under its name, and known to the keyring, or not there at all. And commands about exports at the same time.

use std::path::PathBuf;
use std::process::Command;

use keywright_testbed::process::Process;
use keywright_testbed::wait;
use serde_json::Value;

use super::cases::stations;
use super::ground::{Files, Ground, RECIPIENT, Ran, SOON, binary};
use super::trace::{Call, fault, strace, traced};

const EXPORT: [&str; 8] = ["keyring", "export", "--config", "DIR/config.toml", "--to", RECIPIENT, "--output-file", "DIR/out.age"];
const NEW: &str = ".out.age.new";

fn ground() -> Ground {
    Ground::new(&stations().promoted)
}

/// What may be there after anything: no export, or a whole one that the keyring records. Whether there is one.
fn sound(ground: &Ground, place: &str) -> bool {
    let listed = ground.json(&["keyring", "list", "--config", "DIR/config.toml"]);
    let recorded = listed[0]["exported"].as_str().map(str::to_owned);
    if !ground.path("out.age").exists() {
        return false;
    }
    let digest = recorded.unwrap_or_else(|| panic!("{place}: an export that no keyring records"));
    ground.run(&["keyring", "verify", "--export", "DIR/out.age", "--identity", "DIR/identity", "--digest", &digest]).succeeds();
    true
}

/// The calls that matter: on the export, on the keyring, and what is printed.
fn points(calls: Vec<Call>, ground: &Ground) -> Vec<Call> {
    let folder = ground.path("").display().to_string();
    calls.into_iter().filter(|call| call.line.contains(folder.trim_end_matches('/')) || call.name == "write").collect()
}

#[test]
fn an_export_to_a_file_killed_at_any_point_is_whole_or_not_there_and_can_be_made_again() {
    let first = ground();
    let (ran, calls) = traced(&first, &EXPORT, &[]);
    ran.succeeds();
    let points = points(calls, &first);
    let (mut without, mut with) = (0, 0);
    for point in &points {
        let ground = ground();
        let place = format!("killed at {}", point.line);
        let (ran, _) = traced(&ground, &EXPORT, &["-e", &fault(point, "signal=SIGKILL")]);
        assert_eq!(ran.ending(), "signal 9", "{place}: {ran:?}");
        assert_eq!(ran.out, "", "{place}: it was not done yet");
        if sound(&ground, &place) {
            with += 1;
            let before = ground.files();
            ground.run(&EXPORT).fails(6, &["write the export to"]);
            assert_eq!(ground.files(), before, "{place}");
        } else {
            assert_eq!(with, 0, "{place}: an export that was there is gone");
            without += 1;
            ground.run(&EXPORT).succeeds();
        }
        assert!(sound(&ground, &place), "{place}, run again");
        assert!(!ground.path(NEW).exists(), "{place}, run again: a half-written file stays");
        drop(ground.serve("config.toml"));
    }
    assert!(without > 10 && with > 0, "{without} without an export, {with} with one");
    eprintln!("export to a file killed at {} points: {without} left none, {with} a whole one", points.len());
}

/// The keyring records an export before the file has its name: `rotate run` must not take that record for a backup.
#[test]
fn a_rotation_killed_before_its_backup_has_a_name_makes_the_backup_before_it_promotes() {
    let ground = Ground::new(&stations().staged);
    let run = |until: &str| -> Vec<String> {
        let words = "rotate run --config DIR/config.toml --endpoints http://127.0.0.1:1 --export-file DIR/out.age --yes --to";
        words.split(' ').chain([RECIPIENT, "--until", until]).map(str::to_owned).collect()
    };
    let export = run("export");
    let export: Vec<&str> = export.iter().map(String::as_str).collect();
    let (ran, calls) = traced(&Ground::new(&stations().staged), &export, &[]);
    ran.succeeds();
    let naming = calls.iter().find(|call| call.name == "renameat2" && call.line.contains(NEW)).expect("it gets its name");
    let (ran, _) = traced(&ground, &export, &["-e", &fault(naming, "signal=SIGKILL")]);
    assert_eq!(ran.ending(), "signal 9", "{ran:?}");
    let listed = ground.json(&["keyring", "list", "--config", "DIR/config.toml"]);
    assert!(listed.to_string().contains("\"exported\":\""), "the keyring records it: {listed}");
    assert!(!ground.path("out.age").exists());

    let promote = run("promote");
    let promote: Vec<&str> = promote.iter().map(String::as_str).collect();
    ground.run(&promote).succeeds();
    assert!(sound(&ground, "after promote"), "promoted without a backup");
}

#[test]
fn an_export_is_synced_before_the_keyring_records_it_and_named_before_success_is_told() {
    let ground = ground();
    let (ran, calls) = traced(&ground, &EXPORT, &[]);
    ran.succeeds();
    let mut at = 0;
    let mut next = |what: &str, name: &str, texts: &[&str]| {
        let found =
            calls[at..].iter().position(|c| c.name == name && c.result().is_some() && texts.iter().all(|text| c.line.contains(text)));
        at += 1 + found.unwrap_or_else(|| panic!("{what} is missing or out of order: {calls:#?}"));
        calls[at - 1].line.clone()
    };
    next("the lock of the keyring", "flock", &[".keyring.lock", "LOCK_EX"]);
    next("the new file", "openat", &[NEW, "O_CREAT", "O_NOFOLLOW"]);
    next("its lock", "flock", &[NEW, "LOCK_EX"]);
    next("its mode", "fchmod", &[NEW, "0600"]);
    next("its bytes", "write", &[NEW]);
    next("its sync", "fsync", &[NEW]);
    next("the keyring", "renameat2", &["\".keyring.new\"", "\"keyring\""]);
    let synced = next("the sync of the keyring's folder", "fsync", &[]);
    assert!(!synced.contains(".new>"), "{synced}");
    next("its name", "renameat2", &["\".out.age.new\"", "\"out.age\"", "RENAME_NOREPLACE"]);
    let synced = next("the sync of its folder", "fsync", &[]);
    assert!(!synced.contains(".age"), "{synced}");
    next("the answer", "write", &["write(1<"]);
}

#[test]
fn an_error_at_any_step_of_the_file_is_told_and_leaves_no_export_that_is_not_whole() {
    let faults = [
        ("openat", "ENOSPC", "No space left on device"),
        ("openat", "EROFS", "Read-only file system"),
        ("flock", "EIO", "Input/output error"),
        ("fchmod", "EIO", "Input/output error"),
        ("ftruncate", "EIO", "Input/output error"),
        ("write", "ENOSPC", "No space left on device"),
        ("write", "EIO", "Input/output error"),
        ("fsync", "EIO", "Input/output error"),
        ("renameat2", "EROFS", "Read-only file system"),
        ("renameat2", "EEXIST", "File exists"),
    ];
    let first = ground();
    let (ran, calls) = traced(&first, &EXPORT, &[]);
    ran.succeeds();
    for (name, error, text) in faults {
        let call = calls.iter().find(|call| call.name == name && call.line.contains(NEW)).unwrap_or_else(|| panic!("no {name}"));
        let ground = ground();
        let before = ground.files();
        let (ran, _) = traced(&ground, &EXPORT, &["-e", &fault(call, &format!("error={error}"))]);
        let place = format!("{error} at {}", call.line);
        ran.fails(if error == "EEXIST" { 6 } else { 5 }, &["write the export to", text]);
        // The keyring goes on only after the export is on the disk; then it may record one that nobody has.
        assert_eq!(ground.files() == before, name != "renameat2", "{place}");
        assert!(!sound(&ground, &place), "{place}");
        assert!(name == "flock" || !ground.path(NEW).exists(), "{place}: the new file stays");
        ground.run(&EXPORT).succeeds();
        assert!(sound(&ground, &place), "{place}, run again");
    }
    let last = calls.iter().rfind(|call| call.name == "fsync").expect("a sync");
    let ground = ground();
    let (ran, _) = traced(&ground, &EXPORT, &["-e", &fault(last, "error=EIO")]);
    ran.fails(5, &["sync the folder of", "its folder did not sync", "The export "]);
    assert!(sound(&ground, "the last sync"));
}

#[test]
fn two_exports_to_one_file_at_once_never_write_into_each_other() {
    let tried = ground();
    let (ran, calls) = traced(&tried, &EXPORT, &[]);
    ran.succeeds();
    let naming = calls.iter().find(|call| call.name == "renameat2" && call.line.contains(NEW)).expect("it gets its name");
    let ground = ground();
    let slow = ["-e", &fault(naming, "delay_enter=3s")];
    let first = Process::spawn("keywright", &mut strace(&ground, &ground.arguments(&EXPORT), &slow)).expect("starts");
    // When the keyring records the export, its lock is free, and only the name is missing.
    let recorded = || {
        let listed = ground.json(&["keyring", "list", "--config", "DIR/config.toml"]);
        if listed[0]["exported"].is_string() { Ok(()) } else { Err("not recorded yet".to_owned()) }
    };
    wait::until("the first export to be recorded", SOON, recorded).unwrap_or_else(|e| panic!("{e}"));
    assert!(!ground.path("out.age").exists(), "the first one has ended too early for this test");
    let written = std::fs::read(ground.path(NEW)).expect("read");
    ground.run(&EXPORT).fails(6, &["another command"]);
    let ran = end(first);
    assert_eq!(ran.ending(), "exit 0", "{ran:?}");
    assert_eq!(std::fs::read(ground.path("out.age")).expect("read"), written, "the second one wrote into it");
    assert!(sound(&ground, "after both"));
}

#[test]
fn of_exports_and_imports_at_once_each_is_done_whole_or_told_why_not() {
    let (export, digest) = &stations().export;
    for round in 0..8 {
        let ground = Ground::new(&Files { export: Some(export.clone()), ..Files::default() });
        let import = ["keyring", "import", "DIR/in.age", "--identity", "DIR/identity", "--digest", digest, "--config", "DIR/config.toml"];
        let ran = at_once(&ground, &[&import, &import, &import]);
        let made = ran.iter().filter(|ran| ran.ending() == "exit 0" && answer(ran)["changed"] == true).count();
        assert_eq!(made, 1, "round {round}: {ran:?}");
        for ran in &ran {
            let told = ["another command is changing", "exists already"].iter().any(|text| ran.err.contains(text));
            assert!(ran.ending() == "exit 0" || (ran.ending() == "exit 6" && told), "{ran:?}");
        }
        let shape = ground.shape("config.toml");
        let exports: Vec<Vec<&str>> = (0..3).map(|_| [&EXPORT[..6], &["--output", "json"]].concat()).collect();
        let again = at_once(&ground, &[&exports[0], &exports[1], &import]);
        assert!(again.iter().any(|ran| ran.ending() == "exit 0"), "{again:?}");
        for ran in again.iter().filter(|ran| ran.ending() == "exit 0") {
            assert_eq!((&answer(ran)["changed"], answer(ran)["digest"].as_str()), (&false.into(), Some(digest.as_str())), "{ran:?}");
        }
        assert_eq!(ground.shape("config.toml"), shape, "round {round}: nothing had changed since that export");
    }
}

fn at_once(ground: &Ground, commands: &[&[&str]]) -> Vec<Ran> {
    let start = |words: &&[&str]| {
        let words = if words.contains(&"--output") { words.to_vec() } else { [*words, &["--output", "json"]].concat() };
        Process::spawn("keywright", Command::new(binary()).args(ground.arguments(&words))).expect("starts")
    };
    let running: Vec<Process> = commands.iter().map(start).collect();
    running.into_iter().map(end).collect()
}

fn end(mut process: Process) -> Ran {
    let status = process.wait(SOON).expect("ends");
    Ran { status, out: process.out().lines().join("\n"), err: process.err().lines().join("\n") }
}

fn answer(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}"))
}

#[test]
fn verifying_an_export_opens_nothing_for_writing() {
    let (export, digest) = &stations().export;
    let ground = Ground::new(&Files { export: Some(export.clone()), ..Files::default() });
    let names = || -> Vec<PathBuf> {
        let mut names: Vec<_> = std::fs::read_dir(ground.path("")).expect("list").map(|e| e.expect("entry").path()).collect();
        names.retain(|name| !name.ends_with("trace"));
        names.sort();
        names
    };
    let before = names();
    let verify = ["keyring", "verify", "--export", "DIR/in.age", "--identity", "DIR/identity", "--digest", digest];
    let (ran, calls) = traced(&ground, &verify, &[]);
    ran.succeeds();
    assert!(!calls.iter().any(Call::opens_to_write), "{calls:?}");
    let changing = ["rename", "fchmod", "truncate", "link", "mkdir"];
    assert!(!calls.iter().any(|call| changing.iter().any(|name| call.name.contains(name))), "{calls:?}");
    assert_eq!(names(), before);
}
