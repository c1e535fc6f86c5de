//! The API server's EncryptionConfiguration: which provider writes which resource, and the keys that stand in it.
//!
//! Read as the API server reads it, with its rules (`apiserver.config.k8s.io/v1`, strict since Kubernetes 1.31), so that what is taken
//! there is taken here and the other way round; only YAML merge keys and tags, which nobody writes there, are refused here alone. The file
//! has keys in it: no error quotes its text, and keys live in [`SecretBytes`].

mod file;
mod read;
mod resource;
mod yaml;

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use crate::secret::SecretBytes;
pub use file::{FileError, Loaded, MAX_FILE, load};
pub use resource::{Pattern, PatternError};

/// Why a text is not an EncryptionConfiguration that the API server takes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {problem}")]
pub struct ConfigurationError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a line. None of them quotes what could be a key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Problem {
    /// There is no document.
    #[error("there is nothing in the file")]
    Empty,
    /// Neither YAML nor JSON.
    #[error("this is not YAML")]
    Syntax,
    /// A YAML tag other than `!!str`.
    #[error("a YAML tag has no place here")]
    Tag,
    /// The name of a field is no plain word.
    #[error("the name of a field is expected here")]
    Name,
    /// A field stands twice.
    #[error("the field stands twice in the same place")]
    Duplicate,
    /// A YAML merge key.
    #[error("YAML merge keys (`<<`) are not read here; write the fields out")]
    Merge,
    /// More nodes, or deeper, than any configuration has.
    #[error("the file is larger, or deeper nested, than an EncryptionConfiguration can be")]
    TooLarge,
    /// A field that does not exist there.
    #[error("unknown field{} in {place}{}", quoted(.field), nearest.map(|n| format!("; did you mean `{n}`?")).unwrap_or_default())]
    UnknownField {
        /// Its name, if it cannot be a key in the wrong place.
        field: Option<String>,
        /// Where it stands.
        place: &'static str,
        /// The valid one that is spelled most like it.
        nearest: Option<&'static str>,
    },
    /// A value of another kind.
    #[error("`{field}` must be {expected}")]
    Kind {
        /// The field.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// Neither spelling of version and kind.
    #[error("this is no EncryptionConfiguration of apiserver.config.k8s.io/v1 (nor the older EncryptionConfig of v1)")]
    NotOurs,
    /// A list without which the entry says nothing.
    #[error("at least one is needed in `{0}`")]
    AtLeastOne(&'static str),
    /// A field that must be there, and not empty.
    #[error("`{field}` is missing from {place}")]
    Missing {
        /// The field.
        field: &'static str,
        /// Where.
        place: &'static str,
    },
    /// An entry without a provider.
    #[error("none of kms, aesgcm, aescbc, secretbox and identity stands here (identity is written `identity: {{}}`)")]
    NoProvider,
    /// An entry with several.
    #[error("more than one provider in one entry; give each its own")]
    SeveralProviders,
    /// A key that is not base64.
    #[error("the secret of the key is not base64")]
    NotBase64,
    /// A key of another length.
    #[error("the secret of the key has {found} bytes, and must have {expected}")]
    KeyLength {
        /// After decoding.
        found: usize,
        /// What is allowed.
        expected: &'static str,
    },
    /// Not a resource.
    #[error(transparent)]
    Resource(#[from] PatternError),
    /// Two of one list are for the same resource.
    #[error("`{0}` and `{1}` in one list are for the same resources")]
    Overlap(Pattern, Pattern),
    /// An earlier entry takes all that this one is for.
    #[error("`{pattern}` is masked by the earlier `{by}`")]
    Masked {
        /// The later one.
        pattern: Pattern,
        /// The earlier one.
        by: Pattern,
    },
    /// The name of a KMS v2 provider has a colon.
    #[error("the name of a KMS v2 provider has no `:`")]
    KmsName,
    /// Two KMS providers of one name.
    #[error("an earlier KMS provider has the same name")]
    KmsNameTwice,
    /// Neither v1 nor v2.
    #[error("`apiVersion` of a KMS provider is v1 or v2 (without it: v1)")]
    KmsVersion,
    /// No socket.
    #[error("`endpoint` must be a Unix socket, such as unix:///run/keywright/kms.sock")]
    Endpoint,
    /// Not a time.
    #[error("`timeout` must be a time above zero, such as 3s")]
    Timeout,
    /// Not a size.
    #[error("`cachesize` is for KMS v1 alone, and is not 0")]
    CacheSize,
}

fn quoted(field: &Option<String>) -> String {
    field.as_ref().map(|field| format!(" `{field}`")).unwrap_or_default()
}

/// A valid EncryptionConfiguration.
#[derive(Debug)]
pub struct EncryptionConfiguration {
    blocks: Vec<Block>,
}

/// One entry of its list: resources and who writes and reads them.
#[derive(Debug)]
pub struct Block {
    /// At least one.
    pub resources: Vec<Pattern>,
    /// At least one; the first writes, all read, in their order.
    pub providers: Vec<Provider>,
}

/// One entry of a list of providers.
#[derive(Debug)]
pub enum Provider {
    /// Plaintext.
    Identity,
    /// AES-CBC; keys of 16, 24 or 32 bytes.
    AesCbc(Vec<NamedKey>),
    /// AES-GCM; keys of 16, 24 or 32 bytes.
    AesGcm(Vec<NamedKey>),
    /// XSalsa20-Poly1305; keys of 32 bytes.
    Secretbox(Vec<NamedKey>),
    /// A plugin.
    Kms(Kms),
}

impl Provider {
    /// Its name in the configuration.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::AesCbc(_) => "aescbc",
            Self::AesGcm(_) => "aesgcm",
            Self::Secretbox(_) => "secretbox",
            Self::Kms(_) => "kms",
        }
    }

    /// Its keys; none for identity and KMS. The first one writes.
    pub fn keys(&self) -> &[NamedKey] {
        match self {
            Self::AesCbc(keys) | Self::AesGcm(keys) | Self::Secretbox(keys) => keys,
            Self::Identity | Self::Kms(_) => &[],
        }
    }
}

/// A key that stands in the file.
pub struct NamedKey {
    /// Its name, part of every value under it. It may have a colon.
    pub name: String,
    /// The key itself.
    pub secret: SecretBytes,
}

impl fmt::Debug for NamedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NamedKey({:?}, {:?})", self.name, self.secret)
    }
}

