//! The vector files as types. A field that is missing or unknown fails the test: nothing in a vector goes unread.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use keywright::envelope::{Algorithm, Purpose};
use keywright::key_id::{KeyId, KeyringId, Version};
use keywright::keyring::seal::{Opener, TokenOpener};
use keywright::keyring::store::LoadError;
use keywright::provider::local::LocalKek;
use keywright::provider::pkcs11::{TokenName, Tokens};
use keywright::secret::{SecretBytes, SecretKey};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};

/// Bytes that stand in the file in hexadecimal.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Bytes {
    /// A key of these bytes.
    pub(crate) fn key(&self) -> SecretKey {
        SecretKey::from_slice(&self.0).expect("a key of 32 bytes")
    }

    /// A KEK of these bytes.
    pub(crate) fn kek(&self) -> LocalKek {
        LocalKek::new(&SecretKey::from_slice(&self.0).expect("a KEK of 32 bytes"))
    }

    /// These bytes as a keyring id.
    pub(crate) fn keyring(&self) -> KeyringId {
        KeyringId::from_bytes(self.0.as_slice().try_into().expect("a keyring id of 8 bytes"))
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base16ct::lower::encode_string(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        base16ct::lower::decode_vec(text).map(Self).map_err(D::Error::custom)
    }
}

/// `key_id.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyIds {
    pub(crate) valid: Vec<ValidKeyId>,
    pub(crate) invalid: Vec<InvalidKeyId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ValidKeyId {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) keyring: Bytes,
    pub(crate) version: String,
    pub(crate) check: Bytes,
    pub(crate) sha256: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InvalidKeyId {
    pub(crate) defect: String,
    pub(crate) text: String,
    /// Name of the `ParseError`.
    pub(crate) error: String,
}

/// `envelope-1.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Envelopes {
    pub(crate) format: u8,
    pub(crate) valid: Vec<ValidEnvelope>,
    pub(crate) invalid: Vec<InvalidEnvelope>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ValidEnvelope {
    pub(crate) name: String,
    pub(crate) kek: Bytes,
    pub(crate) keyring: Bytes,
    pub(crate) version: u32,
    pub(crate) canary: Bytes,
    pub(crate) check: Bytes,
    pub(crate) key_id: String,
    purpose: String,
    pub(crate) nonce: Bytes,
    pub(crate) plaintext: Bytes,
    pub(crate) associated_data: Bytes,
    pub(crate) envelope: Bytes,
}

impl ValidEnvelope {
    pub(crate) fn purpose(&self) -> Purpose {
        purpose(&self.purpose)
    }

    pub(crate) fn key_id(&self) -> KeyId {
        self.key_id.parse().expect("a key_id")
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InvalidEnvelope {
    pub(crate) defect: String,
    pub(crate) kek: Bytes,
    purpose: String,
    pub(crate) envelope: Bytes,
    /// The `ParseError`, or `does not open`.
    pub(crate) refused: String,
}

impl InvalidEnvelope {
    pub(crate) fn purpose(&self) -> Purpose {
        purpose(&self.purpose)
    }
}

/// `canary-1.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Canaries {
    pub(crate) plaintext: Bytes,
    pub(crate) valid: Vec<ValidCanary>,
    pub(crate) invalid: Vec<InvalidCanary>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ValidCanary {
    pub(crate) name: String,
    pub(crate) kek: Bytes,
    pub(crate) keyring: Bytes,
    pub(crate) version: u32,
    pub(crate) nonce: Bytes,
    pub(crate) associated_data: Bytes,
    pub(crate) canary: Bytes,
    pub(crate) check: Bytes,
    pub(crate) key_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InvalidCanary {
    pub(crate) defect: String,
    pub(crate) kek: Bytes,
    pub(crate) keyring: Bytes,
    pub(crate) version: u32,
    pub(crate) canary: Bytes,
}

/// `keyring-1.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Keyrings {
    pub(crate) format: u32,
    pub(crate) first: Vec<FirstKeyring>,
    pub(crate) every_state: EveryState,
    pub(crate) invalid: Vec<InvalidKeyring>,
}

/// A keyring just made.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FirstKeyring {
    pub(crate) name: String,
    pub(crate) openers: Vec<WayIn>,
    pub(crate) nodes: Vec<String>,
    pub(crate) hold: u64,
    pub(crate) created_unix: u64,
    pub(crate) entropy: Bytes,
    pub(crate) root: Bytes,
    pub(crate) lines: Vec<String>,
}

/// What opens a slot.
#[derive(Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct WayIn {
    kind: String,
    name: Option<String>,
    secret: Option<Bytes>,
}

