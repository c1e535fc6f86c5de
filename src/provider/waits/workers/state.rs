//! The jobs of one token, and how many threads are to be awake for them.
//!
//! A job of a module that computes is over sooner than a thread wakes up, and needs a processor, so such jobs are left to as many threads as there
//! are processors for them. Jobs that wait for a device have a thread each.
//!
//! On 2 processors, 8 calls of SoftHSM at a time: 42 us a Decrypt with 8 threads, 18 to 43 with 2, which hold each other up at the module's locks,
//! 18 to 30 with one.

use std::collections::VecDeque;
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::Job;

/// Jobs of which hardly one is shorter wait for a device rather than for a processor. Modules in software take 15 to 60 us, devices 200 us and more.
const WAITS: Duration = Duration::from_micros(100);
/// A thread that is in one job for longer counts for nothing when it is decided how many are to be awake. Well above what one that only computes
/// has to wait for a processor.
pub(super) const OVERDUE: Duration = Duration::from_millis(20);

pub(super) struct State {
    /// Most threads there may be.
    pub(super) threads: usize,
    /// Threads that are enough where jobs do not wait: processors that they may have.
    processors: usize,
    /// Number of the next job.
    next: u64,
    /// Jobs that no thread has taken, by number.
    pub(super) queue: VecDeque<(u64, Job)>,
    /// Threads there are, or are about to be.
    pub(super) started: usize,
    /// Those that sleep, the last to fall asleep at the end: it is the one whose memory is still near its processor.
    pub(super) asleep: Vec<(usize, Thread)>,
    /// For each thread that runs: since when it is in its job, if it is in one.
    pub(super) inside: Vec<Option<Instant>>,
    /// Few of the last jobs were shorter. At first jobs are taken to wait, until ten or so were short.
    short: Duration,
    pub(super) closed: bool,
}

/// How a thread for what is in the queue is had.
pub(super) enum Hand {
    /// Those that are awake come to it.
    Enough,
    Wake(Thread),
    Start,
}

impl State {
    pub(super) fn new(threads: usize, processors: usize) -> Self {
        let (queue, asleep, inside) = Default::default();
        Self { threads, processors, next: 0, queue, started: 0, asleep, inside, short: 4 * WAITS, closed: false }
    }

    /// Puts a job at the end of the queue; its number.
    pub(super) fn push(&mut self, job: Job) -> u64 {
        let number = self.next;
        self.next += 1;
        self.queue.push_back((number, job));
        number
    }

    /// Takes a job out of the queue, if no thread has.
    pub(super) fn remove(&mut self, number: u64) -> Option<(u64, Job)> {
        let at = self.queue.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        self.queue.remove(at)
    }

    /// Whether another thread is to be awake for what is in the queue at `now`; it is counted as awake then.
    pub(super) fn hand(&mut self, now: Instant) -> Hand {
        // One that is in a job looks into the queue when it is done.
        if self.queue.is_empty() || self.awake() >= self.most(now) {
            Hand::Enough
        } else if let Some((_, thread)) = self.asleep.pop() {
            Hand::Wake(thread)
        } else {
            self.started += 1;
            Hand::Start
        }
    }

    /// Whether a thread that is in no job has one to take at `now`. More threads than are to be awake are left from before it was known how long
    /// jobs take.
    pub(super) fn has_job(&self, now: Instant) -> bool {
        !self.queue.is_empty() && self.awake() <= self.most(now)
    }

    /// Notes that thread `me` is in no job any more at `now`.
    ///
    /// The short ones among the jobs are followed, down by an eighth and up by a 128th, so that one in 17 is shorter. Not the middle: where
    /// processors are scarce, half of the jobs that only compute wait for one, which looks like a device. None of a device's is short.
    pub(super) fn done(&mut self, me: usize, now: Instant) {
        let Some(since) = self.inside[me].take() else { return };
        let up = (self.short / 128).max(Duration::from_nanos(1));
        self.short = if now.saturating_duration_since(since) < self.short { self.short - self.short / 8 } else { self.short + up };
    }

