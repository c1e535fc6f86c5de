//! One module in the process: loaded, initialised, entered.

use std::collections::HashMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use cryptoki_sys::{CK_C_INITIALIZE_ARGS, CK_FUNCTION_LIST, CK_RV, CKF_OS_LOCKING_OK};
use thiserror::Error;

use super::calls::Session;
use super::gate::{Gate, Pass, Shut, Taken, Turn};
use super::{Failed, Rv};

/// How long a call waits while the module is initialised, or for its turn in one that takes one call at a time.
const ENTER: Duration = Duration::from_secs(2);
/// How long an initialisation waits for the calls that are in the module.
const EMPTY: Duration = Duration::from_millis(500);

/// Why a file is not a module.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum LoadError {
    /// The loader did not take it.
    #[error("it does not load: {0}")]
    Load(String),
    /// It has no C_GetFunctionList.
    #[error("it is no PKCS#11 module: it has no C_GetFunctionList")]
    NoList,
    /// C_GetFunctionList failed, or gave nothing.
    #[error("its C_GetFunctionList gave no list of functions: {0}")]
    List(Rv),
    /// A version whose list this release does not know.
    #[error("it speaks version {0}.{1} of PKCS#11, not 2 or 3")]
    Version(u8, u8),
    /// The same module was loaded with another `module_config`.
    #[error("it is loaded already with another `module_config`; two tokens of one module must have the same")]
    Config,
    /// The string cannot be handed to C.
    #[error("its `module_config` has a zero byte")]
    Zero,
}

/// A module. There is one for each file, until the process ends.
pub(crate) struct Module {
    list: CK_FUNCTION_LIST,
    /// What C_Initialize is given as pReserved. Kept, for nothing says that a module copies it.
    reserved: Option<CString>,
    gate: Gate,
    /// Set when it refused locks of the operating system.
    one_at_a_time: AtomicBool,
    turn: Turn,
    /// Set when C_Finalize failed: then we ourselves may be who initialised the module already.
    left_up: AtomicBool,
    /// Sessions that we opened and did not close, in this epoch, with who opened them.
    sessions: Mutex<HashMap<Session, u64>>,
}

/// A file that is a module, or will be: locked while it is loaded, for that runs its code, which may not come to an end.
type Place = Arc<Mutex<Option<Arc<Module>>>>;

/// Locked for a moment only: who waits for one file holds up nobody who wants another. The C library loads one at a time, though; what a file that
/// hangs there cannot hold up is what is loaded already.
static MODULES: LazyLock<Mutex<HashMap<PathBuf, Place>>> = LazyLock::new(Mutex::default);

fn place(path: &Path) -> Place {
    let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(modules.entry(path.to_owned()).or_default())
}

impl Module {
    /// The module in that file, which the caller has checked; loaded if it is not yet. It is not initialised by this.
    ///
    /// `path`: without symbolic links, so that one file has one name. Loading runs code of the module.
    pub(crate) fn load(path: &Path, reserved: Option<&str>) -> Result<Arc<Self>, LoadError> {
        let reserved = reserved.map(CString::new).transpose().map_err(|_| LoadError::Zero)?;
        let place = place(path);
        let mut loaded = place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = &*loaded {
            return if module.reserved == reserved { Ok(Arc::clone(module)) } else { Err(LoadError::Config) };
        }
        let list = function_list(path)?;
        let module = Arc::new(Self {
            list,
            reserved,
            gate: Gate::default(),
            one_at_a_time: AtomicBool::new(false),
            turn: Turn::default(),
            left_up: AtomicBool::new(false),
            sessions: Mutex::default(),
        });
        *loaded = Some(Arc::clone(&module));
        Ok(module)
    }

