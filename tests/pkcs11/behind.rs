//! What another user of the same module in this process may do to it: tests of recovery do that on purpose.

#![expect(unsafe_code, reason = "calls a module past the provider, as only a fault would")]

use std::path::Path;

use cryptoki_sys::{CK_FUNCTION_LIST, CK_SLOT_ID, CK_TRUE, CKF_SERIAL_SESSION, CKR_OK};

/// The same module that the provider loaded, by a list of functions of its own.
pub(crate) struct Behind {
    list: CK_FUNCTION_LIST,
}

impl Behind {
    /// Loads it; the loader gives the instance that is there already.
    pub(crate) fn new(module: &Path) -> Self {
        // SAFETY: a real module, never unloaded.
        unsafe {
            let library = std::mem::ManuallyDrop::new(cryptoki_sys::Pkcs11::new(module).expect("loads"));
            let mut list = std::ptr::null_mut();
            assert_eq!(library.C_GetFunctionList(&raw mut list), CKR_OK);
            Self { list: *list }
        }
    }

    fn slots(&self) -> Vec<CK_SLOT_ID> {
        let mut slots = vec![0; 64];
        let mut count = 64;
        // SAFETY: room for 64.
        let rv = unsafe { self.list.C_GetSlotList.expect("has it")(CK_TRUE, slots.as_mut_ptr(), &raw mut count) };
        assert_eq!(rv, CKR_OK);
        slots.truncate(usize::try_from(count).expect("few"));
        slots
    }

    /// Closes every session of every token; nobody may be inside the module meanwhile.
    pub(crate) fn close_all_sessions(&self) {
        for slot in self.slots() {
            // SAFETY: nobody is inside, by the caller's word.
            let _ = unsafe { self.list.C_CloseAllSessions.expect("has it")(slot) };
        }
    }

    /// Finalises the module; nobody may be inside it meanwhile.
    pub(crate) fn finalise(&self) {
        // SAFETY: nobody is inside, by the caller's word.
        let rv = unsafe { self.list.C_Finalize.expect("has it")(std::ptr::null_mut()) };
        assert_eq!(rv, CKR_OK);
    }

    /// Initialises it again.
    pub(crate) fn initialise(&self) {
        // SAFETY: nobody is inside, by the caller's word.
        let rv = unsafe { self.list.C_Initialize.expect("has it")(std::ptr::null_mut()) };
        assert_eq!(rv, CKR_OK);
    }

    /// Sessions that this process has open: SoftHSM does not count them (CK_TOKEN_INFO says "unavailable"), so every number up to that of a
    /// new one is asked for.
    pub(crate) fn sessions(&self) -> usize {
        let slot = *self.slots().first().expect("a slot");
        let mut newest = 0;
        let mut info = cryptoki_sys::CK_SESSION_INFO::default();
        // SAFETY: both outlive the calls.
        unsafe {
            let opened = self.list.C_OpenSession.expect("has it")(slot, CKF_SERIAL_SESSION, std::ptr::null_mut(), None, &raw mut newest);
            assert_eq!(opened, CKR_OK);
            assert!(newest < 1_000_000, "session numbers are not counted up");
            let open = (0..newest).filter(|number| self.list.C_GetSessionInfo.expect("has it")(*number, &raw mut info) == CKR_OK).count();
            assert_eq!(self.list.C_CloseSession.expect("has it")(newest), CKR_OK);
            open
        }
    }
}
