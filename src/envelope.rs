//! Our ciphertext layout: what Encrypt answers, what etcd stores beside every object, what Decrypt gets back. No keys, no I/O.
//!
//! Frozen format 1, see `docs/formats.md` section 2: never change it, add another format number.
//!
//! ```text
//! offset  bytes  field
//!      0      2  magic 4b 57 ("KW")
//!      2      1  format, 01
//!      3      1  algorithm
//!      4      8  keyring id
//!     12      4  version, big endian
//!     16     16  check
//!     32  nonce  24 bytes for XAES-256-GCM
//!      .      n  ciphertext, as long as the plaintext
//!      .     16  tag
//! ```
//!
//! The 32 bytes before the nonce are the [`Header`]; they name the key, so that values of KMS v1, which carry nothing else, name theirs too.

use thiserror::Error;

use crate::key_id::{Check, KeyId, KeyringId, Version};

/// First bytes of every envelope.
const MAGIC: [u8; 2] = *b"KW";
/// The one format there is.
const FORMAT: u8 = 1;
/// Bytes before the nonce.
pub const HEADER_LEN: usize = 32;
/// Longest envelope: the limit of KMS v2 for `ciphertext`, which we keep for v1 too.
pub const MAX_LEN: usize = 1024;
/// Longest plaintext in bytes: with it an envelope of XAES-256-GCM fills [`MAX_LEN`] exactly. One of AES-CBC with HMAC would be longer:
/// its wrap is refused.
pub const MAX_PLAINTEXT: usize = MAX_LEN - HEADER_LEN - 24 - 16;

/// How a version wraps. One version has one algorithm; the byte in the envelope must agree with the keyring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// C2SP XAES-256-GCM with a random 192-bit nonce: local KEKs.
    Xaes256Gcm,
    /// AES-256-GCM with a 96-bit IV: keys in a token.
    Aes256Gcm,
    /// AES-256-CBC with PKCS#7 padding and a 128-bit IV, then HMAC-SHA-256 over associated data, IV and ciphertext: two keys in a token without GCM.
    Aes256CbcHmacSha256,
}

impl Algorithm {
    /// Every one there is.
    pub const ALL: [Self; 3] = [Self::Xaes256Gcm, Self::Aes256Gcm, Self::Aes256CbcHmacSha256];

    /// The byte in the envelope. Never reuse one.
    pub const fn byte(self) -> u8 {
        match self {
            Self::Xaes256Gcm => 1,
            Self::Aes256Gcm => 2,
            Self::Aes256CbcHmacSha256 => 3,
        }
    }

    /// The name in the keyring file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xaes256Gcm => "xaes-256-gcm",
            Self::Aes256Gcm => "aes-256-gcm",
            Self::Aes256CbcHmacSha256 => "aes-256-cbc-hmac-sha-256",
        }
    }

    /// The algorithm of that name in the keyring file.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.name() == name)
    }

    /// Nonce length in bytes.
    pub const fn nonce_len(self) -> usize {
        match self {
            Self::Xaes256Gcm => 24,
            Self::Aes256Gcm => 12,
            Self::Aes256CbcHmacSha256 => 16,
        }
    }

    /// Bytes of what authenticates, at the end of the sealed bytes.
    pub const fn tag_len(self) -> usize {
        match self {
            Self::Xaes256Gcm | Self::Aes256Gcm => 16,
            Self::Aes256CbcHmacSha256 => 32,
        }
    }

    /// Length of the sealed bytes of a plaintext of `len` bytes: ciphertext with its padding, then the tag.
    pub const fn sealed_len(self, len: usize) -> usize {
        match self {
            Self::Xaes256Gcm | Self::Aes256Gcm => len + self.tag_len(),
            // The padding has 1 to 16 bytes.
            Self::Aes256CbcHmacSha256 => (len / 16 + 1) * 16 + self.tag_len(),
        }
    }

    /// Whether bytes of that length can be the sealed bytes of a plaintext of at least one byte.
    pub(crate) const fn can_seal(self, sealed: usize) -> bool {
        match self {
            Self::Xaes256Gcm | Self::Aes256Gcm => sealed > self.tag_len(),
            Self::Aes256CbcHmacSha256 => sealed >= 16 + self.tag_len() && (sealed - self.tag_len()).is_multiple_of(16),
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Xaes256Gcm),
            2 => Some(Self::Aes256Gcm),
            3 => Some(Self::Aes256CbcHmacSha256),
            _ => None,
        }
    }
}

