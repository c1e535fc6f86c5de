//! KEKs that never leave a token: every wrap and unwrap runs inside it, by PKCS#11.
//!
//! Where to read on: `raw` calls the module, `session` lists every place where a session may be open, `connection` finds a token again that was
//! lost, `run` decides what a failed call means and what helps, `key` is the KEK, `manage` makes and destroys keys for commands.
//!
//! A token is named by its label and serial number, never by a slot; a key by class, type, label and id together.

mod classify;
mod connection;
mod error;
mod find;
mod iv;
mod key;
pub mod latch;
mod login;
mod manage;
mod module_file;
mod pin;
mod raw;
mod run;
mod rv;
mod session;
mod settings;
mod tokens;
mod uri;

use std::fmt;

use crate::envelope::Algorithm;

pub use connection::TokenAccess;
pub use error::{Problem, TokenError, Turn};
pub use key::TokenKek;
pub use login::{Attempt, PinSource};
pub use manage::{KeyFacts, KeyKind, Listed};
pub use pin::Ask;
pub use rv::Rv;
pub use settings::{PinFrom, TokenSettings};
pub use tokens::Tokens;

pub use uri::UriError;

/// Which token.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenName {
    /// CK_TOKEN_INFO.label without the spaces behind it; at most 32 bytes.
    pub label: String,
    /// CK_TOKEN_INFO.serialNumber without the spaces behind it; at most 16 bytes.
    pub serial: String,
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` (serial {})", self.label.escape_debug(), self.serial.escape_debug())
    }
}

/// CKA_ID of a key: random, drawn anew for every attempt to make one.
pub type ObjectId = [u8; 16];

/// Where a key is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyAt {
    /// In which token.
    pub token: TokenName,
    /// CKA_LABEL.
    pub label: String,
    /// CKA_ID.
    pub id: ObjectId,
}

/// Who chooses the IV of a wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IvFrom {
    /// We do, from the kernel's generator.
    Host,
    /// The token does, and tells; for tokens that insist.
    Token,
}

impl IvFrom {
    /// The word for it in the keyring file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Token => "token",
        }
    }

    /// The one of that word.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Host, Self::Token].into_iter().find(|iv| iv.name() == name)
    }
}

/// What a key must open before it is used: a canary.
#[derive(Debug, Clone)]
pub struct Proof {
    /// Associated data.
    pub aad: Vec<u8>,
    /// IV.
    pub nonce: Vec<u8>,
    /// Ciphertext and tag.
    pub sealed: Vec<u8>,
    /// What it opens to; public.
    pub plaintext: &'static [u8; 32],
}

/// Everything that must be known of a key to use it.
#[derive(Debug, Clone)]
pub struct KeySpec {
    /// The key that encrypts.
    pub at: KeyAt,
    /// Id of the key that authenticates, of the same label in the same token; exactly with [`Algorithm::Aes256CbcHmacSha256`].
    pub mac: Option<ObjectId>,
    /// How it wraps; never [`Algorithm::Xaes256Gcm`].
    pub algorithm: Algorithm,
    /// Who chooses the IV.
    pub iv: IvFrom,
    /// Opened whenever the key was found anew; none only for a key that was made just now and has no canary yet.
    pub proof: Option<Proof>,
}
