//! Keys whose calls may wait: they run on threads of their own, a bounded number of them, and it is known when one was last seen to work.

#[cfg(test)]
pub(crate) mod played;
mod workers;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::pkcs11::TokenSettings;
pub use workers::{Calls, Figures, Interest, Outcome, Workers};

/// What the calls of one key wait on.
pub struct Waits {
    /// Shared by all keys of a token.
    pub workers: Arc<Workers>,
    /// Of this key alone.
    pub last_good: LastGood,
}

impl Waits {
    /// Whether the key counts as gone at `now`: it was never seen to work, or not for [`Limits::away_after`].
    pub fn is_away(&self, now: Instant) -> bool {
        self.last_good.age(now).is_none_or(|age| age > self.workers.limits().away_after)
    }
}

/// How long is waited for a token; settings of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// What a call waits before it is answered without the token.
    pub call_timeout: Duration,
    /// The primary counts as gone that long after it was last seen to work.
    pub away_after: Duration,
}

impl Default for Limits {
    /// An API server waits 3 s for a call unless told otherwise.
    fn default() -> Self {
        Self { call_timeout: TokenSettings::CALL_TIMEOUT, away_after: TokenSettings::AWAY_AFTER }
    }
}

/// When a key was last seen to work.
pub struct LastGood {
    start: Instant,
    /// Nanoseconds after `start`, plus one; 0: never.
    at: AtomicU64,
}

impl LastGood {
    /// Never, so far.
    pub fn new(now: Instant) -> Self {
        Self { start: now, at: AtomicU64::new(0) }
    }

    /// It worked at `now`.
    pub fn note(&self, now: Instant) {
        let since = now.saturating_duration_since(self.start).as_nanos();
        self.at.fetch_max(u64::try_from(since).unwrap_or(u64::MAX - 1).saturating_add(1), Ordering::Relaxed);
    }

    /// How long ago that was, at `now`; none if it never was.
    pub fn age(&self, now: Instant) -> Option<Duration> {
        let at = self.at.load(Ordering::Relaxed).checked_sub(1)?;
        Some(now.saturating_duration_since(self.start).saturating_sub(Duration::from_nanos(at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_away_when_it_never_worked_or_not_for_the_time_that_is_set() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let waits = Waits { workers: Arc::new(Workers::of(played::name(), 1, Limits::default())), last_good: LastGood::new(start) };
        assert!(waits.is_away(at(0)), "never seen to work");
        waits.last_good.note(at(10));
        assert_eq!((waits.last_good.age(at(40)), waits.is_away(at(40))), (Some(Duration::from_secs(30)), false));
        assert!(waits.is_away(at(40) + Duration::from_millis(1)));
        waits.last_good.note(at(50));
        assert!(!waits.is_away(at(60)));
        waits.last_good.note(at(20));
        assert_eq!(waits.last_good.age(at(60)), Some(Duration::from_secs(10)), "a call that ends late takes nothing back");
        assert_eq!(waits.last_good.age(at(0)), Some(Duration::ZERO), "asked for an earlier moment");
    }
}
