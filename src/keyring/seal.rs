//! Seal slots: the ways in which a keyring's root key can be had, and what the root key is used for.
//!
//! The root key only ever feeds HKDF-SHA256, one label per use. A slot holds it wrapped under a key derived from a secret that is
//! kept elsewhere; a development slot holds it in clear, says so, stands alone, and is only ever opened with `--dev`.

mod slot;
mod token;

pub use crate::stretch::Cost;
pub use slot::{Slot, SlotKind, is_credential_name};
pub use token::{TokenOpener, token_label};

use hkdf::Hkdf;
use sha2::Sha256;
use thiserror::Error;

use crate::entropy::Entropy;
use crate::key_id::KeyringId;
use crate::provider::local::LocalKek;
use crate::provider::{Kek, KekError};
use crate::secret::{SecretBytes, SecretKey};
use crate::stretch::StretchError;

/// Fewest bytes of a credential or key file that a slot accepts.
pub const MIN_SECRET: usize = 32;
/// Fewest bytes of a passphrase that a slot is made with.
pub const MIN_PASSPHRASE: usize = 12;

const SLOT_DOMAIN: &[u8] = b"keywright slot 1";
const PASSPHRASE_DOMAIN: &[u8] = b"keywright passphrase slot 1";
const ROOT_DOMAIN: &[u8] = b"keywright root key 1";
const WRAP_LABEL: &[u8] = b"keywright wrap KEKs 1";
const AUTH_LABEL: &[u8] = b"keywright authenticate file 1";