impl WayIn {
    pub(crate) fn opener(&self) -> Opener {
        let secret = || SecretBytes::from_vec(self.secret.as_ref().expect("a secret").0.clone());
        match (self.kind.as_str(), &self.name) {
            ("insecure-development", None) => Opener::InsecureDevelopment,
            ("key-file", None) => Opener::KeyFile(secret()),
            ("credential", Some(name)) => Opener::Credential(name.clone(), secret()),
            ("passphrase", None) => Opener::Passphrase(secret()),
            (other, name) => panic!("a vector has the unknown way in {other} {name:?}"),
        }
    }

    /// The same, where `tokens` may be what opens it.
    pub(crate) fn opener_with(&self, tokens: &Arc<Tokens>) -> Opener {
        match (self.kind.as_str(), &self.name) {
            ("pkcs11", Some(name)) => {
                let name = TokenName::parse_given(name).expect("the name of a token");
                Opener::Token(TokenOpener { tokens: Arc::clone(tokens), name })
            }
            _ => self.opener(),
        }
    }

    /// True if a token opens it.
    pub(crate) fn is_token(&self) -> bool {
        self.kind == "pkcs11"
    }

    /// True if every attempt with it takes long.
    pub(crate) fn is_slow(&self) -> bool {
        self.kind == "passphrase"
    }
}

