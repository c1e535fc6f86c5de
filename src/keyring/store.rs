//! A keyring file on disk: read and prove it, make a first one. It is never overwritten here, and a damaged one is never replaced.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use thiserror::Error;

use crate::durable::{self, CreateError};
use crate::entropy::{Entropy, EntropyError};
use crate::envelope::{Header, Purpose};
use crate::key_id::KeyId;
use crate::keyring::canary::Subject;
use crate::keyring::document::{Document, DocumentError, StateLabel, VersionRecord};
use crate::keyring::seal::{FileKeys, Opener, SealError};
use crate::keyring::{KeyVersion, Keyring, LookupError, State, Unwraps, WrapError, Wraps, create};
use crate::ownership::{self, OwnershipError};
use crate::provider::{Kek, KekError};

/// Largest keyring file that is read, in bytes: some 10,000 versions.
pub const MAX_FILE: u64 = 8 << 20;

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
    /// Not exactly one primary.
    #[error("the keyring does not have exactly one primary version")]
    Primary,
    /// The primary did not wrap and unwrap a probe.
    #[error("the primary did not wrap and unwrap a probe: {0}")]
    Probe(#[from] ProbeError),
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

/// Reads the keyring at `path`, authenticates it whole, opens the canary of every usable version and proves the primary.
///
/// Errors: see [`LoadError`]; the file is left as it is, and nothing is ever made in its place.
pub fn load(path: &Path, opener: &Opener, entropy: &dyn Entropy) -> Result<Keyring, LoadError> {
    let bytes = ownership::read_private_file(path, MAX_FILE)?;
    let text = std::str::from_utf8(bytes.expose_secret()).map_err(|_| LoadError::NotText)?;
    let keyring = open(text, opener)?;
    prove(&keyring, entropy)?;
    Ok(keyring)
}

/// Makes a keyring file with one primary version at `path`, durably, then reads it back and proves it.
///
/// Errors: [`CreateError::Exists`] if anything stands at `path`; it is left alone.
pub fn create(path: &Path, opener: &Opener, now: SystemTime, entropy: &dyn Entropy) -> Result<Keyring, InitError> {
    let text = create::keyring(opener, now, entropy).map_err(LoadError::from)?;
    durable::create_private_file(path, text.as_bytes())?;
    Ok(load(path, opener, entropy)?)
}

/// Why a first keyring was not made.
#[derive(Debug, Error)]
pub enum InitError {
    /// The file could not be written.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// It was not made, or did not load after it was written.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// Opens the keyring in `text`.
pub fn open(text: &str, opener: &Opener) -> Result<Keyring, LoadError> {
    let document = Document::parse(text)?;
    let root = opener.open(&document.slots, document.keyring)?;
    let keys = FileKeys::derive(&root, document.keyring);
    Document::authenticate(text, &keys.authenticate)?;
    let versions = document.versions.iter().map(|record| open_version(record, &keys)).collect::<Result<_, _>>()?;
    Keyring::assemble(document.keyring, document.generation, versions).ok_or(LoadError::Primary)
}

fn open_version(record: &VersionRecord, keys: &FileKeys) -> Result<KeyVersion, LoadError> {
    let key_id = record.key_id;
    let subject = Subject { keyring: key_id.keyring, version: key_id.version, algorithm: record.algorithm };
    if subject.check(&record.canary) != key_id.check {
        return Err(LoadError::Check { key_id });
    }
    let kek = || -> Result<Arc<dyn Kek>, LoadError> {
        let broken = |_: KekError| LoadError::Canary { key_id };
        let wrapped = record.wrapped.as_deref().ok_or(LoadError::Canary { key_id })?;
        let kek = create::unwrap_local(record, wrapped, keys).map_err(broken)?;
        subject.prove(&kek, &record.canary).map_err(broken)?;
        Ok(Arc::new(kek))
    };
    let state = match record.state {
        StateLabel::Staged => State::Staged(Unwraps(kek()?)),
        StateLabel::Primary => State::Primary(Wraps(kek()?)),
        StateLabel::Retired => State::Retired(Unwraps(kek()?)),
        StateLabel::Disabled => State::Disabled,
        StateLabel::Destroyed => State::Destroyed,
    };
    Ok(KeyVersion::new(Header { algorithm: record.algorithm, key_id }, state))
}

/// Wraps 32 random bytes as a request would; the wrap proves itself by unwrapping them again.
fn prove(keyring: &Keyring, entropy: &dyn Entropy) -> Result<(), ProbeError> {
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
        open(text, &DEV).expect_err("does not open").to_string()
    }

    #[test]
    fn a_sample_opens_with_its_primary_and_retired_versions() {
        let keyring = open(SAMPLE, &DEV).expect("opens");
        let states: Vec<_> = keyring.versions().iter().map(|v| v.state().name()).collect();
        assert_eq!(states, ["retired", "primary"]);
        assert_eq!(keyring.primary(), keyring.versions()[1].key_id());
        assert_eq!(keyring.primary().to_string(), keyring.primary_name());
    }

    #[test]
    fn what_the_primary_wraps_only_the_primary_opens() {
        let keyring = open(SAMPLE, &DEV).expect("opens");
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
        let keyring = open(SAMPLE, &DEV).expect("opens");
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
            assert!(open(&text, &DEV).is_err(), "byte {at} of the file was changed unnoticed");
        }
    }

    #[test]
    fn a_torn_file_is_noticed_at_every_length() {
        for len in 0..SAMPLE.len() {
            assert!(open(&SAMPLE[..len], &DEV).is_err(), "{len} bytes of {}", SAMPLE.len());
        }
        assert!(refusal(&format!("{SAMPLE}\n")).contains("authentication line"));
    }

    #[test]
    fn a_newer_format_is_named_as_such() {
        let newer = SAMPLE.replacen("format = 1", "format = 2\nsomething-new = true", 1);
        assert!(refusal(&newer).contains("keyring format 2 is not one that this release reads"));
    }

    #[test]
    fn a_development_keyring_does_not_open_without_dev() {
        let secret = Opener::Secret(SecretBytes::from_vec(vec![1; 32]));
        let error = open(SAMPLE, &secret).expect_err("does not open");
        assert!(matches!(error, LoadError::Seal(SealError::NoSlot { wanted: "secret", .. })), "{error}");
    }

    #[test]
    fn making_a_keyring_twice_leaves_the_first_as_it_is() {
        let dir = tempfile::tempdir().expect("folder");
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("chmod");
        let path = dir.path().join("keyring");
        let first = create(&path, &DEV, SystemTime::UNIX_EPOCH, &OsEntropy).expect("creates");
        let error = create(&path, &DEV, SystemTime::UNIX_EPOCH, &OsEntropy).expect_err("exists");
        assert!(matches!(error, InitError::Create(CreateError::Exists(_))), "{error}");
        assert_eq!(load(&path, &DEV, &OsEntropy).expect("loads").primary(), first.primary());
    }
}
