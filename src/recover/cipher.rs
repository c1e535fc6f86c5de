//! The bodies of stored values under a known key: AES-GCM, AES-CBC, secretbox, and the key that a seed gives. No I/O, no search for keys.
//!
//! Layouts: `kubernetes/apiserver`, pkg/storage/value/encrypt (aes, secretbox, envelope/kmsv2).

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::aes::{Aes128, Aes192, Aes256};
use aes_gcm::{Aes128Gcm, Aes256Gcm, AesGcm};
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt, BlockSizeUser, InnerIvInit, consts::U12, consts::U16};
use hkdf::Hkdf;
use sha2::Sha256;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::secret::{SecretBytes, SecretKey};

const GCM_NONCE: usize = 12;
const GCM_TAG: usize = 16;
const CBC_BLOCK: usize = 16;
const SECRETBOX_NONCE: usize = 24;
const SECRETBOX_TAG: usize = 16;
/// Random bytes at the start of data under a seed, from which its key is derived.
const INFO: usize = 32;
/// Shortest seed, in bytes.
const MIN_SEED: usize = 32;

/// Why a body did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CipherError {
    /// Shorter than anything that was ever written, or not made of whole blocks.
    #[error("it has {found} bytes, which {cipher} never writes: it is cut short or damaged")]
    Length {
        /// Its length.
        found: usize,
        /// Which cipher.
        cipher: &'static str,
    },
    /// A key of a length that the cipher does not have.
    #[error("the key has {0} bytes, which is no key length of its cipher")]
    KeyLength(usize),
    /// Another key, another etcd key, or damage: they cannot be told apart.
    #[error("the key does not open it: it was written with another key or under another etcd key, or is damaged")]
    DoesNotOpen,
}

/// Whether `bytes` begin as every object does that the API server stores: protobuf, JSON or CBOR.
pub fn looks_like_an_object(bytes: &[u8]) -> bool {
    [&b"k8s\0"[..], b"{", b"\xd9\xd9\xf7"].iter().any(|start| bytes.starts_with(start))
}

/// Opens `nonce (12), ciphertext, tag (16)` with a key of 16, 24 or 32 bytes; `etcd_key` is the associated data.
pub fn aes_gcm(key: &[u8], body: &[u8], etcd_key: &[u8]) -> Result<SecretBytes, CipherError> {
    fn open<C: Aead<NonceSize = U12> + KeyInit>(
        key: &[u8],
        nonce: &[u8; GCM_NONCE],
        payload: Payload<'_, '_>,
    ) -> Result<SecretBytes, CipherError> {
        let cipher = C::new_from_slice(key).map_err(|_| CipherError::KeyLength(key.len()))?;
        cipher.decrypt(nonce.into(), payload).map(SecretBytes::from_vec).map_err(|_| CipherError::DoesNotOpen)
    }
    let length = CipherError::Length { found: body.len(), cipher: "AES-GCM" };
    let (nonce, sealed) = body.split_first_chunk().ok_or(length)?;
    if sealed.len() < GCM_TAG {
        return Err(length);
    }
    let payload = Payload { msg: sealed, aad: etcd_key };
    match key.len() {
        16 => open::<Aes128Gcm>(key, nonce, payload),
        24 => open::<AesGcm<Aes192, U12>>(key, nonce, payload),
        32 => open::<Aes256Gcm>(key, nonce, payload),
        other => Err(CipherError::KeyLength(other)),
    }
}

/// Opens `IV (16), blocks` with a key of 16, 24 or 32 bytes.
///
/// Nothing in it is authenticated: about one wrong key in 256 leaves a padding that passes. So what comes out must look like an object too.
pub fn aes_cbc(key: &[u8], body: &[u8]) -> Result<SecretBytes, CipherError> {
    fn decrypt<C: BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + KeyInit>(
        key: &[u8],
        iv: &[u8; CBC_BLOCK],
        text: &mut [u8],
    ) -> Option<()> {
        let mut decryptor = cbc::Decryptor::<C>::inner_iv_init(C::new_from_slice(key).ok()?, iv.into());
        let (blocks, _) = cbc::cipher::Block::<C>::slice_as_chunks_mut(text);
        decryptor.decrypt_blocks(blocks);
        Some(())
    }
    let length = CipherError::Length { found: body.len(), cipher: "AES-CBC" };
    let (iv, blocks) = body.split_first_chunk().ok_or(length)?;
    if blocks.is_empty() || blocks.len() % CBC_BLOCK != 0 {
        return Err(length);
    }
    let mut text = Zeroizing::new(blocks.to_vec());
    match key.len() {
        16 => decrypt::<Aes128>(key, iv, &mut text),
        24 => decrypt::<Aes192>(key, iv, &mut text),
        32 => decrypt::<Aes256>(key, iv, &mut text),
        _ => None,
    }
    .ok_or(CipherError::KeyLength(key.len()))?;
    // As the API server checks it, which does not hold the padding to one block.
    let padding = text.last().copied().unwrap_or_default();
    let end = text.len().checked_sub(padding.into()).filter(|_| padding > 0).ok_or(CipherError::DoesNotOpen)?;
    if text.iter().skip(end).any(|byte| *byte != padding) || !looks_like_an_object(&text) {
        return Err(CipherError::DoesNotOpen);
    }
    text.truncate(end);
    Ok(SecretBytes::from_vec(std::mem::take(&mut *text)))
}

/// Opens `nonce (24), tag (16), ciphertext` of NaCl's secretbox with a key of 32 bytes.
pub fn secretbox(key: &[u8], body: &[u8]) -> Result<SecretBytes, CipherError> {
    use crypto_secretbox::XSalsa20Poly1305;
    use crypto_secretbox::aead::{Aead, KeyInit};
    let length = CipherError::Length { found: body.len(), cipher: "secretbox" };
    let (nonce, sealed) = body.split_first_chunk::<SECRETBOX_NONCE>().ok_or(length)?;
    if sealed.len() < SECRETBOX_TAG {
        return Err(length);
    }
    let cipher = XSalsa20Poly1305::new_from_slice(key).map_err(|_| CipherError::KeyLength(key.len()))?;
    cipher.decrypt(nonce.into(), sealed).map(SecretBytes::from_vec).map_err(|_| CipherError::DoesNotOpen)
}

/// Opens `info (32)` and what [`aes_gcm()`] opens, under the key that `seed` (32 bytes or more) gives with that info.
///
/// The key is HKDF-Expand of SHA-256 alone, without Extract and salt: the seed is the pseudo-random key.
pub fn under_seed(seed: &[u8], body: &[u8], etcd_key: &[u8]) -> Result<SecretBytes, CipherError> {
    if seed.len() < MIN_SEED {
        return Err(CipherError::KeyLength(seed.len()));
    }
    let length = CipherError::Length { found: body.len(), cipher: "AES-GCM under a seed" };
    let (info, sealed) = body.split_first_chunk::<INFO>().ok_or(length)?;
    let hkdf = Hkdf::<Sha256>::from_prk(seed).map_err(|_| CipherError::KeyLength(seed.len()))?;
    let dek = SecretKey::try_fill(|out| hkdf.expand(info, out)).expect("HKDF-SHA256 gives up to 8160 bytes, 32 are asked");
    aes_gcm(dek.expose_secret(), sealed, etcd_key)
}