/// Why the root key could not be had, or not be sealed.
#[derive(Debug, Error)]
pub enum SealError {
    /// The keyring has no slot of the kind that was asked for.
    #[error("the keyring has no {wanted} slot; it has: {present}")]
    NoSlot {
        /// What was asked for.
        wanted: String,
        /// The slots that the keyring has, separated by commas.
        present: String,
    },
    /// A slot that is no secret stands beside one that is.
    #[error("the keyring has a development slot beside others: its root key stands in the file in clear, whatever else seals it")]
    NotAlone,
    /// The secret is not the one that the slot was made with.
    #[error("this is not the secret that the keyring's {kind} slot was made with, or it is another keyring's")]
    WrongSecret {
        /// The slot.
        kind: String,
    },
    /// The secret is too short to be one.
    #[error("the secret has {0} bytes; at least {MIN_SECRET} random bytes are needed")]
    TooShort(usize),
    /// The passphrase is too short to be one.
    #[error("the passphrase has {0} bytes; at least {MIN_PASSPHRASE} are needed")]
    ShortPassphrase(usize),
    /// There is not enough memory to derive a key from a passphrase.
    #[error(transparent)]
    Derivation(#[from] StretchError),
    /// The cipher or the generator failed.
    #[error(transparent)]
    Kek(#[from] KekError),
}

/// How a command or the server gets at the root key, with the secret that it takes.
pub enum Opener {
    /// The insecure development slot: the caller said `--dev`.
    InsecureDevelopment,
    /// The content of a key file.
    KeyFile(SecretBytes),
    /// The content of the systemd credential of that name.
    Credential(String, SecretBytes),
    /// What a person remembers.
    Passphrase(SecretBytes),
    /// A key in a token.
    Token(TokenOpener),
}

impl Opener {
    /// Which kind of slot it opens.
    pub fn kind(&self) -> SlotKind {
        match self {
            Self::InsecureDevelopment => SlotKind::InsecureDevelopment,
            Self::KeyFile(_) => SlotKind::KeyFile,
            Self::Credential(name, _) => SlotKind::Credential(name.clone()),
            Self::Passphrase(_) => SlotKind::Passphrase,
            Self::Token(opener) => SlotKind::Token(opener.name.clone()),
        }
    }

    /// Opens the first slot of this opener's kind that it fits.
    ///
    /// Errors: [`SealError::NotAlone`] if a development slot stands beside others; [`SealError::NoSlot`] if there is none of the kind;
    /// else what the last one of the kind said.
    pub fn open(&self, slots: &[Slot], keyring: KeyringId) -> Result<SecretKey, SealError> {
        if slots.len() > 1 && slots.iter().any(Slot::is_development) {
            return Err(SealError::NotAlone);
        }
        let mut last = None;
        for slot in slots.iter().filter(|slot| slot.kind() == self.kind()) {
            match slot.open(self, keyring) {
                Ok(root) => return Ok(root),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| SealError::NoSlot {
            wanted: self.kind().to_string(),
            present: slots.iter().map(|slot| slot.kind().to_string()).collect::<Vec<_>>().join(", "),
        }))
    }
}

/// What a root key gives its file.
pub struct FileKeys {
    /// Wraps the KEKs of the local provider and the coordination key.
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

/// The key that wraps the root key in a slot of a random secret.
fn secret_kek(secret: &SecretBytes, salt: &[u8; 16]) -> Result<LocalKek, SealError> {
    if secret.len() < MIN_SECRET {
        return Err(SealError::TooShort(secret.len()));
    }
    Ok(LocalKek::new(&derive(secret.expose_secret(), salt, SLOT_DOMAIN)))
}

/// The key that wraps the root key in a slot of a passphrase.
fn passphrase_kek(passphrase: &SecretBytes, salt: &[u8; 16], cost: Cost) -> Result<LocalKek, SealError> {
    let stretched = cost.stretch(passphrase, salt)?;
    Ok(LocalKek::new(&derive(stretched.expose_secret(), salt, PASSPHRASE_DOMAIN)))
}

fn wrap_root(kek: &LocalKek, keyring: KeyringId, root: &SecretKey, entropy: &dyn Entropy) -> Result<[u8; 72], SealError> {
    Ok(kek.wrap_key(&root_aad(keyring), root.expose_secret(), entropy)?.concat::<72>()?)
}

fn unwrap_root(kek: &LocalKek, keyring: KeyringId, wrapped: &[u8; 72]) -> Option<SecretKey> {
    let root = kek.unwrap_key(&root_aad(keyring), &wrapped[..24], &wrapped[24..]).ok()?;
    SecretKey::from_slice(root.expose_secret())
}

fn root_aad(keyring: KeyringId) -> Vec<u8> {
    [ROOT_DOMAIN, keyring.as_bytes()].concat()
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

    fn bytes(byte: u8) -> SecretBytes {
        SecretBytes::from_vec(vec![byte; 32])
    }

    fn key_file(byte: u8) -> Opener {
        Opener::KeyFile(bytes(byte))
    }

    fn root() -> SecretKey {
        SecretKey::from_slice(&[9; 32]).expect("32 bytes")
    }

    fn seal(opener: &Opener) -> Slot {
        Slot::seal(opener, KEYRING, &root(), &[], &OsEntropy).expect("seals")
    }

    fn is_root(outcome: Result<SecretKey, SealError>) -> bool {
        outcome.is_ok_and(|opened| opened.expose_secret() == root().expose_secret())
    }

    #[test]
    fn a_slot_opens_with_its_own_secret_and_keyring_only() {
        for [right, wrong] in [
            [key_file(1), key_file(2)],
            [Opener::Credential("c".into(), bytes(1)), Opener::Credential("c".into(), bytes(2))],
            [Opener::Passphrase(bytes(1)), Opener::Passphrase(bytes(2))],
        ] {
            let slots = [seal(&right)];
            assert!(is_root(right.open(&slots, KEYRING)));
            assert!(matches!(wrong.open(&slots, KEYRING), Err(SealError::WrongSecret { .. })));
            assert!(matches!(right.open(&slots, KeyringId::from_bytes([2; 8])), Err(SealError::WrongSecret { .. })));
        }
    }

    #[test]
    fn a_secret_opens_slots_of_its_own_kind_only() {
        let slots = [seal(&key_file(1)), seal(&Opener::Credential("c".into(), bytes(1)))];
        let other = Opener::Credential("d".into(), bytes(1));
        let error = other.open(&slots, KEYRING).expect_err("no such slot").to_string();
        assert_eq!(error, "the keyring has no credential `d` slot; it has: key-file, credential `c`");
        assert!(matches!(Opener::Passphrase(bytes(1)).open(&slots, KEYRING), Err(SealError::NoSlot { .. })));
        assert!(is_root(key_file(1).open(&slots, KEYRING)));
    }

    #[test]
    fn a_development_slot_opens_only_when_asked_for_by_name() {
        let slots = [seal(&Opener::InsecureDevelopment)];
        assert!(is_root(Opener::InsecureDevelopment.open(&slots, KEYRING)));
        assert!(matches!(key_file(1).open(&slots, KEYRING), Err(SealError::NoSlot { .. })));
    }

    #[test]
    fn a_development_slot_beside_others_opens_for_nobody() {
        let slots = [seal(&key_file(1)), seal(&Opener::InsecureDevelopment)];
        for opener in [key_file(1), Opener::InsecureDevelopment] {
            assert!(matches!(opener.open(&slots, KEYRING), Err(SealError::NotAlone)));
        }
    }

    #[test]
    fn a_short_secret_or_passphrase_is_refused_before_it_is_used() {
        let short = |len| SecretBytes::from_vec(vec![1; len]);
        let refused = |opener: Opener| Slot::seal(&opener, KEYRING, &root(), &[], &OsEntropy).err();
        assert!(matches!(refused(Opener::KeyFile(short(31))), Some(SealError::TooShort(31))));
        assert!(matches!(refused(Opener::Credential("c".into(), short(31))), Some(SealError::TooShort(31))));
        assert!(matches!(refused(Opener::Passphrase(short(11))), Some(SealError::ShortPassphrase(11))));
    }
}
