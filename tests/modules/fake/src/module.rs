//! What one process has of the tokens: sessions, logins, and handles.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use cryptoki_sys::*;

use crate::Outcome;
use crate::crypto::Operation;
use crate::script::Script;
use crate::state::{Key, State};

static MODULE: Mutex<Option<Module>> = Mutex::new(None);

#[derive(Debug, Default)]
pub(crate) struct Module {
    pub(crate) initialised: bool,
    pub(crate) state: State,
    pub(crate) sessions: BTreeMap<CK_SESSION_HANDLE, Session>,
    last_session: CK_SESSION_HANDLE,
    /// Serial numbers of tokens into which the user has logged in.
    pub(crate) logged_in: BTreeSet<String>,
    /// A key's handle is its place here plus one.
    handles: Vec<u64>,
    /// Tokens that are not seen before the next C_Initialize.
    unseen: BTreeSet<String>,
    /// IVs that the token has counted.
    pub(crate) ivs: u64,
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) serial: String,
    pub(crate) flags: CK_FLAGS,
    pub(crate) operation: Option<Operation>,
    pub(crate) found: Option<Vec<CK_OBJECT_HANDLE>>,
}

/// The one module of this process.
pub(crate) struct Locked(MutexGuard<'static, Option<Module>>);

impl std::ops::Deref for Locked {
    type Target = Module;

    fn deref(&self) -> &Module {
        self.0.as_ref().expect("`lock` makes it")
    }
}

impl std::ops::DerefMut for Locked {
    fn deref_mut(&mut self) -> &mut Module {
        self.0.as_mut().expect("`lock` makes it")
    }
}

pub(crate) fn lock() -> Locked {
    let mut module = MODULE.lock().expect("a panic ends the process");
    module.get_or_insert_default();
    Locked(module)
}

impl Module {
    /// Brings everything to where state and script have it, before the function `name`.
    pub(crate) fn follow(&mut self, script: &Script, name: &str) -> Outcome {
        if !self.initialised {
            return if name == "C_Initialize" { Ok(()) } else { Err(CKR_CRYPTOKI_NOT_INITIALIZED) };
        }
        self.state.refresh();
        for serial in self.state.tokens.iter().map(|token| token.serial.clone()).collect::<Vec<_>>() {
            let (gone, until_init) = script.gone(&serial);
            if gone {
                self.close_all(&serial);
            }
            if until_init {
                self.unseen.insert(serial);
            }
        }
        Ok(())
    }

    /// Begins anew: sessions are numbered from 1 again, keys in the order of the state or the opposite one.
    pub(crate) fn initialise(&mut self, script: &Script) {
        *self = Self { initialised: true, ..Self::default() };
        self.state.refresh();
        self.handles = self.state.keys.iter().map(|key| key.number).collect();
        if script.swap {
            self.handles.reverse();
        }
    }

    /// Slots: number, serial number of the token, whether that is in.
    pub(crate) fn slots(&self, script: &Script) -> Vec<(CK_SLOT_ID, String, bool)> {
        let present = |serial: &str| !script.gone(serial).0 && !self.unseen.contains(serial);
        let numbered = (script.first_slot..).zip(&self.state.tokens);
        numbered.map(|(slot, token)| (slot, token.serial.clone(), present(&token.serial))).collect()
    }

    /// The serial number of the token in `slot`.
    pub(crate) fn in_slot(&self, script: &Script, slot: CK_SLOT_ID) -> Outcome<String> {
        let found = self.slots(script).into_iter().find(|(number, ..)| *number == slot);
        let (_, serial, present) = found.ok_or(CKR_SLOT_ID_INVALID)?;
        if present { Ok(serial) } else { Err(CKR_TOKEN_NOT_PRESENT) }
    }

    /// `reuse`: under the number of the newest one of the token, which is gone by that.
    pub(crate) fn open(&mut self, serial: String, flags: CK_FLAGS, reuse: bool) -> CK_SESSION_HANDLE {
        let newest = self.sessions.iter().rev().find(|(_, session)| reuse && session.serial == serial).map(|(number, _)| *number);
        let number = newest.unwrap_or(self.last_session + 1);
        self.last_session = self.last_session.max(number);
        self.sessions.insert(number, Session { serial, flags, operation: None, found: None });
        number
    }

    pub(crate) fn session(&mut self, handle: CK_SESSION_HANDLE) -> Outcome<&mut Session> {
        self.sessions.get_mut(&handle).ok_or(CKR_SESSION_HANDLE_INVALID)
    }

    pub(crate) fn close(&mut self, handle: CK_SESSION_HANDLE) -> Outcome {
        let session = self.sessions.remove(&handle).ok_or(CKR_SESSION_HANDLE_INVALID)?;
        if self.open_in(&session.serial) == 0 {
            self.logged_in.remove(&session.serial);
        }
        Ok(())
    }

    /// Closes every session of a token, which logs out.
    pub(crate) fn close_all(&mut self, serial: &str) {
        self.sessions.retain(|_, session| session.serial != serial);
        self.logged_in.remove(serial);
    }

    pub(crate) fn open_in(&self, serial: &str) -> usize {
        self.sessions.values().filter(|session| session.serial == serial).count()
    }

    pub(crate) fn handle(&mut self, number: u64) -> CK_OBJECT_HANDLE {
        let place = self.handles.iter().position(|known| *known == number).unwrap_or_else(|| {
            self.handles.push(number);
            self.handles.len() - 1
        });
        CK_OBJECT_HANDLE::try_from(place + 1).expect("as wide as usize")
    }

    /// The key of a handle, as far as the session may see it.
    pub(crate) fn key(&self, serial: &str, handle: CK_OBJECT_HANDLE) -> Option<&Key> {
        let place = usize::try_from(handle).ok()?.checked_sub(1)?;
        let number = self.handles.get(place)?;
        self.visible(serial).find(|key| key.number == *number)
    }

    /// The key that works for a handle: the same, if the script does not mix them.
    pub(crate) fn working_key(&self, script: &Script, serial: &str, handle: CK_OBJECT_HANDLE) -> Option<&Key> {
        let named = self.key(serial, handle)?;
        if !script.mixed {
            return Some(named);
        }
        let of_type = |key: &&Key| key.attributes.get(&CKA_KEY_TYPE) == named.attributes.get(&CKA_KEY_TYPE);
        let behind = self.visible(serial).filter(of_type).skip_while(|key| key.number != named.number).nth(1);
        behind.or_else(|| self.visible(serial).find(of_type))
    }

    /// The keys of a token that can be seen: private ones after the login alone.
    pub(crate) fn visible(&self, serial: &str) -> impl Iterator<Item = &Key> {
        let logged_in = self.logged_in.contains(serial);
        self.state.keys.iter().filter(move |key| key.serial == serial && (logged_in || !key.is(CKA_PRIVATE)))
    }
}