/// A plugin behind a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kms {
    /// Which API.
    pub version: KmsVersion,
    /// Its name, part of every value that it wrote. Without a colon in v2.
    pub name: String,
    /// The socket as it is written there, `unix:...`.
    pub endpoint: String,
    /// How long the API server waits for an answer.
    pub timeout: Duration,
}

/// The API that the API server speaks with a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KmsVersion {
    /// A new DEK for every write; values do not name the KEK.
    V1,
    /// A seed for many writes; values carry key_ids.
    V2,
}

/// Resources that are encrypted, and by what.
#[derive(Debug, Clone, Copy)]
pub struct Encrypted<'a> {
    /// Which.
    pub pattern: &'a Pattern,
    /// What writes them: identity, where what is stored is only read as encrypted any more.
    pub writes: &'a Provider,
}

impl EncryptionConfiguration {
    /// Parses `text`, YAML or JSON, under the rules of the API server. The text is secret.
    pub fn parse(text: &str) -> Result<Self, ConfigurationError> {
        let wrong = |(line, problem)| ConfigurationError { line, problem };
        read::blocks(&*yaml::parse(text).map_err(wrong)?).map(|blocks| Self { blocks }).map_err(wrong)
    }

    /// Its entries in their order.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// All providers, in the order of the file.
    pub fn providers(&self) -> impl Iterator<Item = &Provider> {
        self.blocks.iter().flat_map(|block| &block.providers)
    }

    /// Who writes (the first) and reads (all, in their order) `resource`, such as `secrets` or `deployments.apps`.
    ///
    /// As the API server looks it up: the entries for exactly this resource, one behind the other; else those for `*.group`; else those for
    /// `*.*`. None at all: it is stored in plaintext.
    pub fn providers_for(&self, resource: &str) -> Vec<&Provider> {
        let (name, group) = resource.split_once('.').unwrap_or((resource, ""));
        let exact = Pattern::Resource { name: name.to_owned(), group: group.to_owned() };
        [exact, Pattern::Group(group.to_owned()), Pattern::Everything]
            .iter()
            .map(|pattern| self.providers_of(pattern).collect::<Vec<_>>())
            .find(|providers| !providers.is_empty())
            .unwrap_or_default()
    }

    /// Every pattern under which anything is or was encrypted, once each, in the order of the file: what evidence must cover.
    pub fn encrypted_resources(&self) -> Vec<Encrypted<'_>> {
        let mut found: Vec<Encrypted<'_>> = Vec::new();
        for pattern in self.blocks.iter().flat_map(|block| &block.resources) {
            let mut providers = self.providers_of(pattern).peekable();
            let Some(writes) = providers.peek().copied() else { continue };
            if providers.any(|p| !matches!(p, Provider::Identity)) && !found.iter().any(|e| e.pattern == pattern) {
                found.push(Encrypted { pattern, writes });
            }
        }
        found
    }

    /// The names of its KMS v2 providers, in the order of the file.
    pub fn kms_v2_names(&self) -> impl Iterator<Item = &str> {
        self.providers().filter_map(|provider| match provider {
            Provider::Kms(Kms { version: KmsVersion::V2, name, .. }) => Some(name.as_str()),
            _ => None,
        })
    }

    fn providers_of<'a>(&'a self, pattern: &Pattern) -> impl Iterator<Item = &'a Provider> {
        self.blocks.iter().filter(|block| block.resources.contains(pattern)).flat_map(|block| &block.providers)
    }
}

#[cfg(test)]
mod tests;
