//! What one stored value is: plaintext, or whose ciphertext. Needs no key and no configuration, and allocates for annotations only.
//!
//! Every ciphertext begins `k8s:enc:<provider>:<version>:<name>:`. Names of keys, and of KMS v1 providers, may contain `:`, so where a name
//! ends only the EncryptionConfiguration says: [`Named`] guesses without it, and looks with it, as the API server does.

use thiserror::Error;

use super::object::{EncryptedObject, ObjectError, SourceType};
use crate::envelope::Envelope;
use crate::key_id::KeyId;

/// Begins every encrypted value; `identity` refuses to read what begins so.
const ENCRYPTED: &[u8] = b"k8s:enc:";
/// Shortest AES-GCM body: nonce and tag.
const MIN_GCM: usize = 12 + 16;
/// Longest text of an unknown provider that is repeated.
const MAX_LABEL: usize = 32;

/// A stored value by what it begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored<'a> {
    /// Not encrypted.
    Plain(Form),
    /// By `aescbc`, `aesgcm` or `secretbox`: a key in the API server's own configuration.
    Local(Local, Named<'a>),
    /// By KMS v1.
    KmsV1(Named<'a>),
    /// By KMS v2.
    KmsV2 {
        /// The provider's name in the EncryptionConfiguration.
        provider: &'a str,
        /// What is stored behind it.
        object: EncryptedObject<'a>,
    },
    /// Encrypted by no provider that we know: its name and version, such as `kms:v3`; empty if they do not look like any.
    Unknown(&'a str),
    /// By a provider that we know, but cut off or damaged: no API server can read it.
    Unreadable(Damage),
}

/// How a plaintext is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Form {
    /// Built-in resources.
    Protobuf,
    /// Custom resources; built-in ones with `--storage-media-type=application/json`.
    Json,
    /// Custom resources with the feature gate for CBOR.
    Cbor,
    /// None of these.
    Other,
}

/// Providers whose key stands in the API server's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Local {
    /// `aescbc`
    AesCbc,
    /// `aesgcm`
    AesGcm,
    /// `secretbox`
    Secretbox,
}

/// Why no API server can read a value, although its provider is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Damage {
    /// It ends before the name does, or the name is empty or not UTF-8.
    #[error("it names no key or provider")]
    NoName,
    /// Too short, or of a length that the cipher never makes, wherever the name ends.
    #[error("what follows the name has a length that the provider never writes")]
    Length,
    /// The message of KMS v2.
    #[error("what KMS v2 stored is damaged: {0}")]
    Object(#[from] ObjectError),
}

/// The beginning of a value, and what follows it: the one place that knows the prefixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beginning<'a> {
    /// That of no ciphertext.
    Plain,
    /// By a key in the API server's own configuration; a name and a body follow.
    Local(Local, &'a [u8]),
    /// By KMS v1; a name and a body follow.
    KmsV1(&'a [u8]),
    /// By KMS v2; a name and a message follow.
    KmsV2(&'a [u8]),
    /// Encrypted by no provider that we know; anything may follow.
    Unknown(&'a [u8]),
}

impl<'a> Beginning<'a> {
    pub(crate) fn of(value: &'a [u8]) -> Self {
        let Some(rest) = value.strip_prefix(ENCRYPTED) else { return Self::Plain };
        if let Some(rest) = rest.strip_prefix(b"kms:v2:") {
            Self::KmsV2(rest)
        } else if let Some(rest) = rest.strip_prefix(b"kms:v1:") {
            Self::KmsV1(rest)
        } else if let Some((local, rest)) = Local::ALL.iter().find_map(|local| Some((*local, rest.strip_prefix(local.prefix())?))) {
            Self::Local(local, rest)
        } else {
            Self::Unknown(rest)
        }
    }
}

/// Sorts `value` by its beginning. Takes time linear in its length at worst, and looks at the beginning only as a rule.
pub fn read(value: &[u8]) -> Stored<'_> {
    match Beginning::of(value) {
        Beginning::Plain => Stored::Plain(form(value)),
        Beginning::KmsV2(rest) => kms_v2(rest).unwrap_or_else(Stored::Unreadable),
        Beginning::KmsV1(rest) => Named::new(Scheme::KmsV1, rest).map_or_else(Stored::Unreadable, Stored::KmsV1),
        Beginning::Local(local, rest) => {
            Named::new(Scheme::Local(local), rest).map_or_else(Stored::Unreadable, |named| Stored::Local(local, named))
        }
        Beginning::Unknown(rest) => Stored::Unknown(label(rest)),
    }
}

fn form(value: &[u8]) -> Form {
    match value {
        [b'k', b'8', b's', 0, ..] => Form::Protobuf,
        [b'{', ..] => Form::Json,
        [0xd9, 0xd9, 0xf7, ..] => Form::Cbor,
        _ => Form::Other,
    }
}

/// Names of KMS v2 providers contain no `:`, so the first one ends it.
fn kms_v2(rest: &[u8]) -> Result<Stored<'_>, Damage> {
    let (provider, body) = name_and_body(rest, rest.iter().position(|&byte| byte == b':').ok_or(Damage::NoName)?).ok_or(Damage::NoName)?;
    let object = EncryptedObject::parse(body)?;
    let shortest = match object.source_type {
        SourceType::AesGcmKey => MIN_GCM,
        // 32 bytes of which the key is derived come first.
        SourceType::Seed => 32 + MIN_GCM,
    };
    if object.data.len() < shortest { Err(Damage::Length) } else { Ok(Stored::KmsV2 { provider, object }) }
}

/// `rest` parted at the colon at `at`; `None` if what comes before it is no name.
fn name_and_body(rest: &[u8], at: usize) -> Option<(&str, &[u8])> {
    let (name, body) = rest.split_at_checked(at)?;
    let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty())?;
    Some((name, body.strip_prefix(b":")?))
}

