//! A PKCS#11 module that follows a script.
//!
//! The tokens are real enough to serve: keys, attributes, sessions, logins and PINs that lock behave as the standard says, AES and HMAC are
//! computed, and all that a token keeps outlives the process. Beside, it does on demand what real tokens do rarely: see [`script`].
//!
//! `FAKE_PKCS11` names a folder: `state` has tokens and keys, `script` the rules (both are read again at the next call when they have changed),
//! `calls` gets a line at the beginning and at the end of every call.
//!
//! Only the functions that a client of symmetric keys needs are there; every other one answers CKR_FUNCTION_NOT_SUPPORTED.
//!
//! Unsafe is its nature: pointers come from a client, and are trusted as far as the standard allows to: null where it may be null is seen, and a
//! length is believed. A panic ends the process with its message, for it cannot leave a function of C.

#![allow(non_snake_case, reason = "the names of the standard")]

mod calls;
mod crypto;
mod general;
mod memory;
mod module;
mod objects;
mod script;
mod sessions;
mod state;

use std::mem;
use std::sync::OnceLock;

use cryptoki_sys::*;

use module::Module;
use script::Script;

/// What a function answers when it is not CKR_OK.
type Outcome<T = ()> = Result<T, CK_RV>;

/// Runs `body` as the function `name`: logged, and as the script has it. No lock is held while it is delayed or hangs.
fn call(name: &'static str, body: impl FnOnce(&Script, &mut Module) -> Outcome) -> CK_RV {
    calls::begins(name);
    let outcome = script::obey(name).and_then(|script| {
        let mut module = module::lock();
        module.follow(&script, name)?;
        body(&script, &mut module)
    });
    let answer = outcome.err().unwrap_or(CKR_OK);
    calls::ends(name, answer);
    answer
}

/// Defines a function of the module: its name, arguments, and what it does with them under the lock.
macro_rules! functions {
    ($(fn $name:ident($($argument:ident: $kind:ty),* $(,)?) |$script:ident, $module:ident| $body:expr)*) => {$(
        #[allow(unused_variables, reason = "not every function needs all that it is given")]
        pub(crate) unsafe extern "C" fn $name($($argument: $kind),*) -> cryptoki_sys::CK_RV {
            crate::call(stringify!($name), |$script, $module| $body)
        }
    )*};
}
pub(crate) use functions;

extern "C" fn not_supported() -> CK_RV {
    CKR_FUNCTION_NOT_SUPPORTED
}

/// The table of functions.
fn table() -> &'static CK_FUNCTION_LIST {
    static TABLE: OnceLock<CK_FUNCTION_LIST> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut list = CK_FUNCTION_LIST::default();
        let fields = mem::size_of::<CK_FUNCTION_LIST>() / mem::size_of::<usize>();
        for field in 1..fields {
            // SAFETY: behind the version, which takes one pointer's room, the table has nothing but pointers to functions. C leaves it to the
            // caller to clear arguments away, so one function without arguments stands for all.
            unsafe { (&raw mut list).cast::<extern "C" fn() -> CK_RV>().add(field).write(not_supported) };
        }
        CK_FUNCTION_LIST {
            version: CK_VERSION { major: 2, minor: 40 },
            C_Initialize: Some(general::C_Initialize),
            C_Finalize: Some(general::C_Finalize),
            C_GetInfo: Some(general::C_GetInfo),
            C_GetFunctionList: Some(C_GetFunctionList),
            C_GetSlotList: Some(general::C_GetSlotList),
            C_GetSlotInfo: Some(general::C_GetSlotInfo),
            C_GetTokenInfo: Some(general::C_GetTokenInfo),
            C_GetMechanismList: Some(general::C_GetMechanismList),
            C_GetMechanismInfo: Some(general::C_GetMechanismInfo),
            C_GenerateRandom: Some(general::C_GenerateRandom),
            C_SetPIN: Some(sessions::C_SetPIN),
            C_OpenSession: Some(sessions::C_OpenSession),
            C_CloseSession: Some(sessions::C_CloseSession),
            C_CloseAllSessions: Some(sessions::C_CloseAllSessions),
            C_GetSessionInfo: Some(sessions::C_GetSessionInfo),
            C_Login: Some(sessions::C_Login),
            C_Logout: Some(sessions::C_Logout),
            C_CreateObject: Some(objects::C_CreateObject),
            C_DestroyObject: Some(objects::C_DestroyObject),
            C_GetAttributeValue: Some(objects::C_GetAttributeValue),
            C_SetAttributeValue: Some(objects::C_SetAttributeValue),
            C_FindObjectsInit: Some(objects::C_FindObjectsInit),
            C_FindObjects: Some(objects::C_FindObjects),
            C_FindObjectsFinal: Some(objects::C_FindObjectsFinal),
            C_GenerateKey: Some(objects::C_GenerateKey),
            C_EncryptInit: Some(crypto::C_EncryptInit),
            C_Encrypt: Some(crypto::C_Encrypt),
            C_DecryptInit: Some(crypto::C_DecryptInit),
            C_Decrypt: Some(crypto::C_Decrypt),
            C_SignInit: Some(crypto::C_SignInit),
            C_Sign: Some(crypto::C_Sign),
            C_VerifyInit: Some(crypto::C_VerifyInit),
            C_Verify: Some(crypto::C_Verify),
            ..list
        }
    })
}

/// Gives the table of functions.
///
/// # Safety
///
/// `list` is null or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    if list.is_null() {
        return CKR_ARGUMENTS_BAD;
    }
    // SAFETY: by this function's own condition.
    unsafe { list.write(std::ptr::from_ref(table()).cast_mut()) };
    CKR_OK
}
