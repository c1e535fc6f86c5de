//! A command that is killed at random moments, which a number decides.

use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keywright_testbed::process::{Process, ending};

/// Repeats the moments of an earlier run.
const SEED: &str = "KEYWRIGHT_SEED";
/// How long a line is waited for: two polls of the API server, and some more.
const LONG: Duration = Duration::from_secs(150);

/// Decides the moments, and counts what was killed.
pub(super) struct Kills {
    state: u64,
    pub(super) done: u32,
}

/// What a moment depends on: so many lines on standard error, any number up to `lines`, then any time up to `time`.
#[derive(Clone, Copy)]
pub(super) struct Moments {
    pub(super) lines: usize,
    pub(super) time: Duration,
}

impl Kills {
    /// With the seed of the environment, or else of the clock; it is printed.
    pub(super) fn new() -> Self {
        let seed = match std::env::var(SEED) {
            Ok(text) => text.parse().unwrap_or_else(|e| panic!("{SEED}={text}: {e}")),
            Err(_) => u64::from(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").subsec_nanos()),
        };
        println!("seed of the kills: {seed} ({SEED}={seed} repeats them)");
        Self { state: seed, done: 0 }
    }

    /// A number below `end`. SplitMix64: any generator will do, as long as a failed run can be repeated.
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }

    /// Runs `command` and kills it at one of `moments`; false if it had ended by itself before.
    pub(super) fn shoot(&mut self, command: &mut Command, moments: Moments, what: &str) -> bool {
        let lines = self.below(moments.lines + 1);
        let after = Duration::from_millis(self.below(moments.time.as_millis() as usize + 1) as u64);
        let mut process = Process::spawn("keywright", command).expect("it starts");
        if let Some(last) = lines.checked_sub(1) {
            // An error means that it printed no such line: it has ended, or hangs, and the wait below tells which.
            let _ = process.err().wait_for(last, LONG, "a line to be killed after", |_| true);
        }
        if let Ok(status) = process.wait(after) {
            println!("  {what}: ended by itself ({}) within {lines} lines and {after:?}", ending(status));
            return false;
        }
        self.kill(&mut process, &format!("{what} after {lines} lines and {after:?}"))
    }

    /// Kills it now; false if it had ended by itself.
    pub(super) fn kill(&mut self, process: &mut Process, what: &str) -> bool {
        process.kill().expect("it can be killed");
        let status = process.ended().expect("it can be asked").expect("it was waited for");
        let killed = ending(status) == "signal 9";
        if killed {
            self.done += 1;
            println!("  kill {}: {what}; last line: {}", self.done, process.err().tail(1));
        } else {
            println!("  {what}: it had just ended by itself ({})", ending(status));
        }
        killed
    }
}
