//! What holds a token: its module, one login at a time, and how both are found again when they are lost.
//!
//! Recovery goes from what costs others nothing to what stops them: another session, another login with everything found anew, the module
//! initialised anew. One thread recovers, the others wait for it, with a limit; what failed is not tried by every call.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::login::{LoginError, PinSource, log_in};
use super::raw::{Inside, Module, Shut, Slot, TokenInfo};
use super::session::Live;
use super::{Problem, TokenError, TokenName, module_file};
use crate::provider::waits::Workers;

/// How long a call waits for another thread that recovers.
const PATIENCE: Duration = Duration::from_secs(2);
/// For so long after a recovery that failed, none is tried.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest time between two initialisations that did not help: others may use the module, and are stopped by each.
const MAX_PAUSE: Duration = Duration::from_secs(8);

/// How to reach one token.
pub struct TokenAccess {
    /// Which.
    pub name: TokenName,
    /// The file of its module, absolute.
    pub module: PathBuf,
    /// What C_Initialize is given as pReserved, for modules that want it.
    pub module_config: Option<String>,
    /// Whether the module's file may be anybody's; for tests.
    pub insecure_module_owner: bool,
    /// Where its PIN comes from.
    pub pins: Arc<dyn PinSource>,
    /// The threads that wait for it: so many sessions are used at once.
    pub workers: Arc<Workers>,
}

/// What holds one token.
pub(super) struct Connection {
    access: TokenAccess,
    module: OnceLock<Arc<Module>>,
    /// Counts this connection's sessions apart from those of others in the same module.
    owner: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    live: Option<Arc<Live>>,
    /// Counts logins.
    logins: u64,
    recovering: bool,
    failed: Option<(Instant, TokenError)>,
    /// When the module was initialised anew although it was up, and how long after that it is not to be again.
    restarted: Option<(Instant, Duration)>,
}

/// How far a recovery goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Log in again; initialise the module if that fails.
    Login,
    /// Initialise the module.
    Module,
}

impl Connection {
    /// Reaches for nothing yet.
    pub(super) fn new(access: TokenAccess) -> Self {
        static OWNERS: AtomicU64 = AtomicU64::new(0);
        let owner = OWNERS.fetch_add(1, Ordering::Relaxed);
        Self { access, module: OnceLock::new(), owner, state: Mutex::default(), changed: Condvar::new() }
    }

    pub(super) fn workers(&self) -> &Arc<Workers> {
        &self.access.workers
    }

    /// Sessions that are open at present.
    pub(super) fn sessions_open(&self) -> usize {
        self.module.get().map_or(0, |module| module.sessions_of(self.owner))
    }

