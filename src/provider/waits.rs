//! Keys whose calls may wait: they run on threads of their own, a bounded number of them, and it is known when one was last seen to work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the calls of one key wait on.
pub struct Waits {
    /// Shared by all keys of a token.
    pub workers: Arc<Workers>,
    /// Of this key alone.
    pub last_good: LastGood,
}

/// A bounded number of threads that may wait for one token.
pub struct Workers {
    threads: usize,
}

impl Workers {
    /// At most `threads` of them, each started when it is first needed.
    pub fn new(threads: usize) -> Self {
        Self { threads }
    }

    /// Most calls that are in the token at once.
    pub fn threads(&self) -> usize {
        self.threads
    }
}

/// When a key was last seen to work.
pub struct LastGood {
    start: Instant,
    /// Milliseconds after `start`, plus one; 0: never.
    at: AtomicU64,
}

impl LastGood {
    /// Never, so far.
    pub fn new(now: Instant) -> Self {
        Self { start: now, at: AtomicU64::new(0) }
    }

    /// It worked at `now`.
    pub fn note(&self, now: Instant) {
        let since = now.saturating_duration_since(self.start).as_millis();
        self.at.fetch_max(u64::try_from(since).unwrap_or(u64::MAX - 1) + 1, Ordering::Relaxed);
    }

    /// How long ago that was, at `now`; none if it never was.
    pub fn age(&self, now: Instant) -> Option<Duration> {
        let at = self.at.load(Ordering::Relaxed).checked_sub(1)?;
        Some(now.saturating_duration_since(self.start).saturating_sub(Duration::from_millis(at)))
    }
}