    /// Goes in for one operation. Must not be called by who is inside already.
    pub(crate) fn enter(&self) -> Result<Inside<'_>, Shut> {
        Ok(Inside { module: self, pass: self.gate.enter(ENTER)? })
    }

    /// Which initialisation is the present one; none while the module is down.
    pub(crate) fn epoch(&self) -> Option<u64> {
        self.gate.epoch()
    }

    /// Initialises the module, finalising it first if it is up, unless somebody did so since `seen` was the epoch.
    ///
    /// Everything of earlier epochs is void afterwards: sessions, handles, logins. Must not be called by who is inside. Waits half a second at
    /// most for calls that are in the module.
    pub(crate) fn restart(&self, seen: Option<u64>) -> Result<(), Failed> {
        let closed = self.gate.close(EMPTY).map_err(|_| Failed::Hung)?;
        if closed.is_up() && seen != Some(closed.epoch()) {
            return Ok(());
        }
        let mut left_open = HashMap::new();
        if closed.is_up() {
            closed.set_down();
            left_open = std::mem::take(&mut *self.lock_sessions());
            // Its answer changes nothing: what comes next is asked in any case.
            let _ = self.finalize();
        }
        match self.initialize() {
            Ok(()) => self.left_up.store(false, Ordering::Release),
            Err(Failed::Returned { rv: Rv::CRYPTOKI_ALREADY_INITIALIZED, .. }) if self.left_up.load(Ordering::Acquire) => {
                self.close_all(left_open.into_keys())
            }
            Err(e) => return Err(e),
        }
        closed.set_up();
        Ok(())
    }

    /// Finalises the module, if nobody hangs in it; for the end of a process.
    pub(crate) fn stop(&self) {
        if let Ok(closed) = self.gate.close(EMPTY)
            && closed.is_up()
        {
            closed.set_down();
            self.lock_sessions().clear();
            let _ = self.finalize();
        }
    }

    /// How many sessions are open that `owner` opened.
    pub(crate) fn sessions_of(&self, owner: u64) -> usize {
        self.lock_sessions().values().filter(|o| **o == owner).count()
    }

    fn lock_sessions(&self) -> std::sync::MutexGuard<'_, HashMap<Session, u64>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finalize(&self) -> Result<(), Failed> {
        let call = "C_Finalize";
        let function = self.list.C_Finalize.ok_or(Failed::Missing { call })?;
        // SAFETY: invariants 1, 2 and 3 (the gate is closed); its one argument must be null.
        let rv = unsafe { function(std::ptr::null_mut()) };
        let done = returned(call, rv);
        self.left_up.store(done.is_err(), Ordering::Release);
        done
    }

    /// Closes sessions that outlived a C_Finalize which failed. Only while the gate is closed.
    fn close_all(&self, sessions: impl Iterator<Item = Session>) {
        let Some(function) = self.list.C_CloseSession else { return };
        for session in sessions {
            // SAFETY: invariants 1 and 2; the module is initialised, and nobody is inside.
            let _ = unsafe { function(session.0) };
        }
    }

    /// With locks of the operating system; without, and one call at a time from then on, where the module cannot use them.
    fn initialize(&self) -> Result<(), Failed> {
        match self.initialize_with(CKF_OS_LOCKING_OK) {
            Err(Failed::Returned { rv: Rv::CANT_LOCK, .. }) => {
                self.one_at_a_time.store(true, Ordering::Release);
                self.initialize_with(0)
            }
            other => other,
        }
    }

    fn initialize_with(&self, flags: u64) -> Result<(), Failed> {
        let call = "C_Initialize";
        let function = self.list.C_Initialize.ok_or(Failed::Missing { call })?;
        let reserved = self.reserved.as_ref().map_or(std::ptr::null_mut(), |text| text.as_ptr().cast_mut().cast());
        let mut args = CK_C_INITIALIZE_ARGS { flags, pReserved: reserved, ..Default::default() };
        // SAFETY: invariants 1, 2 and 3 (the gate is closed) and 5: `args` outlives the call, the string the module.
        let rv = unsafe { function((&raw mut args).cast()) };
        returned(call, rv)
    }
}

/// Somebody inside a module that is initialised, and stays so meanwhile. Never kept for longer than one operation.
pub(crate) struct Inside<'a> {
    module: &'a Module,
    pass: Pass<'a>,
}

impl Inside<'_> {
    /// The initialisation that holds meanwhile.
    pub(crate) fn epoch(&self) -> u64 {
        self.pass.epoch
    }

    pub(super) fn list(&self) -> &CK_FUNCTION_LIST {
        &self.module.list
    }

    /// Whose turn it is, where it matters.
    pub(super) fn turn(&self) -> Result<Option<Taken<'_>>, Failed> {
        if !self.module.one_at_a_time.load(Ordering::Acquire) {
            return Ok(None);
        }
        self.module.turn.take(ENTER).map(Some).ok_or(Failed::Hung)
    }

    /// Remembers an open session; whether it is new. It is not if the module gave a number anew whose session we never closed.
    pub(super) fn opened(&self, session: Session, owner: u64) -> bool {
        self.module.lock_sessions().insert(session, owner).is_none()
    }

    pub(super) fn closed(&self, session: Session) {
        self.module.lock_sessions().remove(&session);
    }
}

/// `Ok` for CKR_OK.
pub(super) fn returned(call: &'static str, rv: CK_RV) -> Result<(), Failed> {
    match Rv::new(rv) {
        Rv::OK => Ok(()),
        rv => Err(Failed::Returned { call, rv }),
    }
}

/// Loads the file for good and copies its list of functions.
fn function_list(path: &Path) -> Result<CK_FUNCTION_LIST, LoadError> {
    // SAFETY: runs constructors of the library; its file is trusted as this program's own is (see the module's documentation).
    let library = unsafe { cryptoki_sys::Pkcs11::new(path) }.map_err(|e| LoadError::Load(e.to_string()))?;
    // Invariant 2: never unloaded.
    let library = std::mem::ManuallyDrop::new(library);
    let get = *library.C_GetFunctionList.as_ref().map_err(|_| LoadError::NoList)?;
    let mut list: *mut CK_FUNCTION_LIST = std::ptr::null_mut();
    // SAFETY: the one call that may come before C_Initialize; `list` outlives it.
    let rv = unsafe { get(&raw mut list) };
    if Rv::new(rv) != Rv::OK || list.is_null() || !list.is_aligned() {
        return Err(LoadError::List(Rv::new(rv)));
    }
    // SAFETY: not null, aligned; each list begins with its version.
    let version = unsafe { (*list).version };
    if !matches!(version.major, 2 | 3) || (version.major == 2 && version.minor < 10) {
        return Err(LoadError::Version(version.major, version.minor));
    }
    // SAFETY: since version 2.10 a list is at least as long as this structure; later ones append to it.
    Ok(unsafe { *list })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_does_not_come_to_an_end_of_loading_holds_up_no_other() {
        let (hangs, other) = (place(Path::new("/hangs while it is loaded")), Path::new("/is not there"));
        let held = hangs.lock().expect("nobody panicked");
        let (tell, told) = std::sync::mpsc::channel();
        // Not joined: with one lock for all it would never end.
        std::thread::spawn(move || tell.send(matches!(Module::load(other, None), Err(LoadError::Load(_)))));
        assert_eq!(told.recv_timeout(Duration::from_secs(10)), Ok(true));
        drop(held);
    }
}