    pub(super) fn error(&self, attempt: &'static str, problem: Problem) -> TokenError {
        TokenError { token: self.access.name.clone(), attempt, problem }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The module, checked and loaded.
    pub(super) fn module(&self) -> Result<&Arc<Module>, TokenError> {
        if let Some(module) = self.module.get() {
            return Ok(module);
        }
        let failed = |problem| self.error("load its module", problem);
        let file = module_file::check(&self.access.module, self.access.insecure_module_owner).map_err(failed)?;
        let module = Module::load(&file, self.access.module_config.as_deref()).map_err(|e| failed(Problem::load(&file, &e)))?;
        Ok(self.module.get_or_init(|| module))
    }

    /// The present login, another one than `refused`; made if there is none, by at most one thread at a time.
    ///
    /// Must not be called by who is inside the module.
    pub(super) fn live(&self, refused: Option<&Arc<Live>>, depth: Depth) -> Result<Arc<Live>, TokenError> {
        let module = self.module()?;
        let end = Instant::now() + PATIENCE;
        let mut state = self.lock();
        loop {
            if let Some(live) = &state.live
                && !live.is_over()
                && module.epoch() == Some(live.epoch)
                && refused.is_none_or(|refused| !Arc::ptr_eq(refused, live))
            {
                return Ok(Arc::clone(live));
            }
            if let Some((at, error)) = &state.failed
                && at.elapsed() < PAUSE
            {
                return Err(error.clone());
            }
            if !state.recovering {
                break;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.error("connect", Problem::Hung));
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.recovering = true;
        state.logins += 1;
        let number = state.logins;
        let old = state.live.take();
        drop(state);
        let mut recovering = Recovering { connection: self, result: Err(self.error("connect", Problem::Hung)) };
        recovering.result = self.connect(module, number, old.as_deref(), depth).map(Arc::new);
        recovering.result.clone()
    }

    fn connect(&self, module: &Module, number: u64, old: Option<&Live>, depth: Depth) -> Result<Live, TokenError> {
        // Before anything else: what comes out of the old login from here on is not believed.
        if let Some(old) = old {
            old.set_over();
        }
        let helped = old.is_some_and(Live::sees_keys);
        match module.enter() {
            Ok(inside) => {
                if let Some(old) = old {
                    old.end(&inside);
                }
                if depth == Depth::Login || !self.may_restart(helped) {
                    match self.log_in(&inside, number) {
                        Ok(live) => return Ok(live),
                        Err(e) if depth == Depth::Module || !restart_may_help(&e.problem) || !self.may_restart(helped) => return Err(e),
                        Err(_) => {}
                    }
                }
                let epoch = inside.epoch();
                drop(inside);
                self.restart(module, Some(epoch))?;
            }
            Err(Shut::Down) => self.restart(module, None)?,
            Err(Shut::Hung) => return Err(self.error("connect", Problem::Hung)),
        }
        let inside = module.enter().map_err(|_| self.error("connect", Problem::Hung))?;
        self.log_in(&inside, number)
    }

    /// Whether a module that is up may be initialised anew now; it is noted that it is. `helped`: the last time, keys were found again by it.
    fn may_restart(&self, helped: bool) -> bool {
        let mut state = self.lock();
        let now = Instant::now();
        let pause = match state.restarted {
            Some((at, pause)) if now.saturating_duration_since(at) < if helped { PAUSE } else { pause } => return false,
            Some((_, pause)) if !helped => (2 * pause).min(MAX_PAUSE),
            _ => PAUSE,
        };
        state.restarted = Some((now, pause));
        true
    }

    fn restart(&self, module: &Module, seen: Option<u64>) -> Result<(), TokenError> {
        module.restart(seen).map_err(|failed| self.error("initialise its module", failed.into()))
    }

    fn log_in(&self, inside: &Inside<'_>, number: u64) -> Result<Live, TokenError> {
        let (slot, info) = self.find_slot(inside)?;
        let most = self.access.workers.threads();
        let again = || self.find_slot(inside).ok().map(|(_, info)| info);
        let log_in = |anchor| log_in(inside, anchor, &info, &*self.access.pins, &again);
        Live::new(inside, (slot, &info), (number, self.owner), most, log_in).map_err(|e| match e {
            LoginError::Problem(problem) => self.error("log in", problem),
            LoginError::Pin(error) => error,
        })
    }

    /// The one slot with the token of that label and serial number.
    fn find_slot(&self, inside: &Inside<'_>) -> Result<(Slot, TokenInfo), TokenError> {
        let attempt = "find it";
        let slots = inside.slots().map_err(|e| self.error(attempt, e.into()))?;
        let mut found = Vec::new();
        let mut seen = Vec::new();
        for slot in slots {
            // A slot that cannot be asked, as one whose token is just being pulled, is not ours.
            let Ok(info) = inside.token(slot) else { continue };
            let (Some(label), Some(serial)) = (info.label.clone(), info.serial.clone()) else { continue };
            let name = TokenName { label, serial };
            if name == self.access.name {
                found.push((slot, info));
            } else {
                seen.push(name.to_string());
            }
        }
        let count = found.len();
        match found.pop() {
            None => Err(self.error(attempt, Problem::NoToken { seen })),
            Some(found) if count == 1 => Ok(found),
            Some(_) => Err(self.error(attempt, Problem::Tokens(count))),
        }
    }

    /// Finalises its module, unless a call hangs in it; for the end of a process.
    pub(super) fn stop_module(&self) {
        if let Some(module) = self.module.get() {
            module.stop();
        }
    }

    /// Closes all sessions that are not in use; for the end of a process.
    pub(super) fn end(&self) {
        let Some(module) = self.module.get() else { return };
        let live = self.lock().live.take();
        if let Some(live) = live
            && let Ok(inside) = module.enter()
        {
            live.end(&inside);
        }
    }
}

/// Whether an initialised module may find what it did not find. Nothing about a PIN: it would be asked for again.
fn restart_may_help(problem: &Problem) -> bool {
    matches!(problem, Problem::NoToken { .. } | Problem::Returned { .. } | Problem::Odd { .. })
}

/// Somebody recovers; dropped, it tells the others how that ended, a panic included.
struct Recovering<'a> {
    connection: &'a Connection,
    result: Result<Arc<Live>, TokenError>,
}

impl Drop for Recovering<'_> {
    fn drop(&mut self) {
        let mut state = self.connection.lock();
        state.recovering = false;
        match &self.result {
            Ok(live) => {
                state.live = Some(Arc::clone(live));
                state.failed = None;
            }
            Err(error) => state.failed = Some((Instant::now(), error.clone())),
        }
        self.connection.changed.notify_all();
    }
}
