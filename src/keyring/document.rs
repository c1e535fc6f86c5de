//! The keyring file as text: parse it strictly, write it, authenticate it. No keys are used here but the authenticating one.
//!
//! Format 1, see `docs/formats.md` section 4. It is TOML that a person can read. The last line authenticates every byte above it.

use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;
use thiserror::Error;

use crate::envelope::Algorithm;
use crate::key_id::{KeyId, KeyringId};
use crate::keyring::seal::Slot;
use crate::secret::SecretKey;

/// The one format there is.
pub const FORMAT: u32 = 1;
/// Start of the line that ends the file.
const LAST_LINE: &str = "hmac-sha256 = ";

/// Why a file is not a keyring.
#[derive(Debug, Error)]
pub enum DocumentError {
    /// Not TOML of our form.
    #[error("line {line}: {message}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// What the parser said.
        message: String,
    },
    /// A format number that this release does not know.
    #[error(
        "keyring format {0} is not one that this release reads (it reads format {FORMAT}); use the release that wrote it or a newer one"
    )]
    Format(u32),
    /// A field has a value that its type does not allow.
    #[error("{field} of {of} {problem}")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// Whose field it is.
        of: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The file does not end with its authentication line.
    #[error("the file does not end with its authentication line: it is torn, or was edited")]
    NoAuthentication,
    /// The authentication does not match.
    #[error("the file is not authentic: a byte of it was changed after Keywright wrote it, or its root key is another keyring's")]
    NotAuthentic,
}

/// Where the KEK of a version lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderLabel {
    /// Wrapped in this file.
    Local,
}

/// State of a version in the file; what it carries is decided when it is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StateLabel {
    /// See [`crate::keyring::State::Staged`].
    Staged,
    /// See [`crate::keyring::State::Primary`].
    Primary,
    /// See [`crate::keyring::State::Retired`].
    Retired,
    /// See [`crate::keyring::State::Disabled`].
    Disabled,
    /// See [`crate::keyring::State::Destroyed`].
    Destroyed,
}

impl StateLabel {
    const fn name(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Primary => "primary",
            Self::Retired => "retired",
            Self::Disabled => "disabled",
            Self::Destroyed => "destroyed",
        }
    }
}

/// One version as it stands in the file.
#[derive(Debug)]
pub struct VersionRecord {
    /// Its name.
    pub key_id: KeyId,
    /// Its state.
    pub state: StateLabel,
    /// Where its KEK lives.
    pub provider: ProviderLabel,
    /// How it wraps.
    pub algorithm: Algorithm,
    /// When it was made, RFC 3339 in UTC; for people only.
    pub created: String,
    /// Nonce, ciphertext and tag over the fixed plaintext.
    pub canary: Vec<u8>,
    /// The KEK wrapped under the root key; absent once destroyed.
    pub wrapped: Option<Vec<u8>>,
}

/// A keyring file taken apart, with its authenticity not yet known: see [`Document::authenticate`].
pub struct Document {
    /// Names the keyring.
    pub keyring: KeyringId,
    /// Grows by one with every change.
    pub generation: u64,
    /// The ways to the root key.
    pub slots: Vec<Slot>,
    /// All versions, oldest first.
    pub versions: Vec<VersionRecord>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDocument {
    format: u32,
    keyring: String,
    generation: u64,
    #[serde(default)]
    slot: Vec<RawSlot>,
    #[serde(default)]
    version: Vec<RawVersion>,
    authentication: RawAuthentication,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "kebab-case")]
