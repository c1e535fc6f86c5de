//! A keyring as it leaves the machine: everything needed to rebuild it under another root key.
//!
//! The text of an export is frozen as formats 1 and 2, see `docs/export.md`. It holds every key in clear, so it only ever exists in memory that is
//! wiped; what is written is that text encrypted by [`age`]. age hides and does not say who wrote: the [digest](Export::digest) of the
//! text does, and towards a keyring that has the same past the coordination key does.

pub mod age;
pub mod deliver;
pub mod ssh;
mod text;

use std::sync::Arc;

use thiserror::Error;

use crate::entropy::{Entropy, EntropyError};
use crate::key_id::KeyringId;
use crate::keyring::create;
use crate::keyring::document::{Document, DocumentError, StateLabel};
use crate::keyring::history::Digest;
use crate::keyring::seal::{FileKeys, SealError};
use crate::keyring::store::{self, LoadError, Opened};
use crate::provider::KekError;
use crate::provider::pkcs11::Tokens;
use crate::secret::{SecretBytes, SecretKey};

/// Largest text of an export, in bytes, as of a keyring file.
pub const MAX_TEXT: usize = 8 << 20;

/// How the history tells of an export.
pub const ENTRY: &str = "export";

/// Why a text is no export, or none of a sound keyring.
#[derive(Debug, Error)]
pub enum ExportError {
    /// It does not begin like one.
    #[error("it is not a Keywright export")]
    NotAnExport,
    /// A format number that this release does not know.
    #[error(
        "export format {0} is not one that this release reads (it reads formats 1 and 2); use the release that wrote it or a newer one"
    )]
    Format(u32),
    /// A line is not what must stand there.
    #[error("the export is damaged: line {line}: {problem}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it. Never a byte of the line itself, which may be secret.
        problem: &'static str,
    },
    /// It is not exactly what a release writes.
    #[error("the export is damaged: it is not the one text that says what it says")]
    NotCanonical,
    /// Its keys do not prove.
    #[error("the export is damaged: {0}")]
    Load(#[from] LoadError),
    /// The text is another one than was expected.
    #[error("the digest of the export is {found}, not {expected}: it is another export, or not the one that was written")]
    Digest {
        /// What was expected.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// A key of the keyring does not open.
    #[error(transparent)]
    Kek(#[from] KekError),
    /// A key could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// No random bytes.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

/// Why an export does not go on from a keyring.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FollowError {
    /// It is another keyring's.
    #[error("the export is of keyring {found}; this one is {own}")]
    OtherKeyring {
        /// Of the export.
        found: KeyringId,
        /// Ours.
        own: KeyringId,
    },
    /// It is of an older state.
    #[error("the export is of generation {found}; the keyring is at {own}")]
    Older {
        /// Of the export.
        found: u64,
        /// Ours.
        own: u64,
    },
    /// It has another past.
    #[error("the history of the export does not contain generation {0} of this keyring: they were changed apart from each other")]
    Diverged(u64),
    /// A version, or the coordination key, is another one.
    #[error("the export says another thing about {0}: it was not made from this keyring")]
    Differs(String),
    /// It has material of a version that is destroyed here.
    #[error("the export has a key for version {0}, which is destroyed here: a destroyed version never comes back")]
    Resurrects(u32),
}

/// An export in memory.
pub struct Export {
    /// The text: every key stands in it in clear.
    pub text: SecretBytes,
    /// SHA-256 of the text; tells nothing about a key, and says which export it is.
    pub digest: Digest,
}

impl Export {
    /// The export of `opened` exactly as it stands: its generation, states and history.
    pub fn of(opened: &Opened) -> Result<Self, KekError> {
        let text = text::write(opened)?;
        let digest = Digest::of(text.expose_secret());
        Ok(Self { text, digest })
    }

    /// Whether every version of `document` that has a key says that it is in this export, and no later change was made.
    ///
    /// Where every key is in a token no version says so: there the history alone tells, in which each change has its entry.
    pub fn is_recorded_in(&self, document: &Document) -> bool {
        let newest = document.history.last().is_some_and(|entry| entry.what.as_str() == ENTRY);
        newest && document.versions.iter().filter(|v| v.wrapped().is_some()).all(|v| v.exported == Some(self.digest))
    }

    /// Records on every version of `document` that has a key that this export holds it.
    pub fn record_in(&self, document: &mut Document) {
        for version in document.versions.iter_mut().filter(|v| v.wrapped().is_some()) {
            version.exported = Some(self.digest);
        }
    }

    /// Parses `text` and rebuilds its keyring under a throw-away root key, every key in it proved.
    ///
    /// What comes back is not sealed for anybody yet: see [`create::change_root`] and [`carry_over`].
    pub fn open(text: SecretBytes, tokens: &Arc<Tokens>, entropy: &dyn Entropy) -> Result<(Self, Opened), ExportError> {
        let export = Self { digest: Digest::of(text.expose_secret()), text };
        let mut opened = text::read(&export.text, tokens, entropy)?;
        let keyring = opened.prove()?;
        // What is in a token is proved where the token is.
        if keyring.away().iter().all(|(key_id, _)| key_id != keyring.primary()) {
            store::probe(&keyring, entropy).map_err(LoadError::from)?;
        }
        // One text for one keyring: whatever a reader overlooked would be missing or other in what is written.
        if Self::of(&opened)?.text.expose_secret() != export.text.expose_secret() {
            return Err(ExportError::NotCanonical);
        }
        export.record_in(&mut opened.document);
        Ok((export, opened))
    }

    /// Whether it is the expected one.
    pub fn expect(&self, expected: Digest) -> Result<(), ExportError> {
        if self.digest == expected { Ok(()) } else { Err(ExportError::Digest { expected, found: self.digest }) }
    }
}

/// How an export relates to a keyring that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// It is the state that is there.
    Same,
    /// It goes on from there.
    Later {
        /// Whether a version that has a key here is destroyed there: the root key must change then.
        destroys: bool,
    },
}

/// Whether `theirs`, from an export, is `own` or a later state of it: same keyring, a history that contains our head, and every check
/// value and the coordination key alike. Who does not hold our keys cannot make such an export, whatever they know of our history.
pub fn follows(theirs: &Opened, own: &Opened) -> Result<Follows, FollowError> {
    let (new, old) = (&theirs.document, &own.document);
    if new.keyring != old.keyring {
        return Err(FollowError::OtherKeyring { found: new.keyring, own: old.keyring });
    }
    if new.generation < old.generation {
        return Err(FollowError::Older { found: new.generation, own: old.generation });
    }
    let head = old.history.last();
    if !new.history.iter().any(|entry| Some(entry) == head) {
        return Err(FollowError::Diverged(old.generation));
    }
    if !same_coordination(theirs, own) {
        return Err(FollowError::Differs("the coordination key".into()));
    }
    let mut destroys = false;
    for (at, ours) in old.versions.iter().enumerate() {
        let version = new.versions.get(at).filter(|v| {
            v.key_id == ours.key_id && v.canary == ours.canary && v.algorithm == ours.algorithm && v.in_token() == ours.in_token()
        });
        let Some(version) = version else { return Err(FollowError::Differs(ours.key_id.to_string())) };
        match (ours.state, version.state) {
            (StateLabel::Destroyed, StateLabel::Destroyed) => {}
            (StateLabel::Destroyed, _) => return Err(FollowError::Resurrects(ours.key_id.version.number())),
            (_, StateLabel::Destroyed) => destroys = true,
            _ => {}
        }
    }
    if new.generation > old.generation {
        return Ok(Follows::Later { destroys });
    }
    // The history of both is the same, so all that a history tells of must be.
    let states = |document: &Document| document.versions.iter().map(|v| v.state).collect::<Vec<_>>();
    if states(new) == states(old) { Ok(Follows::Same) } else { Err(FollowError::Differs("the states of the versions".into())) }
}

/// Wraps what `theirs` holds under the root key of `own`, keeping the slots of `own`: `own` becomes the keyring of the export.
pub fn carry_over(theirs: Opened, own: &mut Opened, entropy: &dyn Entropy) -> Result<(), KekError> {
    let Opened { mut document, keys, .. } = theirs;
    create::rewrap(&mut document, &keys, &own.keys, entropy)?;
    document.slots = std::mem::take(&mut own.document.slots);
    own.document = document;
    Ok(())
}

fn same_coordination(a: &Opened, b: &Opened) -> bool {
    let key = |opened: &Opened| create::unwrap_coordination(&opened.document, &opened.keys).ok();
    // A tag under either key over fixed bytes: what is compared tells nothing about the keys.
    let tag = |key: SecretKey| {
        use hmac::{Hmac, KeyInit, Mac};
        let mac = Hmac::<sha2::Sha256>::new_from_slice(key.expose_secret()).expect("HMAC takes a key of any length");
        mac.chain_update(b"keywright same coordination key 1").finalize()
    };
    matches!((key(a).map(tag), key(b).map(tag)), (Some(a), Some(b)) if a == b)
}

/// The keys under which an export is rebuilt before it is sealed for anybody.
fn throw_away(keyring: KeyringId, entropy: &dyn Entropy) -> Result<(SecretKey, FileKeys), EntropyError> {
    let root = SecretKey::try_fill(|out| entropy.fill(out))?;
    let keys = FileKeys::derive(&root, keyring);
    Ok((root, keys))
}

impl From<DocumentError> for ExportError {
    fn from(error: DocumentError) -> Self {
        match error {
            DocumentError::Line { line, problem } => Self::Line { line, problem },
            other => Self::Load(other.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::OsEntropy;
    use crate::keyring::history::Entry;
    use crate::keyring::rotation;
    use crate::keyring::seal::Opener;
    use crate::keyring::store;

    const SAMPLE: &str = include_str!("../keys/insecure-format-1/two-versions.keyring");

    fn sample() -> Opened {
        let dir = tempfile::tempdir().expect("folder");
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("chmod");
        let path = dir.path().join("keyring");
        std::fs::write(&path, SAMPLE).expect("write");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("chmod");
        store::read(&path, &Opener::InsecureDevelopment, &Tokens::none()).expect("reads")
    }

    fn text_of(opened: &Opened) -> String {
        String::from_utf8(Export::of(opened).expect("exports").text.expose_secret().to_vec()).expect("text")
    }

    fn reopened(text: &str) -> Result<Opened, ExportError> {
        Export::open(SecretBytes::from_vec(text.as_bytes().to_vec()), &Tokens::none(), &OsEntropy).map(|(_, opened)| opened)
    }

    fn later(opened: &mut Opened) {
        let entry =
            Entry::after(opened.document.history.last(), "2027-02-01T00:00:00Z".parse().expect("valid"), "export".parse().expect("valid"));
        opened.document.generation = entry.generation;
        opened.document.history.push(entry);
    }

    #[test]
    fn an_export_is_rebuilt_with_every_key_and_says_the_same_again() {
        let own = sample();
        let text = text_of(&own);
        let theirs = reopened(&text).expect("opens");
        assert_eq!(text_of(&theirs), text);
        assert_eq!(follows(&theirs, &own), Ok(Follows::Same));
        assert!(theirs.document.versions.iter().all(|v| v.exported == Some(Digest::of(text.as_bytes()))));
        let mut brought = sample();
        carry_over(theirs, &mut brought, &OsEntropy).expect("carries over");
        let file = brought.document.write(&brought.keys.authenticate);
        let keyring = store::open(&file, &Opener::InsecureDevelopment, &Tokens::none()).expect("opens with the slot that was there");
        assert_eq!(keyring.primary(), &own.document.versions[1].key_id);
    }

    #[test]
    fn a_changed_byte_never_passes_as_the_same_export_or_gives_a_key_id_another_key_and_a_cut_one_is_none() {
        let own = sample();
        let text = text_of(&own);
        let named = |opened: &Opened| opened.document.versions.iter().map(|v| (v.key_id, v.canary.clone())).collect::<Vec<_>>();
        let mut refused = 0;
        for at in (0..text.len()).step_by(3) {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            match Export::open(SecretBytes::from_vec(bytes), &Tokens::none(), &OsEntropy) {
                // A time, the hold or the coordination key may be any: the digest tells, or the keyring that is there.
                Ok((export, opened)) => {
                    assert!(matches!(export.expect(Digest::of(text.as_bytes())), Err(ExportError::Digest { .. })), "byte {at}");
                    assert_eq!(named(&opened), named(&own), "byte {at}");
                }
                Err(_) => refused += 1,
            }
        }
        assert!(refused > text.len() / 5, "{refused}");
        for len in (0..text.len()).step_by(7) {
            assert!(reopened(&text[..len]).is_err(), "{len} bytes of {}", text.len());
        }
    }

    #[test]
    fn what_a_reader_might_overlook_is_not_canonical_and_a_newer_format_is_named() {
        let text = text_of(&sample());
        let newer = reopened(&text.replacen("export 1", "export 3", 1)).err().expect("refused").to_string();
        assert!(newer.contains("export format 3 is not one"), "{newer}");
        let exported = text.replacen(" created", &format!(" exported {} created", "0".repeat(64)), 1);
        let slot = text.replacen("\nversion", "\nslot insecure-development 00\nversion", 1);
        for bad in [text.replace('\n', "\r\n"), format!("{text}\n"), exported, slot, text.replacen("# SECRET", "# PUBLIC", 1)] {
            assert!(reopened(&bad).is_err());
        }
    }

    #[test]
    fn who_knows_our_history_but_not_our_keys_cannot_make_an_export_that_goes_on_from_it() {
        let own = sample();
        let mut theirs = reopened(&text_of(&own)).expect("opens");
        later(&mut theirs);
        assert_eq!(follows(&theirs, &own), Ok(Follows::Later { destroys: false }));
        let text = text_of(&theirs);
        let line = text.lines().find(|l| l.starts_with("coordination ")).expect("line");
        let forged =
            reopened(&text.replacen(line, &format!("coordination {}", "5".repeat(64)), 1)).expect("a coordination key is any 32 bytes");
        assert_eq!(follows(&forged, &own), Err(FollowError::Differs("the coordination key".into())));
    }

    #[test]
    fn another_check_value_and_a_destroyed_version_that_comes_back_are_refused() {
        let (mut own, theirs) = (sample(), reopened(&text_of(&sample())).expect("opens"));
        let id = own.document.versions[0].key_id;
        own.document.versions[0].state = StateLabel::Destroyed;
        assert_eq!(follows(&theirs, &own), Err(FollowError::Resurrects(1)));
        let mut own = sample();
        let version = &mut own.document.versions[0];
        let mut bytes = version.canary.as_bytes().to_vec();
        bytes[0] ^= 1;
        version.canary = crate::keyring::canary::Canary::new(version.algorithm, bytes).expect("as long as it was");
        assert_eq!(follows(&theirs, &own), Err(FollowError::Differs(id.to_string())));
        let mut own = sample();
        rotation::begin(&mut own.document, &own.keys, "2027-02-01T00:00:00Z".parse().expect("valid"), &OsEntropy).expect("begins");
        assert!(matches!(follows(&theirs, &own), Err(FollowError::Differs(_))), "it lacks a version");
    }
}
