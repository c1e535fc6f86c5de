//! A bounded number of threads that may wait for one token.
//!
//! A call that hangs in a module cannot be ended, so its thread is lost until it returns: it is counted, and no other is started in its place.
//! What waits for a thread waits in a queue ([`state`]), and leaves it when nobody wants it any more, so the queue is as long as there are callers.

mod state;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use state::{Hand, State};

use super::Limits;
use crate::provider::pkcs11::TokenName;

/// A thread that is in one job for longer counts as stuck.
const STUCK: Duration = Duration::from_secs(10);

/// What a thread is given to do; it may block for ever.
type Job = Box<dyn FnOnce() + Send>;

/// A bounded number of threads that may wait for one token. Dropped, its threads end when they are in no job.
pub struct Workers(Arc<Shared>);

struct Shared {
    token: TokenName,
    limits: Limits,
    state: Mutex<State>,
    calls: [AtomicU64; Outcome::ALL.len()],
}

/// How a call of the token ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Ok,
    /// What was sent does not open; the token works.
    Refused,
    /// The token does not answer, or has no such key.
    Failed,
    /// Otherwise: a wrap that did not prove itself, no random bytes, a defect.
    Ours,
    /// Nobody waited for it any longer; counted beside what it came to at last.
    Late,
}

impl Outcome {
    /// Every one there is.
    pub const ALL: [Self; 5] = [Self::Ok, Self::Refused, Self::Failed, Self::Ours, Self::Late];

    /// Its name in a metric.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Ours => "internal",
            Self::Late => "late",
        }
    }
}

/// How many calls ended in which way.
pub type Calls = [(Outcome, u64); Outcome::ALL.len()];

/// What the threads do at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Most threads there may be.
    pub threads: usize,
    /// Threads in a job.
    pub busy: usize,
    /// Of these, those that have been in it for over ten seconds.
    pub stuck: usize,
    /// Jobs that no thread has taken yet.
    pub queued: usize,
}

impl Workers {
    /// Those of `token`, which has not been asked for anything yet: at most `threads` (at least one), each started when it is first needed.
    pub fn of(token: TokenName, threads: usize, limits: Limits) -> Self {
        // One is for who answers, Status among others.
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get).saturating_sub(1).max(1);
        Self::on(processors, token, threads, limits)
    }

    /// The same where jobs that compute may have so many processors.
    fn on(processors: usize, token: TokenName, threads: usize, limits: Limits) -> Self {
        let state = Mutex::new(State::new(threads.max(1), processors));
        Self(Arc::new(Shared { token, limits, state, calls: Default::default() }))
    }

    /// Most calls that are in the token at once.
    pub fn threads(&self) -> usize {
        self.0.lock().threads
    }

    /// Which token, as people call it.
    pub fn token(&self) -> String {
        self.0.token.to_string()
    }

    /// How long is waited for the token.
    pub fn limits(&self) -> Limits {
        self.0.limits
    }

    /// Has a thread run `job` once one is free, in the order of asking. A panic in it costs this job alone.
    ///
    /// What the job is to say, it says through a channel of its caller's; the channel closes unused if the job panicked, or no thread could be
    /// started. The job is dropped unrun when what is returned is dropped before a thread took it.
    pub fn submit(&self, job: impl FnOnce() + Send + 'static) -> Interest {
        let (number, hand) = {
            let mut state = self.0.lock();
            (state.push(Box::new(job)), state.hand(Instant::now()))
        };
        Shared::lend(&self.0, hand);
        Interest { shared: self.0.clone(), number }
    }

    /// Has more threads take jobs if those at work turned out, at `now`, to be held up: to be called now and then, for it may be that nobody asks
    /// for anything.
    pub fn look(&self, now: Instant) {
        loop {
            let hand = self.0.lock().hand(now);
            if matches!(hand, Hand::Enough) {
                return;
            }
            Shared::lend(&self.0, hand);
        }
    }

    /// Counts a call that ended so.
    pub fn count(&self, outcome: Outcome) {
        self.0.calls[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The calls so far.
    pub fn calls(&self) -> Calls {
        Outcome::ALL.map(|outcome| (outcome, self.0.calls[outcome as usize].load(Ordering::Relaxed)))
    }

    /// What the threads do at `now`.
    pub fn figures(&self, now: Instant) -> Figures {
        let state = self.0.lock();
        let busy = || state.inside.iter().flatten();
        let stuck = busy().filter(|since| now.saturating_duration_since(**since) > STUCK).count();
        Figures { threads: state.threads, busy: busy().count(), stuck, queued: state.queue.len() }
    }

    /// Whether at `now` every thread that there may be has been in one job for over `limit`: nothing runs here any more.
    pub fn all_inside_for(&self, limit: Duration, now: Instant) -> bool {
        let state = self.0.lock();
        let hung = |since: &Option<Instant>| since.is_some_and(|since| now.saturating_duration_since(since) > limit);
        state.inside.len() == state.threads && state.inside.iter().all(hung)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let (asleep, left) = {
            let mut state = self.0.lock();
            state.closed = true;
            (std::mem::take(&mut state.asleep), std::mem::take(&mut state.queue))
        };
        asleep.iter().for_each(|(_, thread)| thread.unpark());
        drop(left);
    }
}

/// Somebody waits for a job.
#[must_use = "the job is dropped when nobody waits for it"]
pub struct Interest {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Interest {
    fn drop(&mut self) {
        let job = self.shared.lock().remove(self.number);
        // It may hold secrets, and drops things that lock: here, outside of the lock.
        drop(job);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing of ours panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lend(shared: &Arc<Self>, hand: Hand) {
        match hand {
            Hand::Enough => {}
            Hand::Wake(thread) => thread.unpark(),
            Hand::Start => Self::start(shared),
        }
    }

    /// Starts a thread that is counted already.
    fn start(shared: &Arc<Self>) {
        let thread = std::thread::Builder::new().name("kw-token".into());
        let worker = shared.clone();
        let Err(error) = thread.spawn(move || worker.work()) else { return };
        tracing::error!(cause = %error, "no thread could be started for the calls of a token");
        let mut state = shared.lock();
        state.started -= 1;
        // With no thread at all nobody would ever take them.
        let left = if state.started == 0 { std::mem::take(&mut state.queue) } else { Default::default() };
        drop(state);
        drop(left);
    }

    fn work(&self) {
        let me = {
            let mut state = self.lock();
            state.inside.push(None);
            state.inside.len() - 1
        };
        while let Some(job) = self.next(me) {
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!("a call of a token panicked: a defect of Keywright, please report it");
            }
        }
    }

    /// Notes that thread `me` is in no job any more, and waits for its next; none when it is to end.
    fn next(&self, me: usize) -> Option<Job> {
        let mut state = self.lock();
        let mut now = Instant::now();
        state.done(me, now);
        while !state.closed && !state.has_job(now) {
            state.asleep.push((me, std::thread::current()));
            // It is taken out when it is woken.
            while !state.closed && state.asleep.iter().any(|(number, _)| *number == me) {
                drop(state);
                std::thread::park();
                state = self.lock();
            }
            now = Instant::now();
        }
        let (_, job) = state.queue.pop_front()?;
        state.inside[me] = Some(now);
        Some(job)
    }
}
