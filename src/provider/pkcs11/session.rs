//! Sessions with a token, from one login until it is over.
//!
//! Every place where a session may be open, so that a reader can check that each is closed:
//!
//! 1. The *anchor* of a [`Live`]: opened by `Live::new`, and closed by it if the login fails; else by [`Live::end`].
//! 2. The *idle* ones of a [`Live`]: put there by the drop of a [`Borrowed`] alone, closed by [`Live::end`].
//! 3. A [`Borrowed`]: on the stack of one call. Its drop puts the session back if the call kept it, and closes it otherwise, a panic included.
//!
//! An initialisation of the module voids all of them at once. The number of those open is [`Module::sessions_of`](super::raw::Module::sessions_of).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::raw::{Failed, Inside, Session, Slot, TokenInfo};
use super::rv::Rv;

/// How long a call waits for a session while all are in use.
const WAIT: Duration = Duration::from_secs(1);
/// For so long fewer sessions are borrowed after the token gave no more: whoever else has them may give them back. Then the next calls find out.
const LOWERED: Duration = Duration::from_secs(5);

/// One login to a token. Its handles mean nothing in another.
pub(super) struct Live {
    /// Counts logins of a connection.
    pub(super) number: u64,
    /// The initialisation of the module that it belongs to.
    pub(super) epoch: u64,
    /// Where the token is, in that epoch.
    pub(super) slot: Slot,
    owner: u64,
    wants_login: bool,
    /// Never used for an operation: while it is open, the login lasts.
    anchor: Session,
    /// Set before the next login begins. What came out of this one after that may belong to the next, and is not believed.
    over: AtomicBool,
    /// Set when a key was found: so an empty search means that the key is not there, and not that nothing is seen.
    sees_keys: AtomicBool,
    pool: Mutex<Pool>,
    returned: Condvar,
}

struct Pool {
    idle: Vec<Session>,
    /// Borrowed at present.
    out: usize,
    /// Most that may be borrowed at present.
    most: usize,
    /// Most that may ever be.
    limit: usize,
    /// When the token gave none although fewer than `limit` were borrowed.
    lowered: Option<Instant>,
    /// Those who wait for one.
    waiting: usize,
}

impl Pool {
    /// Back to the limit, once it was lowered for long enough.
    fn raise(&mut self) {
        if self.lowered.is_some_and(|at| at.elapsed() >= LOWERED) {
            (self.most, self.lowered) = (self.limit, None);
        }
    }
}

impl Live {
    /// Opens the anchor, and has `log_in` log in with it.
    ///
    /// `most`: sessions beside the anchor, before the token's own limit. `owner`: who is counted for them.
    pub(super) fn new<E: From<Failed>>(
        inside: &Inside<'_>,
        (slot, info): (Slot, &TokenInfo),
        (number, owner): (u64, u64),
        most: usize,
        log_in: impl FnOnce(Session) -> Result<(), E>,
    ) -> Result<Self, E> {
        let anchor = open(inside, slot, false, owner)?;
        if let Err(e) = log_in(anchor) {
            inside.close(anchor);
            return Err(e);
        }
        let most = most.min(info.max_sessions.map_or(usize::MAX, |max| max.saturating_sub(1))).max(1);
        Ok(Self {
            number,
            epoch: inside.epoch(),
            slot,
            owner,
            wants_login: info.wants_login(),
            anchor,
            over: AtomicBool::new(false),
            sees_keys: AtomicBool::new(false),
            pool: Mutex::new(Pool { idle: Vec::new(), out: 0, most, limit: most, lowered: None, waiting: 0 }),
            returned: Condvar::new(),
        })
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        // Nothing panics while it is held.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the next login has begun, or will.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// From now on nothing of it is believed, and what is given back is closed.
    pub(super) fn set_over(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// Closes what is open of it and not borrowed, if the module is still in its epoch.
    pub(super) fn end(&self, inside: &Inside<'_>) {
        self.set_over();
        let idle = std::mem::take(&mut self.pool().idle);
        if inside.epoch() == self.epoch {
            idle.into_iter().for_each(|session| inside.close(session));
            inside.close(self.anchor);
        }
    }

    /// Whether a key was found in it.
    pub(super) fn sees_keys(&self) -> bool {
        self.sees_keys.load(Ordering::Relaxed)
    }

    /// A key was found in it.
    pub(super) fn note_key(&self) {
        self.sees_keys.store(true, Ordering::Relaxed);
    }

    /// A session for one call; `inside` must be in the same epoch. `fresh`: not one that was used before.
    ///
    /// Errors: none within a second, with CKR_SESSION_COUNT; or that of opening one.
    pub(super) fn borrow<'a>(&'a self, inside: &'a Inside<'a>, fresh: bool) -> Result<Borrowed<'a>, Failed> {
        let end = Instant::now() + WAIT;
        loop {
            let mut pool = self.pool();
            pool.raise();
            while pool.out >= pool.most {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(Failed::Returned { call: "C_OpenSession", rv: Rv::SESSION_COUNT });
                }
                pool.waiting += 1;
                pool = self.returned.wait_timeout(pool, left).unwrap_or_else(PoisonError::into_inner).0;
                pool.waiting -= 1;
                pool.raise();
            }
            pool.out += 1;
            let idle = pool.idle.pop();
            drop(pool);
            // From here on its drop counts it back.
            let mut borrowed = Borrowed { live: self, inside, session: idle, keep: false, writes: false };
            if borrowed.session.is_some() && !fresh {
                return Ok(borrowed);
            }
            match borrowed.renew() {
                // Others of this process have sessions: that many are all there are.
                Err(Failed::Returned { rv: Rv::SESSION_COUNT, .. }) if self.lower_limit() => {}
                other => return other.map(|()| borrowed),
            }
        }
    }

    /// A session that may change the token, for one call of a command; never kept.
    pub(super) fn borrow_to_write<'a>(&'a self, inside: &'a Inside<'a>) -> Result<Borrowed<'a>, Failed> {
        self.pool().out += 1;
        let mut borrowed = Borrowed { live: self, inside, session: None, keep: false, writes: true };
        borrowed.renew()?;
        Ok(borrowed)
    }

    /// The token gave no session although fewer than allowed are borrowed; whether waiting for one of them may help.
    fn lower_limit(&self) -> bool {
        let mut pool = self.pool();
        // One of them is the caller's own place.
        let others = pool.out.saturating_sub(1);
        if others > 0 {
            pool.most = pool.most.min(others);
            pool.lowered = Some(Instant::now());
        }
        others > 0
    }
}

