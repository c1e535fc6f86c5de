//! Opens stored objects without an API server, a plugin or a cluster: with a keyring, and the EncryptionConfiguration where its keys are.
//!
//! The one exception to "no command of ours sees the value of a Secret": whoever calls [`Opener::open`] says so to the person.
//!
//! ```text
//! label     what a value says in clear: provider, name, key_id
//! cipher    a body under a known key
//! show      an opened object as raw bytes, JSON or YAML
//! drill     a sample per key, opened, and a dated report about it
//! ```

pub mod cipher;
pub mod drill;
pub mod label;
pub mod show;
pub mod wire;

use thiserror::Error;

use crate::encryption_configuration::EncryptionConfiguration;
use crate::envelope::{Envelope, ParseError, Purpose};
use crate::etcd::object::{EncryptedObject, SourceType};
use crate::key_id::{KeyId, KeyringId};
use crate::keyring::{Keyring, LookupError};
use crate::provider::KekError;
use crate::provider::pkcs11::{Problem, TokenError};
use crate::secret::SecretBytes;
use cipher::CipherError;
use label::{Kind, Label, LabelError, Parts, local_keys, parts, printable, split_at_colons, v1_bodies};

/// Why a stored value did not open. Each says what to do next; none shows a byte of the value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenError {
    /// It does not say who wrote it.
    #[error("{0}; take it from another snapshot")]
    Label(#[from] LabelError),
    /// Its key is in a file that was not given.
    #[error(
        "{0} keeps its keys in the EncryptionConfiguration, and none was given: give the file that the API server had when it wrote this"
    )]
    NoConfiguration(Label),
    /// No key of that name is in the file.
    #[error(
        "the EncryptionConfiguration has no key for {0}: give the one that the API server had when it wrote this, from before the key was removed"
    )]
    NoSuchKey(Label),
    /// Keys were there, and none of them fits.
    #[error(
        "{label}: {why}; tried {tried} of that name from the EncryptionConfiguration. Was it stored under another etcd key or prefix, or is the file of another time?"
    )]
    Local {
        /// Who wrote it.
        label: Label,
        /// What the last of them met.
        why: CipherError,
        /// Number of keys that were tried.
        tried: usize,
    },
    /// Another plugin's.
    #[error("{0} was not wrapped by Keywright; only the plugin of that name, with its own key, can unwrap it")]
    Foreign(Label),
    /// It is Keywright's and damaged.
    #[error("{label}: what the plugin answered was damaged since: {why}; take the object from another snapshot")]
    Damaged {
        /// Who wrote it.
        label: Label,
        /// What is wrong.
        why: Damage,
    },
    /// No keyring with that id was given.
    #[error("{label} needs keyring {keyring}, and none of those given is it; give its file, or an export of it")]
    OtherKeyring {
        /// Who wrote it.
        label: Label,
        /// Which is needed.
        keyring: KeyringId,
    },
    /// The keyring has no such version that may unwrap.
    #[error("{label}: in the keyring, {}; {}", .why, next_step(*.why))]
    Version {
        /// Who wrote it.
        label: Label,
        /// Why not.
        why: LookupError,
    },
    /// The key of that version does not open the wrapped seed.
    #[error("{0}: the key of that version does not open what was wrapped; it was damaged since; take the object from another snapshot")]
    SourceDoesNotOpen(Label),
    /// The token that has the key of that version did not open the wrapped seed: nothing is known about the value.
    #[error("{label}: {error}; {}", in_token(.error))]
    Token {
        /// Who wrote it.
        label: Label,
        /// What the token said.
        error: Box<TokenError>,
    },
    /// The seed is right, the object does not open with it.
    #[error(
        "{label}: the seed is unwrapped, but the object under it does not open: {why}. Was it stored under another etcd key or prefix?"
    )]
    Object {
        /// Who wrote it.
        label: Label,
        /// Why not.
        why: CipherError,
    },
}

/// What is wrong with something that Keywright wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Damage {
    /// It is no envelope any more.
    #[error("{0}")]
    Envelope(#[from] ParseError),
    /// The envelope names another version than the key_id beside it.
    #[error("the envelope names another key version than the key_id beside it")]
    KeyId,
    /// Keywright sends no annotations.
    #[error("it has annotations, and Keywright sends none")]
    Annotations,
}

