//! How often a Decrypt was refused because its version is disabled: something still needs that version.
//!
//! As text, with ages in milliseconds in place of moments, for another process has another clock:
//!
//! ```text
//! running 532100
//! refused KEY_ID generation 7 times 3 last 12300
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::key_id::{KeyId, Version};

/// Most versions and generations that are told apart. Beyond them a refusal is counted with the newest of its version.
const MAX: usize = 1024;

/// Refusals of one version under one generation of the keyring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Which version.
    pub key_id: KeyId,
    /// Of the keyring that refused.
    pub generation: u64,
    /// How many.
    pub times: u64,
    /// How long ago the last one was.
    pub last: Duration,
}

/// All that one plugin has refused since its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// How long it has counted.
    pub running: Duration,
    /// By version and generation.
    pub counts: Vec<Count>,
}

/// What is counted; the generation makes refusals from before an enable another count than those after the next disable.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<(Version, u64), (KeyId, u64, Instant)>);

impl Refusals {
    pub(super) fn add(&mut self, key_id: KeyId, generation: u64, now: Instant) {
        let full = self.0.len() >= MAX;
        let newest = self.0.range((key_id.version, 0)..=(key_id.version, generation)).next_back().map(|(at, _)| *at);
        let at = newest.filter(|_| full).unwrap_or((key_id.version, generation));
        let (_, times, last) = self.0.entry(at).or_insert((key_id, 0, now));
        *times = times.saturating_add(1);
        *last = now;
    }

    /// What is counted at `now`.
    pub(super) fn page(&self, started: Instant, now: Instant) -> Page {
        let ago = |at: Instant| now.saturating_duration_since(at);
        let count = |((_, generation), (key_id, times, last)): (&(Version, u64), &(KeyId, u64, Instant))| Count {
            key_id: *key_id,
            generation: *generation,
            times: *times,
            last: ago(*last),
        };
        Page { running: ago(started), counts: self.0.iter().map(count).collect() }
    }
}

impl Page {
    /// As text.
    pub fn write(&self) -> String {
        let mut text = format!("running {}\n", self.running.as_millis());
        for Count { key_id, generation, times, last } in &self.counts {
            // Writing to a String does not fail.
            let _ = writeln!(text, "refused {key_id} generation {generation} times {times} last {}", last.as_millis());
        }
        text
    }

    /// Reads what [`Page::write`] wrote. `None` if it is none.
    pub fn read(text: &str) -> Option<Self> {
        let age = |word: &str| word.parse().ok().map(Duration::from_millis);
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let running = age(lines.next()?.strip_prefix("running ")?)?;
        let count = |line: &str| match *line.split(' ').collect::<Vec<_>>().as_slice() {
            ["refused", key_id, "generation", generation, "times", times, "last", last] => Some(Count {
                key_id: key_id.parse().ok()?,
                generation: generation.parse().ok()?,
                times: times.parse().ok()?,
                last: age(last)?,
            }),
            _ => None,
        };
        Some(Self { running, counts: lines.map(count).collect::<Option<_>>()? })
    }

    /// How many refusals of `key_id` there were by keyrings from `generation` on, and how long ago the last one was.
    pub fn since(&self, key_id: KeyId, generation: u64) -> (u64, Duration) {
        let of = self.counts.iter().filter(|count| count.key_id == key_id && count.generation >= generation);
        of.fold((0, Duration::MAX), |(times, last), count| (times.saturating_add(count.times), last.min(count.last)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_id(version: u32) -> KeyId {
        format!("kw1.0101010101010101.{version}.00000000000000000000000000000000").parse().expect("valid")
    }

    #[test]
    fn refusals_are_counted_by_version_and_generation_and_read_back() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut refusals = Refusals::default();
        for (version, generation, seconds) in [(1, 5, 1), (1, 8, 2), (1, 8, 4), (2, 8, 5), (1, 9, 6)] {
            refusals.add(key_id(version), generation, at(seconds));
        }
        let page = Page::read(&refusals.page(start, at(10)).write()).expect("a page");
        assert_eq!((page.running, page.counts.len()), (Duration::from_secs(10), 4));
        assert_eq!(page.since(key_id(1), 6), (3, Duration::from_secs(4)), "those of an earlier disable do not count");
        assert_eq!(page.since(key_id(1), 5).0, 4);
        assert_eq!(page.since(key_id(1), 10).0, 0);
        assert_eq!(page.since(key_id(2), 0), (1, Duration::from_secs(5)));
    }

    #[test]
    fn what_is_kept_is_bounded_and_no_refusal_is_lost() {
        let start = Instant::now();
        let mut refusals = Refusals::default();
        for generation in 0..2 * MAX as u64 {
            refusals.add(key_id(1), generation, start);
        }
        let page = refusals.page(start, start);
        assert_eq!((page.counts.len(), page.since(key_id(1), 0).0), (MAX, 2 * MAX as u64));
    }

    #[test]
    fn what_is_no_page_is_not_read() {
        let good = format!("running 5\nrefused {} generation 7 times 3 last 12\n", key_id(1));
        assert!(Page::read(&good).is_some());
        for cut in 11..good.len() {
            assert_eq!(Page::read(&good[..cut]), None, "{cut}");
        }
        for bad in ["", "\n", "running x\n", "running 5", "running 5\n\n", "running 5\nrefused x generation 7 times 3 last 12\n"] {
            assert_eq!(Page::read(bad), None, "{bad:?}");
        }
    }
}
