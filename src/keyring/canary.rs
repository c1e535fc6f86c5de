//! What proves that a key is the key of its version.
//!
//! Frozen, see `docs/formats.md` section 3. A canary is 32 fixed public bytes wrapped once, when the version is made, and kept in
//! the keyring. Because its plaintext is fixed it commits to the key, which the tag of GCM alone does not; the check in every
//! key_id is a hash of it, so a key_id commits to its key too.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::entropy::Entropy;
use crate::envelope::Algorithm;
use crate::key_id::{Check, KeyringId, Version};
use crate::provider::pkcs11::Proof;
use crate::provider::{Kek, KekError};

/// The 32 public bytes.
const PLAINTEXT: &[u8; 32] = b"keywright canary: fixed, public.";
/// Domain of the associated data.
const AAD_DOMAIN: &[u8] = b"keywright canary 1";
/// Domain of the check.
const CHECK_DOMAIN: &[u8] = b"keywright check 1";

/// A canary as a keyring keeps it: nonce, then ciphertext and tag.
#[derive(Clone, PartialEq, Eq)]
pub struct Canary(Kept);

/// A large keyring has thousands of local ones, read at every load.
#[derive(Clone, PartialEq, Eq)]
enum Kept {
    Local([u8; Canary::len(Algorithm::Xaes256Gcm)]),
    Token(Box<[u8]>),
}

impl Canary {
    /// Length in bytes of a canary of `algorithm`.
    pub const fn len(algorithm: Algorithm) -> usize {
        algorithm.nonce_len() + algorithm.sealed_len(PLAINTEXT.len())
    }

    /// That of a local version.
    pub const fn local(bytes: [u8; Self::len(Algorithm::Xaes256Gcm)]) -> Self {
        Self(Kept::Local(bytes))
    }

    /// The bytes of one of `algorithm`; none if they are not as many as it has.
    pub fn new(algorithm: Algorithm, bytes: Vec<u8>) -> Option<Self> {
        match algorithm {
            Algorithm::Xaes256Gcm => bytes.try_into().ok().map(Self::local),
            Algorithm::Aes256Gcm | Algorithm::Aes256CbcHmacSha256 => {
                (bytes.len() == Self::len(algorithm)).then(|| Self(Kept::Token(bytes.into())))
            }
        }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Kept::Local(bytes) => bytes,
            Kept::Token(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Canary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Canary({} bytes)", self.as_bytes().len())
    }
}

/// What a canary belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    /// The keyring of the version.
    pub keyring: KeyringId,
    /// Its number.
    pub version: Version,
    /// How it wraps.
    pub algorithm: Algorithm,
}

impl Subject {
    /// 13 bytes: algorithm, keyring id, version big endian.
    fn to_bytes(self) -> [u8; 13] {
        let mut bytes = [0; 13];
        bytes[0] = self.algorithm.byte();
        bytes[1..9].copy_from_slice(self.keyring.as_bytes());
        bytes[9..13].copy_from_slice(&self.version.number().to_be_bytes());
        bytes
    }

    fn aad(self) -> [u8; AAD_DOMAIN.len() + 13] {
        let mut aad = [0; AAD_DOMAIN.len() + 13];
        let (domain, subject) = aad.split_at_mut(AAD_DOMAIN.len());
        domain.copy_from_slice(AAD_DOMAIN);
        subject.copy_from_slice(&self.to_bytes());
        aad
    }

    /// Makes the canary of a new version: nonce, then ciphertext and tag.
    pub fn wrap(self, kek: &dyn Kek, entropy: &dyn Entropy) -> Result<Canary, KekError> {
        let wrapped = kek.wrap_key(&self.aad(), PLAINTEXT, entropy)?;
        let bytes = [wrapped.nonce, wrapped.sealed].concat();
        let len = bytes.len();
        Canary::new(self.algorithm, bytes).ok_or(KekError::Cipher(len))
    }

    /// The same as what a key in a token opens before it is used.
    pub fn proof(self, canary: &Canary) -> Proof {
        let (nonce, sealed) = canary.as_bytes().split_at(self.algorithm.nonce_len());
        Proof { aad: self.aad().to_vec(), nonce: nonce.to_vec(), sealed: sealed.to_vec(), plaintext: PLAINTEXT }
    }

    /// Proves that `kek` is the key that made `canary`; [`KekError::Authentication`] if it is not.
    pub fn prove(self, kek: &dyn Kek, canary: &[u8]) -> Result<(), KekError> {
        let (nonce, sealed) = canary.split_at_checked(self.algorithm.nonce_len()).ok_or(KekError::Authentication)?;
        let opened = kek.unwrap_key(&self.aad(), nonce, sealed)?;
        if opened.expose_secret() == PLAINTEXT { Ok(()) } else { Err(KekError::Authentication) }
    }

    /// The check of the version: the first 128 bits of SHA-256 over a domain, the subject and the canary.
    pub fn check(self, canary: &[u8]) -> Check {
        let digest = Sha256::new().chain_update(CHECK_DOMAIN).chain_update(self.to_bytes()).chain_update(canary).finalize();
        let mut check = [0; 16];
        check.copy_from_slice(&digest[..16]);
        Check::from_bytes(check)
    }
}
