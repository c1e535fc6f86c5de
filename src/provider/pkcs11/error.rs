//! Why a token did not do what it was asked for.

use thiserror::Error;

use super::TokenName;
use super::raw::{Failed, LoadError};
use super::rv::Rv;

/// A call that did not work.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("token {token}: {attempt}: {problem}")]
pub struct TokenError {
    /// Which token was meant.
    pub token: TokenName,
    /// What was attempted, such as `find the key`.
    pub attempt: &'static str,
    /// Why it did not work.
    pub problem: Problem,
}

impl TokenError {
    /// Whether the token answers and has no such key.
    pub fn is_no_key(&self) -> bool {
        matches!(self.problem, Problem::NoKey { .. })
    }

    /// Whether the key that was found is another one than it must be: it did not open its canary.
    pub fn is_wrong_key(&self) -> bool {
        matches!(self.problem, Problem::WrongKey)
    }
}

/// Whose turn it is when a token did not do what it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The operator's: the configuration, the keyring or a key is not as it must be. Asking again changes nothing.
    Operator,
    /// The operator's: the PIN. Asking again could lock the token.
    Pin,
    /// Nobody's: the token does not answer. It is asked again by itself.
    Wait,
}

/// Why it did not work.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Problem {
    /// The configuration has no such token.
    #[error("the configuration has no [[token]] with this label and serial number")]
    NotConfigured,
    /// The file of the module is not to be trusted.
    #[error("its module is refused: {0}")]
    File(String),
    /// The file is no module that works here.
    #[error("its module {module}: {reason}")]
    Module {
        /// The file.
        module: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The module has no such token.
    #[error("its module has no token of this label and serial number; it has {}", listed(.seen))]
    NoToken {
        /// The tokens that it has.
        seen: Vec<String>,
    },
    /// Several tokens have that label and serial number.
    #[error("its module has {0} tokens of this label and serial number, so which one is meant cannot be known")]
    Tokens(usize),
    /// No key of that class, type, label and id.
    #[error("it has no key with label `{label}` and id {id}")]
    NoKey {
        /// CKA_LABEL that was looked for.
        label: String,
        /// CKA_ID that was looked for, in hexadecimal.
        id: String,
    },
    /// Several keys of that class, type, label and id.
    #[error("it has {count} keys with label `{label}` and id {id}; exactly one must be there")]
    Duplicate {
        /// How many, at least.
        count: usize,
        /// CKA_LABEL that was looked for.
        label: String,
        /// CKA_ID that was looked for, in hexadecimal.
        id: String,
    },
    /// The key can leave the token, or could.
    #[error("the key can leave the token or once could: its {0}")]
    Extractable(&'static str),
    /// The key is not for what it is needed for.
    #[error("the key cannot be used: its {0}")]
    Unfit(&'static str),
    /// The key does not open its canary: it is another key of the same name.
    #[error("the key there is another one than the keyring means: it does not open the canary that the keyring has for it")]
    WrongKey,
    /// The token cannot do what is needed.
    #[error("it cannot do {}", .0.join(", "))]
    Mechanism(Vec<&'static str>),
    /// An object of that id is there already.
    #[error("it has an object with id {0} already, and nothing in a token is ever overwritten")]
    Exists(String),
    /// The IV that the token chose must not be used.
    #[error("the IV that it chose must not be used: {0}")]
    Iv(&'static str),
    /// A call returned an error.
    #[error("{call} returned {rv}")]
    Returned {
        /// The C function.
        call: &'static str,
        /// What it returned.
        rv: Rv,
    },
    /// The module has no such function.
    #[error("its module has no {0}")]
    Missing(&'static str),
    /// A call succeeded and answered what cannot be.
    #[error("{call} answered what cannot be: {what}")]
    Odd {
        /// The C function.
        call: &'static str,
        /// What cannot be.
        what: &'static str,
    },
    /// A call in the module does not return, and what was wanted had to wait for it.
    #[error("a call in its module does not return")]
    Hung,
    /// All sessions are in use.
    #[error("all of its sessions were in use for too long")]
    Busy,
    /// The token refused the PIN.
    #[error("it refused the PIN")]
    PinRejected,
    /// The token has locked its PIN.
    #[error("its PIN is locked")]
    PinLocked,
    /// The token says that the next wrong PIN locks it; none is given.
    #[error("it says that the next wrong PIN locks it, so none was given")]
    PinTriesLow,
    /// This PIN was given before and was not taken.
    #[error("this PIN was given to it at {since} and was not taken, so it is not given again; the record is {record}")]
    PinLatched {
        /// When, by the clock of this machine.
        since: String,
        /// The file that says so.
        record: String,
    },
    /// It cannot be kept on record that a PIN was refused.
    #[error("no PIN was given, for it could not be recorded if the token refuses it: {0}")]
    PinLatch(String),
    /// Another process gives its PIN to the token just now.
    #[error("another process gives it a PIN just now")]
    PinBusy,
    /// There is no PIN to be had.
    #[error("its PIN: {0}")]
    PinSource(String),
    /// What is there for a PIN cannot be one.
    #[error("its PIN, from {place}: {problem}")]
    PinForm {
        /// Where it came from.
        place: String,
        /// What is wrong with it; never a byte of it.
        problem: &'static str,
    },
    /// The PIN must be changed first.
    #[error("its PIN has expired or was never set")]
    PinExpired,
}

impl Problem {
    /// Whose turn it is.
    pub fn turn(&self) -> Turn {
        match self {
            Self::NotConfigured | Self::File(_) | Self::Module { .. } | Self::Tokens(_) | Self::Duplicate { .. } => Turn::Operator,
            Self::Extractable(_)
            | Self::Unfit(_)
            | Self::WrongKey
            | Self::Mechanism(_)
            | Self::Exists(_)
            | Self::Iv(_)
            | Self::Missing(_) => Turn::Operator,
            Self::PinRejected | Self::PinLocked | Self::PinTriesLow | Self::PinExpired | Self::PinLatched { .. } => Turn::Pin,
            Self::PinLatch(_) | Self::PinSource(_) | Self::PinForm { .. } => Turn::Operator,
            // A token or key that is not seen may come back; whether it was ever there, the caller knows.
            Self::NoToken { .. }
            | Self::NoKey { .. }
            | Self::Returned { .. }
            | Self::Odd { .. }
            | Self::Hung
            | Self::Busy
            | Self::PinBusy => Turn::Wait,
        }
    }

    /// What is wrong with the file of a module.
    pub(super) fn load(module: &std::path::Path, error: &LoadError) -> Self {
        Self::Module { module: module.display().to_string(), reason: error.to_string() }
    }
}

impl From<Failed> for Problem {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Returned { call, rv } => Self::Returned { call, rv },
            Failed::Missing { call } => Self::Missing(call),
            Failed::Odd { call, what } => Self::Odd { call, what },
            Failed::Hung => Self::Hung,
        }
    }
}

fn listed(seen: &[String]) -> String {
    if seen.is_empty() { "none".to_owned() } else { seen.join(", ") }
}
