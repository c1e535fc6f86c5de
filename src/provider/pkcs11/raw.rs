//! Calls into a PKCS#11 module: the only unsafe code there is. Safe functions outside, so that whoever uses them cannot break what follows.
//!
//! Invariants, each kept here and nowhere else:
//!
//! 1. *One function list.* A module is loaded once in a process, C_GetFunctionList is called once, and every call goes through a copy of that
//!    list. (A second list need not be the same instance, and a second load would be the same library with two keepers.)
//! 2. *A module is never unloaded.* What the list points to is there until the process ends.
//! 3. *No call outside of initialise and finalise.* All but those two are methods of [`Inside`], which holds a [`gate`] open; C_Finalize and
//!    C_Initialize run only while the gate is closed and nobody is inside. Modules crash otherwise.
//! 4. *A buffer has the size that we gave it.* A module is told that size, and its word on how much it wrote is believed only up to it. What
//!    we allocate for a length that a module states is bounded.
//! 5. *Every pointer outlives its call.* It points into an argument or a local variable of the function that makes the call; parameters of a
//!    mechanism live until the operation that they began has ended. Memory that a module may write is memory that we hold exclusively;
//!    what PKCS#11 takes as input goes in as a pointer to read, although C declares it otherwise.
//! 6. *A module that cannot be called by several threads is not:* where it refused operating system locks, one call is made at a time.
//!
//! What nobody here can ensure: that the code of the module is sound. It runs in this process with all rights of it, which is why its file must
//! be root's ([`super::module_file`]).

#![expect(unsafe_code, reason = "a PKCS#11 module is C; the invariants stand above")]

mod calls;
mod gate;
mod library;
mod mechanism;
mod template;

pub(crate) use calls::{Flag, Object, Session, Slot, TokenInfo};
pub(crate) use gate::Shut;
pub(crate) use library::{Inside, LoadError, Module};
pub(crate) use mechanism::{Cipher, Use};
pub(crate) use template::{Class, Template};

use super::rv::Rv;

/// Why one call did not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failed {
    /// It returned another code than CKR_OK.
    Returned {
        /// The C function.
        call: &'static str,
        /// What it returned.
        rv: Rv,
    },
    /// The module has no such function.
    Missing {
        /// The C function.
        call: &'static str,
    },
    /// It returned CKR_OK and something that cannot be.
    Odd {
        /// The C function.
        call: &'static str,
        /// What cannot be.
        what: &'static str,
    },
    /// Its turn did not come: the module takes one call at a time, and one does not return.
    Hung,
}

impl Failed {
    /// The code, if it returned one.
    pub(crate) fn rv(self) -> Option<Rv> {
        match self {
            Self::Returned { rv, .. } => Some(rv),
            Self::Missing { .. } | Self::Odd { .. } | Self::Hung => None,
        }
    }
}
