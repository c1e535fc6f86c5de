//! A root key that a key in a token wraps, so that the file opens only where the token is.

use std::sync::Arc;

use super::slot::TOKEN_WRAPPED;
use super::{SealError, root_aad};
use crate::entropy::Entropy;
use crate::envelope::Algorithm;
use crate::key_id::KeyringId;
use crate::provider::pkcs11::{IvFrom, KeyAt, KeySpec, TokenKek, TokenName, Tokens};
use crate::provider::{Kek, KekError};
use crate::secret::SecretKey;

/// CKA_LABEL of the keys of a keyring's slots.
pub fn token_label(keyring: KeyringId) -> String {
    format!("keywright-seal-{keyring}")
}

/// Opens and makes slots of one token.
#[derive(Clone)]
pub struct TokenOpener {
    /// The tokens of this machine.
    pub tokens: Arc<Tokens>,
    /// Which of them.
    pub name: TokenName,
}

impl TokenOpener {
    /// Has the token make a key for the slots of `keyring`.
    pub(super) fn make_key(&self, keyring: KeyringId, entropy: &dyn Entropy) -> Result<KeyAt, SealError> {
        let mut id = [0; 16];
        entropy.fill(&mut id).map_err(KekError::from)?;
        let key = KeyAt { token: self.name.clone(), label: token_label(keyring), id };
        self.tokens.create_key(&Self::spec(&key)).map_err(KekError::from)?;
        Ok(key)
    }

    pub(super) fn kek(&self, key: &KeyAt) -> Arc<TokenKek> {
        self.tokens.kek(Self::spec(key))
    }

    /// No canary: a root key that another key wrapped does not open, and one that opens is proved by the file that it authenticates.
    fn spec(key: &KeyAt) -> KeySpec {
        KeySpec { at: key.clone(), mac: None, algorithm: Algorithm::Aes256Gcm, iv: IvFrom::Host, proof: None }
    }

    /// The root key; none if it was not this key that wrapped it.
    pub(super) fn open(&self, key: &KeyAt, keyring: KeyringId, wrapped: &[u8; TOKEN_WRAPPED]) -> Result<Option<SecretKey>, SealError> {
        let (iv, sealed) = wrapped.split_at(Algorithm::Aes256Gcm.nonce_len());
        match self.kek(key).unwrap_key(&root_aad(keyring), iv, sealed) {
            Ok(root) => Ok(SecretKey::from_slice(root.expose_secret())),
            Err(KekError::Authentication) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
