//! Two commands at once: one after the other, or the second is told to wait; never a torn file, never a lost change.

use std::process::Command;

use keywright_testbed::process::Process;
use keywright_testbed::wait;
use serde_json::Value;

use super::cases::stations;
use super::ground::{Ground, Ran, SOON, binary};
use super::trace::strace;

const ROUNDS: usize = 25;
const PLACE: [&str; 2] = ["--config", "DIR/config.toml"];

fn words<'a>(command: &[&'a str]) -> Vec<&'a str> {
    [command, &PLACE].concat()
}

/// Starts it and does not wait.
fn start(ground: &Ground, command: &[&str]) -> Process {
    let arguments = ground.arguments(&[&words(command)[..], &["--output", "json"]].concat());
    Process::spawn("keywright", Command::new(binary()).args(arguments)).expect("starts")
}

fn end(mut process: Process) -> Ran {
    let status = process.wait(SOON).expect("ends");
    Ran { status, out: process.out().lines().join("\n"), err: process.err().lines().join("\n") }
}

/// How many changes it says that it made: none or one.
fn changes(ran: &Ran) -> u64 {
    let answer: Value = serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    match ran.ending().as_str() {
        "exit 0" => answer["changed"].as_bool().expect("it says whether it changed anything").into(),
        "exit 6" => {
            assert!(ran.err.contains("another command is changing"), "{ran:?}");
            0
        }
        other => panic!("{other}: {ran:?}"),
    }
}

#[test]
fn of_several_commands_at_once_each_is_done_whole_or_told_that_another_is_at_it() {
    let ground = Ground::new(&stations().first);
    // Sealed anew by the same key file, so that it opens throughout.
    let reseal: &[&str] = &["keyring", "reseal", "--to-key-file", "DIR/seal.key"];
    let pairs: [[&[&str]; 3]; 3] = [
        [&["rotate", "begin"], &["rotate", "begin"], reseal],
        [reseal, reseal, reseal],
        [reseal, &["rotate", "begin"], &["rotate", "begin"]],
    ];
    let mut generation = ground.shape("config.toml").generation;
    let (mut changed, mut told) = (0, 0);
    for round in 0..ROUNDS {
        let running: Vec<Process> = pairs[round % pairs.len()].iter().map(|command| start(&ground, command)).collect();
        let ran: Vec<Ran> = running.into_iter().map(end).collect();
        let made: u64 = ran.iter().map(changes).sum();
        told += ran.iter().filter(|ran| ran.ending() == "exit 6").count();
        assert!(made > 0 || ran.iter().any(|ran| ran.ending() == "exit 0"), "nobody won: {ran:?}");
        changed += made;
        generation += made;
        assert_eq!(ground.shape("config.toml").generation, generation, "round {round}: a change was lost or is there twice: {ran:?}");
    }
    assert!(changed as usize >= ROUNDS / pairs.len(), "{changed} changes in {ROUNDS} rounds");
    eprintln!("{changed} changes, {told} commands told to wait");
    drop(ground.serve("config.toml"));
}

#[test]
fn while_one_command_writes_every_other_is_told_to_wait_and_the_first_is_not_disturbed() {
    let ground = Ground::new(&stations().promoted);
    let old = &stations().old;
    let new = ground.path(".keyring.new");
    let slow = ["-P", new.to_str().expect("text"), "-e", "inject=fsync:delay_enter=3s"];
    let first = Process::spawn("keywright", &mut strace(&ground, &ground.arguments(&words(&["rotate", "begin"])), &slow)).expect("starts");
    let there = || if new.exists() { Ok(()) } else { Err("no new file yet".to_owned()) };
    wait::until("the first command to write", SOON, there).unwrap_or_else(|e| panic!("{e}"));
    let before = ground.files();
    let busy = "another command is changing";
    ground.run(&words(&["rotate", "begin"])).fails(6, &[busy, "Wait for the other command to end"]);
    ground.run(&words(&["rotate", "verify", old, "--accept-risk", "test"])).fails(6, &[busy]);
    ground.run(&words(&["keyring", "reseal", "--to-key-file", "DIR/new.key"])).fails(6, &[busy]);
    // Looking is always possible, and a plugin starts in the middle of it.
    ground.run(&words(&["keyring", "verify"])).succeeds();
    drop(ground.serve("config.toml"));
    assert_eq!(ground.files().keyring, before.keyring, "the first one has ended too early for this test");
    let ran = end(first);
    assert_eq!(ran.ending(), "exit 0", "{ran:?}");
    assert!(ran.out.contains("done"), "{ran:?}");
    assert_eq!(ground.shape("config.toml").states.last(), Some(&(3, "staged".to_owned())));
}
