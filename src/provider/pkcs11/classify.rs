//! What a return code says about where the fault lies, and so what helps.
//!
//! Measured on SoftHSM, NSS softokn and Kryoptic; modules differ widely, so what is not certain is asked, with a canary.

use super::raw::Failed;
use super::rv::Rv;

/// Where the fault lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// In the bytes that were to be opened.
    Caller,
    /// In the session: another one helps.
    Session,
    /// In the login, and so in every handle: they are gone, as keys are for who is logged out.
    Login,
    /// In the module, which must be initialised anew.
    Module,
    /// All sessions are taken; nothing is broken.
    Busy,
    /// A call does not return.
    Hung,
    /// Anywhere: SoftHSM says CKR_GENERAL_ERROR for a wrong tag, others for a dead device. A canary tells.
    Unclear,
}

/// Where the fault of one failed call lies.
pub(super) fn fault(failed: Failed) -> Fault {
    match failed {
        Failed::Returned { call, rv } => returned(call, rv),
        Failed::Odd { .. } | Failed::Missing { .. } => Fault::Unclear,
        Failed::Hung => Fault::Hung,
    }
}

fn returned(call: &str, rv: Rv) -> Fault {
    match rv {
        // Only what reads the bytes can judge them.
        Rv::ENCRYPTED_DATA_INVALID | Rv::ENCRYPTED_DATA_LEN_RANGE | Rv::AEAD_DECRYPT_FAILED | Rv::DATA_INVALID | Rv::DATA_LEN_RANGE
            if call == "C_Decrypt" =>
        {
            Fault::Caller
        }
        Rv::SIGNATURE_INVALID | Rv::SIGNATURE_LEN_RANGE if call == "C_Verify" => Fault::Caller,
        Rv::SESSION_HANDLE_INVALID | Rv::SESSION_CLOSED | Rv::OPERATION_ACTIVE | Rv::OPERATION_NOT_INITIALIZED => Fault::Session,
        Rv::KEY_HANDLE_INVALID | Rv::OBJECT_HANDLE_INVALID | Rv::USER_NOT_LOGGED_IN => Fault::Login,
        // The slot may have another number now.
        Rv::SLOT_ID_INVALID | Rv::TOKEN_NOT_PRESENT | Rv::TOKEN_NOT_RECOGNIZED | Rv::DEVICE_REMOVED | Rv::DEVICE_ERROR => Fault::Login,
        Rv::CRYPTOKI_NOT_INITIALIZED | Rv::MUTEX_BAD => Fault::Module,
        Rv::SESSION_COUNT => Fault::Busy,
        _ => Fault::Unclear,
    }
}

/// Whether such a call of an opening operation, that failed twice while the canary opened on the same session in between, means that the bytes
/// do not open. What a device says of itself does not.
pub(super) fn means_closed(failed: Failed) -> bool {
    let Failed::Returned { call, rv } = failed else { return false };
    matches!(call, "C_Decrypt" | "C_Verify")
        && (rv.is_vendor()
            || matches!(
                rv,
                Rv::GENERAL_ERROR | Rv::FUNCTION_FAILED | Rv::ARGUMENTS_BAD | Rv::FUNCTION_REJECTED | Rv::MECHANISM_PARAM_INVALID
            ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_call_that_reads_the_bytes_can_say_that_they_do_not_open() {
        let of = |call, rv| fault(Failed::Returned { call, rv });
        assert_eq!(of("C_Decrypt", Rv::ENCRYPTED_DATA_INVALID), Fault::Caller);
        assert_eq!(of("C_Verify", Rv::SIGNATURE_INVALID), Fault::Caller);
        for call in ["C_DecryptInit", "C_Encrypt", "C_OpenSession", "C_Verify"] {
            assert_eq!(of(call, Rv::ENCRYPTED_DATA_INVALID), Fault::Unclear, "{call}");
        }
        assert_eq!(of("C_Decrypt", Rv::GENERAL_ERROR), Fault::Unclear);
    }

    #[test]
    fn what_a_device_says_of_itself_never_means_that_bytes_do_not_open() {
        for rv in [Rv::DEVICE_ERROR, Rv::DEVICE_MEMORY, Rv::DEVICE_REMOVED, Rv::HOST_MEMORY, Rv::FUNCTION_CANCELED] {
            assert!(!means_closed(Failed::Returned { call: "C_Decrypt", rv }), "{rv}");
        }
        assert!(means_closed(Failed::Returned { call: "C_Decrypt", rv: Rv::GENERAL_ERROR }));
        assert!(!means_closed(Failed::Returned { call: "C_DecryptInit", rv: Rv::GENERAL_ERROR }));
    }
}
