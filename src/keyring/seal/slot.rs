//! One seal slot: how it is made, opened, and written in the keyring file.

use std::fmt::{self, Write as _};

use super::{Cost, MIN_PASSPHRASE, Opener, SealError, passphrase_kek, root_aad, secret_kek, unwrap_root, wrap_root};
use crate::entropy::Entropy;
use crate::envelope::Algorithm;
use crate::hex;
use crate::key_id::KeyringId;
use crate::keyring::document::parse::decimal;
use crate::keyring::document::push_hex;
use crate::provider::pkcs11::{KeyAt, TokenName};
use crate::provider::{Kek, KekError};
use crate::secret::{SecretBytes, SecretKey};

/// IV, ciphertext and tag of a root key under AES-256-GCM.
pub(super) const TOKEN_WRAPPED: usize = Algorithm::Aes256Gcm.nonce_len() + Algorithm::Aes256Gcm.sealed_len(SecretKey::LEN);

/// What a slot is opened with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotKind {
    /// Nothing: the root key stands in the file.
    InsecureDevelopment,
    /// A key file.
    KeyFile,
    /// A systemd credential of that name.
    Credential(String),
    /// A passphrase.
    Passphrase,
    /// A key in that token.
    Token(TokenName),
}

impl fmt::Display for SlotKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InsecureDevelopment => f.write_str("insecure-development"),
            Self::KeyFile => f.write_str("key-file"),
            Self::Credential(name) => write!(f, "credential `{name}`"),
            Self::Passphrase => f.write_str("passphrase"),
            Self::Token(token) => write!(f, "pkcs11 token {token}"),
        }
    }
}

/// One slot, as it stands in the keyring file.
pub struct Slot(Sealed);

enum Sealed {
    /// The root key in clear.
    InsecureDevelopment(SecretKey),
    /// The root key wrapped under a key derived from a secret of at least [`super::MIN_SECRET`] bytes.
    KeyFile { salt: [u8; 16], wrapped: [u8; 72] },
    /// As above.
    Credential { name: String, salt: [u8; 16], wrapped: [u8; 72] },
    /// The root key wrapped under a key stretched from a passphrase.
    Passphrase { cost: Cost, salt: [u8; 16], wrapped: [u8; 72] },
    /// The root key wrapped with AES-256-GCM by a key in a token: IV, ciphertext and tag.
    Token { key: KeyAt, wrapped: [u8; TOKEN_WRAPPED] },
}

impl Slot {
    /// What it is opened with.
    pub fn kind(&self) -> SlotKind {
        match &self.0 {
            Sealed::InsecureDevelopment(_) => SlotKind::InsecureDevelopment,
            Sealed::KeyFile { .. } => SlotKind::KeyFile,
            Sealed::Credential { name, .. } => SlotKind::Credential(name.clone()),
            Sealed::Passphrase { .. } => SlotKind::Passphrase,
            Sealed::Token { key, .. } => SlotKind::Token(key.token.clone()),
        }
    }

    /// The key in a token that it is opened with.
    pub fn token_key(&self) -> Option<&KeyAt> {
        match &self.0 {
            Sealed::Token { key, .. } => Some(key),
            _ => None,
        }
    }

    /// Whether it seals nothing.
    pub fn is_development(&self) -> bool {
        matches!(self.0, Sealed::InsecureDevelopment(_))
    }

    /// Makes a slot over `root` that `opener` opens.
    ///
    /// In a token it makes a key of its own, unless one of the `old` slots has one there already.
    pub fn seal(opener: &Opener, keyring: KeyringId, root: &SecretKey, old: &[Self], entropy: &dyn Entropy) -> Result<Self, SealError> {
        let salt = || {
            let mut salt = [0; 16];
            entropy.fill(&mut salt).map_err(KekError::from).map(|()| salt)
        };
        let sealed = match opener {
            Opener::InsecureDevelopment => Sealed::InsecureDevelopment(copy(root)),
            Opener::KeyFile(secret) => {
                let salt = salt()?;
                Sealed::KeyFile { salt, wrapped: wrap_root(&secret_kek(secret, &salt)?, keyring, root, entropy)? }
            }
            Opener::Credential(name, secret) => {
                let salt = salt()?;
                let wrapped = wrap_root(&secret_kek(secret, &salt)?, keyring, root, entropy)?;
                Sealed::Credential { name: name.clone(), salt, wrapped }
            }
            Opener::Passphrase(passphrase) => {
                if passphrase.len() < MIN_PASSPHRASE {
                    return Err(SealError::ShortPassphrase(passphrase.len()));
                }
                let (salt, cost) = (salt()?, Cost::NEW);
                Sealed::Passphrase { cost, salt, wrapped: wrap_root(&passphrase_kek(passphrase, &salt, cost)?, keyring, root, entropy)? }
            }
            Opener::Token(opener) => {
                let key = old.iter().filter_map(Self::token_key).find(|key| key.token == opener.name).cloned();
                let key = key.map_or_else(|| opener.make_key(keyring, entropy), Ok)?;
                let wrapped = opener.kek(&key).wrap_key(&root_aad(keyring), root.expose_secret(), entropy)?.concat()?;
                Sealed::Token { key, wrapped }
            }
        };
        Ok(Self(sealed))
    }

