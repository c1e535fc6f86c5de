//! The plugin dies without warning, again and again, while everybody writes and reads.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use keywright_testbed::api::Api;
use keywright_testbed::wait;
use tonic::Code;

use crate::kms;
use crate::stack::{SOON, Stack, bytes};

/// What was acknowledged, by name: from then on every read must give exactly this.
type Written = Mutex<BTreeMap<String, Vec<u8>>>;

/// What the load has seen.
#[derive(Default)]
struct Seen {
    written: Written,
    reads: AtomicU64,
    refusals: AtomicU64,
    round_trips: AtomicU64,
    broken_calls: AtomicU64,
    stop: AtomicBool,
}

impl Seen {
    fn go_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn writes(&self) -> usize {
        self.written.lock().expect("no writer panics with the lock").len()
    }
}

#[test]
fn a_plugin_killed_again_and_again_under_load_never_leads_to_a_wrong_answer_and_writes_resume() {
    the_plugin_is_killed_under_load(&mut Stack::start());
}

#[expect(clippy::print_stdout, reason = "how much load there was is the record of the run")]
pub(crate) fn the_plugin_is_killed_under_load(stack: &mut Stack) {
    let seen = Seen::default();
    let api = stack.api().clone();
    let socket = stack.plugin.socket().to_owned();
    std::thread::scope(|scope| {
        let stop_on_unwind = StopOnDrop(&seen.stop);
        for writer in 0..2 {
            let (api, seen) = (&api, &seen);
            scope.spawn(move || write(api, seen, writer));
        }
        scope.spawn(|| read(&api, &seen));
        scope.spawn(|| call_directly(&socket, &seen));

        // With a seed in its memory the API server goes on; those who call the plugin see it die.
        for _ in 0..10 {
            let before = seen.round_trips.load(Ordering::Relaxed);
            await_progress("calls to the plugin", before, || seen.round_trips.load(Ordering::Relaxed));
            stack.kill_plugin();
            stack.start_plugin();
        }
        // With nothing in its memory it depends on the plugin, which dies in the middle of its first answers.
        for asked in ["op=Encrypt", "op=Decrypt"] {
            stack.kill_plugin();
            stack.server.restart_without_plugin().expect("the API server starts");
            let refused = seen.refusals.load(Ordering::Relaxed);
            await_progress("refusals without a plugin", refused, || seen.refusals.load(Ordering::Relaxed));
            stack.start_plugin();
            // The direct calls come at once; the API server's own within its back-off.
            stack.plugin.wait_line_with(0, SOON, &[asked]).expect("the plugin is asked");
            stack.kill_plugin();
            stack.start_plugin();
            let (writes, reads) = (seen.writes() as u64, seen.reads.load(Ordering::Relaxed));
            await_progress("writes that work again", writes, || seen.writes() as u64);
            await_progress("reads that work again", reads, || seen.reads.load(Ordering::Relaxed));
        }
        drop(stop_on_unwind);
    });

    assert!(seen.broken_calls.load(Ordering::Relaxed) > 0, "no call was broken by any kill: the load proves nothing");
    let written = seen.written.into_inner().expect("no writer panics with the lock");
    stack.server.restart().expect("the API server starts");
    stack.server.kms_ready(SOON).expect("the API server likes the plugin");
    for (name, value) in &written {
        let read = stack.api().secret(name).unwrap_or_else(|e| panic!("{name} was acknowledged: {e}"));
        assert!(read["value"] == *value, "{name} was acknowledged with another value");
    }
    stack.nothing_secret_was_printed();
    println!(
        "{} writes, {} reads, {} refusals, {} round trips",
        written.len(),
        seen.reads.into_inner(),
        seen.refusals.into_inner(),
        seen.round_trips.into_inner()
    );
}

/// Ends the load when the test fails in the middle, so that the failure is reported and does not hang.
pub(crate) struct StopOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn await_progress(what: &str, before: u64, count: impl Fn() -> u64) {
    wait::until(what, SOON, || if count() > before { Ok(()) } else { Err(format!("still {before}")) }).unwrap_or_else(|e| panic!("{e}"));
}

/// Creates Secrets, one after another. What was not acknowledged may or may not be there.
fn write(api: &Api, seen: &Seen, writer: u64) {
    for number in 0.. {
        if !seen.go_on() {
            return;
        }
        let name = format!("load-{writer}-{number}");
        let value = bytes(100, writer << 32 | number);
        match api.create_secret(&name, &[("value", &value)]) {
            Ok(answer) if answer.status == 201 => {
                seen.written.lock().expect("no writer panics with the lock").insert(name, value);
            }
            Ok(answer) => {
                assert!(is_refusal(answer.status), "an odd refusal: {} {}", answer.status, answer.text);
                pause_after_refusal(seen);
            }
            Err(_) => pause_after_refusal(seen), // the API server is being started anew
        }
    }
}

/// Reads what was acknowledged, over and over: the right value, or no value.
fn read(api: &Api, seen: &Seen) {
    for turn in 0.. {
        if !seen.go_on() {
            return;
        }
        let one = {
            let written = seen.written.lock().expect("no writer panics with the lock");
            written.iter().nth(turn * 7919 % written.len().max(1)).map(|(name, value)| (name.clone(), value.clone()))
        };
        let Some((name, value)) = one else {
            std::thread::yield_now();
            continue;
        };
        match api.get(&format!("/api/v1/namespaces/default/secrets/{name}")) {
            Ok(answer) if answer.status == 200 => {
                let secret = answer.ok().expect("a success is JSON");
                let data = keywright_testbed::api::secret_data(&secret).expect("its data is base64");
                assert!(data["value"] == value, "{name} was read with another value");
                seen.reads.fetch_add(1, Ordering::Relaxed);
            }
            Ok(answer) => {
                assert!(is_refusal(answer.status), "{name} was acknowledged: {} {}", answer.status, answer.text);
                pause_after_refusal(seen);
            }
            Err(_) => pause_after_refusal(seen),
        }
    }
}

/// What an API server may say that is starting (403, 429) or that has no plugin (500). "Not found" is none of it.
fn is_refusal(status: u16) -> bool {
    status >= 500 || status == 403 || status == 429
}

/// Asks the plugin itself: a right answer, or a broken connection, or "not ready yet".
fn call_directly(socket: &Path, seen: &Seen) {
    let mut number = 0;
    while seen.go_on() {
        let Ok(mut client) = kms::Client::connect(socket) else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        while seen.go_on() {
            number += 1;
            let seed = bytes(32, number);
            let outcome = client.encrypt(&seed).and_then(|(key_id, wrapped)| client.decrypt(&key_id, &wrapped));
            match outcome {
                Ok(opened) => {
                    assert!(opened == seed, "Decrypt gave other bytes than Encrypt was given");
                    seen.round_trips.fetch_add(1, Ordering::Relaxed);
                }
                Err(status) => {
                    let broken = [Code::Unavailable, Code::Unknown, Code::Cancelled, Code::Internal].contains(&status.code());
                    assert!(broken, "an odd refusal: {status:?}");
                    seen.broken_calls.fetch_add(1, Ordering::Relaxed);
                    break;
                }
            }
        }
    }
}

/// Not an event to wait for, but mercy on the machine while everything is refused at once.
fn pause_after_refusal(seen: &Seen) {
    seen.refusals.fetch_add(1, Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(20));
}