/// Provider and version of a ciphertext that nobody knows, if they look like that: it could be anything, and is printed.
fn label(rest: &[u8]) -> &str {
    let colon = |from: usize| rest.iter().take(MAX_LABEL).skip(from).position(|&byte| byte == b':').map(|at| at + from);
    let end = colon(0).and_then(|first| colon(first + 1)).unwrap_or(0);
    let text = rest.get(..end).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default();
    let looks_right = text.split_once(":v").is_some_and(|(provider, version)| {
        let all = |text: &str, may: fn(&u8) -> bool| !text.is_empty() && text.as_bytes().iter().all(may);
        all(provider, u8::is_ascii_lowercase) && all(version, u8::is_ascii_alphanumeric)
    });
    if looks_right { text } else { "" }
}

impl Local {
    const ALL: [Self; 3] = [Self::AesCbc, Self::AesGcm, Self::Secretbox];

    const fn prefix(self) -> &'static [u8] {
        match self {
            Self::AesCbc => b"aescbc:v1:",
            Self::AesGcm => b"aesgcm:v1:",
            Self::Secretbox => b"secretbox:v1:",
        }
    }

    /// Whether the cipher makes bodies of this many bytes.
    const fn makes(self, length: usize) -> bool {
        match self {
            // An IV and at least one block of padding.
            Self::AesCbc => length >= 32 && length.is_multiple_of(16),
            Self::AesGcm => length >= MIN_GCM,
            // Nonce and tag.
            Self::Secretbox => length >= 24 + 16,
        }
    }
}

/// What stands behind the name, in KMS v1: `<length in 16 bits> <the plugin's ciphertext> <the object's ciphertext>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KmsV1Body<'a> {
    /// What the plugin answered to Encrypt.
    pub cipher: &'a [u8],
    /// The object: AES-GCM from Kubernetes 1.25 on, AES-CBC before.
    pub data: &'a [u8],
}

impl<'a> KmsV1Body<'a> {
    /// Takes `body` apart; `None` if its length does not fit.
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let (length, rest) = body.split_first_chunk::<2>()?;
        let (cipher, data) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        // The shortest AES-CBC body is longer.
        (data.len() >= MIN_GCM).then_some(Self { cipher, data })
    }

    /// The key that wrapped the DEK, where the ciphertext is an envelope of Keywright: others need not say.
    pub fn key_id(&self) -> Option<KeyId> {
        Some(Envelope::parse(self.cipher).ok()?.header.key_id)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Local(Local),
    KmsV1,
}

impl Scheme {
    fn fits(self, body: &[u8]) -> bool {
        match self {
            Self::Local(local) => local.makes(body.len()),
            Self::KmsV1 => KmsV1Body::parse(body).is_some(),
        }
    }
}

/// A name and a body behind it, of which only the EncryptionConfiguration knows where the one ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Named<'a> {
    scheme: Scheme,
    after_prefix: &'a [u8],
    /// Length of the guessed name.
    guess: usize,
}

impl<'a> Named<'a> {
    fn new(scheme: Scheme, after_prefix: &'a [u8]) -> Result<Self, Damage> {
        // A name is UTF-8, and a ciphertext rarely is for long.
        let text = std::str::from_utf8(after_prefix).map_or_else(|end| end.valid_up_to(), str::len);
        let colons = || after_prefix.iter().take(text).enumerate().skip(1).filter(|(_, byte)| **byte == b':').map(|(at, _)| at);
        let body = |at: usize| after_prefix.get(at + 1..).filter(|body| scheme.fits(body));
        // A large object may fit behind part of a name by chance; an envelope never is there by chance.
        let is_ours =
            |at: &usize| scheme == Scheme::KmsV1 && body(*at).and_then(KmsV1Body::parse).is_some_and(|body| body.key_id().is_some());
        match colons().find(is_ours).or_else(|| colons().find(|at| body(*at).is_some())) {
            Some(guess) => Ok(Self { scheme, after_prefix, guess }),
            None => Err(if colons().next().is_none() { Damage::NoName } else { Damage::Length }),
        }
    }

    /// Everything from the first byte of the name on.
    pub fn after_prefix(&self) -> &'a [u8] {
        self.after_prefix
    }

    /// The shortest name behind which an envelope of Keywright stands or, if none does, a body of a length that the provider writes; and
    /// that body. It is wrong only for names with `:`, and never hides a key of ours.
    pub fn guess(&self) -> (&'a str, &'a [u8]) {
        name_and_body(self.after_prefix, self.guess).expect("a name ends there, or `new` had made no value")
    }

    /// Name and body for every one of the configured `names` that fits, in their order: the API server tries one after the other.
    pub fn among<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> impl Iterator<Item = (&'n str, &'a [u8])> {
        let (scheme, after_prefix) = (self.scheme, self.after_prefix);
        names.into_iter().filter_map(move |name| {
            let body = after_prefix.strip_prefix(name.as_bytes())?.strip_prefix(b":")?;
            scheme.fits(body).then_some((name, body))
        })
    }
}

impl std::fmt::Debug for Named<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, body) = self.guess();
        write!(f, "Named({name:?}, {} bytes)", body.len())
    }
}

#[cfg(test)]
mod tests;
