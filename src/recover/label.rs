//! What a stored value says in clear about who wrote it and with which key. Opens nothing.

use std::fmt;

use thiserror::Error;

use crate::encryption_configuration::{EncryptionConfiguration, Kms, KmsVersion, Provider};
use crate::etcd::object::{EncryptedObject, ObjectError};
use crate::etcd::value::{Beginning, KmsV1Body, Local};

/// Longest name that is looked for where a name may have colons, in bytes.
const MAX_NAME: usize = 1024;

/// Which provider wrote a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Plaintext.
    Identity,
    /// AES-CBC with a key from the EncryptionConfiguration.
    AesCbc,
    /// AES-GCM with a key from the EncryptionConfiguration.
    AesGcm,
    /// XSalsa20-Poly1305 with a key from the EncryptionConfiguration.
    Secretbox,
    /// A plugin, KMS v1.
    KmsV1,
    /// A plugin, KMS v2.
    KmsV2,
}

impl Kind {
    /// Its name, as in the EncryptionConfiguration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::AesCbc => "aescbc",
            Self::AesGcm => "aesgcm",
            Self::Secretbox => "secretbox",
            Self::KmsV1 => "kms v1",
            Self::KmsV2 => "kms v2",
        }
    }
}

impl From<Local> for Kind {
    fn from(local: Local) -> Self {
        match local {
            Local::AesCbc => Self::AesCbc,
            Local::AesGcm => Self::AesGcm,
            Local::Secretbox => Self::Secretbox,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who wrote a value, and under which key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    /// Which provider.
    pub kind: Kind,
    /// The name of the plugin, or of the key for aescbc, aesgcm and secretbox; empty for plaintext. Printable.
    pub name: String,
    /// The key_id, where the value tells: KMS v2, and KMS v1 written by Keywright. Printable.
    pub key_id: Option<String>,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.key_id, self.name.is_empty()) {
            (Some(key_id), _) => write!(f, "{} {} under {key_id}", self.kind, self.name),
            (None, false) => write!(f, "{} {}", self.kind, self.name),
            (None, true) => write!(f, "{}", self.kind),
        }
    }
}

/// Why a value does not say who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LabelError {
    /// Begins as an encrypted value, and goes on as none that Kubernetes writes.
    #[error("the value begins with `{0}`, which is no provider of Kubernetes that this release knows")]
    UnknownProvider(String),
    /// Ends within its prefix or has no room for what follows.
    #[error("the value of {0} is cut short: it ends before its body")]
    Cut(Kind),
    /// The message behind a KMS v2 prefix.
    #[error("the value of kms v2 `{provider}` is damaged: {source}")]
    Object {
        /// The plugin's name.
        provider: String,
        /// What is wrong.
        source: ObjectError,
    },
}