/// A keyring with versions in each state.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EveryState {
    pub(crate) openers: Vec<WayIn>,
    pub(crate) generation: u64,
    pub(crate) hold: u64,
    pub(crate) nodes: Vec<String>,
    pub(crate) head: String,
    pub(crate) coordination: Bytes,
    pub(crate) root: Bytes,
    pub(crate) versions: Vec<StoredVersion>,
    pub(crate) lines: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoredVersion {
    pub(crate) key_id: String,
    pub(crate) state: String,
    pub(crate) nonce: Bytes,
    pub(crate) plaintext: Bytes,
    pub(crate) envelope: Bytes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InvalidKeyring {
    pub(crate) defect: String,
    /// Name of the innermost error.
    pub(crate) error: String,
    /// The line that the error names, if it names one.
    pub(crate) line: Option<usize>,
    pub(crate) lines: Vec<String>,
}

/// `keyring-2.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyringsInTokens {
    pub(crate) format: u32,
    pub(crate) tokens: Vec<TokenVector>,
    /// What is in them.
    pub(crate) keys: Vec<KeyInToken>,
    pub(crate) every_state: EveryState,
    /// The keys of its attempts.
    pub(crate) attempts: Vec<String>,
    pub(crate) more: Vec<MoreKeyrings>,
    /// Lines of the export of `every_state`.
    pub(crate) export: Vec<String>,
    pub(crate) invalid: Vec<InvalidInTokens>,
    pub(crate) slots_that_do_not_open: Vec<ShutSlot>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenVector {
    pub(crate) label: String,
    pub(crate) serial: String,
    /// As a URI.
    pub(crate) name: String,
}

/// A key in clear, to be put into a token.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyInToken {
    pub(crate) place: String,
    /// `aes` or `hmac`.
    pub(crate) kind: String,
    pub(crate) secret: Bytes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MoreKeyrings {
    pub(crate) name: String,
    pub(crate) openers: Vec<WayIn>,
    pub(crate) lines: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InvalidInTokens {
    pub(crate) defect: String,
    /// Name of the innermost error.
    pub(crate) error: String,
    /// The line that the error names, if it names one.
    pub(crate) line: Option<usize>,
    /// Whether the file alone tells. Else it loads where the tokens are not.
    pub(crate) found_without_tokens: bool,
    pub(crate) lines: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShutSlot {
    pub(crate) defect: String,
    pub(crate) lines: Vec<String>,
}

/// `envelope-1-tokens.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnvelopesOfTokens {
    pub(crate) format: u8,
    pub(crate) valid: Vec<ValidEnvelopeOfToken>,
    pub(crate) invalid: Vec<InvalidEnvelopeOfToken>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ValidEnvelopeOfToken {
    pub(crate) name: String,
    pub(crate) algorithm: String,
    pub(crate) aes: Bytes,
    pub(crate) hmac: Option<Bytes>,
    pub(crate) keyring: Bytes,
    pub(crate) version: u32,
    pub(crate) canary: Bytes,
    pub(crate) check: Bytes,
    pub(crate) key_id: String,
    purpose: String,
    pub(crate) nonce: Bytes,
    pub(crate) plaintext: Bytes,
    pub(crate) associated_data: Bytes,
    pub(crate) envelope: Bytes,
}

impl ValidEnvelopeOfToken {
    pub(crate) fn purpose(&self) -> Purpose {
        purpose(&self.purpose)
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        Algorithm::from_name(&self.algorithm).expect("an algorithm")
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InvalidEnvelopeOfToken {
    pub(crate) defect: String,
    pub(crate) algorithm: String,
    pub(crate) aes: Bytes,
    pub(crate) hmac: Option<Bytes>,
    purpose: String,
    pub(crate) envelope: Bytes,
    /// The `ParseError`, or `does not open`.
    pub(crate) refused: String,
}

impl InvalidEnvelopeOfToken {
    pub(crate) fn purpose(&self) -> Purpose {
        purpose(&self.purpose)
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        Algorithm::from_name(&self.algorithm).expect("an algorithm")
    }
}

/// `acknowledgement-1.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Acknowledgements {
    pub(crate) domain: Bytes,
    pub(crate) valid: Vec<ValidAcknowledgement>,
    pub(crate) invalid: Vec<InvalidAcknowledgement>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ValidAcknowledgement {
    pub(crate) node: String,
    pub(crate) text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InvalidAcknowledgement {
    pub(crate) defect: String,
    /// Name of the `AckError`.
    pub(crate) error: String,
    pub(crate) text: String,
}

/// `seen-1.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SeenFiles {
    pub(crate) of_the_keyring: String,
    pub(crate) passes: Vec<PassingSeen>,
    pub(crate) alarms: Vec<AlarmingSeen>,
    pub(crate) invalid: Vec<InvalidSeen>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PassingSeen {
    pub(crate) name: String,
    pub(crate) text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AlarmingSeen {
    pub(crate) name: String,
    pub(crate) text: String,
    /// Name of the `SeenError`.
    pub(crate) error: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InvalidSeen {
    pub(crate) defect: String,
    pub(crate) text: String,
}

/// `report-1.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reports {
    pub(crate) domain: Bytes,
    pub(crate) valid: Vec<ValidReport>,
    pub(crate) invalid: Vec<InvalidReport>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ValidReport {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) key_id: String,
    /// To `key_id`.
    pub(crate) references: u64,
    pub(crate) under_primary: u64,
    pub(crate) whole: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InvalidReport {
    pub(crate) defect: String,
    /// Name of the `ReportError`.
    pub(crate) error: String,
    pub(crate) text: String,
}

/// `stored-1.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoredValues {
    pub(crate) valid: Vec<ValidStored>,
    pub(crate) invalid: Vec<InvalidStored>,
    pub(crate) cuts: Cuts,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ValidStored {
    pub(crate) name: String,
    pub(crate) value: Bytes,
    pub(crate) kind: String,
    pub(crate) provider: String,
    pub(crate) key_id: String,
    pub(crate) detail: String,
    /// KMS v2: data, source, then key and value of each annotation. KMS v1: ciphertext of the plugin, data. Others: what follows the name.
    pub(crate) parts: Vec<Bytes>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InvalidStored {
    pub(crate) defect: String,
    pub(crate) value: Bytes,
    /// What it is read as.
    pub(crate) read: String,
}

/// A value, and where it may be cut.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cuts {
    pub(crate) of: Bytes,
    /// Lengths at which it is a value still, if another one.
    pub(crate) still_whole: Vec<usize>,
}

/// The name that the vectors use: the innermost error.
pub(crate) fn error_name(error: &LoadError) -> String {
    let shown = match error {
        LoadError::Document(inner) => format!("{inner:?}"),
        LoadError::Seal(inner) => format!("{inner:?}"),
        other => format!("{other:?}"),
    };
    shown.chars().take_while(char::is_ascii_alphabetic).collect()
}

/// The file of these lines.
pub(crate) fn text(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

pub(crate) fn version(number: u32) -> Version {
    Version::new(number).expect("a version number above zero")
}

/// Reads `tests/vectors/<name>`.
pub(crate) fn load<T: DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {name}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("parse {name}: {error}"))
}

fn purpose(name: &str) -> Purpose {
    match name {
        "kms-v1" => Purpose::KmsV1,
        "kms-v2" => Purpose::KmsV2,
        other => panic!("a vector has the unknown purpose {other}"),
    }
}
