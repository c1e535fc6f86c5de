//! The token is pulled out while everybody writes and reads, and put back.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keywright_testbed::wait;
use tonic::Code;

use crate::crash::StopOnDrop;
use crate::home::{Configured, Home};
use crate::kms::Client;
use crate::stack::{SOON, Stack, bytes};

/// In place of the 30 s that are the default, so that the token need not be away for a minute.
const AWAY_AFTER: Duration = Duration::from_secs(4);
/// For how long it is away.
const AWAY: Duration = Duration::from_secs(20);
/// What a busy machine may add to any time here.
const SLACK: Duration = Duration::from_secs(2);
/// Most sessions that are used at once by default; one more keeps the login.
const SESSIONS: usize = 8;
/// Secrets that are written before.
const SECRETS: u64 = 20;

/// What the load has seen.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    away: AtomicBool,
    reads: AtomicU64,
    writes: AtomicU64,
    /// Of all writes, those that were made while Status failed.
    writes_away: AtomicU64,
    round_trips: AtomicU64,
    refused: Mutex<BTreeSet<(String, String)>>,
}

impl Seen {
    fn go_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

fn name(number: u64) -> String {
    format!("kept-{number}")
}

fn reads(stack: &Stack, number: u64) {
    assert_eq!(stack.api().secret(&name(number)).expect("it is read")["value"], bytes(200, number), "{}", name(number));
}

/// Writes Secrets, each of which must be taken: the API server has a seed, for minutes after the last good Status.
fn write(stack: &Stack, seen: &Seen) {
    while seen.go_on() {
        let number = SECRETS + seen.writes.load(Ordering::Relaxed);
        let away = seen.away.load(Ordering::Relaxed);
        let written = stack.api().create_secret(&name(number), &[("value", &bytes(200, number))]);
        written.and_then(|answer| answer.ok()).expect("it is written");
        seen.writes.fetch_add(1, Ordering::Relaxed);
        if away && seen.away.load(Ordering::Relaxed) {
            seen.writes_away.fetch_add(1, Ordering::Relaxed);
        }
        // Each is read again at the end.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Reads what was written before, over and over.
fn read(stack: &Stack, seen: &Seen) {
    for number in (0..SECRETS).cycle().take_while(|_| seen.go_on()) {
        reads(stack, number);
        seen.reads.fetch_add(1, Ordering::Relaxed);
    }
}

/// Asks the plugin itself: a right answer, or one that says that the token is away.
fn call(socket: &Path, seen: &Seen) {
    let mut client = Client::connect(socket).expect("it listens");
    let mut number = 0;
    while seen.go_on() {
        number += 1;
        let seed = bytes(32, number);
        match client.encrypt(&seed).and_then(|(key_id, wrapped)| client.decrypt(&key_id, &wrapped)) {
            Ok(opened) => {
                assert!(opened == seed, "Decrypt gave other bytes than Encrypt was given");
                seen.round_trips.fetch_add(1, Ordering::Relaxed);
            }
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                seen.refused.lock().expect("no holder panics").insert((status.code().to_string(), status.message().to_owned()));
                // Mercy on the machine while everything is refused at once.
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// How many sessions the plugin has open, and how often it logged in, by every call that it made. It closes all of them before it gives up a module.
fn sessions(calls: &Path) -> (usize, usize) {
    let text = std::fs::read_to_string(calls).expect("the calls were written down");
    let (mut open, mut logins) = (0, 0);
    for line in text.lines() {
        let call = line.split_once(": ").map_or("", |(_, call)| call);
        match call {
            // Another process: a command before, and then the plugin.
            "C_GetFunctionList" => (open, logins) = (0, 0),
            "C_Login" => logins += 1,
            "C_CloseSession" => open -= 1,
            "C_Finalize" => assert_eq!(open, 0, "sessions were left open"),
            _ if line.starts_with("[out] *phSession = ") && !line.ends_with(" 0x0") => open += 1,
            _ => {}
        }
    }
    (open, logins)
}

#[test]
#[expect(clippy::print_stdout, reason = "how much load there was, and how long things took, is the record of the run")]
fn a_token_that_is_pulled_out_under_load_and_put_back_is_served_from_again_by_the_same_plugin() {
    let (configured, token) = Configured::in_watched_token(&format!("away_after = \"{}s\"\n", AWAY_AFTER.as_secs()));
    let mut stack = Stack::of(Home::Configured(configured));
    for number in 0..SECRETS {
        let written = stack.api().create_secret(&name(number), &[("value", &bytes(200, number))]);
        written.and_then(|answer| answer.ok()).expect("it is written");
    }
    let calls = stack.folder().join("calls");
    let seen = Seen::default();
    let pid = stack.plugin.pid();
    std::thread::scope(|scope| {
        let (stack, seen) = (&stack, &seen);
        let stop = StopOnDrop(&seen.stop);
        scope.spawn(|| write(stack, seen));
        scope.spawn(|| read(stack, seen));
        for _ in 0..2 {
            scope.spawn(|| call(stack.plugin.socket(), seen));
        }
        let progress = |what: &str, count: &AtomicU64| {
            let before = count.load(Ordering::Relaxed);
            let more = || if count.load(Ordering::Relaxed) > before + 10 { Ok(()) } else { Err(format!("still {before}")) };
            wait::until(what, SOON, more).expect("it goes on");
        };
        progress("round trips", &seen.round_trips);

        let mut client = Client::connect(stack.plugin.socket()).expect("it listens");
        client.status().expect("all is well");
        let pulled = Instant::now();
        token.hsm().take_away().expect("it is pulled");
        let mut slowest = Duration::ZERO;
        let failed = wait::until("Status to fail", SOON, || {
            let asked = Instant::now();
            let status = client.status();
            slowest = slowest.max(asked.elapsed());
            status.err().ok_or_else(|| "it does not".to_owned())
        });
        let failed = failed.expect("it fails");
        let failed_after = pulled.elapsed();
        assert_eq!(failed.code(), Code::Unavailable, "{failed:?}");
        assert!(failed_after <= AWAY_AFTER + SLACK, "Status failed only {failed_after:?} after the token was pulled");
        seen.away.store(true, Ordering::Relaxed);
        let words = stack.server.kms_failing(SOON).expect("the API server sees that");
        assert!(words.contains("kms-provider"), "{words}");
        let red_after = pulled.elapsed();
        progress("reads without the token", &seen.reads);
        progress("writes without the token", &seen.writes_away);
        while pulled.elapsed() < AWAY {
            let asked = Instant::now();
            assert_eq!(client.status().expect_err("the token is away").code(), Code::Unavailable);
            slowest = slowest.max(asked.elapsed());
            std::thread::sleep(Duration::from_millis(100));
        }
        assert!(slowest < SLACK, "a Status took {slowest:?}");
        let refused = std::mem::take(&mut *seen.refused.lock().expect("no holder panics"));
        assert!(!refused.is_empty(), "no call failed without the token: the load proves nothing");

        seen.away.store(false, Ordering::Relaxed);
        let back = Instant::now();
        token.hsm().put_back().expect("it is put back");
        wait::until("Status to be good again", SOON, || client.status().map_err(|status| status.to_string())).expect("it serves");
        let served_after = back.elapsed();
        progress("round trips with the token", &seen.round_trips);
        stack.server.kms_ready(SOON).expect("the API server sees that");
        println!(
            "failed after {failed_after:?}, red after {red_after:?}, served after {served_after:?}, slowest Status {slowest:?}; {refused:?}"
        );
        drop(stop);
    });
    println!(
        "{} writes ({} without the token), {} reads, {} round trips",
        seen.writes.load(Ordering::Relaxed),
        seen.writes_away.load(Ordering::Relaxed),
        seen.reads.load(Ordering::Relaxed),
        seen.round_trips.load(Ordering::Relaxed)
    );

    assert_eq!((stack.plugin.pid(), stack.plugin.process().ended().expect("it is asked")), (pid, None), "it was not started anew");
    let lines = stack.plugin.log().lines();
    let false_alarms: Vec<&String> = lines.iter().filter(|line| line.contains("DataLoss") || line.contains("does not open")).collect();
    assert_eq!(false_alarms, [""; 0]);
    stack.server.restart().expect("the API server starts");
    stack.server.kms_ready(SOON).expect("it likes the plugin");
    (0..SECRETS + seen.writes.load(Ordering::Relaxed)).for_each(|number| reads(&stack, number));
    stack.nothing_secret_was_printed();
    let (open, logins) = sessions(&calls);
    assert!((1..=1 + SESSIONS).contains(&open), "{open} sessions are open");
    assert_eq!(logins, 2, "one at the start, and one when it was back");
}