/// A value taken apart, as far as that goes without a key.
pub(super) enum Parts<'a> {
    /// Not encrypted.
    Plain,
    /// A key name, `:` and a body; where the name ends, only the configuration knows, for it may have colons.
    Local(Kind, &'a [u8]),
    /// The same with a plugin's name.
    KmsV1(&'a [u8]),
    /// The plugin's name and the message.
    KmsV2(String, EncryptedObject<'a>),
}

pub(super) fn parts(value: &[u8]) -> Result<Parts<'_>, LabelError> {
    Ok(match Beginning::of(value) {
        Beginning::Plain => Parts::Plain,
        Beginning::Local(local, named) => Parts::Local(local.into(), named),
        Beginning::KmsV1(named) => Parts::KmsV1(named),
        Beginning::KmsV2(named) => {
            let (name, message) = split_at_colons(named).next().ok_or(LabelError::Cut(Kind::KmsV2))?;
            let provider = printable(name);
            let object = EncryptedObject::parse(message).map_err(|source| LabelError::Object { provider: provider.clone(), source })?;
            Parts::KmsV2(provider, object)
        }
        Beginning::Unknown(rest) => {
            // At most two words of what follows: the rest could be anything.
            let words = rest.splitn(3, |byte| *byte == b':').take(2).map(printable).collect::<Vec<_>>().join(":");
            return Err(LabelError::UnknownProvider(format!("k8s:enc:{words}")));
        }
    })
}

/// What `value` says about who wrote it. `configuration` finds the end of names that may have colons; without it they end at the first.
pub fn label(value: &[u8], configuration: Option<&EncryptionConfiguration>) -> Result<Label, LabelError> {
    let label = |kind, name: &[u8], key_id| Label { kind, name: printable(name), key_id };
    match parts(value)? {
        Parts::Plain => Ok(label(Kind::Identity, b"", None)),
        Parts::Local(kind, named) => {
            let name = configuration
                .and_then(|c| c.providers().flat_map(|p| local_keys(p, kind, named)).map(|(name, _, _)| name.as_bytes()).next());
            let name = name.or_else(|| split_at_colons(named).next().map(|(name, _)| name)).ok_or(LabelError::Cut(kind))?;
            Ok(label(kind, name, None))
        }
        Parts::KmsV1(named) => {
            let mut bodies = v1_bodies(named, configuration).peekable();
            let (first, _) = *bodies.peek().ok_or(LabelError::Cut(Kind::KmsV1))?;
            let ours = bodies.find_map(|(name, body)| Some((name, body.key_id()?.to_string())));
            Ok(match ours {
                Some((name, key_id)) => label(Kind::KmsV1, name, Some(key_id)),
                None => label(Kind::KmsV1, first, None),
            })
        }
        Parts::KmsV2(name, object) => Ok(Label { kind: Kind::KmsV2, name, key_id: Some(printable(object.key_id.as_bytes())) }),
    }
}

/// The keys of `provider`, if it is of that kind, whose name `named` begins with: name, key, and the body behind. Several may have one name.
pub(super) fn local_keys<'c, 'a>(
    provider: &'c Provider,
    kind: Kind,
    named: &'a [u8],
) -> impl Iterator<Item = (&'c str, &'c [u8], &'a [u8])> {
    let same = matches!(
        (provider, kind),
        (Provider::AesCbc(_), Kind::AesCbc) | (Provider::AesGcm(_), Kind::AesGcm) | (Provider::Secretbox(_), Kind::Secretbox)
    );
    provider.keys().iter().filter(move |_| same).filter_map(move |key| {
        let body = named.strip_prefix(key.name.as_bytes())?.strip_prefix(b":")?;
        Some((key.name.as_str(), key.secret.expose_secret(), body))
    })
}

/// Every way to split a KMS v1 value into name and body: by the names of the configuration first, then at each colon.
pub(super) fn v1_bodies<'a>(
    named: &'a [u8],
    configuration: Option<&'a EncryptionConfiguration>,
) -> impl Iterator<Item = (&'a [u8], KmsV1Body<'a>)> {
    let configured = configuration.into_iter().flat_map(EncryptionConfiguration::providers).filter_map(move |provider| match provider {
        Provider::Kms(Kms { version: KmsVersion::V1, name, .. }) => {
            Some((name.as_bytes(), named.strip_prefix(name.as_bytes())?.strip_prefix(b":")?))
        }
        _ => None,
    });
    configured.chain(split_at_colons(named)).filter_map(|(name, body)| Some((name, KmsV1Body::parse(body)?)))
}

/// What stands before and behind each colon, the shortest name first.
pub(super) fn split_at_colons(named: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let colons = named.iter().take(MAX_NAME).enumerate().filter(|(_, byte)| **byte == b':');
    colons.filter_map(|(at, _)| Some((named.get(..at)?, named.get(at.checked_add(1)?..)?)))
}

/// A name from etcd, escaped and cut so that it can be shown.
pub(super) fn printable(bytes: &[u8]) -> String {
    const LONGEST: usize = 1024;
    let text = String::from_utf8_lossy(bytes);
    let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push_str("...");
    }
    shown
}
