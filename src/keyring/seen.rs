//! Remembers the newest keyring that was seen, outside of the keyring file, so that an older one put in its place is noticed.
//!
//! One line in the state directory: keyring id, generation, digest of the history. Rolling back the file and this line together is not
//! noticed; nothing on this machine could tell.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::document::Document;
use super::history::Digest;
use crate::durable::{WriteError, Writer};
use crate::key_id::KeyringId;
use crate::ownership::{self, OwnershipError};

const NAME: &str = "seen";
const MAGIC: &str = "keywright-seen 1";
const MAX_FILE: u64 = 4096;

/// Why a keyring is not the one that should stand there.
#[derive(Debug, Error)]
pub enum SeenError {
    /// It is another one than the one that was seen.
    #[error("the file holds keyring {found}; keyring {seen} was seen here: another keyring was put in its place")]
    OtherKeyring {
        /// In the file.
        found: KeyringId,
        /// The one that was seen.
        seen: KeyringId,
    },
    /// It is older than one that was seen.
    #[error("the keyring is at generation {found}; generation {seen} was seen here: an older copy was put in its place")]
    RolledBack {
        /// Of the file.
        found: u64,
        /// The highest that was seen.
        seen: u64,
    },
    /// It has another past than the one that was seen.
    #[error("the keyring has another past than the one that was seen here at generation {seen}: they were changed apart from each other")]
    Diverged {
        /// The highest that was seen.
        seen: u64,
    },
    /// The record of what was seen cannot be read.
    #[error("the record of what was seen: {0}")]
    Read(#[from] OwnershipError),
    /// The record of what was seen is none.
    #[error("{0} does not say what was seen")]
    Form(PathBuf),
    /// The record of what was seen cannot be written.
    #[error("the record of what was seen: {0}")]
    Write(#[from] WriteError),
}

/// The newest keyring that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    keyring: KeyringId,
    generation: u64,
    head: Digest,
}

impl Seen {
    /// What `document` would be remembered as.
    pub fn of(document: &Document) -> Option<Self> {
        let head = document.history.last()?;
        Some(Self { keyring: document.keyring, generation: document.generation, head: head.digest })
    }

    /// What was seen last by the plugin with this state directory; `None` if it has seen nothing yet.
    pub fn read(state_dir: &Path) -> Result<Option<Self>, SeenError> {
        let path = state_dir.join(NAME);
        let Some(bytes) = ownership::read_private_if_there(&path, MAX_FILE)? else { return Ok(None) };
        let text = std::str::from_utf8(bytes.expose_secret()).ok();
        text.and_then(Self::parse).map(Some).ok_or(SeenError::Form(path))
    }

    /// Remembers it, durably.
    pub fn write(self, state_dir: &Path) -> Result<(), SeenError> {
        Ok(Writer::lock(&state_dir.join(NAME))?.replace(self.text().as_bytes())?)
    }

    fn text(self) -> String {
        format!("{MAGIC}\n{} {} {}\n", self.keyring, self.generation, self.head)
    }

    /// Whether `document` may stand where this was seen: the same keyring, in the same state or a later one.
    pub fn admit(self, document: &Document) -> Result<(), SeenError> {
        if document.keyring != self.keyring {
            return Err(SeenError::OtherKeyring { found: document.keyring, seen: self.keyring });
        }
        self.check(document)
    }

    /// Whether `document` has the past that was seen, and is not older. Of another keyring nothing is known: see [`admit`](Self::admit).
    pub fn check(self, document: &Document) -> Result<(), SeenError> {
        if document.keyring != self.keyring {
            return Ok(());
        }
        if document.generation < self.generation {
            return Err(SeenError::RolledBack { found: document.generation, seen: self.generation });
        }
        let same_past = document.history.iter().any(|entry| entry.generation == self.generation && entry.digest == self.head);
        if same_past { Ok(()) } else { Err(SeenError::Diverged { seen: self.generation }) }
    }

    fn parse(text: &str) -> Option<Self> {
        let line = text.strip_prefix(MAGIC)?.strip_prefix('\n')?.strip_suffix('\n')?;
        let mut words = line.split(' ');
        let seen =
            Self { keyring: words.next()?.parse().ok()?, generation: words.next()?.parse().ok()?, head: words.next()?.parse().ok()? };
        // Exactly what is written, and no other text of the same meaning.
        (seen.text() == text).then_some(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::create::tests::document_with;
    use crate::keyring::document::StateLabel;
    use crate::keyring::rotation;

    fn document(changes: &[&str]) -> Document {
        let (mut document, _) = document_with(StateLabel::Retired);
        for what in changes {
            rotation::record(&mut document, "2027-02-01T00:00:00Z".parse().expect("valid"), what.parse().expect("valid")).expect("room");
        }
        document
    }

    fn seen(changes: &[&str]) -> Seen {
        Seen::of(&document(changes)).expect("has a history")
    }

    #[test]
    fn the_same_and_every_later_state_pass_and_older_or_other_ones_do_not() {
        let seen = seen(&["a", "b"]);
        assert!(seen.check(&document(&["a", "b"])).is_ok());
        assert!(seen.check(&document(&["a", "b", "c"])).is_ok());
        assert!(matches!(seen.check(&document(&["a"])), Err(SeenError::RolledBack { found: 2, seen: 3 })));
        assert!(matches!(seen.check(&document(&["a", "x"])), Err(SeenError::Diverged { seen: 3 })));
        assert!(matches!(seen.check(&document(&["a", "x", "c"])), Err(SeenError::Diverged { seen: 3 })));
    }

    #[test]
    fn another_keyring_is_not_admitted_whatever_its_past_and_the_same_one_is() {
        let (same, seen) = (document(&["a"]), seen(&["a"]));
        assert!(seen.admit(&same).is_ok());
        assert!(matches!(seen.admit(&document(&[])), Err(SeenError::RolledBack { .. })));
        let other = KeyringId::from_bytes([0xee; 8]);
        assert_ne!(other, same.keyring);
        let error = Seen { keyring: other, ..seen }.admit(&same).expect_err("another one");
        assert!(matches!(error, SeenError::OtherKeyring { found, seen } if (found, seen) == (same.keyring, other)), "{error}");
    }

    #[test]
    fn what_was_remembered_is_read_back_and_garbage_is_refused() {
        let dir = tempfile::tempdir().expect("folder");
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("chmod");
        assert_eq!(Seen::read(dir.path()).expect("reads"), None);
        let seen = seen(&["a"]);
        seen.write(dir.path()).expect("writes");
        assert_eq!(Seen::read(dir.path()).expect("reads"), Some(seen));
        std::fs::write(dir.path().join(NAME), "keywright-seen 1\nx\n").expect("write");
        assert!(matches!(Seen::read(dir.path()), Err(SeenError::Form(_))));
    }
}