fn open(inside: &Inside<'_>, slot: Slot, writes: bool, owner: u64) -> Result<Session, Failed> {
    match inside.open(slot, writes, owner)? {
        (session, true) => Ok(session),
        // The module closed sessions behind our back and gives their numbers anew: somebody may hold the old one. Only a new epoch makes that
        // safe, so the answer is the one that leads there.
        (session, false) => {
            inside.close(session);
            Err(Failed::Returned { call: "C_OpenSession", rv: Rv::CRYPTOKI_NOT_INITIALIZED })
        }
    }
}

/// A session for one call. Dropped, it goes back if it was kept, and is closed otherwise.
pub(super) struct Borrowed<'a> {
    pub(super) live: &'a Live,
    pub(super) inside: &'a Inside<'a>,
    /// None only between closing one and opening the next.
    session: Option<Session>,
    keep: bool,
    writes: bool,
}

impl Borrowed<'_> {
    /// Its number.
    pub(super) fn session(&self) -> Result<Session, Failed> {
        self.session.ok_or(Failed::Returned { call: "C_OpenSession", rv: Rv::SESSION_HANDLE_INVALID })
    }

    /// An error if nobody is logged in any more: a search finds nothing then, which means nothing.
    pub(super) fn logged_in(&self) -> Result<(), Failed> {
        if !self.live.wants_login || self.inside.is_logged_in(self.session()?)? {
            return Ok(());
        }
        Err(Failed::Returned { call: "C_GetSessionInfo", rv: Rv::USER_NOT_LOGGED_IN })
    }

    /// Closes it and opens another: an operation that failed may have left it unusable.
    pub(super) fn renew(&mut self) -> Result<(), Failed> {
        if let Some(session) = self.session.take() {
            self.inside.close(session);
        }
        self.session = Some(open(self.inside, self.live.slot, self.writes, self.live.owner)?);
        Ok(())
    }

    /// No operation is left in it: it may serve the next call.
    pub(super) fn keep(mut self) {
        self.keep = true;
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        let mut pool = self.live.pool();
        if let Some(session) = self.session.take() {
            // Under the lock, so that none is put back after `end` took them.
            if self.keep && !self.live.is_over() {
                pool.idle.push(session);
            } else {
                drop(pool);
                self.inside.close(session);
                pool = self.live.pool();
            }
        }
        pool.out -= 1;
        let wake = pool.waiting > 0;
        drop(pool);
        // To wake nobody is a system call too.
        if wake {
            self.live.returned.notify_one();
        }
    }
}