const fn next_step(why: LookupError) -> &'static str {
    match why {
        LookupError::Unknown => "it is older than the value, or has another past: give a newer file or export of it",
        LookupError::Disabled => "use an export from before the disable, or undo it with `keywright rotate enable`",
        LookupError::Destroyed => "only an export from before the destroy still has the key",
    }
}

/// Where else the key is: nowhere.
const fn in_token(error: &TokenError) -> &'static str {
    match error.problem {
        Problem::NotConfigured => {
            "the key is in that token and in no export: give a configuration that has the token; if the token is lost, the HSM's own backup is the only one"
        }
        _ => "the key is in that token and in no export: bring it back, or restore it from the HSM's own backup; the value may be well",
    }
}

/// An opened object.
#[derive(Debug)]
pub struct Opened {
    /// The object as the API server wrote it, before encryption. See [`show`].
    pub plaintext: SecretBytes,
    /// Which key opened it.
    pub how: Label,
}

/// Everything that may open a value.
#[derive(Debug, Default)]
pub struct Opener {
    keyrings: Vec<Keyring>,
    configuration: Option<EncryptionConfiguration>,
}

impl Opener {
    /// With these keyrings, from files or exports (of the same keyring too: each is asked), and the keys of a configuration.
    pub fn new(keyrings: Vec<Keyring>, configuration: Option<EncryptionConfiguration>) -> Self {
        Self { keyrings, configuration }
    }

    /// The configuration, if one was given.
    pub fn configuration(&self) -> Option<&EncryptionConfiguration> {
        self.configuration.as_ref()
    }

    /// Opens `value`, which was stored at `etcd_key`: the whole key with its prefix, for most providers bind a value to it.
    ///
    /// Where several keys could be meant they are tried in the order of the configuration, as the API server does; but over the whole file,
    /// for the key of a built-in object does not tell its API group. Plaintext is returned as it is, whatever it is.
    pub fn open(&self, etcd_key: &[u8], value: &[u8]) -> Result<Opened, OpenError> {
        match parts(value)? {
            Parts::Plain => {
                let mut plaintext = SecretBytes::with_capacity(value.len());
                plaintext.extend(value);
                Ok(Opened { plaintext, how: Label { kind: Kind::Identity, name: String::new(), key_id: None } })
            }
            Parts::Local(kind, named) => self.open_local(kind, named, etcd_key),
            Parts::KmsV1(named) => self.open_v1(named, etcd_key),
            Parts::KmsV2(provider, object) => self.open_v2(provider, &object, etcd_key),
        }
    }

    fn open_local(&self, kind: Kind, named: &[u8], etcd_key: &[u8]) -> Result<Opened, OpenError> {
        let label = |name: &[u8]| Label { kind, name: printable(name), key_id: None };
        let guess = || split_at_colons(named).next().map(|(name, _)| label(name)).ok_or(LabelError::Cut(kind));
        let Some(configuration) = &self.configuration else { return Err(OpenError::NoConfiguration(guess()?)) };
        let mut failure = None;
        let mut tried = 0;
        for (name, key, body) in configuration.providers().flat_map(|provider| local_keys(provider, kind, named)) {
            let opened = match kind {
                Kind::AesCbc => cipher::aes_cbc(key, body),
                Kind::AesGcm => cipher::aes_gcm(key, body, etcd_key),
                _ => cipher::secretbox(key, body),
            };
            tried += 1;
            match opened {
                Ok(plaintext) => return Ok(Opened { plaintext, how: label(name.as_bytes()) }),
                Err(why) => failure = Some((label(name.as_bytes()), why)),
            }
        }
        Err(match failure {
            Some((label, why)) => OpenError::Local { label, why, tried },
            None => OpenError::NoSuchKey(guess()?),
        })
    }

    fn open_v2(&self, provider: String, object: &EncryptedObject<'_>, etcd_key: &[u8]) -> Result<Opened, OpenError> {
        let label = Label { kind: Kind::KmsV2, name: provider, key_id: Some(printable(object.key_id.as_bytes())) };
        let Ok(key_id) = object.key_id.parse::<KeyId>() else { return Err(OpenError::Foreign(label)) };
        let source = self.unwrap(&label, key_id, Purpose::KmsV2, object.source, object.annotations.is_empty())?;
        match open_v2(object, &source, etcd_key) {
            Ok(plaintext) => Ok(Opened { plaintext, how: label }),
            Err(why) => Err(OpenError::Object { label, why }),
        }
    }

