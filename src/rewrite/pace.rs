//! How fast: so many at a time, so many per second, and less of both when the API server says or shows that it is too much.
//!
//! Decides only. Time is an argument.

use std::time::{Duration, Instant};

/// Answers that are looked at together. The second slowest of 20 is the 95th percentile.
const WINDOW: usize = 20;

/// In flight at first: what the API server bears is not known yet.
const FIRST: usize = 8;

/// Answers that take less than this part of the limit make room for more; between it and the limit things stay as they are.
const FAST: u32 = 4;

/// First wait before an object is tried again; doubled with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// Longest wait before an object is tried again, and longest that a `Retry-After` is believed.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// Whether one more request may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Now,
    At(Instant),
    /// When a request in flight has ended.
    AfterAnother,
}

/// The state of all limits.
#[derive(Debug)]
pub(super) struct Pace {
    most: usize,
    at_a_time: usize,
    interval: Duration,
    latency: Duration,
    next: Instant,
    window: Vec<Duration>,
}

impl Pace {
    /// At most `most` at a time, and fewer at first. `interval` lies between two starts; `latency` is what the 95th percentile may take.
    pub(super) fn new(most: usize, interval: Duration, latency: Duration, now: Instant) -> Self {
        Self { most, at_a_time: most.min(FIRST), interval, latency, next: now, window: Vec::with_capacity(WINDOW) }
    }

    pub(super) fn at_a_time(&self) -> usize {
        self.at_a_time
    }

    pub(super) fn turn(&self, in_flight: usize, now: Instant) -> Turn {
        if in_flight >= self.at_a_time {
            Turn::AfterAnother
        } else if now < self.next {
            Turn::At(self.next)
        } else {
            Turn::Now
        }
    }

    /// A request starts. Time that was not used is lost: no burst follows a pause.
    pub(super) fn started(&mut self, now: Instant) {
        self.next = self.next.max(now) + self.interval;
        if self.interval.is_zero() {
            self.next = now;
        }
    }

    /// A request has ended as it should, after `took`. Slow answers halve what is in flight, fast ones add one.
    pub(super) fn answered(&mut self, took: Duration) {
        self.window.push(took);
        if self.window.len() < WINDOW {
            return;
        }
        self.window.sort_unstable();
        let second_slowest = self.window.iter().rev().nth(1).copied().unwrap_or_default();
        self.window.clear();
        if second_slowest > self.latency {
            self.halve();
        } else if second_slowest < self.latency / FAST {
            self.at_a_time = self.most.min(self.at_a_time + 1);
        }
    }

    /// The API server said that it is too much. Nothing starts for `wait`, where it named one.
    pub(super) fn overloaded(&mut self, wait: Option<Duration>, now: Instant) {
        self.halve();
        self.window.clear();
        self.next = self.next.max(now + wait.unwrap_or_default().min(LONGEST_WAIT));
    }

    fn halve(&mut self) {
        self.at_a_time = (self.at_a_time / 2).max(1);
    }
}

/// How long an object waits after its attempt number `attempt`, from 1: doubled each time, the upper half of it by chance, so that
/// those that failed together do not come back together. Never less than the server asked for, up to a limit.
pub(super) fn wait(attempt: u32, chance: u32, asked: Option<Duration>) -> Duration {
    let doublings = attempt.saturating_sub(1).min(16);
    let whole = FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT);
    let jittered = whole / 2 + (whole / 2).mul_f64(f64::from(chance) / f64::from(u32::MAX));
    jittered.max(asked.unwrap_or_default().min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    fn pace(interval: Duration) -> (Pace, Instant) {
        let now = Instant::now();
        (Pace::new(8, interval, 100 * MILLI, now), now)
    }

    fn answers(pace: &mut Pace, fast: usize, slow: usize) {
        (0..fast).for_each(|_| pace.answered(MILLI));
        (0..slow).for_each(|_| pace.answered(200 * MILLI));
    }

    #[test]
    fn no_more_are_in_flight_than_were_asked_for() {
        let (pace, now) = pace(Duration::ZERO);
        assert_eq!(pace.turn(7, now), Turn::Now);
        assert_eq!(pace.turn(8, now), Turn::AfterAnother);
    }

    #[test]
    fn starts_are_apart_and_a_pause_is_not_made_up_for() {
        let (mut pace, now) = pace(100 * MILLI);
        pace.started(now);
        assert_eq!(pace.turn(1, now), Turn::At(now + 100 * MILLI));
        let later = now + 950 * MILLI;
        assert_eq!(pace.turn(1, later), Turn::Now);
        pace.started(later);
        assert_eq!(pace.turn(1, later), Turn::At(later + 100 * MILLI));
    }

    #[test]
    fn slow_answers_halve_what_is_in_flight_and_fast_ones_bring_it_back_one_by_one() {
        let (mut pace, _) = pace(Duration::ZERO);
        answers(&mut pace, 19, 1);
        assert_eq!(pace.at_a_time(), 8, "one slow answer in twenty is within the 95th percentile");
        answers(&mut pace, 18, 2);
        assert_eq!(pace.at_a_time(), 4);
        (0..5).for_each(|_| answers(&mut pace, 0, 20));
        assert_eq!(pace.at_a_time(), 1, "never less than one");
        answers(&mut pace, 20, 0);
        assert_eq!(pace.at_a_time(), 2);
        (0..20).for_each(|_| answers(&mut pace, 20, 0));
        assert_eq!(pace.at_a_time(), 8);
    }

    #[test]
    fn more_are_in_flight_than_at_first_only_while_answers_are_far_from_slow() {
        let now = Instant::now();
        let mut pace = Pace::new(10, Duration::ZERO, 100 * MILLI, now);
        assert_eq!(pace.at_a_time(), 8);
        (0..20).for_each(|_| pace.answered(25 * MILLI));
        assert_eq!(pace.at_a_time(), 8, "a quarter of the limit is not fast");
        (0..20).for_each(|_| pace.answered(24 * MILLI));
        assert_eq!(pace.at_a_time(), 9);
        (0..5).for_each(|_| answers(&mut pace, 20, 0));
        assert_eq!(pace.at_a_time(), 10, "never more than were asked for");
    }

    #[test]
    fn too_many_requests_hold_everything_for_as_long_as_the_server_asks_within_reason() {
        let (mut pace, now) = pace(Duration::ZERO);
        pace.overloaded(Some(Duration::from_secs(2)), now);
        assert_eq!((pace.at_a_time(), pace.turn(0, now)), (4, Turn::At(now + Duration::from_secs(2))));
        pace.overloaded(Some(Duration::from_secs(86_400)), now);
        assert_eq!(pace.turn(0, now), Turn::At(now + LONGEST_WAIT));
    }

    #[test]
    fn waits_grow_have_a_limit_and_are_never_shorter_than_asked() {
        assert_eq!(wait(1, 0, None), 100 * MILLI);
        assert_eq!(wait(1, u32::MAX, None), 200 * MILLI);
        assert_eq!(wait(3, 0, None), 400 * MILLI);
        assert_eq!(wait(u32::MAX, u32::MAX, None), LONGEST_WAIT);
        assert_eq!(wait(1, 0, Some(Duration::from_secs(3))), Duration::from_secs(3));
        assert_eq!(wait(1, 0, Some(Duration::MAX)), LONGEST_WAIT);
    }
}