/// What a wrapped key is for; part of the associated data, so that one cannot be passed off as the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A DEK source of KMS v2.
    KmsV2,
    /// A DEK of KMS v1.
    KmsV1,
}

impl Purpose {
    const fn name(self) -> &'static str {
        match self {
            Self::KmsV2 => "kms-v2",
            Self::KmsV1 => "kms-v1",
        }
    }
}

/// Why bytes are not an envelope. Never shown to the caller of Decrypt, who gets one answer for everything that does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ParseError {
    /// Shorter than header, nonce, one byte and tag.
    #[error("too short for an envelope")]
    TooShort,
    /// Longer than [`MAX_LEN`].
    #[error("longer than {MAX_LEN} bytes")]
    TooLong,
    /// Does not begin with the magic.
    #[error("does not begin with the magic of an envelope")]
    Magic,
    /// A format number that this release does not know.
    #[error("unknown envelope format {0}")]
    Format(u8),
    /// An algorithm number that this release does not know.
    #[error("unknown envelope algorithm {0}")]
    Algorithm(u8),
    /// The version number is zero.
    #[error("version is zero")]
    Version,
}

/// Everything before the nonce: which key, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// How the key wraps.
    pub algorithm: Algorithm,
    /// Which key.
    pub key_id: KeyId,
}

impl Header {
    /// The 32 bytes at the start of the envelope.
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0..2].copy_from_slice(&MAGIC);
        bytes[2] = FORMAT;
        bytes[3] = self.algorithm.byte();
        bytes[4..12].copy_from_slice(self.key_id.keyring.as_bytes());
        bytes[12..16].copy_from_slice(&self.key_id.version.number().to_be_bytes());
        bytes[16..32].copy_from_slice(self.key_id.check.as_bytes());
        bytes
    }

    /// The associated data of a wrap under this header.
    ///
    /// The 32 header bytes, then keyring id, key_id and purpose, each as text behind its length (16 bits, big endian).
    pub fn associated_data(&self, purpose: Purpose) -> Vec<u8> {
        self.associated_data_named(self.key_id.text().as_str(), purpose)
    }

    /// The same, where the text of the key_id is at hand already.
    pub(crate) fn associated_data_named(&self, key_id: &str, purpose: Purpose) -> Vec<u8> {
        let mut aad = Vec::with_capacity(HEADER_LEN + 96);
        aad.extend_from_slice(&self.to_bytes());
        // `kw1.`, then the keyring's id in 16 digits.
        push_prefixed(&mut aad, &key_id[4..20]);
        push_prefixed(&mut aad, key_id);
        push_prefixed(&mut aad, purpose.name());
        aad
    }
}

