//! The keyring that a plugin serves: its file, what opens it, and what was seen of it before.

use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::durable::{self, WriteError};
use crate::entropy::Entropy;
use crate::key_id::KeyringId;
use crate::keyring::Keyring;
use crate::keyring::seen::{Seen, SeenError};
use crate::keyring::store::{self, LoadError};
use crate::provider::pkcs11::{Tokens, Turn};
use crate::unseal::{Seal, UnsealError};

/// Where a keyring is.
#[derive(Debug, Clone)]
pub struct Source {
    /// The keyring file. Only read.
    pub path: PathBuf,
    /// What opens it; fetched anew for every load.
    pub seal: Seal,
    /// Where is remembered what was seen: the one place that a serving process writes.
    pub state_dir: PathBuf,
    /// The tokens that its keys may be in.
    pub tokens: Arc<Tokens>,
}

/// Why a keyring is not served.
#[derive(Debug, Error)]
pub enum SourceError {
    /// What opens it could not be had.
    #[error(transparent)]
    Unseal(#[from] UnsealError),
    /// It did not load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It is not the one that should stand there.
    #[error(transparent)]
    Seen(#[from] SeenError),
    /// It may not outlive a power cut.
    #[error("the keyring file may not outlive a power cut: {0}")]
    NotDurable(#[source] WriteError),
    /// It is another one than the one that is served.
    #[error("the file holds keyring {found}; {serving} is served here")]
    Other {
        /// In the file.
        found: KeyringId,
        /// Loaded before.
        serving: KeyringId,
    },
}

impl SourceError {
    /// Whether the same file may load later: a token is not there just now.
    pub fn may_pass(&self) -> bool {
        let token = match self {
            Self::Load(error) => error.token(),
            _ => None,
        };
        token.is_some_and(|error| error.problem.turn() == Turn::Wait)
    }
}

/// Which file stands at a path, and in which state; another value means that it is worth a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
    size: i64,
    modified: (i64, u64),
}

impl Source {
    /// Loads and proves the keyring, and remembers it as seen; by then it is durable. Where one is served already, it must be that one, in
    /// whatever state.
    ///
    /// Errors: see [`SourceError`]; nothing is ever made or changed in the place of the file.
    pub fn load(&self, serving: Option<KeyringId>, entropy: &dyn Entropy) -> Result<Keyring, SourceError> {
        let opened = store::read(&self.path, &self.seal.opener(&self.tokens)?, &self.tokens)?;
        let found = opened.document.keyring;
        if let Some(serving) = serving.filter(|serving| *serving != found) {
            return Err(SourceError::Other { found, serving });
        }
        let seen = Seen::read(&self.state_dir)?;
        if let Some(seen) = seen {
            seen.admit(&opened.document)?;
        }
        let now = Seen::of(&opened.document);
        let unseen = now.filter(|_| now != seen);
        // A command may have been killed before its last sync, or the file was carried here by hand. What was seen before was synced then.
        if unseen.is_some() {
            durable::settle(&self.path).map_err(SourceError::NotDurable)?;
        }
        let keyring = store::prove(&opened, entropy)?;
        if let Some(now) = unseen {
            now.write(&self.state_dir)?;
        }
        Ok(keyring)
    }

    /// Which file stands there now; `None` if none can be looked at.
    pub fn identity(&self) -> Option<Identity> {
        let stat = rustix::fs::lstat(&self.path).ok()?;
        Some(Identity { device: stat.st_dev, inode: stat.st_ino, size: stat.st_size, modified: (stat.st_mtime, stat.st_mtime_nsec) })
    }
}
