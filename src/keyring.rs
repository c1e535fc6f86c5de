//! A keyring in memory: every key version with its state, and exactly one primary.
//!
//! A [`Keyring`] is immutable. Only [`store`] makes one, out of a file whose every byte was authenticated and whose every usable
//! key opened its own canary. One request uses one snapshot; a change is a new `Keyring`.

pub mod canary;
pub mod create;
pub mod document;
pub mod history;
pub mod rotation;
pub mod seal;
pub mod seen;
pub mod store;

use std::borrow::Cow;
use std::sync::Arc;

use thiserror::Error;

use crate::entropy::Entropy;
use crate::envelope::{Envelope, Header, Purpose};
use crate::key_id::{self, KeyId, KeyringId};
use crate::provider::pkcs11::TokenError;
use crate::provider::waits::Waits;
use crate::provider::{Kek, KekError};
use crate::secret::{SecretBytes, SecretKey};
use history::Digest;

/// A KEK that may wrap and unwrap: only a primary holds one.
#[derive(Clone)]
pub struct Wraps(Arc<dyn Kek>);

/// A KEK that may only unwrap.
#[derive(Clone)]
pub struct Unwraps(Arc<dyn Kek>);

/// What a version may do, carrying only what it may use.
pub enum State {
    /// Durable and proved; unwraps what another node wrapped already, never wraps.
    Staged(Unwraps),
    /// Wraps new data and unwraps.
    Primary(Wraps),
    /// Unwraps only.
    Retired(Unwraps),
    /// Refuses both; its material is in the file, not in memory.
    Disabled,
    /// The record stays so that its key_id is never reused; there is no material.
    Destroyed,
}

impl State {
    /// The field's word for it, as printed and stored.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Staged(_) => "staged",
            Self::Primary(_) => "primary",
            Self::Retired(_) => "retired",
            Self::Disabled => "disabled",
            Self::Destroyed => "destroyed",
        }
    }

    fn unwraps(&self) -> Option<&dyn Kek> {
        match self {
            Self::Primary(Wraps(kek)) | Self::Staged(Unwraps(kek)) | Self::Retired(Unwraps(kek)) => Some(kek.as_ref()),
            Self::Disabled | Self::Destroyed => None,
        }
    }
}

/// One generation of the KEK.
pub struct KeyVersion {
    header: Header,
    /// The key_id as text and the associated data of KMS v2, made once: they are the same in every request.
    name: String,
    v2_data: Vec<u8>,
    state: State,
}

impl KeyVersion {
    /// `name` is the text of the key_id in `header`.
    fn new(header: Header, name: &key_id::Text, state: State) -> Self {
        let name = name.as_str().to_owned();
        Self { header, v2_data: header.associated_data_named(&name, Purpose::KmsV2), name, state }
    }

    fn associated_data(&self, purpose: Purpose) -> Cow<'_, [u8]> {
        match purpose {
            Purpose::KmsV2 => Cow::Borrowed(&self.v2_data),
            Purpose::KmsV1 => Cow::Owned(self.header.associated_data_named(&self.name, purpose)),
        }
    }

    /// Its public name as text.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its public name.
    pub fn key_id(&self) -> &KeyId {
        &self.header.key_id
    }

    /// Its state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What calls of its key wait on; none if they do not wait, or it has no key.
    pub fn waits(&self) -> Option<&Waits> {
        self.state.unwraps()?.waits()
    }

    /// Asks its key to prove itself, wherever it is; may wait. Nothing to prove without one.
    pub fn probe(&self) -> Result<(), KekError> {
        self.state.unwraps().map_or(Ok(()), Kek::probe)
    }
}

/// Why a key_id names nothing that may unwrap here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LookupError {
    /// Another keyring's, or a version or check that this keyring does not have.
    #[error("key_id is not one of this keyring")]
    Unknown,
    /// Ours, and disabled.
    #[error("key version is disabled")]
    Disabled,
    /// Ours, and destroyed.
    #[error("key version is destroyed")]
    Destroyed,
}

/// Why a wrap was not answered.
#[derive(Debug, Error)]
pub enum WrapError {
    /// The KEK failed.
    #[error(transparent)]
    Kek(#[from] KekError),
    /// What was wrapped did not unwrap to the same bytes: it must never reach etcd.
    #[error("the fresh wrap did not unwrap to the same bytes")]
    NotProved,
}

/// All versions and exactly one primary; immutable.
pub struct Keyring {
    id: KeyringId,
    generation: u64,
    /// Of the last entry of the history: stands for all that happened.
    head: Digest,
    coordination: SecretKey,
    /// Version n stands at n - 1: the file has no gaps, for destroyed records stay.
    versions: Vec<KeyVersion>,
    primary: usize,
    wraps: Wraps,
    away: Vec<(KeyId, TokenError)>,
}

impl Keyring {
    /// Names the keyring.
    pub fn id(&self) -> KeyringId {
        self.id
    }

