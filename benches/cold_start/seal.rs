//! An object as an API server stores it under KMS v2 and a seed, byte for byte.
//!
//! `k8s:enc:kms:v2:NAME:`, then the message EncryptedObject: its data is 32 random bytes, a nonce of 12, and AES-256-GCM under a key that
//! HKDF-Expand of SHA-256 makes from the seed and the 32 bytes; the whole etcd key is the associated data. Layout: `kubernetes/apiserver`,
//! pkg/storage/value/encrypt (aes, envelope/kmsv2). The API server that reads it afterwards is the judge.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use hkdf::Hkdf;
use keywright::entropy::{Entropy, OsEntropy};
use keywright::protocol::v2::EncryptResponse;
use sha2::Sha256;

use crate::Result;

const INFO: usize = 32;
const NONCE: usize = 12;
/// HKDF_SHA256_XNONCE_AES_GCM_SEED.
const SEED_TYPE: u8 = 1;

/// A seed, and what the plugin made of it.
pub(crate) struct Seed {
    pub(crate) bytes: Vec<u8>,
    pub(crate) wrapped: EncryptResponse,
}

/// What stands at `key` for the object `plain` under `seed`, by the provider `name`.
pub(crate) fn seal(name: &str, seed: &Seed, key: &str, plain: &[u8]) -> Result<Vec<u8>> {
    let mut data = vec![0; INFO + NONCE];
    OsEntropy.fill(&mut data)?;
    let (info, nonce) = data.split_first_chunk::<INFO>().ok_or("shorter than it was made")?;
    let nonce: &[u8; NONCE] = nonce.try_into()?;
    let mut dek = [0; 32];
    let hkdf = Hkdf::<Sha256>::from_prk(&seed.bytes).map_err(|error| format!("a seed of 32 bytes: {error}"))?;
    hkdf.expand(info, &mut dek).map_err(|error| format!("a key of 32 bytes: {error}"))?;
    let payload = Payload { msg: plain, aad: key.as_bytes() };
    let sealed = Aes256Gcm::new(&dek.into()).encrypt(nonce.into(), payload).map_err(|error| format!("seal {key}: {error}"))?;
    data.extend(sealed);

    let mut value = format!("k8s:enc:kms:v2:{name}:").into_bytes();
    let EncryptResponse { ciphertext, key_id, annotations } = &seed.wrapped;
    field(&mut value, 1, &data);
    field(&mut value, 2, key_id.as_bytes());
    field(&mut value, 3, ciphertext);
    for (name, content) in annotations {
        let mut entry = Vec::new();
        field(&mut entry, 1, name.as_bytes());
        field(&mut entry, 2, content);
        field(&mut value, 4, &entry);
    }
    value.extend([5 << 3, SEED_TYPE]);
    Ok(value)
}

/// A field of bytes in protobuf.
fn field(message: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    message.push(number << 3 | 2);
    prost::encoding::encode_varint(bytes.len() as u64, message);
    message.extend(bytes);
}
