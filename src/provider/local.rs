//! KEKs in this process's memory, wrapping with C2SP XAES-256-GCM.
//!
//! Its nonces have 192 random bits, so there is no practical limit on the number of wraps under one key.

use std::fmt;

use aes_gcm::aead::{Aead, AeadInOut, KeyInit, Payload, Tag};
use xaes_256_gcm::{Key, Nonce, Xaes256Gcm};

use super::{Kek, KekError, Wrapped};
use crate::entropy::Entropy;
use crate::secret::{SecretBytes, SecretKey};

/// Nonce length in bytes.
const NONCE_LEN: usize = 24;

/// A KEK held locally; only its expanded form stays in memory, and is wiped on drop.
pub struct LocalKek(Box<Xaes256Gcm>);

impl LocalKek {
    /// Expands `key`, which may be dropped afterwards.
    pub fn new(key: &SecretKey) -> Self {
        Self(Box::new(Xaes256Gcm::new(<&Key>::from(key.expose_secret()))))
    }

    /// Opens a key that [`Kek::wrap_key`] wrapped, in the memory that will hold it: no second copy of it is ever made.
    ///
    /// `nonce`: 24 bytes; `sealed`: 48. Errors: [`KekError::Authentication`] for anything that does not open.
    pub fn unwrap_secret_key(&self, aad: &[u8], nonce: &[u8], sealed: &[u8]) -> Result<SecretKey, KekError> {
        let nonce: &[u8; NONCE_LEN] = nonce.try_into().map_err(|_| KekError::Authentication)?;
        let (ciphertext, tag) = sealed.split_last_chunk().ok_or(KekError::Authentication)?;
        let ciphertext: &[u8; SecretKey::LEN] = ciphertext.try_into().map_err(|_| KekError::Authentication)?;
        SecretKey::try_fill(|key| {
            *key = *ciphertext;
            let tag = <&Tag<Xaes256Gcm>>::from(tag);
            self.0.decrypt_inout_detached(<&Nonce>::from(nonce), aad, key.as_mut_slice().into(), tag).map_err(|_| KekError::Authentication)
        })
    }

    fn seal(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, KekError> {
        let payload = Payload { msg: plaintext, aad };
        self.0.encrypt(<&Nonce>::from(nonce), payload).map_err(|_| KekError::Cipher(plaintext.len()))
    }
}

impl Kek for LocalKek {
    fn wrap_key(&self, aad: &[u8], plaintext: &[u8], entropy: &dyn Entropy) -> Result<Wrapped, KekError> {
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce)?;
        Ok(Wrapped { sealed: self.seal(&nonce, aad, plaintext)?, nonce: nonce.to_vec() })
    }

    fn unwrap_key(&self, aad: &[u8], nonce: &[u8], sealed: &[u8]) -> Result<SecretBytes, KekError> {
        let nonce: &[u8; NONCE_LEN] = nonce.try_into().map_err(|_| KekError::Authentication)?;
        let payload = Payload { msg: sealed, aad };
        self.0.decrypt(<&Nonce>::from(nonce), payload).map(SecretBytes::from_vec).map_err(|_| KekError::Authentication)
    }
}

impl fmt::Debug for LocalKek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalKek")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::{EntropyError, OsEntropy};

    struct NoEntropy;

    impl Entropy for NoEntropy {
        fn fill(&self, _: &mut [u8]) -> Result<(), EntropyError> {
            Err(EntropyError("test".into()))
        }
    }

    fn kek() -> LocalKek {
        LocalKek::new(&SecretKey::from_slice(&[7; 32]).expect("32 bytes"))
    }

    #[test]
    fn what_was_wrapped_unwraps_with_the_same_associated_data_only() {
        let wrapped = kek().wrap_key(b"aad", b"seed", &OsEntropy).expect("wraps");
        let opened = kek().unwrap_key(b"aad", &wrapped.nonce, &wrapped.sealed).expect("opens");
        assert_eq!(opened.expose_secret(), b"seed");
        assert!(matches!(kek().unwrap_key(b"aae", &wrapped.nonce, &wrapped.sealed), Err(KekError::Authentication)));
    }

    #[test]
    fn a_key_is_unwrapped_in_place_as_any_bytes_are_and_refused_as_they_are() {
        let wrapped = kek().wrap_key(b"aad", &[9; 32], &OsEntropy).expect("wraps");
        let opened = kek().unwrap_secret_key(b"aad", &wrapped.nonce, &wrapped.sealed).expect("opens");
        assert_eq!(opened.expose_secret(), &[9; 32]);
        let refused = |aad: &[u8], nonce: &[u8], sealed: &[u8]| {
            assert!(matches!(kek().unwrap_secret_key(aad, nonce, sealed), Err(KekError::Authentication)));
        };
        refused(b"aae", &wrapped.nonce, &wrapped.sealed);
        refused(b"aad", &wrapped.nonce[1..], &wrapped.sealed);
        for len in 0..wrapped.sealed.len() {
            refused(b"aad", &wrapped.nonce, &wrapped.sealed[..len]);
        }
        for at in 0..wrapped.sealed.len() {
            let mut sealed = wrapped.sealed.clone();
            sealed[at] ^= 1;
            refused(b"aad", &wrapped.nonce, &sealed);
        }
        let longer = kek().wrap_key(b"aad", &[9; 33], &OsEntropy).expect("wraps");
        refused(b"aad", &longer.nonce, &longer.sealed);
    }

    #[test]
    fn a_nonce_of_another_length_does_not_open() {
        let wrapped = kek().wrap_key(b"", b"seed", &OsEntropy).expect("wraps");
        assert!(matches!(kek().unwrap_key(b"", &wrapped.nonce[..12], &wrapped.sealed), Err(KekError::Authentication)));
    }

    #[test]
    fn a_failing_generator_fails_the_wrap() {
        assert!(matches!(kek().wrap_key(b"", b"seed", &NoEntropy), Err(KekError::Entropy(_))));
    }
}