    /// Grows by one with every change of the file.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Digest of its history: two keyrings with the same one have the same past.
    pub fn head(&self) -> Digest {
        self.head
    }

    /// Authenticates what nodes with this keyring show each other.
    pub fn coordination(&self) -> &SecretKey {
        &self.coordination
    }

    /// All versions, oldest first.
    pub fn versions(&self) -> &[KeyVersion] {
        &self.versions
    }

    /// The key_id of the one version that wraps.
    pub fn primary(&self) -> &KeyId {
        self.versions[self.primary].key_id()
    }

    /// The same as text.
    pub fn primary_name(&self) -> &str {
        self.versions[self.primary].name()
    }

    /// Every version whose calls may wait, with what they wait on.
    pub fn waiting(&self) -> impl Iterator<Item = (&KeyVersion, &Waits)> {
        self.versions.iter().filter_map(|version| Some((version, version.waits()?)))
    }

    /// Versions whose token did not answer when the keyring was loaded, each with what it said: nothing is known about their keys.
    pub fn away(&self) -> &[(KeyId, TokenError)] {
        &self.away
    }

    /// What calls of the primary wait on, if they may wait.
    pub fn waits(&self) -> Option<&Waits> {
        let Wraps(kek) = &self.wraps;
        kek.waits()
    }

    /// Wraps `plaintext` (secret) under the primary and proves it: unwraps it again and compares before it answers.
    ///
    /// Returns the envelope; the key_id beside it is [`Keyring::primary`] of the same snapshot.
    /// Errors: [`WrapError::Kek`] when the key fails, [`WrapError::NotProved`] when the proof does.
    pub fn wrap(&self, purpose: Purpose, plaintext: &[u8], entropy: &dyn Entropy) -> Result<Vec<u8>, WrapError> {
        let version = &self.versions[self.primary];
        let aad = version.associated_data(purpose);
        let Wraps(kek) = &self.wraps;
        let wrapped = kek.wrap_key(&aad, plaintext, entropy)?;
        match kek.unwrap_key(&aad, &wrapped.nonce, &wrapped.sealed) {
            Ok(opened) if opened.expose_secret() == plaintext => {}
            Ok(_) | Err(KekError::Authentication) => return Err(WrapError::NotProved),
            Err(other) => return Err(other.into()),
        }
        Ok(Envelope { header: version.header, nonce: &wrapped.nonce, sealed: &wrapped.sealed }.write())
    }

    /// Finds the version that `key_id` names, exactly; never another that might do.
    pub fn find(&self, key_id: &KeyId) -> Result<Unwrapping<'_>, LookupError> {
        let index = key_id.version.number() as usize - 1;
        let version = self.versions.get(index).filter(|v| v.header.key_id == *key_id).ok_or(LookupError::Unknown)?;
        match version.state.unwraps() {
            Some(kek) => Ok(Unwrapping { version, kek }),
            None if matches!(version.state, State::Disabled) => Err(LookupError::Disabled),
            None => Err(LookupError::Destroyed),
        }
    }

    /// The one way to make a keyring: `versions` in order and without gaps, one of them primary.
    fn assemble(id: KeyringId, generation: u64, head: Digest, coordination: SecretKey, versions: Vec<KeyVersion>) -> Option<Self> {
        let mut primaries = versions.iter().enumerate().filter_map(|(at, v)| match &v.state {
            State::Primary(wraps) => Some((at, wraps.clone())),
            _ => None,
        });
        let (primary, wraps) = primaries.next()?;
        let unique = primaries.next().is_none();
        let ordered = versions.iter().zip(1..).all(|(v, n)| v.header.key_id.version.number() == n && v.header.key_id.keyring == id);
        (unique && ordered).then_some(Self { id, generation, head, coordination, versions, primary, wraps, away: vec![] })
    }

    fn with_away(self, away: Vec<(KeyId, TokenError)>) -> Self {
        Self { away, ..self }
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keyring({}, generation {}, {} versions)", self.id, self.generation, self.versions.len())
    }
}

/// A version that may unwrap.
pub struct Unwrapping<'a> {
    version: &'a KeyVersion,
    kek: &'a dyn Kek,
}