    /// A plugin's name may have colons, so there may be several ways to split; only one of them leaves an envelope that opens.
    fn open_v1(&self, named: &[u8], etcd_key: &[u8]) -> Result<Opened, OpenError> {
        let mut failure = None;
        let mut foreign = None;
        for (name, body) in v1_bodies(named, self.configuration.as_ref()) {
            let mut label = Label { kind: Kind::KmsV1, name: printable(name), key_id: None };
            let Ok(envelope) = Envelope::parse(body.cipher) else {
                foreign = foreign.or(Some(label));
                continue;
            };
            let key_id = envelope.header.key_id;
            label.key_id = Some(key_id.to_string());
            let opened = self
                .unwrap(&label, key_id, Purpose::KmsV1, body.cipher, true)
                .and_then(|dek| open_v1(body.data, &dek, etcd_key).map_err(|why| OpenError::Object { label: label.clone(), why }));
            match opened {
                Ok(plaintext) => return Ok(Opened { plaintext, how: label }),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.or(foreign.map(OpenError::Foreign)).unwrap_or(LabelError::Cut(Kind::KmsV1).into()))
    }

    /// Unwraps with exactly the version that `key_id` names, from any of the keyrings that has it.
    fn unwrap(&self, label: &Label, key_id: KeyId, purpose: Purpose, wrapped: &[u8], bare: bool) -> Result<SecretBytes, OpenError> {
        let damaged = |why| OpenError::Damaged { label: label.clone(), why };
        if !bare {
            return Err(damaged(Damage::Annotations));
        }
        let envelope = Envelope::parse(wrapped).map_err(|e| damaged(e.into()))?;
        if envelope.header.key_id != key_id {
            return Err(damaged(Damage::KeyId));
        }
        let mut failure = OpenError::OtherKeyring { label: label.clone(), keyring: key_id.keyring };
        for keyring in self.keyrings.iter().filter(|keyring| keyring.id() == key_id.keyring) {
            // A token that did not answer a moment ago is not asked again for each of a thousand values.
            if let Some((_, error)) = keyring.away().iter().find(|(away, _)| *away == key_id) {
                failure = OpenError::Token { label: label.clone(), error: Box::new(error.clone()) };
                continue;
            }
            match keyring.find(&key_id) {
                Ok(version) => match version.unwrap(purpose, &envelope) {
                    Ok(source) => return Ok(source),
                    Err(KekError::Token(error)) => failure = OpenError::Token { label: label.clone(), error },
                    Err(_) => failure = OpenError::SourceDoesNotOpen(label.clone()),
                },
                // Of several copies of one keyring, what the one says that knows the version is worth more.
                Err(LookupError::Unknown) if !matches!(failure, OpenError::OtherKeyring { .. }) => {}
                Err(_) if matches!(failure, OpenError::SourceDoesNotOpen(_) | OpenError::Token { .. }) => {}
                Err(why) => failure = OpenError::Version { label: label.clone(), why },
            }
        }
        Err(failure)
    }
}

/// Opens the data of a KMS v2 value with its unwrapped DEK source.
pub fn open_v2(object: &EncryptedObject<'_>, source: &SecretBytes, etcd_key: &[u8]) -> Result<SecretBytes, CipherError> {
    match object.source_type {
        SourceType::Seed => cipher::under_seed(source.expose_secret(), object.data, etcd_key),
        SourceType::AesGcmKey => cipher::aes_gcm(source.expose_secret(), object.data, etcd_key),
    }
}

/// Opens the data part of a KMS v1 value with its unwrapped DEK.
///
/// AES-GCM as since Kubernetes 1.25, else AES-CBC as before; nothing marks which.
pub fn open_v1(data: &[u8], dek: &SecretBytes, etcd_key: &[u8]) -> Result<SecretBytes, CipherError> {
    let dek = dek.expose_secret();
    cipher::aes_gcm(dek, data, etcd_key).or_else(|gcm| cipher::aes_cbc(dek, data).map_err(|_| gcm))
}