    /// Whether jobs are known to be over sooner than those that wait for a device.
    pub(super) fn computes(&self) -> bool {
        self.short < WAITS
    }

    /// Threads that are in a job, or look for one.
    fn awake(&self) -> usize {
        self.started - self.asleep.len()
    }

    /// Most threads that are to be awake at `now`.
    fn most(&self, now: Instant) -> usize {
        if !self.computes() {
            return self.threads;
        }
        let overdue = |since: &&Option<Instant>| since.is_some_and(|since| now.saturating_duration_since(since) > OVERDUE);
        self.threads.min(self.processors + self.inside.iter().filter(overdue).count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `threads` of 8 on 2 processors are in jobs since `now`, and one more job waits.
    fn busy(threads: usize, now: Instant) -> State {
        let mut state = State::new(8, 2);
        (state.started, state.inside) = (threads, vec![Some(now); threads]);
        state.push(Box::new(|| {}));
        state
    }

    /// Jobs that take `taken`, one after the other.
    fn work(state: &mut State, jobs: usize, taken: Duration) {
        let start = Instant::now();
        for _ in 0..jobs {
            let before = state.inside[0].replace(start);
            state.done(0, start + taken);
            state.inside[0] = before;
        }
    }

    fn is_enough(state: &mut State, now: Instant) -> bool {
        matches!(state.hand(now), Hand::Enough)
    }

    #[test]
    fn jobs_that_wait_have_a_thread_each_and_jobs_that_compute_no_more_than_there_are_processors() {
        let now = Instant::now();
        assert!(!is_enough(&mut busy(7, now), now), "nothing is known yet");
        assert!(is_enough(&mut busy(8, now), now), "there may be no more");
        for (taken, enough_with_2) in [(Duration::from_micros(30), true), (Duration::from_micros(500), false)] {
            let mut state = busy(2, now);
            work(&mut state, 1000, taken);
            assert_eq!(is_enough(&mut state, now), enough_with_2, "{taken:?}");
            let mut state = busy(1, now);
            work(&mut state, 1000, taken);
            assert!(!is_enough(&mut state, now), "{taken:?}: one processor is free");
        }
    }

    #[test]
    fn it_is_learnt_anew_when_a_token_becomes_slow_and_when_it_becomes_fast() {
        let now = Instant::now();
        let mut state = busy(2, now);
        work(&mut state, 1000, Duration::from_micros(20));
        work(&mut state, 300, Duration::from_micros(500));
        assert!(!is_enough(&mut state, now));
        work(&mut state, 20, Duration::from_micros(20));
        assert!(is_enough(&mut state, now));
    }

    #[test]
    fn most_jobs_may_be_long_while_some_are_short() {
        let now = Instant::now();
        let mut state = busy(2, now);
        for _ in 0..1000 {
            work(&mut state, 1, Duration::from_micros(20));
            work(&mut state, 9, Duration::from_millis(4));
        }
        assert!(is_enough(&mut state, now), "{:?}", state.short);
    }

    #[test]
    fn a_thread_that_is_held_up_among_short_jobs_has_its_place_taken() {
        let now = Instant::now();
        let mut state = busy(2, now);
        work(&mut state, 1000, Duration::from_micros(20));
        let late = now + OVERDUE + Duration::from_micros(1);
        assert!(is_enough(&mut state, now + OVERDUE) && !is_enough(&mut state, late));
        assert!(!is_enough(&mut state, late), "a second one, for both are held up");
        assert!(is_enough(&mut state, late), "two are awake and held up by nothing");
    }

    #[test]
    fn threads_that_are_too_many_take_no_job() {
        let now = Instant::now();
        let mut state = busy(3, now);
        assert!(state.has_job(now));
        work(&mut state, 1000, Duration::from_micros(20));
        assert!(!state.has_job(now) && state.has_job(now + 2 * OVERDUE));
        state.asleep.push((2, std::thread::current()));
        assert!(state.has_job(now));
        state.queue.clear();
        assert!(!state.has_job(now));
    }
}
