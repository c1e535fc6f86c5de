//! Where key-encryption keys live: the narrow behaviour that everything above relies on.

pub mod local;
pub mod pkcs11;
pub mod waits;

use thiserror::Error;

use crate::entropy::{Entropy, EntropyError};
use crate::secret::SecretBytes;
use pkcs11::TokenError;
use waits::Waits;

/// Why a KEK did not wrap or unwrap.
#[derive(Debug, Error)]
pub enum KekError {
    /// The bytes do not open with this key: changed, truncated, or made with another key or other associated data. Never retried.
    #[error("does not open with this key")]
    Authentication,
    /// No random bytes for the nonce.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The cipher refused, which it does only for lengths far beyond ours.
    #[error("cipher refused a message of {0} bytes")]
    Cipher(usize),
    /// The token that holds the key does not answer, or has no such key; nothing is known about what was to be opened.
    #[error(transparent)]
    Token(Box<TokenError>),
}

/// Boxed, for it is rare, and every local wrap would carry its room.
impl From<TokenError> for KekError {
    fn from(error: TokenError) -> Self {
        Self::Token(Box::new(error))
    }
}

/// What [`Kek::wrap_key`] made.
#[derive(Debug)]
pub struct Wrapped {
    /// Chosen anew for every wrap; as long as the algorithm of the key wants.
    pub nonce: Vec<u8>,
    /// Ciphertext and tag: [`crate::envelope::Algorithm::sealed_len`] bytes.
    pub sealed: Vec<u8>,
}

impl Wrapped {
    /// Nonce and sealed bytes one after the other, if they have `N` bytes in all.
    pub fn concat<const N: usize>(&self) -> Result<[u8; N], KekError> {
        [self.nonce.as_slice(), &self.sealed].concat().try_into().map_err(|other: Vec<u8>| KekError::Cipher(other.len()))
    }
}

/// One key-encryption key, wherever it lives.
///
/// It knows nothing of key_ids or envelopes: the caller puts them into the associated data.
pub trait Kek: Send + Sync {
    /// Wraps `plaintext` under a fresh nonce, authenticating `aad` beside it. `plaintext` is secret.
    fn wrap_key(&self, aad: &[u8], plaintext: &[u8], entropy: &dyn Entropy) -> Result<Wrapped, KekError>;

    /// Opens what [`Kek::wrap_key`] made with the same `aad`, or fails with [`KekError::Authentication`]; never returns other bytes.
    fn unwrap_key(&self, aad: &[u8], nonce: &[u8], sealed: &[u8]) -> Result<SecretBytes, KekError>;

    /// What its calls wait on, if they may wait; none if they take microseconds, and may be made on any thread.
    fn waits(&self) -> Option<&Waits> {
        None
    }

    /// Proves that the key is there and works, by asking whoever has it; of a key that never waits this is known.
    fn probe(&self) -> Result<(), KekError> {
        Ok(())
    }
}
