//! One call for a key: on a session of the present login, and again after a recovery where that may help.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Problem;
use super::classify::{self, fault, means_closed};
use super::connection::{Connection, Depth};
use super::raw::{Failed, Shut};
use super::session::Borrowed;
use crate::entropy::EntropyError;
use crate::provider::KekError;

/// Most times that one call is begun: for each depth of recovery, and for logins of others in between.
const ROUNDS: usize = 6;
/// For how long a key that recovery did not help causes no other one, at first and at most.
const PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(8);

/// Why the work of a call did not succeed.
#[derive(Debug)]
pub(super) enum Stop {
    /// A call failed; what that means is looked into.
    Failed(Failed),
    /// The bytes do not open; the session is as good as before.
    Authentication,
    /// The key is not seen.
    NoKey(Problem),
    /// Something is as it must not be; no recovery helps.
    Problem(Problem),
    /// No random bytes.
    Entropy(EntropyError),
    /// A message that no cipher takes.
    Length(usize),
}

impl From<Failed> for Stop {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

/// What one key costs others: recoveries that did not help it are not made by every call.
#[derive(Default)]
pub(super) struct Futile {
    any: AtomicBool,
    last: Mutex<Option<(Instant, Duration)>>,
}

impl Futile {
    fn may_recover(&self) -> bool {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_none_or(|(at, pause)| at.elapsed() >= pause)
    }

    fn note(&self) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = last.map_or(PAUSE, |(_, pause)| (2 * pause).min(MAX_PAUSE));
        *last = Some((Instant::now(), pause));
        self.any.store(true, Ordering::Relaxed);
    }

    fn clear(&self) {
        // Every good call comes here; the lock is for the few after a bad one.
        if self.any.swap(false, Ordering::Relaxed) {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

/// What a call does on a session. Each may be done several times.
pub(super) struct Job<'j, T> {
    /// What is attempted, for the error.
    pub(super) attempt: &'static str,
    /// Whether it opens bytes that somebody else may have made.
    pub(super) opens: bool,
    pub(super) futile: &'j Futile,
    pub(super) work: &'j mut dyn FnMut(&mut Borrowed<'_>) -> Result<T, Stop>,
    /// Uses the key in a way that works whatever the caller gave: tells a bad input from a bad token.
    pub(super) canary: &'j mut dyn FnMut(&mut Borrowed<'_>) -> Result<(), Stop>,
}

/// How one round ended.
enum Round<T> {
    Done(T),
    /// Nothing that recovery helps.
    Final(Stop),
    /// Recover that deeply, then again.
    Recover(Depth, Problem),
    /// Again, on a new session.
    Fresh(Problem),
}

impl Connection {
    /// Does the job, and recovers as far as that is needed. Blocks for as long as the module does.
    pub(super) fn run<T>(&self, mut job: Job<'_, T>) -> Result<T, KekError> {
        let (attempt, futile) = (job.attempt, job.futile);
        let mut refused = None;
        let mut depth = Depth::Login;
        let mut fresh = false;
        let mut last = Problem::Hung;
        let mut recovered = false;
        for _ in 0..ROUNDS {
            let live = self.live(refused.as_ref(), depth)?;
            let inside = match self.module()?.enter() {
                Ok(inside) if inside.epoch() == live.epoch && !live.is_over() => inside,
                // It was initialised in between, which also made another login.
                Ok(_) | Err(Shut::Down) => {
                    (refused, fresh) = (Some(live), false);
                    continue;
                }
                Err(Shut::Hung) => return Err(self.stopped(attempt, Stop::Problem(Problem::Hung))),
            };
            let round = match live.borrow(&inside, fresh) {
                Ok(session) => round(session, &mut job),
                Err(f) => judge(f),
            };
            // Another login began meanwhile: a handle may have meant another key at the end than at the beginning.
            if live.is_over() {
                (refused, fresh) = (Some(live.clone()), false);
                continue;
            }
            let (deeper, problem) = match round {
                Round::Done(value) => {
                    futile.clear();
                    return Ok(value);
                }
                // Who is logged out sees no keys either, and some modules see none of a token that came back.
                Round::Final(Stop::NoKey(problem)) if !live.sees_keys() => (Depth::Module, problem),
                Round::Final(stop) => return Err(self.stopped(attempt, stop)),
                Round::Fresh(problem) if !fresh => {
                    (fresh, last) = (true, problem);
                    continue;
                }
                Round::Fresh(problem) => (Depth::Login, problem),
                Round::Recover(deeper, problem) => (deeper, problem),
            };
            last = problem;
            if (recovered && depth == Depth::Module) || !futile.may_recover() {
                break;
            }
            depth = if recovered { Depth::Module } else { deeper };
            (refused, fresh, recovered) = (Some(live.clone()), false, true);
        }
        if recovered {
            futile.note();
        }
        Err(self.error(attempt, last).into())
    }

    /// The error of a call that stopped for good.
    fn stopped(&self, attempt: &'static str, stop: Stop) -> KekError {
        match stop {
            Stop::Authentication => KekError::Authentication,
            Stop::Entropy(e) => KekError::Entropy(e),
            Stop::Length(len) => KekError::Cipher(len),
            Stop::NoKey(problem) | Stop::Problem(problem) => self.error(attempt, problem).into(),
            Stop::Failed(failed) => self.error(attempt, failed.into()).into(),
        }
    }
}

fn round<T>(mut session: Borrowed<'_>, job: &mut Job<'_, T>) -> Round<T> {
    match (job.work)(&mut session) {
        Ok(value) => {
            session.keep();
            Round::Done(value)
        }
        Err(Stop::Failed(failed)) => match fault(failed) {
            classify::Fault::Unclear => doubt(session, failed, job),
            _ => judge(failed),
        },
        Err(Stop::Authentication) => {
            session.keep();
            Round::Final(Stop::Authentication)
        }
        Err(stop) => Round::Final(stop),
    }
}

/// A call failed, and why cannot be told from its code. If the canary opens on a new session, the token is well.
fn doubt<T>(mut session: Borrowed<'_>, failed: Failed, job: &mut Job<'_, T>) -> Round<T> {
    if let Err(f) = session.renew() {
        return judge(f);
    }
    match (job.canary)(&mut session) {
        Ok(()) => {}
        Err(Stop::Failed(f)) => {
            return match judge(f) {
                // Not even the canary: the token is not well.
                Round::Final(_) => Round::Recover(Depth::Login, failed.into()),
                other => other,
            };
        }
        Err(stop) => return Round::Final(stop),
    }
    // Once more, for the token may have been unwell for a moment only.
    match (job.work)(&mut session) {
        Ok(value) => {
            session.keep();
            Round::Done(value)
        }
        Err(Stop::Failed(again)) if job.opens && means_closed(failed) && means_closed(again) => Round::Final(Stop::Authentication),
        Err(Stop::Failed(again)) => judge(again),
        Err(stop) => Round::Final(stop),
    }
}

/// What is to be done after a failed call; what is unclear here stays an error of the token.
fn judge<T>(failed: Failed) -> Round<T> {
    let problem = Problem::from(failed);
    match fault(failed) {
        classify::Fault::Session => Round::Fresh(problem),
        classify::Fault::Login => Round::Recover(Depth::Login, problem),
        classify::Fault::Module => Round::Recover(Depth::Module, problem),
        classify::Fault::Busy => Round::Final(Stop::Problem(Problem::Busy)),
        classify::Fault::Caller | classify::Fault::Hung | classify::Fault::Unclear => Round::Final(Stop::Problem(problem)),
    }
}
