//! Who is inside a module, and whether anybody may be.
//!
//! Any number are inside at once. To initialise or finalise, the gate is closed: nobody comes in, and who is inside is waited for, with a limit,
//! for a call that hangs never comes out. Nobody waits without a limit.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Why the gate was not passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shut {
    /// The module is not initialised.
    Down,
    /// Somebody initialises it and does not come to an end, or a call in it does not return.
    Hung,
}

#[derive(Default)]
struct State {
    /// Counts initialisations; what belongs to an earlier one is void.
    epoch: u64,
    up: bool,
    closed: bool,
    inside: usize,
}

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `done`, at most until `end`; whether it came to be.
    fn wait<'a>(&'a self, state: MutexGuard<'a, State>, end: Instant, done: impl Fn(&State) -> bool) -> (MutexGuard<'a, State>, bool) {
        let left = end.saturating_duration_since(Instant::now());
        let waited = self.changed.wait_timeout_while(state, left, |state| !done(state));
        let (state, late) = waited.unwrap_or_else(PoisonError::into_inner);
        (state, !late.timed_out())
    }

    /// Goes in; waits at most `limit` while the gate is closed.
    pub(super) fn enter(&self, limit: Duration) -> Result<Pass<'_>, Shut> {
        let mut state = self.lock();
        if state.closed {
            let (waited, open) = self.wait(state, Instant::now() + limit, |s| !s.closed);
            if !open {
                return Err(Shut::Hung);
            }
            state = waited;
        }
        if !state.up {
            return Err(Shut::Down);
        }
        state.inside += 1;
        Ok(Pass { gate: self, epoch: state.epoch })
    }

    /// Closes the gate and waits at most `limit` until nobody is inside.
    pub(super) fn close(&self, limit: Duration) -> Result<Closed<'_>, Shut> {
        let end = Instant::now() + limit;
        let (mut state, open) = self.wait(self.lock(), end, |s| !s.closed);
        if !open {
            return Err(Shut::Hung);
        }
        state.closed = true;
        let (mut state, empty) = self.wait(state, end, |s| s.inside == 0);
        if empty {
            return Ok(Closed { gate: self });
        }
        state.closed = false;
        self.changed.notify_all();
        Err(Shut::Hung)
    }

    /// Which initialisation is the present one; none while the module is down.
    pub(super) fn epoch(&self) -> Option<u64> {
        let state = self.lock();
        state.up.then_some(state.epoch)
    }
}

/// Somebody is inside.
pub(super) struct Pass<'a> {
    gate: &'a Gate,
    /// The initialisation that holds meanwhile.
    pub(super) epoch: u64,
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.inside -= 1;
        // Only who closes waits for that.
        if state.inside == 0 && state.closed {
            self.gate.changed.notify_all();
        }
    }
}

/// Nobody is inside, and nobody comes in.
pub(super) struct Closed<'a> {
    gate: &'a Gate,
}

impl Closed<'_> {
    /// Whether the module is initialised.
    pub(super) fn is_up(&self) -> bool {
        self.gate.lock().up
    }

    /// Which initialisation was the last one.
    pub(super) fn epoch(&self) -> u64 {
        self.gate.lock().epoch
    }

    /// From now on it is not initialised.
    pub(super) fn set_down(&self) {
        self.gate.lock().up = false;
    }

    /// From now on it is, in a new epoch.
    pub(super) fn set_up(&self) {
        let mut state = self.gate.lock();
        state.up = true;
        state.epoch += 1;
    }
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.gate.lock().closed = false;
        self.gate.changed.notify_all();
    }
}

/// A lock that is not waited for without a limit: whose turn it is in a module that takes one call at a time.
#[derive(Default)]
pub(super) struct Turn {
    taken: Mutex<bool>,
    free: Condvar,
}

impl Turn {
    /// Waits at most `limit`.
    pub(super) fn take(&self, limit: Duration) -> Option<Taken<'_>> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut taken, late) = self.free.wait_timeout_while(taken, limit, |taken| *taken).unwrap_or_else(PoisonError::into_inner);
        if late.timed_out() {
            return None;
        }
        *taken = true;
        Some(Taken(self))
    }
}

/// It is ours.
pub(super) struct Taken<'a>(&'a Turn);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.free.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const NO_TIME: Duration = Duration::ZERO;
    const LONG: Duration = Duration::from_secs(30);

    fn up() -> Gate {
        let gate = Gate::default();
        gate.close(NO_TIME).expect("nobody is inside").set_up();
        gate
    }

    #[test]
    fn nobody_enters_before_the_first_initialisation_or_after_the_end() {
        let gate = Gate::default();
        assert_eq!(gate.enter(NO_TIME).err(), Some(Shut::Down));
        gate.close(NO_TIME).expect("closes").set_up();
        assert_eq!(gate.enter(NO_TIME).expect("enters").epoch, 1);
        gate.close(NO_TIME).expect("closes").set_down();
        assert_eq!(gate.enter(NO_TIME).err(), Some(Shut::Down));
    }

    #[test]
    fn a_call_that_hangs_keeps_the_gate_from_closing_and_nobody_from_entering() {
        let gate = up();
        let hung = gate.enter(NO_TIME).expect("enters");
        assert_eq!(gate.close(NO_TIME).err(), Some(Shut::Hung));
        assert!(gate.enter(NO_TIME).is_ok(), "the gate is open again");
        drop(hung);
        assert!(gate.close(NO_TIME).is_ok());
    }

    #[test]
    fn who_comes_to_a_closed_gate_is_let_in_when_it_opens_and_sees_the_new_epoch() {
        let gate = up();
        let closed = gate.close(NO_TIME).expect("closes");
        assert_eq!(gate.enter(NO_TIME).err(), Some(Shut::Hung));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| gate.enter(LONG).map(|pass| pass.epoch));
            closed.set_up();
            drop(closed);
            assert_eq!(waits.join().expect("no panic").ok(), Some(2));
        });
    }

    #[test]
    fn closing_waits_for_the_last_one_inside() {
        let gate = up();
        let (entered, is_inside) = mpsc::channel();
        let (leave, may_leave) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let gate = &gate;
            scope.spawn(move || {
                let pass = gate.enter(LONG).expect("enters");
                entered.send(()).expect("heard");
                may_leave.recv().expect("told");
                drop(pass);
            });
            is_inside.recv().expect("inside");
            let closes = scope.spawn(|| gate.close(LONG).is_ok());
            leave.send(()).expect("heard");
            assert!(closes.join().expect("no panic"));
        });
    }

    #[test]
    fn a_turn_that_is_taken_is_not_waited_for_without_a_limit() {
        let turn = Turn::default();
        let taken = turn.take(NO_TIME).expect("free");
        assert!(turn.take(Duration::from_millis(1)).is_none());
        drop(taken);
        assert!(turn.take(NO_TIME).is_some());
    }
}
