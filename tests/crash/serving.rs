//! The plugin's own writing, what it has seen: killed at each step of it, it starts again and remembers the old or the new.

use std::path::PathBuf;

use keywright_testbed::plugin::Plugin;
use keywright_testbed::process::{Process, ending};

use super::cases::stations;
use super::ground::{Files, Ground, SOON};
use super::trace::{Call, calls, fault, strace};

const SERVE: [&str; 3] = ["serve", "--config", "DIR/config.toml"];

/// strace looks at these files alone, and counts calls on them alone: other threads write the log at the same time.
fn on_seen(ground: &Ground) -> Vec<PathBuf> {
    ["state", "state/seen", "state/.seen.new", "state/.seen.lock"].map(|name| ground.path(name)).to_vec()
}

fn serve(ground: &Ground, more: &[&str]) -> Process {
    serve_watched(ground, &on_seen(ground), more)
}

/// Starts the plugin under strace, which looks at `paths` alone; `more` are further arguments of strace.
pub(crate) fn serve_watched(ground: &Ground, paths: &[PathBuf], more: &[&str]) -> Process {
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    let more: Vec<&str> = paths.iter().flat_map(|path| ["-P", path]).chain(more.iter().copied()).collect();
    Process::spawn("keywright", &mut strace(ground, &ground.arguments(&SERVE), &more)).expect("starts")
}

pub(crate) fn ready(process: &Process) {
    process.err().wait_for(0, SOON, "the plugin is ready", |line| line.contains(" INFO ready ")).expect("ready");
}

/// Ends the plugin under strace, which ends with it. strace itself would leave it behind.
pub(crate) fn stop(ground: &Ground, mut process: Process) {
    let status = ground.json(&["status", "--config", "DIR/config.toml"]);
    assert_eq!(status["healthz"], "ok");
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", process.pid())).expect("children");
    let plugin =
        children.split_whitespace().next().and_then(|pid| pid.parse().ok()).and_then(rustix::process::Pid::from_raw).expect("a child");
    rustix::process::kill_process(plugin, rustix::process::Signal::TERM).expect("signal");
    process.wait(SOON).expect("ends");
}

/// Has the plugin see a first keyring at its start, or a next one while it serves.
struct Event {
    name: &'static str,
    before: Files,
    /// Puts this in the place of the keyring once the plugin is ready.
    then: Option<Vec<u8>>,
}

#[test]
fn the_plugin_killed_while_it_remembers_what_it_has_seen_starts_again() {
    let first = stations().staged.clone();
    let seen = {
        let ground = Ground::new(&first);
        drop(ground.serve("config.toml"));
        ground.files()
    };
    let next = stations().promoted.keyring.clone();
    let events = [Event { name: "at the start", before: first, then: None }, Event { name: "at a reload", before: seen, then: next }];
    for event in events {
        let ground = Ground::new(&event.before);
        let process = serve(&ground, &[]);
        ready(&process);
        change(&ground, &event, &process);
        let expected = ground.files();
        stop(&ground, process);
        // From where it begins to write; what comes before is its reading, at the start.
        let points: Vec<Call> = calls(&ground).into_iter().skip_while(|call| !call.opens_to_write()).collect();
        assert!(["fsync", "renameat2", "write"].iter().all(|name| points.iter().any(|call| call.name == *name)), "{points:?}");
        assert_ne!(expected.seen, event.before.seen);
        let mut left = Vec::new();
        for point in &points {
            left.push(kill(&event, &expected, point));
        }
        assert!(left.contains(&true) && left.contains(&false), "{}: {left:?}", event.name);
        assert!(left.is_sorted(), "{}: the old record came back: {left:?}", event.name);
        eprintln!("plugin killed {}: {} points", event.name, points.len());
    }
}

fn change(ground: &Ground, event: &Event, process: &Process) {
    let Some(keyring) = &event.then else { return };
    ground.write("next", keyring);
    std::fs::rename(ground.path("next"), ground.path("keyring")).expect("rename");
    process.err().wait_for(0, SOON, "a reload", |line| line.contains("keyring reloaded")).expect("reloaded");
}

/// Whether the new record was there after the kill.
fn kill(event: &Event, expected: &Files, point: &Call) -> bool {
    let ground = Ground::new(&event.before);
    let place = || format!("{} at {}", event.name, point.line);
    let mut process = serve(&ground, &["-e", &fault(point, "signal=SIGKILL")]);
    if let Some(keyring) = &event.then {
        ready(&process);
        ground.write("next", keyring);
        std::fs::rename(ground.path("next"), ground.path("keyring")).expect("rename");
    }
    assert_eq!(ending(process.wait(SOON).expect("ends")), "signal 9", "{}", place());
    let seen = ground.files().seen;
    assert!(seen == expected.seen || seen == event.before.seen, "{}: {seen:?}", place());
    let mut again: Plugin = ground.serve("config.toml");
    assert_eq!(ground.files(), *expected, "{}: started again", place());
    again.kill().expect("killed");
    seen == expected.seen
}
