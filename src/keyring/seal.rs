//! Seal slots: the ways in which a keyring's root key can be had, and what the root key is used for.
//!
//! The root key only ever feeds HKDF-SHA256, one label per use. A slot holds it wrapped under a key derived from a secret that is
//! kept elsewhere; a development slot holds it in clear, says so, and is only ever opened with `--dev`.

use hkdf::Hkdf;
use sha2::Sha256;
use thiserror::Error;

use crate::entropy::Entropy;
use crate::key_id::KeyringId;
use crate::provider::local::LocalKek;
use crate::provider::{Kek, KekError};
use crate::secret::{SecretBytes, SecretKey};

/// Fewest bytes of a credential or key file that a slot accepts.
pub const MIN_SECRET: usize = 32;

const SLOT_DOMAIN: &[u8] = b"keywright slot 1";
const ROOT_DOMAIN: &[u8] = b"keywright root key 1";
const WRAP_LABEL: &[u8] = b"keywright wrap KEKs 1";
const AUTH_LABEL: &[u8] = b"keywright authenticate file 1";

/// Why the root key could not be had.
#[derive(Debug, Error)]
pub enum SealError {
    /// The keyring has no slot of the kind that was asked for.
    #[error("the keyring has no {wanted} slot; it has: {present}")]
    NoSlot {
        /// What was asked for.
        wanted: &'static str,
        /// The kinds that the keyring has, separated by commas.
        present: String,
    },
    /// A slot that is no secret stands beside one that is.
    #[error("the keyring has a development slot beside others: its root key stands in the file in clear, whatever else seals it")]
    NotAlone,
    /// The secret is not the one that the slot was made with.
    #[error("the secret does not open the keyring's {kind} slot: it belongs to another keyring, or the file was changed")]
    WrongSecret {
        /// The kind of the slot.
        kind: &'static str,
    },
    /// The secret is too short to be one.
    #[error("the secret has {0} bytes; at least {MIN_SECRET} random bytes are needed")]
    TooShort(usize),
    /// The cipher or the generator failed.
    #[error(transparent)]
    Kek(#[from] KekError),
}

/// How a command or the server gets at the root key.
pub enum Opener {
    /// The insecure development slot: the caller said `--dev`.
    InsecureDevelopment,
    /// The content of a key file or of a systemd credential.
    Secret(SecretBytes),
}

/// One slot, as it stands in the keyring file.
pub enum Slot {
    /// The root key in clear.
    InsecureDevelopment(SecretKey),
    /// The root key wrapped under a key derived from a secret of at least [`MIN_SECRET`] bytes.
    Secret {
        /// Salt of the derivation.
        salt: [u8; 16],
        /// Nonce, ciphertext and tag, 72 bytes.
        wrapped: Vec<u8>,
    },
}

impl Slot {
    /// The word for it in the file.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::InsecureDevelopment(_) => "insecure-development",
            Self::Secret { .. } => "secret",
        }
    }

    /// Makes a slot over `root` for `opener`.
    pub fn seal(opener: &Opener, keyring: KeyringId, root: &SecretKey, entropy: &dyn Entropy) -> Result<Self, SealError> {
        match opener {
            Opener::InsecureDevelopment => {
                let copy = SecretKey::try_fill(|out| {
                    out.copy_from_slice(root.expose_secret());
                    Ok::<_, SealError>(())
                })?;
                Ok(Self::InsecureDevelopment(copy))
            }
            Opener::Secret(secret) => {
                let mut salt = [0; 16];
                entropy.fill(&mut salt).map_err(KekError::from)?;
                let wrapped = slot_kek(secret, &salt)?.wrap_key(&root_aad(keyring), root.expose_secret(), entropy)?;
                Ok(Self::Secret { salt, wrapped: [wrapped.nonce, wrapped.sealed].concat() })
            }
        }
    }

    fn open(&self, opener: &Opener, keyring: KeyringId) -> Option<Result<SecretKey, SealError>> {
        match (self, opener) {
            (Self::InsecureDevelopment(root), Opener::InsecureDevelopment) => Some(SecretKey::try_fill(|out| {
                out.copy_from_slice(root.expose_secret());
                Ok(())
            })),
            (Self::Secret { salt, wrapped }, Opener::Secret(secret)) => Some(open_secret(secret, salt, wrapped, keyring)),
            _ => None,
        }
    }
}