enum RawSlot {
    InsecureDevelopment { root: String },
    Secret { salt: String, wrapped: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawVersion {
    key_id: String,
    state: StateLabel,
    provider: String,
    algorithm: String,
    created: String,
    canary: String,
    wrapped: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawAuthentication {
    hmac_sha256: String,
}

/// Only the format number, so that a newer file is named as such instead of failing on a field it added.
#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

impl Document {
    /// Parses `text` strictly. Nothing in it is authentic yet.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        let syntax = |error: toml::de::Error| DocumentError::Syntax {
            line: error.span().map_or(1, |span| line_of(text, span.start)),
            message: error.message().to_owned(),
        };
        let format = toml::from_str::<FormatOnly>(text).map_err(syntax)?.format;
        if format != FORMAT {
            return Err(DocumentError::Format(format));
        }
        let raw: RawDocument = toml::from_str(text).map_err(syntax)?;
        debug_assert_eq!(raw.format, FORMAT);
        let whole = || "the keyring".to_owned();
        decode::<32>("hmac-sha256", whole, &raw.authentication.hmac_sha256)?;
        let keyring: KeyringId = raw.keyring.parse().map_err(|e| field("keyring", whole(), e))?;
        // TOML counts to 2^63 - 1.
        if raw.generation == 0 || i64::try_from(raw.generation).is_err() {
            return Err(field("generation", whole(), "is not from 1 to 9223372036854775807"));
        }
        Ok(Self {
            keyring,
            generation: raw.generation,
            slots: raw.slot.into_iter().zip(1..).map(|(slot, n)| slot.checked(n)).collect::<Result<_, _>>()?,
            versions: raw.version.into_iter().zip(1..).map(|(version, n)| version.checked(keyring, n)).collect::<Result<_, _>>()?,
        })
    }

    /// Whether `text`, from which this document was parsed, is what the holder of `key` wrote.
    pub fn authenticate(text: &str, key: &SecretKey) -> Result<(), DocumentError> {
        let (covered, last) = split_last_line(text).ok_or(DocumentError::NoAuthentication)?;
        let tag = last.strip_prefix(LAST_LINE).and_then(|v| v.strip_prefix('"')).and_then(|v| v.strip_suffix("\"\n"));
        let mut bytes = [0; 32];
        let tag = tag.filter(|t| t.len() == 64).and_then(|t| base16ct::lower::decode(t, &mut bytes).ok());
        let tag = tag.ok_or(DocumentError::NoAuthentication)?;
        mac(key, covered).verify_slice(tag).map_err(|_| DocumentError::NotAuthentic)
    }

    /// The text of the file, authenticated under `key`.
    pub fn write(&self, key: &SecretKey) -> String {
        let mut out =
            String::from("# A Keywright keyring. Read it, copy it, but do not edit it: the last line authenticates every byte above it.\n");
        if self.slots.iter().any(|slot| matches!(slot, Slot::InsecureDevelopment(_))) {
            out.push_str(
                "# INSECURE: a development keyring. Its root key stands below in clear: whoever reads this file has every key in it.\n",
            );
        }
        out.push_str(&format!("\nformat = {FORMAT}\nkeyring = \"{}\"\ngeneration = {}\n", self.keyring, self.generation));
        for slot in &self.slots {
            out.push_str(&format!("\n[[slot]]\nkind = \"{}\"\n", slot.kind()));
            match slot {
                Slot::InsecureDevelopment(root) => out.push_str(&format!("root = \"{}\"\n", hex(root.expose_secret()))),
                Slot::Secret { salt, wrapped } => {
                    out.push_str(&format!("salt = \"{}\"\nwrapped = \"{}\"\n", hex(salt), hex(wrapped)));
                }
            }
        }
        for version in &self.versions {
            out.push_str(&format!(
                "\n[[version]]\nkey-id = \"{}\"\nstate = \"{}\"\nprovider = \"local\"\nalgorithm = \"{}\"\ncreated = \"{}\"\ncanary = \"{}\"\n",
                version.key_id,
                version.state.name(),
                version.algorithm.name(),
                version.created,
                hex(&version.canary),
            ));
            if let Some(wrapped) = &version.wrapped {
                out.push_str(&format!("wrapped = \"{}\"\n", hex(wrapped)));
            }
        }
        out.push_str("\n[authentication]\n");
        let tag = mac(key, &out).finalize().into_bytes();
        out.push_str(&format!("{LAST_LINE}\"{}\"\n", hex(&tag)));
        out
    }
}

impl RawSlot {
    fn checked(self, number: usize) -> Result<Slot, DocumentError> {
        let of = || format!("slot {number}");
        match self {
            Self::InsecureDevelopment { root } => {
                let root = zeroize::Zeroizing::new(root);
                let key = SecretKey::try_fill(|out| {
                    let whole = root.len() == 64;
                    base16ct::lower::decode(root.as_bytes(), out).ok().filter(|_| whole).map(|_| ()).ok_or(())
                });
                key.map(Slot::InsecureDevelopment).map_err(|()| field("root", of(), "is not 64 lower-case hexadecimal digits"))
            }
            Self::Secret { salt, wrapped } => {
                Ok(Slot::Secret { salt: decode("salt", of, &salt)?, wrapped: decode::<72>("wrapped", of, &wrapped)?.to_vec() })
            }
        }
    }
}

impl RawVersion {
    fn checked(self, keyring: KeyringId, number: u32) -> Result<VersionRecord, DocumentError> {
        let of = || format!("version {number}");
        let key_id: KeyId = self.key_id.parse().map_err(|e| field("key-id", of(), format!("is no key_id: {e}")))?;
        if key_id.version.number() != number {
            return Err(field("key-id", of(), format!("names version {}; versions stand in order and without gaps", key_id.version)));
        }
        if key_id.keyring != keyring {
            return Err(field("key-id", of(), format!("names keyring {}; this is keyring {keyring}", key_id.keyring)));
        }
        // It is written back as it was read, so it must be exactly what we write.
        let created = humantime::parse_rfc3339(&self.created).map(|time| humantime::format_rfc3339_seconds(time).to_string());
        if created.as_ref() != Ok(&self.created) {
            return Err(field("created", of(), "is no time of the form 2026-01-02T03:04:05Z"));
        }
        let provider = match self.provider.as_str() {
            "local" => ProviderLabel::Local,
            _ => return Err(field("provider", of(), "is not one that this release knows (local)")),
        };
        let algorithm = Algorithm::from_name(&self.algorithm)
            .ok_or_else(|| field("algorithm", of(), "is not one that this release knows (xaes-256-gcm)"))?;
        let wrapped = self.wrapped.map(|w| decode::<72>("wrapped", of, &w).map(|w| w.to_vec())).transpose()?;
        if wrapped.is_some() == (self.state == StateLabel::Destroyed) {
            return Err(field("wrapped", of(), "stands there exactly when the version is not destroyed"));
        }
        Ok(VersionRecord {
            key_id,
            state: self.state,
            provider,
            algorithm,
            created: self.created,
            canary: decode::<72>("canary", of, &self.canary)?.to_vec(),
            wrapped,
        })
    }
}

fn field(field: &'static str, of: String, problem: impl ToString) -> DocumentError {
    DocumentError::Field { field, of, problem: problem.to_string() }
}

fn decode<const N: usize>(name: &'static str, of: impl Fn() -> String, text: &str) -> Result<[u8; N], DocumentError> {
    let mut bytes = [0; N];
    let whole = text.len() == 2 * N && base16ct::lower::decode(text, &mut bytes).is_ok();
    if whole { Ok(bytes) } else { Err(field(name, of(), format!("is not {} lower-case hexadecimal digits", 2 * N))) }
}

fn hex(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(bytes)
}

fn mac(key: &SecretKey, covered: &str) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(key.expose_secret()).expect("HMAC takes a key of any length").chain_update(covered.as_bytes())
}

fn split_last_line(text: &str) -> Option<(&str, &str)> {
    let body = text.strip_suffix('\n')?;
    let start = body.rfind('\n')? + 1;
    Some((&text[..start], &text[start..]))
}

/// The line, counted from 1, on which byte `at` of `text` stands.
pub fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count()
}
