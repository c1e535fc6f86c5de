//! Sessions, logins and PINs.

use std::os::raw::c_void;

use cryptoki_sys::*;

use crate::functions;
use crate::memory::{bytes, put};
use crate::state::TRIES;

functions! {
    fn C_OpenSession(
        slot: CK_SLOT_ID,
        flags: CK_FLAGS,
        application: *mut c_void,
        notify: CK_NOTIFY,
        session: *mut CK_SESSION_HANDLE,
    ) |script, module| {
        let serial = module.in_slot(script, slot)?;
        if flags & CKF_SERIAL_SESSION == 0 {
            return Err(CKR_SESSION_PARALLEL_NOT_SUPPORTED);
        }
        let open = CK_ULONG::try_from(module.open_in(&serial)).expect("as wide as usize");
        if script.sessions != 0 && open >= script.sessions {
            return Err(CKR_SESSION_COUNT);
        }
        // SAFETY: the client's, by the standard.
        unsafe { put(session, module.open(serial, flags, script.reuses())) }
    }

    fn C_CloseSession(session: CK_SESSION_HANDLE) |script, module| module.close(session)

    fn C_CloseAllSessions(slot: CK_SLOT_ID) |script, module| {
        let serial = module.in_slot(script, slot)?;
        module.close_all(&serial);
        Ok(())
    }

    fn C_GetSessionInfo(session: CK_SESSION_HANDLE, info: *mut CK_SESSION_INFO) |script, module| {
        let (serial, flags) = module.session(session).map(|session| (session.serial.clone(), session.flags))?;
        let slot = module.slots(script).into_iter().find(|(_, found, _)| *found == serial);
        let (slotID, ..) = slot.ok_or(CKR_SESSION_HANDLE_INVALID)?;
        let state = match (flags & CKF_RW_SESSION != 0, module.logged_in.contains(&serial)) {
            (false, false) => CKS_RO_PUBLIC_SESSION,
            (false, true) => CKS_RO_USER_FUNCTIONS,
            (true, false) => CKS_RW_PUBLIC_SESSION,
            (true, true) => CKS_RW_USER_FUNCTIONS,
        };
        // SAFETY: the client's, by the standard.
        unsafe { put(info, CK_SESSION_INFO { slotID, state, flags, ulDeviceError: 0 }) }
    }

    fn C_Login(session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: *mut CK_UTF8CHAR, len: CK_ULONG) |script, module| {
        let serial = module.session(session)?.serial.clone();
        if user != CKU_USER {
            return Err(CKR_USER_TYPE_INVALID);
        }
        if module.logged_in.contains(&serial) {
            return Err(CKR_USER_ALREADY_LOGGED_IN);
        }
        // SAFETY: the client's, by the standard.
        let pin = unsafe { bytes(pin, len) };
        let locked = script.pin_flags & CKF_USER_PIN_LOCKED != 0;
        module.state.change(|state| {
            let token = state.token_mut(&serial).ok_or(CKR_TOKEN_NOT_PRESENT)?;
            if locked || token.wrong >= TRIES {
                return Err(CKR_PIN_LOCKED);
            }
            if token.pin != pin {
                token.wrong += 1;
                return Err(CKR_PIN_INCORRECT);
            }
            token.wrong = 0;
            Ok(())
        })?;
        module.logged_in.insert(serial);
        Ok(())
    }

    fn C_Logout(session: CK_SESSION_HANDLE) |script, module| {
        let serial = module.session(session)?.serial.clone();
        if module.logged_in.remove(&serial) { Ok(()) } else { Err(CKR_USER_NOT_LOGGED_IN) }
    }

    fn C_SetPIN(
        session: CK_SESSION_HANDLE,
        old: *mut CK_UTF8CHAR,
        old_len: CK_ULONG,
        new: *mut CK_UTF8CHAR,
        new_len: CK_ULONG,
    ) |script, module| {
        let (serial, flags) = module.session(session).map(|session| (session.serial.clone(), session.flags))?;
        if flags & CKF_RW_SESSION == 0 {
            return Err(CKR_SESSION_READ_ONLY);
        }
        // SAFETY: the client's, by the standard.
        let (old, new) = unsafe { (bytes(old, old_len), bytes(new, new_len)) };
        module.state.change(|state| {
            let token = state.token_mut(&serial).ok_or(CKR_TOKEN_NOT_PRESENT)?;
            if token.pin != old {
                return Err(CKR_PIN_INCORRECT);
            }
            token.pin = new.to_vec();
            Ok(())
        })
    }
}