impl Opener {
    const fn kind(&self) -> &'static str {
        match self {
            Self::InsecureDevelopment => "insecure-development",
            Self::Secret(_) => "secret",
        }
    }

    /// Opens the first slot of this opener's kind that it fits.
    ///
    /// Errors: [`SealError::NotAlone`] if a development slot stands beside others; [`SealError::NoSlot`] if there is none of the kind;
    /// else what the last one of the kind said.
    pub fn open(&self, slots: &[Slot], keyring: KeyringId) -> Result<SecretKey, SealError> {
        if slots.len() > 1 && slots.iter().any(|slot| matches!(slot, Slot::InsecureDevelopment(_))) {
            return Err(SealError::NotAlone);
        }
        let mut last = None;
        for outcome in slots.iter().filter_map(|slot| slot.open(self, keyring)) {
            match outcome {
                Ok(root) => return Ok(root),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| SealError::NoSlot {
            wanted: self.kind(),
            present: slots.iter().map(Slot::kind).collect::<Vec<_>>().join(", "),
        }))
    }
}

fn open_secret(secret: &SecretBytes, salt: &[u8; 16], wrapped: &[u8], keyring: KeyringId) -> Result<SecretKey, SealError> {
    let wrong = || SealError::WrongSecret { kind: "secret" };
    let kek = slot_kek(secret, salt)?;
    let (nonce, sealed) = wrapped.split_at_checked(24).ok_or_else(wrong)?;
    let root = kek.unwrap_key(&root_aad(keyring), nonce, sealed).map_err(|_| wrong())?;
    SecretKey::from_slice(root.expose_secret()).ok_or_else(wrong)
}

fn root_aad(keyring: KeyringId) -> Vec<u8> {
    [ROOT_DOMAIN, keyring.as_bytes()].concat()
}

fn slot_kek(secret: &SecretBytes, salt: &[u8; 16]) -> Result<LocalKek, SealError> {
    if secret.len() < MIN_SECRET {
        return Err(SealError::TooShort(secret.len()));
    }
    Ok(LocalKek::new(&derive(secret.expose_secret(), salt, SLOT_DOMAIN)))
}

/// The two keys that a root key gives its file.
pub struct FileKeys {
    /// Wraps the KEKs of the local provider.
    pub wrap: LocalKek,
    /// Authenticates every byte of the file.
    pub authenticate: SecretKey,
}

impl FileKeys {
    /// Derives both from the root key of `keyring`.
    pub fn derive(root: &SecretKey, keyring: KeyringId) -> Self {
        let key = |label| derive(root.expose_secret(), keyring.as_bytes(), label);
        Self { wrap: LocalKek::new(&key(WRAP_LABEL)), authenticate: key(AUTH_LABEL) }
    }
}

fn derive(secret: &[u8], salt: &[u8], label: &[u8]) -> SecretKey {
    let hkdf = Hkdf::<Sha256>::new(Some(salt), secret);
    SecretKey::try_fill(|out| hkdf.expand(label, out)).expect("HKDF-SHA256 gives up to 8160 bytes, 32 are asked")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::OsEntropy;

    const KEYRING: KeyringId = KeyringId::from_bytes([1; 8]);

    fn secret(byte: u8) -> Opener {
        Opener::Secret(SecretBytes::from_vec(vec![byte; 32]))
    }

    fn root() -> SecretKey {
        SecretKey::from_slice(&[9; 32]).expect("32 bytes")
    }

    #[test]
    fn a_slot_opens_with_its_own_secret_and_keyring_only() {
        let slots = [Slot::seal(&secret(1), KEYRING, &root(), &OsEntropy).expect("seals")];
        assert_eq!(secret(1).open(&slots, KEYRING).expect("opens").expose_secret(), root().expose_secret());
        assert!(matches!(secret(2).open(&slots, KEYRING), Err(SealError::WrongSecret { .. })));
        let other = KeyringId::from_bytes([2; 8]);
        assert!(matches!(secret(1).open(&slots, other), Err(SealError::WrongSecret { .. })));
    }

    #[test]
    fn a_development_slot_opens_only_when_asked_for_by_name() {
        let slots = [Slot::seal(&Opener::InsecureDevelopment, KEYRING, &root(), &OsEntropy).expect("seals")];
        assert!(Opener::InsecureDevelopment.open(&slots, KEYRING).is_ok());
        assert!(matches!(secret(1).open(&slots, KEYRING), Err(SealError::NoSlot { .. })));
    }

    #[test]
    fn a_development_slot_beside_others_opens_for_nobody() {
        let seal = |opener: &Opener| Slot::seal(opener, KEYRING, &root(), &OsEntropy).expect("seals");
        let slots = [seal(&secret(1)), seal(&Opener::InsecureDevelopment)];
        for opener in [secret(1), Opener::InsecureDevelopment] {
            assert!(matches!(opener.open(&slots, KEYRING), Err(SealError::NotAlone)));
        }
    }

    #[test]
    fn a_short_secret_is_refused_before_it_is_used() {
        let short = Opener::Secret(SecretBytes::from_vec(vec![1; 31]));
        assert!(matches!(Slot::seal(&short, KEYRING, &root(), &OsEntropy), Err(SealError::TooShort(31))));
    }
}
