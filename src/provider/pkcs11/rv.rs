//! What a PKCS#11 call returned.

use std::fmt;

use cryptoki_sys::{self as sys, CK_RV};

/// A return code, CK_RV. Any number is one: modules return codes of their own.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rv(CK_RV);

/// Makes a constant of each code and knows its name.
macro_rules! codes {
    ($($name:ident = $code:ident,)*) => {
        #[expect(missing_docs, reason = "they are PKCS#11's own names")]
        impl Rv {
            $(pub const $name: Self = Self(sys::$code);)*

            /// PKCS#11's name of the code, if it has one.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $(sys::$code => Some(stringify!($code)),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    OK = CKR_OK,
    CANCEL = CKR_CANCEL,
    HOST_MEMORY = CKR_HOST_MEMORY,
    SLOT_ID_INVALID = CKR_SLOT_ID_INVALID,
    GENERAL_ERROR = CKR_GENERAL_ERROR,
    FUNCTION_FAILED = CKR_FUNCTION_FAILED,
    ARGUMENTS_BAD = CKR_ARGUMENTS_BAD,
    NEED_TO_CREATE_THREADS = CKR_NEED_TO_CREATE_THREADS,
    CANT_LOCK = CKR_CANT_LOCK,
    ATTRIBUTE_READ_ONLY = CKR_ATTRIBUTE_READ_ONLY,
    ATTRIBUTE_SENSITIVE = CKR_ATTRIBUTE_SENSITIVE,
    ATTRIBUTE_TYPE_INVALID = CKR_ATTRIBUTE_TYPE_INVALID,
    ATTRIBUTE_VALUE_INVALID = CKR_ATTRIBUTE_VALUE_INVALID,
    ACTION_PROHIBITED = CKR_ACTION_PROHIBITED,
    DATA_INVALID = CKR_DATA_INVALID,
    DATA_LEN_RANGE = CKR_DATA_LEN_RANGE,
    DEVICE_ERROR = CKR_DEVICE_ERROR,
    DEVICE_MEMORY = CKR_DEVICE_MEMORY,
    DEVICE_REMOVED = CKR_DEVICE_REMOVED,
    ENCRYPTED_DATA_INVALID = CKR_ENCRYPTED_DATA_INVALID,
    ENCRYPTED_DATA_LEN_RANGE = CKR_ENCRYPTED_DATA_LEN_RANGE,
    AEAD_DECRYPT_FAILED = CKR_AEAD_DECRYPT_FAILED,
    FUNCTION_CANCELED = CKR_FUNCTION_CANCELED,
    FUNCTION_NOT_SUPPORTED = CKR_FUNCTION_NOT_SUPPORTED,
    KEY_HANDLE_INVALID = CKR_KEY_HANDLE_INVALID,
    KEY_SIZE_RANGE = CKR_KEY_SIZE_RANGE,
    KEY_TYPE_INCONSISTENT = CKR_KEY_TYPE_INCONSISTENT,
    KEY_FUNCTION_NOT_PERMITTED = CKR_KEY_FUNCTION_NOT_PERMITTED,
    MECHANISM_INVALID = CKR_MECHANISM_INVALID,
    MECHANISM_PARAM_INVALID = CKR_MECHANISM_PARAM_INVALID,
    OBJECT_HANDLE_INVALID = CKR_OBJECT_HANDLE_INVALID,
    OPERATION_ACTIVE = CKR_OPERATION_ACTIVE,
    OPERATION_NOT_INITIALIZED = CKR_OPERATION_NOT_INITIALIZED,
    PIN_INCORRECT = CKR_PIN_INCORRECT,
    PIN_INVALID = CKR_PIN_INVALID,
    PIN_LEN_RANGE = CKR_PIN_LEN_RANGE,
    PIN_EXPIRED = CKR_PIN_EXPIRED,
    PIN_LOCKED = CKR_PIN_LOCKED,
    SESSION_CLOSED = CKR_SESSION_CLOSED,
    SESSION_COUNT = CKR_SESSION_COUNT,
    SESSION_HANDLE_INVALID = CKR_SESSION_HANDLE_INVALID,
    SESSION_READ_ONLY = CKR_SESSION_READ_ONLY,
    SESSION_READ_WRITE_SO_EXISTS = CKR_SESSION_READ_WRITE_SO_EXISTS,
    SIGNATURE_INVALID = CKR_SIGNATURE_INVALID,
    SIGNATURE_LEN_RANGE = CKR_SIGNATURE_LEN_RANGE,
    TEMPLATE_INCOMPLETE = CKR_TEMPLATE_INCOMPLETE,
    TEMPLATE_INCONSISTENT = CKR_TEMPLATE_INCONSISTENT,
    TOKEN_NOT_PRESENT = CKR_TOKEN_NOT_PRESENT,
    TOKEN_NOT_RECOGNIZED = CKR_TOKEN_NOT_RECOGNIZED,
    TOKEN_WRITE_PROTECTED = CKR_TOKEN_WRITE_PROTECTED,
    USER_ALREADY_LOGGED_IN = CKR_USER_ALREADY_LOGGED_IN,
    USER_NOT_LOGGED_IN = CKR_USER_NOT_LOGGED_IN,
    USER_PIN_NOT_INITIALIZED = CKR_USER_PIN_NOT_INITIALIZED,
    USER_ANOTHER_ALREADY_LOGGED_IN = CKR_USER_ANOTHER_ALREADY_LOGGED_IN,
    USER_TOO_MANY_TYPES = CKR_USER_TOO_MANY_TYPES,
    BUFFER_TOO_SMALL = CKR_BUFFER_TOO_SMALL,
    CRYPTOKI_NOT_INITIALIZED = CKR_CRYPTOKI_NOT_INITIALIZED,
    CRYPTOKI_ALREADY_INITIALIZED = CKR_CRYPTOKI_ALREADY_INITIALIZED,
    MUTEX_BAD = CKR_MUTEX_BAD,
    FIPS_SELF_TEST_FAILED = CKR_FIPS_SELF_TEST_FAILED,
    LIBRARY_LOAD_FAILED = CKR_LIBRARY_LOAD_FAILED,
    FUNCTION_REJECTED = CKR_FUNCTION_REJECTED,
    TOKEN_RESOURCE_EXCEEDED = CKR_TOKEN_RESOURCE_EXCEEDED,
    KEY_EXHAUSTED = CKR_KEY_EXHAUSTED,
}

impl Rv {
    /// The code that a call returned.
    pub const fn new(number: CK_RV) -> Self {
        Self(number)
    }

    /// Whether the vendor of the module gave it its meaning.
    pub const fn is_vendor(self) -> bool {
        self.0 >= sys::CKR_VENDOR_DEFINED
    }
}

impl fmt::Display for Rv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({:#x})", self.0),
            None if self.is_vendor() => write!(f, "{:#x} (the vendor's own code)", self.0),
            None => write!(f, "{:#x} (no code of PKCS#11)", self.0),
        }
    }
}

impl fmt::Debug for Rv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_shows_its_name_and_number_and_an_unknown_one_its_number() {
        assert_eq!(Rv::DEVICE_REMOVED.to_string(), "CKR_DEVICE_REMOVED (0x32)");
        assert_eq!(Rv::new(0x8000_0123).to_string(), "0x80000123 (the vendor's own code)");
        assert_eq!(Rv::new(0x7777).to_string(), "0x7777 (no code of PKCS#11)");
    }
}
