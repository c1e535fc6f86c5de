//! The module as a whole, its slots and tokens.

use std::os::raw::c_void;

use cryptoki_sys::*;

use crate::memory::{padded, put, put_all};
use crate::script::folder;
use crate::state::TRIES;
use crate::{Outcome, functions};

const VERSION: CK_VERSION = CK_VERSION { major: 1, minor: 0 };

/// AES-GCM is first, so that it can be left out.
const MECHANISMS: [CK_MECHANISM_TYPE; 5] = [CKM_AES_GCM, CKM_AES_KEY_GEN, CKM_AES_CBC_PAD, CKM_GENERIC_SECRET_KEY_GEN, CKM_SHA256_HMAC];

fn mechanisms(no_gcm: bool) -> &'static [CK_MECHANISM_TYPE] {
    if no_gcm { &MECHANISMS[1..] } else { &MECHANISMS }
}

functions! {
    fn C_Initialize(arguments: *mut c_void) |script, module| {
        if module.initialised {
            return Err(CKR_CRYPTOKI_ALREADY_INITIALIZED);
        }
        // SAFETY: null or CK_C_INITIALIZE_ARGS, by the standard.
        let flags = unsafe { arguments.cast::<CK_C_INITIALIZE_ARGS>().as_ref() }.map_or(0, |arguments| arguments.flags);
        if script.cant_lock && flags & CKF_OS_LOCKING_OK != 0 {
            return Err(CKR_CANT_LOCK);
        }
        if folder().is_none() {
            return Err(CKR_GENERAL_ERROR);
        }
        module.initialise(script);
        Ok(())
    }

    fn C_Finalize(reserved: *mut c_void) |script, module| {
        *module = crate::module::Module::default();
        Ok(())
    }

    fn C_GetInfo(info: *mut CK_INFO) |script, module| unsafe {
        // SAFETY: the client's, by the standard.
        put(info, CK_INFO {
            cryptokiVersion: CK_VERSION { major: 2, minor: 40 },
            manufacturerID: padded("Keywright tests"),
            flags: 0,
            libraryDescription: padded("follows a script"),
            libraryVersion: VERSION,
        })
    }

    fn C_GetSlotList(with_token: CK_BBOOL, list: *mut CK_SLOT_ID, count: *mut CK_ULONG) |script, module| {
        let slots = module.slots(script).into_iter().filter(|(_, _, present)| *present || with_token == CK_FALSE);
        // SAFETY: the client's, by the standard.
        unsafe { put_all(&slots.map(|(slot, ..)| slot).collect::<Vec<_>>(), list, count) }.map(drop)
    }

    fn C_GetSlotInfo(slot: CK_SLOT_ID, info: *mut CK_SLOT_INFO) |script, module| {
        let found = module.slots(script).into_iter().find(|(number, ..)| *number == slot);
        let (.., present) = found.ok_or(CKR_SLOT_ID_INVALID)?;
        // SAFETY: the client's, by the standard.
        unsafe { put(info, CK_SLOT_INFO {
            slotDescription: padded("scripted slot"),
            manufacturerID: padded("Keywright tests"),
            flags: CKF_REMOVABLE_DEVICE | if present { CKF_TOKEN_PRESENT } else { 0 },
            hardwareVersion: VERSION,
            firmwareVersion: VERSION,
        }) }
    }

    fn C_GetTokenInfo(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) |script, module| {
        let serial = module.in_slot(script, slot)?;
        let token = module.state.token(&serial).ok_or(CKR_TOKEN_NOT_PRESENT)?;
        let spoken = match TRIES.saturating_sub(token.wrong) {
            _ if script.pin_silent => 0,
            0 => CKF_USER_PIN_LOCKED,
            1 => CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY,
            TRIES => 0,
            _ => CKF_USER_PIN_COUNT_LOW,
        };
        let sessions = module.sessions.values().filter(|session| session.serial == serial);
        let rw = sessions.filter(|session| session.flags & CKF_RW_SESSION != 0).count();
        let number = |count: usize| CK_ULONG::try_from(count).expect("as wide as usize");
        // SAFETY: the client's, by the standard.
        unsafe { put(info, CK_TOKEN_INFO {
            label: padded(&token.label),
            manufacturerID: padded("Keywright tests"),
            model: padded("scripted"),
            serialNumber: padded(&serial),
            flags: CKF_RNG | CKF_LOGIN_REQUIRED | CKF_USER_PIN_INITIALIZED | CKF_TOKEN_INITIALIZED | script.pin_flags | spoken,
            ulMaxSessionCount: script.sessions,
            ulSessionCount: number(module.open_in(&serial)),
            ulMaxRwSessionCount: script.sessions,
            ulRwSessionCount: number(rw),
            ulMaxPinLen: 64,
            ulMinPinLen: 4,
            hardwareVersion: VERSION,
            firmwareVersion: VERSION,
            // No clock, so no time: these bytes mean nothing.
            utcTime: [0; 16],
            ulTotalPublicMemory: CK_UNAVAILABLE_INFORMATION,
            ulFreePublicMemory: CK_UNAVAILABLE_INFORMATION,
            ulTotalPrivateMemory: CK_UNAVAILABLE_INFORMATION,
            ulFreePrivateMemory: CK_UNAVAILABLE_INFORMATION,
        }) }
    }

    fn C_GetMechanismList(slot: CK_SLOT_ID, list: *mut CK_MECHANISM_TYPE, count: *mut CK_ULONG) |script, module| {
        module.in_slot(script, slot)?;
        // SAFETY: the client's, by the standard.
        unsafe { put_all(mechanisms(script.no_gcm), list, count) }.map(drop)
    }

    fn C_GetMechanismInfo(slot: CK_SLOT_ID, mechanism: CK_MECHANISM_TYPE, info: *mut CK_MECHANISM_INFO) |script, module| {
        module.in_slot(script, slot)?;
        if !mechanisms(script.no_gcm).contains(&mechanism) {
            return Err(CKR_MECHANISM_INVALID);
        }
        let flags = match mechanism {
            CKM_AES_KEY_GEN | CKM_GENERIC_SECRET_KEY_GEN => CKF_GENERATE,
            CKM_SHA256_HMAC => CKF_SIGN | CKF_VERIFY,
            _ => CKF_ENCRYPT | CKF_DECRYPT,
        };
        // SAFETY: the client's, by the standard.
        unsafe { put(info, CK_MECHANISM_INFO { ulMinKeySize: 16, ulMaxKeySize: 32, flags: flags | CKF_HW }) }
    }

    fn C_GenerateRandom(session: CK_SESSION_HANDLE, random: *mut CK_BYTE, len: CK_ULONG) |script, module| {
        module.session(session)?;
        let mut bytes = vec![0; len.try_into().expect("as wide as usize")];
        getrandom::fill(&mut bytes).expect("the kernel has random bytes");
        let mut len = len;
        // SAFETY: the client's, by the standard.
        unsafe { put_all(&bytes, random, &raw mut len) }.map(drop)
    }
}

/// An unsigned number as attributes have it.
pub(crate) fn number(value: CK_ULONG) -> Vec<u8> {
    value.to_ne_bytes().to_vec()
}

/// The opposite.
pub(crate) fn from_number(bytes: &[u8]) -> Outcome<CK_ULONG> {
    Ok(CK_ULONG::from_ne_bytes(bytes.try_into().map_err(|_| CKR_ATTRIBUTE_VALUE_INVALID)?))
}
