//! Fetches what opens a keyring from where the configuration says it is. The secret lives as long as one opening takes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::keyring::seal::{Opener, TokenOpener};
use crate::ownership::{self, OwnershipError};
use crate::provider::pkcs11::{TokenName, Tokens};
use crate::secret::SecretBytes;

/// Largest credential or key file, in bytes.
const MAX_SECRET: u64 = 64 << 10;

/// Where the secret of a seal slot is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seal {
    /// Nowhere: the development slot.
    InsecureDevelopment,
    /// In a systemd credential of this name.
    Credential(String),
    /// In a file that only its owner can read.
    KeyFile(PathBuf),
    /// In a systemd credential of this name that holds a passphrase.
    PassphraseCredential(String),
    /// In a key of this token.
    Token(TokenName),
}

/// Why the secret could not be had.
#[derive(Debug, Error)]
pub enum UnsealError {
    /// The process has no folder of credentials.
    #[error("credential `{0}`: this process was given no credentials ($CREDENTIALS_DIRECTORY is not set)")]
    NoCredentials(String),
    /// The credential cannot be read.
    #[error("credential: {0}")]
    Credential(#[source] OwnershipError),
    /// The key file cannot be read, or others can read it.
    #[error("key file: {0}")]
    KeyFile(#[source] OwnershipError),
}

impl Seal {
    /// Reads the secret; a key in one of `tokens` is asked when the slot is opened.
    pub fn opener(&self, tokens: &Arc<Tokens>) -> Result<Opener, UnsealError> {
        match self {
            Self::InsecureDevelopment => Ok(Opener::InsecureDevelopment),
            Self::KeyFile(path) => key_file(path),
            Self::Credential(name) => Ok(Opener::Credential(name.clone(), credential(name)?)),
            Self::PassphraseCredential(name) => {
                let mut passphrase = credential(name)?;
                passphrase.strip_line_end();
                Ok(Opener::Passphrase(passphrase))
            }
            Self::Token(name) => Ok(Opener::Token(TokenOpener { tokens: tokens.clone(), name: name.clone() })),
        }
    }
}

/// Reads a key file.
pub fn key_file(path: &Path) -> Result<Opener, UnsealError> {
    ownership::read_private_file(path, MAX_SECRET).map(Opener::KeyFile).map_err(UnsealError::KeyFile)
}

fn credential(name: &str) -> Result<SecretBytes, UnsealError> {
    let path = ownership::credential_path(name).ok_or_else(|| UnsealError::NoCredentials(name.to_owned()))?;
    ownership::read_credential(&path, MAX_SECRET).map_err(UnsealError::Credential)
}