impl<'a> Unwrapping<'a> {
    /// The key_id as text.
    pub fn name(&self) -> &'a str {
        self.version.name()
    }

    /// What [`Unwrapping::unwrap`] waits on, if it may wait.
    pub fn waits(&self) -> Option<&'a Waits> {
        self.kek.waits()
    }

    /// Whether `envelope` names exactly this version and algorithm; another one never opens.
    pub fn fits(&self, envelope: &Envelope<'_>) -> bool {
        envelope.header == self.version.header
    }

    /// Opens `envelope` if it names exactly this version and algorithm; every reason why not is the same error.
    pub fn unwrap(&self, purpose: Purpose, envelope: &Envelope<'_>) -> Result<SecretBytes, KekError> {
        if !self.fits(envelope) {
            return Err(KekError::Authentication);
        }
        self.kek.unwrap_key(&self.version.associated_data(purpose), envelope.nonce, envelope.sealed)
    }
}

#[cfg(test)]
impl Keyring {
    /// Of keys that a test plays, each a version with AES-256-GCM: the last is primary, the others are retired.
    pub(crate) fn played(keks: Vec<Arc<dyn Kek>>) -> Self {
        let last = keks.len();
        let versions = keks.into_iter().zip(1..).map(|(kek, number)| {
            let key_id: KeyId = format!("kw1.0101010101010101.{number}.00000000000000000000000000000000").parse().expect("valid");
            let state = if number == last { State::Primary(Wraps(kek)) } else { State::Retired(Unwraps(kek)) };
            KeyVersion::new(Header { algorithm: crate::envelope::Algorithm::Aes256Gcm, key_id }, &key_id.text(), state)
        });
        let coordination = SecretKey::from_slice(&[0; 32]).expect("32 bytes");
        Self::assemble(KeyringId::from_bytes([1; 8]), 1, Digest::of(b""), coordination, versions.collect()).expect("assembles")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::OsEntropy;
    use crate::envelope::Algorithm;
    use crate::provider::Wrapped;

    /// A KEK that wraps like none: what it unwraps is always the same.
    struct Lying(&'static [u8]);

    impl Kek for Lying {
        fn wrap_key(&self, _: &[u8], plaintext: &[u8], _: &dyn Entropy) -> Result<Wrapped, KekError> {
            Ok(Wrapped { nonce: vec![0; 24], sealed: vec![0; plaintext.len() + 16] })
        }

        fn unwrap_key(&self, _: &[u8], _: &[u8], _: &[u8]) -> Result<SecretBytes, KekError> {
            if self.0.is_empty() { Err(KekError::Authentication) } else { Ok(SecretBytes::from_vec(self.0.to_vec())) }
        }
    }

    fn version(number: u32, state: State) -> KeyVersion {
        let key_id: KeyId = format!("kw1.0101010101010101.{number}.00000000000000000000000000000000").parse().expect("valid");
        KeyVersion::new(Header { algorithm: Algorithm::Xaes256Gcm, key_id }, &key_id.text(), state)
    }

    fn primary() -> State {
        State::Primary(Wraps(Arc::new(Lying(b"seed"))))
    }

    fn assembled(versions: Vec<KeyVersion>) -> Option<Keyring> {
        let coordination = SecretKey::from_slice(&[0; 32]).expect("32 bytes");
        Keyring::assemble(KeyringId::from_bytes([1; 8]), 1, Digest::of(b""), coordination, versions)
    }

    #[test]
    fn a_wrap_that_does_not_unwrap_to_the_same_bytes_is_never_answered() {
        for unwrapped in [&b"sead"[..], b"see", b""] {
            let keyring = assembled(vec![version(1, State::Primary(Wraps(Arc::new(Lying(unwrapped)))))]).expect("assembles");
            assert!(matches!(keyring.wrap(Purpose::KmsV2, b"seed", &OsEntropy), Err(WrapError::NotProved)), "{unwrapped:?}");
        }
        assert!(assembled(vec![version(1, primary())]).expect("assembles").wrap(Purpose::KmsV2, b"seed", &OsEntropy).is_ok());
    }

    #[test]
    fn a_keyring_has_exactly_one_primary_and_versions_in_order() {
        let unwraps = || State::Retired(Unwraps(Arc::new(Lying(b""))));
        assert!(assembled(vec![version(1, unwraps()), version(2, primary())]).is_some());
        assert!(assembled(vec![version(1, unwraps())]).is_none(), "none");
        assert!(assembled(vec![version(1, primary()), version(2, primary())]).is_none(), "two");
        assert!(assembled(vec![version(2, primary()), version(1, unwraps())]).is_none(), "out of order");
        assert!(assembled(vec![]).is_none(), "empty");
    }

    #[test]
    fn disabled_and_destroyed_versions_are_found_and_refused() {
        let keyring = assembled(vec![version(1, State::Disabled), version(2, State::Destroyed), version(3, primary())]).expect("assembles");
        let find = |n: usize| keyring.find(keyring.versions()[n].key_id()).err();
        assert_eq!([find(0), find(1), find(2)], [Some(LookupError::Disabled), Some(LookupError::Destroyed), None]);
    }
}
