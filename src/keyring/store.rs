//! A keyring file on disk: read and prove it, make a first one, change it under a lock. A damaged one is never replaced.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::canary::Subject;
use super::create::{self, First};
use super::document::{Document, DocumentError, Home, StateLabel, Time, VersionRecord, Why};
use super::history;
use super::rotation::{self, StepError};
use super::seal::{FileKeys, Opener, SealError};
use super::{KeyVersion, Keyring, LookupError, State, Unwraps, WrapError, Wraps};
use crate::durable::{WriteError, Writer};
use crate::entropy::{Entropy, EntropyError};
use crate::envelope::{Header, Purpose};
use crate::key_id::KeyId;
use crate::ownership::{self, OwnershipError};
use crate::provider::local::LocalKek;
use crate::provider::pkcs11::{Problem, TokenError, TokenKek, Tokens};
use crate::provider::{Kek, KekError};

/// Largest keyring file that is read, in bytes: some 10,000 versions.
pub const MAX_FILE: u64 = 8 << 20;

/// A token that works proves a key in less, its module's start, a login and the hash of a PIN among it.
const IN_TIME: Duration = Duration::from_secs(10);

/// Why a keyring did not load. Nothing is changed on any of these.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The file, or a folder above it, can be changed by others.
    #[error(transparent)]
    Ownership(#[from] OwnershipError),
    /// It is no text.
    #[error("the file is not UTF-8 text")]
    NotText,
    /// It is not a keyring, or was changed.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Its root key could not be had.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The key of a version is not the one that its canary was made with.
    #[error("{key_id}: its key does not open its canary; the file was put together from two keyrings, or is damaged")]
    Canary {
        /// The version.
        key_id: KeyId,
    },
    /// The check in a key_id is not the one of its canary.
    #[error("{key_id}: its check does not fit its canary; a key_id never names two keys")]
    Check {
        /// The version.
        key_id: KeyId,
    },
    /// The coordination key does not open.
    #[error("the coordination key does not open; the file was put together from two keyrings, or is damaged")]
    Coordination,
    /// Not exactly one primary.
    #[error("the keyring does not have exactly one primary version")]
    Primary,
    /// The history is not a chain that ends with the generation.
    #[error("the history of the keyring is not a chain that ends with its generation")]
    History,
    /// The primary did not wrap and unwrap a probe.
    #[error("the primary did not wrap and unwrap a probe: {0}")]
    Probe(#[from] ProbeError),
}

impl LoadError {
    /// What a token said, if it is to blame.
    pub fn token(&self) -> Option<&TokenError> {
        match self {
            Self::Seal(SealError::Kek(KekError::Token(error))) | Self::Probe(ProbeError::Wrap(WrapError::Kek(KekError::Token(error)))) => {
                Some(error)
            }
            _ => None,
        }
    }
}

/// Why a freshly loaded primary was not proved.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// It does not wrap.
    #[error(transparent)]
    Wrap(#[from] WrapError),
    /// What it wrapped names a version that the keyring does not find.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// No random bytes for the probe.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

/// Why a keyring was not made or changed.
#[derive(Debug, Error)]
pub enum ChangeError {
    /// The file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// It did not load, before the change or after it was written.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The change cannot be recorded.
    #[error(transparent)]
    Step(#[from] StepError),
    /// The file would be larger than what is ever read.
    #[error("the keyring would have more than 8 MiB, and would not be read again")]
    TooLarge,
}

/// An authentic keyring file with its keys: what a command looks at and changes.
pub struct Opened {
    /// What stands in the file.
    pub document: Document,
    /// What its root key gives.
    pub keys: FileKeys,
    /// Where its other keys may be.
    pub tokens: Arc<Tokens>,
}

/// Reads the keyring at `path`, authenticates it whole, opens the canary of every version and proves the primary.
///
/// Errors: see [`LoadError`]; the file is left as it is, and nothing is ever made in its place.
pub fn load(path: &Path, opener: &Opener, tokens: &Arc<Tokens>, entropy: &dyn Entropy) -> Result<Keyring, LoadError> {
    prove(&read(path, opener, tokens)?, entropy)
}

/// Opens the canary of every version and proves that the primary wraps what it unwraps.
pub fn prove(opened: &Opened, entropy: &dyn Entropy) -> Result<Keyring, LoadError> {
    let keyring = opened.prove()?;
    probe(&keyring, entropy)?;
    Ok(keyring)
}

/// Reads and authenticates the keyring at `path`, and proves no version yet.
///
/// What is authentic was written by us, and nothing is written whose history is no chain (see [`Changing::adopt`]): hashing it all again would
/// be a quarter of the work of a start. [`Opened::check_history`] does.
pub fn read(path: &Path, opener: &Opener, tokens: &Arc<Tokens>) -> Result<Opened, LoadError> {
    let bytes = ownership::read_private_file(path, MAX_FILE)?;
    let text = std::str::from_utf8(bytes.expose_secret()).map_err(|_| LoadError::NotText)?;
    Opened::authentic(text, opener, tokens)
}

/// Opens and proves the keyring in `text`, and its whole history.
pub fn open(text: &str, opener: &Opener, tokens: &Arc<Tokens>) -> Result<Keyring, LoadError> {
    let opened = Opened::authentic(text, opener, tokens)?;
    opened.check_history()?;
    opened.prove()
}

/// Makes a keyring file with one primary version at `path`, durably, then reads it back and proves it.
///
/// Errors: [`WriteError::Exists`] if anything stands at `path`; it is left alone.
pub fn create(path: &Path, first: First<'_>, tokens: &Arc<Tokens>, entropy: &dyn Entropy) -> Result<Keyring, ChangeError> {
    let writer = Writer::lock(path)?;
    // Before a token is asked for a key in vain.
    writer.absent()?;
    let openers = first.openers;
    let text = create::keyring(first, tokens, entropy).map_err(LoadError::from)?;
    writer.create(text.as_bytes())?;
    load_with_each(path, openers, tokens, entropy)
}

/// A keyring under the lock of its file, to be changed once.
pub struct Changing {
    writer: Writer,
    /// The keyring as it stands in the file.
    pub opened: Opened,
}

impl Changing {
    /// Takes the lock and reads the keyring.
    pub fn begin(path: &Path, opener: &Opener, tokens: &Arc<Tokens>) -> Result<Self, ChangeError> {
        let writer = Writer::lock(path)?;
        let opened = read(path, opener, tokens)?;
        Ok(Self { writer, opened })
    }

    /// Counts the change as `what`, writes the keyring, reads it back with each of `openers` and proves it.
    ///
    /// `openers`: at least one. Errors leave the old file in place; only a [`ChangeError::Load`] and a [`WriteError::NotDurable`] come after the new one
    /// stands there.
    pub fn commit(mut self, path: &Path, openers: &[Opener], now: Time, what: Why, entropy: &dyn Entropy) -> Result<Keyring, ChangeError> {
        rotation::record(&mut self.opened.document, now, what)?;
        self.adopt(path, openers, entropy)
    }

    /// As [`commit`](Self::commit), and keeps the lock for the change that this one is the beginning of.
    pub fn commit_first(
        &mut self,
        path: &Path,
        openers: &[Opener],
        now: Time,
        what: Why,
        entropy: &dyn Entropy,
    ) -> Result<(), ChangeError> {
        rotation::record(&mut self.opened.document, now, what)?;
        self.write(path, openers, entropy).map(drop)
    }

    /// Writes the keyring with the history that it has by now: the next entry was recorded already, or it came with an export.
    /// Otherwise as [`commit`](Self::commit).
    pub fn adopt(self, path: &Path, openers: &[Opener], entropy: &dyn Entropy) -> Result<Keyring, ChangeError> {
        self.write(path, openers, entropy)
    }

    fn write(&self, path: &Path, openers: &[Opener], entropy: &dyn Entropy) -> Result<Keyring, ChangeError> {
        let text = proved_text(&self.opened, openers, entropy)?;
        if text.len() as u64 > MAX_FILE {
            return Err(ChangeError::TooLarge);
        }
        self.writer.replace(text.as_bytes())?;
        load_with_each(path, openers, &self.opened.tokens, entropy)
    }
}

/// Makes a keyring file of `opened`, which came with an export, at `path`, durably, then reads it back and proves it.
///
/// Errors: [`WriteError::Exists`] if anything stands at `path`; it is left alone.
pub fn create_imported(path: &Path, opened: &Opened, openers: &[Opener], entropy: &dyn Entropy) -> Result<Keyring, ChangeError> {
    let writer = Writer::lock(path)?;
    let text = proved_text(opened, openers, entropy)?;
    writer.create(text.as_bytes())?;
    load_with_each(path, openers, &opened.tokens, entropy)
}

/// The text of the file, proved in memory first: what does not prove never reaches the disk.
fn proved_text(opened: &Opened, openers: &[Opener], entropy: &dyn Entropy) -> Result<String, ChangeError> {
    let text = opened.document.write(&opened.keys.authenticate);
    for opener in openers {
        probe(&open(&text, opener, &opened.tokens)?, entropy).map_err(LoadError::from)?;
    }
    Ok(text)
}

fn load_with_each(path: &Path, openers: &[Opener], tokens: &Arc<Tokens>, entropy: &dyn Entropy) -> Result<Keyring, ChangeError> {
    let mut loaded = None;
    for opener in openers {
        loaded = Some(load(path, opener, tokens, entropy)?);
    }
    // A keyring has at least one slot, so there is at least one opener.
    loaded.ok_or(ChangeError::Load(LoadError::Seal(SealError::NoSlot { wanted: "any".into(), present: String::new() })))
}

impl Opened {
    fn authentic(text: &str, opener: &Opener, tokens: &Arc<Tokens>) -> Result<Self, LoadError> {
        let document = Document::parse(text)?;
        let root = opener.open(&document.slots, document.keyring)?;
        let keys = FileKeys::derive(&root, document.keyring);
        Document::authenticate(text, &keys.authenticate)?;
        Ok(Self { document, keys, tokens: tokens.clone() })
    }

    /// Whether the history is a chain that ends with the generation.
    pub fn check_history(&self) -> Result<(), LoadError> {
        let document = &self.document;
        if history::is_chain(&document.history, document.generation) { Ok(()) } else { Err(LoadError::History) }
    }

    /// Opens every version's key with its canary, and the coordination key.
    ///
    /// A version whose token is away is there all the same, and named by [`Keyring::away`]: what others wrapped does not become unreadable by it. Whoever
    /// serves proves the primary after that.
    pub fn prove(&self) -> Result<Keyring, LoadError> {
        let document = &self.document;
        let mut versions = Vec::with_capacity(document.versions.len());
        let mut away = vec![];
        for record in &document.versions {
            versions.push(prove_version(record, self, &mut away)?);
        }
        let coordination = create::unwrap_coordination(document, &self.keys).map_err(|_| LoadError::Coordination)?;
        let head = document.history.last().ok_or(LoadError::History)?;
        let keyring = Keyring::assemble(document.keyring, document.generation, head.digest, coordination, versions);
        keyring.map(|keyring| keyring.with_away(away)).ok_or(LoadError::Primary)
    }
}

fn prove_version(record: &VersionRecord, opened: &Opened, away: &mut Vec<(KeyId, TokenError)>) -> Result<KeyVersion, LoadError> {
    let key_id = record.key_id;
    let subject = Subject { keyring: key_id.keyring, version: key_id.version, algorithm: record.algorithm };
    if subject.check(record.canary.as_bytes()) != key_id.check {
        return Err(LoadError::Check { key_id });
    }
    let name = key_id.text();
    let mut kek = || -> Result<Arc<dyn Kek>, LoadError> {
        let broken = |_: KekError| LoadError::Canary { key_id };
        match &record.home {
            Home::Local(wrapped) => {
                let wrapped = wrapped.as_ref().ok_or(LoadError::Canary { key_id })?;
                let kek = LocalKek::new(&create::unwrap_named(&name, wrapped, &opened.keys).map_err(broken)?);
                subject.prove(&kek, record.canary.as_bytes()).map_err(broken)?;
                Ok(Arc::new(kek))
            }
            Home::Token(key) => {
                let kek = opened.tokens.kek(create::key_spec(key, record.algorithm, Some(subject.proof(&record.canary))));
                match prove_in_time(&kek, away) {
                    Err(KekError::Token(error)) if !error.is_wrong_key() => away.push((key_id, *error)),
                    outcome => outcome.map_err(broken)?,
                }
                Ok(kek)
            }
        }
    };
    let state = match record.state {
        StateLabel::Staged => State::Staged(Unwraps(kek()?)),
        StateLabel::Primary => State::Primary(Wraps(kek()?)),
        StateLabel::Retired => State::Retired(Unwraps(kek()?)),
        // Proved, so that enabling it is no surprise, and then dropped.
        StateLabel::Disabled => kek().map(|_| State::Disabled)?,
        StateLabel::Destroyed => State::Destroyed,
    };
    Ok(KeyVersion::new(Header { algorithm: record.algorithm, key_id }, &name, state))
}

/// Has the token prove `kek`, and waits no longer than a token that works may take; one that hung in this load already is not asked again.
fn prove_in_time(kek: &Arc<TokenKek>, away: &[(KeyId, TokenError)]) -> Result<(), KekError> {
    let token = &kek.spec().at.token;
    let hung = || TokenError { token: token.clone(), attempt: "prove the key", problem: Problem::Hung };
    if away.iter().any(|(_, error)| error.problem == Problem::Hung && error.token == *token) {
        return Err(hung().into());
    }
    let Some(waits) = kek.waits() else { return kek.prove() };
    let (answered, answer) = std::sync::mpsc::channel();
    let asked = kek.clone();
    let _interest = waits.workers.submit(move || {
        // Nobody may be left who waits for it.
        let _ = answered.send(asked.prove());
    });
    answer.recv_timeout(IN_TIME).unwrap_or_else(|_| Err(hung().into()))
}

/// Wraps 32 random bytes as a request would; the wrap proves itself by unwrapping them again.
pub fn probe(keyring: &Keyring, entropy: &dyn Entropy) -> Result<(), ProbeError> {
    let mut probe = [0; 32];
    entropy.fill(&mut probe)?;
    keyring.wrap(Purpose::KmsV2, &probe, entropy)?;
    keyring.find(keyring.primary())?;
    Ok(())
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::OsEntropy;
    use crate::envelope::Envelope;
    use crate::secret::SecretBytes;

    const SAMPLE: &str = include_str!("../../keys/insecure-format-1/two-versions.keyring");
    const DEV: Opener = Opener::InsecureDevelopment;

    fn refusal(text: &str) -> String {
        open(text, &DEV, &Tokens::none()).expect_err("does not open").to_string()
    }

    #[test]
    fn a_sample_opens_with_its_primary_and_retired_versions() {
        let keyring = open(SAMPLE, &DEV, &Tokens::none()).expect("opens");
        let states: Vec<_> = keyring.versions().iter().map(|v| v.state().name()).collect();
        assert_eq!(states, ["retired", "primary"]);
        assert_eq!(keyring.primary(), keyring.versions()[1].key_id());
        assert_eq!(keyring.primary().to_string(), keyring.primary_name());
    }

    #[test]
    fn what_the_primary_wraps_only_the_primary_opens() {
        let keyring = open(SAMPLE, &DEV, &Tokens::none()).expect("opens");
        let bytes = keyring.wrap(Purpose::KmsV2, b"seed", &OsEntropy).expect("wraps");
        let envelope = Envelope::parse(&bytes).expect("parses");
        let [old, primary] = [0, 1].map(|n| keyring.find(keyring.versions()[n].key_id()).expect("unwraps"));
        assert_eq!(primary.unwrap(Purpose::KmsV2, &envelope).expect("opens").expose_secret(), b"seed");
        assert!(matches!(primary.unwrap(Purpose::KmsV1, &envelope), Err(KekError::Authentication)));
        assert!(matches!(old.unwrap(Purpose::KmsV2, &envelope), Err(KekError::Authentication)));
        let relabelled = Envelope { header: Header { key_id: *keyring.versions()[0].key_id(), ..envelope.header }, ..envelope };
        assert!(matches!(old.unwrap(Purpose::KmsV2, &relabelled), Err(KekError::Authentication)));
    }

    #[test]
    fn a_key_id_with_another_check_or_number_or_keyring_is_unknown() {
        let keyring = open(SAMPLE, &DEV, &Tokens::none()).expect("opens");
        let known = *keyring.primary();
        let version = |n| crate::key_id::Version::new(n).expect("not zero");
        for other in [
            KeyId { version: version(3), ..known },
            KeyId { version: version(1), ..known },
            KeyId { version: version(u32::MAX), ..known },
            KeyId { check: crate::key_id::Check::from_bytes([0; 16]), ..known },
            KeyId { keyring: crate::key_id::KeyringId::from_bytes([0; 8]), ..known },
        ] {
            assert_eq!(keyring.find(&other).err(), Some(LookupError::Unknown), "{other}");
        }
    }

    #[test]
    fn a_change_of_any_byte_of_the_file_is_noticed() {
        for at in 0..SAMPLE.len() {
            let mut bytes = SAMPLE.as_bytes().to_vec();
            // Stays text: the other case of a letter, the next digit, another sign.
            bytes[at] ^= if bytes[at].is_ascii_alphabetic() { 0x20 } else { 0x01 };
            let text = String::from_utf8(bytes).expect("ASCII");
            assert!(open(&text, &DEV, &Tokens::none()).is_err(), "byte {at} of the file was changed unnoticed");
        }
    }

    #[test]
    fn a_torn_file_is_noticed_at_every_length() {
        for len in 0..SAMPLE.len() {
            assert!(open(&SAMPLE[..len], &DEV, &Tokens::none()).is_err(), "{len} bytes of {}", SAMPLE.len());
        }
        assert!(refusal(&format!("{SAMPLE}\n")).contains("authentication line"));
    }

    #[test]
    fn a_newer_format_is_named_as_such() {
        let newer = SAMPLE.replacen("keywright-keyring 1\n", "keywright-keyring 3\nsomething new\n", 1);
        assert!(refusal(&newer).contains("keyring format 3 is not one that this release reads"));
    }

    #[test]
    fn a_development_keyring_does_not_open_without_dev() {
        let secret = Opener::KeyFile(SecretBytes::from_vec(vec![1; 32]));
        let error = open(SAMPLE, &secret, &Tokens::none()).expect_err("does not open");
        assert!(matches!(error, LoadError::Seal(SealError::NoSlot { .. })), "{error}");
    }

    #[test]
    fn making_a_keyring_twice_leaves_the_first_as_it_is() {
        let dir = tempfile::tempdir().expect("folder");
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("chmod");
        let path = dir.path().join("keyring");
        let make = || {
            let now = "2026-01-02T03:04:05Z".parse().expect("valid");
            create(
                &path,
                First { openers: &[DEV], nodes: vec![], hold: std::time::Duration::ZERO, key: crate::keyring::create::NewKey::Local, now },
                &Tokens::none(),
                &OsEntropy,
            )
        };
        let first = make().expect("creates");
        let error = make().expect_err("exists");
        assert!(matches!(error, ChangeError::Write(WriteError::Exists(_))), "{error}");
        assert_eq!(load(&path, &DEV, &Tokens::none(), &OsEntropy).expect("loads").primary(), first.primary());
    }
}