fn push_prefixed(out: &mut Vec<u8>, text: &str) {
    // Every text here is made by us and has at most 64 bytes.
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// An envelope taken apart; nothing is copied and nothing is believed yet but its shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Which key, and how.
    pub header: Header,
    /// As many bytes as the algorithm wants.
    pub nonce: &'a [u8],
    /// Ciphertext and tag, at least one byte and the tag.
    pub sealed: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Takes `bytes` apart. Accepts exactly what [`Envelope::write`] makes.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        if bytes.len() > MAX_LEN {
            return Err(ParseError::TooLong);
        }
        let (head, rest) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(ParseError::TooShort)?;
        if head[0..2] != MAGIC {
            return Err(ParseError::Magic);
        }
        if head[2] != FORMAT {
            return Err(ParseError::Format(head[2]));
        }
        let algorithm = Algorithm::from_byte(head[3]).ok_or(ParseError::Algorithm(head[3]))?;
        let key_id = KeyId {
            keyring: KeyringId::from_bytes(head[4..12].try_into().map_err(|_| ParseError::TooShort)?),
            version: Version::new(u32::from_be_bytes([head[12], head[13], head[14], head[15]])).ok_or(ParseError::Version)?,
            check: Check::from_bytes(head[16..32].try_into().map_err(|_| ParseError::TooShort)?),
        };
        let (nonce, sealed) = rest.split_at_checked(algorithm.nonce_len()).ok_or(ParseError::TooShort)?;
        if !algorithm.can_seal(sealed.len()) {
            return Err(ParseError::TooShort);
        }
        Ok(Self { header: Header { algorithm, key_id }, nonce, sealed })
    }

    /// The bytes of this envelope.
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_LEN + self.nonce.len() + self.sealed.len());
        bytes.extend_from_slice(&self.header.to_bytes());
        bytes.extend_from_slice(self.nonce);
        bytes.extend_from_slice(self.sealed);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> Header {
        let key_id = "kw1.0011223344556677.7.000102030405060708090a0b0c0d0e0f".parse().expect("valid");
        Header { algorithm: Algorithm::Xaes256Gcm, key_id }
    }

    fn sample() -> Vec<u8> {
        Envelope { header: header(), nonce: &[5; 24], sealed: &[6; 48] }.write()
    }

    #[test]
    fn an_envelope_of_a_seed_has_104_bytes_and_is_read_as_written() {
        let bytes = sample();
        assert_eq!(bytes.len(), 104);
        let envelope = Envelope::parse(&bytes).expect("valid");
        assert_eq!(envelope.header, header());
        assert_eq!((envelope.nonce, envelope.sealed), (&[5u8; 24][..], &[6u8; 48][..]));
        assert_eq!(envelope.write(), bytes);
    }

    #[test]
    fn sealed_bytes_have_a_length_that_their_algorithm_can_make() {
        for algorithm in Algorithm::ALL {
            for len in 1..=100 {
                assert!(algorithm.can_seal(algorithm.sealed_len(len)), "{algorithm:?} {len}");
            }
            assert!(!algorithm.can_seal(algorithm.tag_len()));
        }
        assert!(!Algorithm::Aes256CbcHmacSha256.can_seal(63));
        assert_eq!(Algorithm::Aes256CbcHmacSha256.sealed_len(32), 80);
    }

    #[test]
    fn every_truncation_is_refused() {
        let bytes = sample();
        for len in 0..=HEADER_LEN + 24 + 16 {
            assert_eq!(Envelope::parse(&bytes[..len]), Err(ParseError::TooShort), "{len} bytes");
        }
        assert!(Envelope::parse(&bytes[..HEADER_LEN + 24 + 16 + 1]).is_ok());
    }

    #[test]
    fn every_wrong_field_has_its_own_error() {
        let spoil = |at: usize, value: u8| {
            let mut bytes = sample();
            bytes[at] = value;
            Envelope::parse(&bytes).map(|_| ()).expect_err("spoilt")
        };
        assert_eq!(spoil(0, b'X'), ParseError::Magic);
        assert_eq!(spoil(2, 2), ParseError::Format(2));
        assert_eq!(spoil(3, 0), ParseError::Algorithm(0));
        assert_eq!(spoil(3, 4), ParseError::Algorithm(4));
        assert_eq!(spoil(15, 0), ParseError::Version);
        assert_eq!(Envelope::parse(&[0; MAX_LEN + 1]), Err(ParseError::TooLong));
    }

    #[test]
    fn associated_data_tells_the_purposes_apart() {
        assert_ne!(header().associated_data(Purpose::KmsV1), header().associated_data(Purpose::KmsV2));
    }

    #[test]
    fn the_longest_plaintext_fills_the_limit_exactly() {
        let length = |algorithm: Algorithm| HEADER_LEN + algorithm.nonce_len() + algorithm.sealed_len(MAX_PLAINTEXT);
        assert_eq!(length(Algorithm::Xaes256Gcm), MAX_LEN);
        assert!(length(Algorithm::Aes256Gcm) <= MAX_LEN);
    }

    proptest! {
        #[test]
        fn whatever_parses_is_written_back_byte_for_byte(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for (at, value) in [(0, b'K'), (1, b'W'), (2, 1)] {
                if let Some(byte) = bytes.get_mut(at) { *byte = value; }
            }
            if let Some(byte) = bytes.get_mut(3) { *byte = *byte % 3 + 1; }
            if let Ok(envelope) = Envelope::parse(&bytes) {
                prop_assert_eq!(envelope.write(), bytes);
            }
        }
    }
}
