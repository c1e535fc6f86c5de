//! SIGKILL at every system call of every command that touches a file or prints: the old state or the new one, whole, and a way on.

use std::io::Write;
use std::sync::Mutex;

use super::cases::{self, Case};
use super::ground::{Files, Ground, Shape};
use super::trace::{Call, fault, traced};

/// What the command does when nobody kills it.
struct Expected {
    shape: Shape,
    files: Files,
    points: Vec<Call>,
}

/// Which state a kill left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Old,
    New,
}

#[test]
fn a_command_killed_at_any_point_leaves_the_old_or_the_new_keyring_whole_and_can_be_run_again() {
    let cases = cases::all();
    let expected: Vec<Expected> = cases.iter().map(expect).collect();
    let work: Vec<(usize, usize)> =
        expected.iter().enumerate().flat_map(|(case, expected)| (0..expected.points.len()).map(move |point| (case, point))).collect();
    let next = Mutex::new(work.iter());
    let left = Mutex::new(vec![Vec::new(); cases.len()]);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let Some((case, point)) = next.lock().expect("no panic with the lock").next().copied() else { return };
                    let outcome = kill(&cases[case], &expected[case], &expected[case].points[point]);
                    left.lock().expect("no panic with the lock")[case].push((point, outcome));
                }
            });
        }
    });
    let mut report = String::from("killed at:\n");
    for (case, left) in cases.iter().zip(left.into_inner().expect("no panic with the lock")) {
        let of = |state| left.iter().filter(move |(_, outcome)| *outcome == state).map(|(point, _)| *point);
        let (old, new) = (of(Left::Old).count(), of(Left::New).count());
        // Both states must have been seen, and no point after the change leaves the old one.
        assert!(old > 0 && new > 0, "{}: {old} old, {new} new", case.name);
        assert!(of(Left::Old).max() < of(Left::New).min(), "{}: the old state came back", case.name);
        report.push_str(&format!("  {:<24} {:>3} points: {old} left the old state, {new} the new one\n", case.name, left.len()));
    }
    report.push_str(&format!("  {:<24} {:>3} points\n", "in total", work.len()));
    // Not by println!: this is shown for a test that passes too.
    let _ = std::io::stderr().write_all(report.as_bytes());
}

fn expect(case: &Case) -> Expected {
    let ground = Ground::new(&case.before);
    let folder = ground.path("").display().to_string();
    let (ran, calls) = traced(&ground, &case.words, &[]);
    ran.succeeds();
    // Everything in its folder, and everything that is written or printed.
    let points: Vec<Call> =
        calls.into_iter().filter(|call| call.line.contains(folder.trim_end_matches('/')) || call.name == "write").collect();
    for needed in ["write", "fsync", "renameat2", "openat"] {
        assert!(points.iter().any(|call| call.name == needed), "{}: no {needed} among {points:?}", case.name);
    }
    Expected { shape: ground.shape(case.config_after), files: ground.files(), points }
}

fn kill(case: &Case, expected: &Expected, point: &Call) -> Left {
    let ground = Ground::new(&case.before);
    let place = || format!("{} killed at {}", case.name, point.line);
    let (ran, _) = traced(&ground, &case.words, &["-e", &fault(point, "signal=SIGKILL")]);
    assert_eq!(ran.ending(), "signal 9", "{}: {ran:?}", place());
    assert_eq!(ran.out, "", "{}: it was not done yet", place());

    let left = which(case, expected, &ground, &place);
    starts(case, left, &ground, &place);
    // What was seen is the plugin's business, but for the command that writes it.
    let (code, said) = if left == Left::New { case.again } else { (0, "") };
    let before = ground.files();
    let ran = ground.run(&case.words);
    assert_eq!(ran.ending(), format!("exit {code}"), "{}, run again: {ran:?}", place());
    assert!(ran.out.contains(said) || ran.err.contains(said), "{}, run again: {ran:?}", place());
    if left == Left::New {
        assert_eq!(ground.files(), before, "{}: what was done is done again", place());
    }
    assert_eq!(ground.shape(case.config_after), expected.shape, "{}, run again", place());
    if case.target != "keyring" {
        assert_eq!(ground.files(), expected.files, "{}, run again", place());
    }
    assert!(!ground.path(&case.beside(".new")).exists(), "{}: a half-written file stays", place());
    left
}

/// The old bytes, or a whole new state; anything else is a failure.
fn which(case: &Case, expected: &Expected, ground: &Ground, place: &dyn Fn() -> String) -> Left {
    let files = ground.files();
    if files == case.before {
        return Left::Old;
    }
    let shape = ground.shape(case.config_after);
    assert_eq!(shape, expected.shape, "{}", place());
    if case.target == "keyring" {
        assert_eq!(files.seen, case.before.seen, "{}", place());
    } else {
        assert_eq!(files, expected.files, "{}", place());
    }
    if case.config_after != "config.toml" {
        ground.run(&["keyring", "verify", "--config", "DIR/config.toml"]).fails(3, &["this is not the secret"]);
    }
    Left::New
}

/// The plugin starts with what is there, as far as it did before.
fn starts(case: &Case, left: Left, ground: &Ground, place: &dyn Fn() -> String) {
    match left {
        Left::Old if case.before.keyring.is_none() => {
            ground.run(&["serve", "--config", "DIR/config.toml"]).fails(3, &["No such file", "keywright init"]);
        }
        // Refused as it was before: that is what the command is for.
        Left::Old if case.target != "keyring" => {
            ground.run(&["serve", "--config", "DIR/config.toml"]).fails(3, &["an older copy was put in its place", "accept-restore"]);
        }
        _ => {
            let config = if left == Left::New { case.config_after } else { "config.toml" };
            let seen = ground.files().seen;
            let mut plugin = ground.serve(config);
            plugin.kill().unwrap_or_else(|e| panic!("{}: {e}", place()));
            assert!(ground.files().seen.is_some() || seen.is_some(), "{}: the plugin remembers nothing", place());
        }
    }
}