    /// The root key; [`SealError::WrongSecret`] if `opener` is not what this slot was made with.
    pub(super) fn open(&self, opener: &Opener, keyring: KeyringId) -> Result<SecretKey, SealError> {
        let by_secret = |secret: &SecretBytes, salt, wrapped| secret_kek(secret, salt).map(|kek| unwrap_root(&kek, keyring, wrapped));
        let root = match (&self.0, opener) {
            (Sealed::InsecureDevelopment(root), Opener::InsecureDevelopment) => Some(copy(root)),
            (Sealed::KeyFile { salt, wrapped }, Opener::KeyFile(secret)) => by_secret(secret, salt, wrapped)?,
            (Sealed::Credential { salt, wrapped, .. }, Opener::Credential(_, secret)) => by_secret(secret, salt, wrapped)?,
            (Sealed::Passphrase { cost, salt, wrapped }, Opener::Passphrase(passphrase)) => {
                unwrap_root(&passphrase_kek(passphrase, salt, *cost)?, keyring, wrapped)
            }
            (Sealed::Token { key, wrapped }, Opener::Token(opener)) => opener.open(key, keyring, wrapped)?,
            _ => None,
        };
        root.ok_or_else(|| SealError::WrongSecret { kind: self.kind().to_string() })
    }

    /// Appends the line of the keyring file.
    pub(in crate::keyring) fn write(&self, out: &mut String) {
        let mut push = |words: fmt::Arguments<'_>, parts: &[&[u8]]| {
            // Writing to a String does not fail.
            let _ = write!(out, "slot {words}");
            for part in parts {
                out.push(' ');
                push_hex(out, part);
            }
            out.push('\n');
        };
        match &self.0 {
            Sealed::InsecureDevelopment(root) => push(format_args!("insecure-development"), &[root.expose_secret()]),
            Sealed::KeyFile { salt, wrapped } => push(format_args!("key-file"), &[salt, wrapped]),
            Sealed::Credential { name, salt, wrapped } => push(format_args!("credential {name}"), &[salt, wrapped]),
            Sealed::Passphrase { cost, salt, wrapped } => {
                let [memory, passes, lanes] = cost.numbers();
                push(format_args!("passphrase argon2id {memory} {passes} {lanes}"), &[salt, wrapped]);
            }
            Sealed::Token { key, wrapped } => push(format_args!("pkcs11 {key}"), &[wrapped]),
        }
    }

    /// Reads the words of a line after `slot`, exactly as [`Slot::write`] writes them; `None` for anything else.
    pub(in crate::keyring) fn read<'a>(mut next: impl FnMut() -> Option<&'a str>) -> Option<Self> {
        let sealed = match next()? {
            "insecure-development" => Sealed::InsecureDevelopment(root_key(next()?)?),
            "key-file" => Sealed::KeyFile { salt: hex::decode(next()?)?, wrapped: hex::decode(next()?)? },
            "credential" => {
                let name = next().filter(|name| is_credential_name(name))?.to_owned();
                Sealed::Credential { name, salt: hex::decode(next()?)?, wrapped: hex::decode(next()?)? }
            }
            "passphrase" => {
                next().filter(|word| *word == "argon2id")?;
                let mut number = || next().and_then(decimal::<u32>);
                let cost = Cost::new(number()?, number()?, number()?)?;
                Sealed::Passphrase { cost, salt: hex::decode(next()?)?, wrapped: hex::decode(next()?)? }
            }
            "pkcs11" => {
                let (key, digits) = (next()?.parse().ok()?, next()?);
                let mut wrapped = [0; TOKEN_WRAPPED];
                let whole = base16ct::lower::decode(digits, &mut wrapped).is_ok_and(|bytes| bytes.len() == TOKEN_WRAPPED);
                whole.then_some(Sealed::Token { key, wrapped })?
            }
            _ => return None,
        };
        next().is_none().then_some(Self(sealed))
    }
}

/// Whether `name` can be a file in a folder of credentials: letters, digits, `-`, `_`, `.` and no leading dot.
pub fn is_credential_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=64).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain)
}

fn root_key(text: &str) -> Option<SecretKey> {
    let whole = text.len() == 2 * SecretKey::LEN;
    SecretKey::try_fill(|out| base16ct::lower::decode(text, out).ok().filter(|_| whole).map(|_| ()).ok_or(())).ok()
}

fn copy(key: &SecretKey) -> SecretKey {
    SecretKey::from_slice(key.expose_secret()).expect("a key is as long as a key")
}
