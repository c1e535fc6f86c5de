//! What the API server stores, read and made without any code of the plugin.
//!
//! Layout: `kubernetes/apiserver`, pkg/storage/value/encrypt/envelope (v1) and its kmsv2/v2/api.proto (message EncryptedObject).

use std::collections::BTreeMap;

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use hkdf::Hkdf;
use sha2::Sha256;

use crate::{Error, Result};

/// A stored value split at its prefix `k8s:enc:kms:VERSION:NAME:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KmsValue {
    /// `v1` or `v2`.
    pub version: String,
    /// The provider's name in the EncryptionConfiguration.
    pub provider: String,
    /// What follows the prefix.
    pub body: Vec<u8>,
}

impl KmsValue {
    /// Splits a stored value; provider names with a colon (which only v1 allows) are not supported.
    pub fn parse(value: &[u8]) -> Result<Self> {
        let start = || String::from_utf8_lossy(&value[..value.len().min(40)]).into_owned();
        let rest = value.strip_prefix(b"k8s:enc:kms:").ok_or_else(|| Error::new(format!("not a KMS value: {:?}", start())))?;
        let mut parts = rest.splitn(3, |byte| *byte == b':');
        let mut next = || parts.next().ok_or_else(|| Error::new(format!("prefix cut short: {:?}", start())));
        let (version, provider, body) = (next()?, next()?, next()?);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Self { version: text(version), provider: text(provider), body: body.to_owned() })
    }

    /// The wrapped DEK of a v1 value: two bytes of length, then the plugin's bytes.
    pub fn v1_wrapped_dek(&self) -> Result<Vec<u8>> {
        let length = self.body.first_chunk::<2>().map(|length| usize::from(u16::from_be_bytes(*length)));
        let wrapped = length.and_then(|length| self.body.get(2..2 + length));
        wrapped.map(<[u8]>::to_vec).ok_or_else(|| Error::new("v1 body cut short"))
    }
}

/// The message that a v2 value carries. Every field but the data is what the plugin answered to Encrypt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EncryptedObject {
    /// The object under its DEK.
    pub data: Vec<u8>,
    /// The plugin's key_id.
    pub key_id: String,
    /// The seed as the plugin wrapped it.
    pub source: Vec<u8>,
    /// The plugin's annotations.
    pub annotations: BTreeMap<String, Vec<u8>>,
    /// 0: the source is a key; 1: it is a seed, as every API server from 1.29 on writes.
    pub source_type: u64,
}

impl EncryptedObject {
    /// Reads a whole stored value, prefix included; fails on anything but KMS v2.
    pub fn from_value(value: &[u8]) -> Result<Self> {
        let value = KmsValue::parse(value)?;
        if value.version != "v2" {
            return Err(Error::new(format!("a KMS {} value", value.version)));
        }
        Self::parse(&value.body)
    }

    /// Reads the message.
    pub fn parse(message: &[u8]) -> Result<Self> {
        let mut object = Self::default();
        for field in fields(message)? {
            match field {
                (1, Field::Bytes(data)) => object.data = data.to_vec(),
                (2, Field::Bytes(key_id)) => object.key_id = utf8(key_id)?,
                (3, Field::Bytes(source)) => object.source = source.to_vec(),
                (4, Field::Bytes(entry)) => {
                    let mut pair = (String::new(), Vec::new());
                    for field in fields(entry)? {
                        match field {
                            (1, Field::Bytes(key)) => pair.0 = utf8(key)?,
                            (2, Field::Bytes(value)) => pair.1 = value.to_vec(),
                            _ => {}
                        }
                    }
                    object.annotations.insert(pair.0, pair.1);
                }
                (5, Field::Number(source_type)) => object.source_type = source_type,
                _ => {}
            }
        }
        Ok(object)
    }

    /// The whole stored value, by the provider of that name: what [`from_value`](Self::from_value) reads.
    pub fn to_value(&self, provider: &str) -> Vec<u8> {
        let mut value = format!("k8s:enc:kms:v2:{provider}:").into_bytes();
        put_bytes(&mut value, 1, &self.data);
        put_bytes(&mut value, 2, self.key_id.as_bytes());
        put_bytes(&mut value, 3, &self.source);
        for (key, content) in &self.annotations {
            let mut entry = Vec::new();
            put_bytes(&mut entry, 1, key.as_bytes());
            put_bytes(&mut entry, 2, content);
            put_bytes(&mut value, 4, &entry);
        }
        // A number that is 0 is left out.
        if self.source_type != 0 {
            put_varint(&mut value, 5 << 3);
            put_varint(&mut value, self.source_type);
        }
        value
    }
}

/// Random bytes of one object: what its key is derived with, and the nonce.
pub const RANDOM: usize = 32 + 12;

/// The [`data`](EncryptedObject::data) of the object `plain` at `etcd_key` under `seed`: `random`, then AES-256-GCM under a key that HKDF-Expand of
/// SHA-256 makes from the seed and the first 32 random bytes; the etcd key is the associated data (pkg/storage/value/encrypt/aes).
pub fn seal(seed: &[u8], random: &[u8; RANDOM], etcd_key: &str, plain: &[u8]) -> Result<Vec<u8>> {
    let (info, nonce) = random.split_at(32);
    let nonce: &[u8; 12] = nonce.try_into().map_err(|e| Error::while_doing("take the nonce", e))?;
    let mut dek = [0; 32];
    let hkdf = Hkdf::<Sha256>::from_prk(seed).map_err(|e| Error::while_doing("take the seed", e))?;
    hkdf.expand(info, &mut dek).map_err(|e| Error::while_doing("derive a key", e))?;
    let payload = Payload { msg: plain, aad: etcd_key.as_bytes() };
    let sealed = Aes256Gcm::new(&dek.into()).encrypt(nonce.into(), payload);
    let sealed = sealed.map_err(|e| Error::while_doing(format!("seal {etcd_key}"), e))?;
    Ok([random, &sealed[..]].concat())
}

fn put_bytes(message: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    put_varint(message, number << 3 | 2);
    put_varint(message, bytes.len() as u64);
    message.extend(bytes);
}

fn put_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

/// The two protobuf wire types that occur here.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn fields(mut message: &[u8]) -> Result<Vec<(u64, Field<'_>)>> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut message)?),
            2 => {
                let length = usize::try_from(varint(&mut message)?).map_err(|_| Error::new("protobuf length too big"))?;
                let (bytes, rest) = message.split_at_checked(length).ok_or_else(|| Error::new("protobuf field cut short"))?;
                message = rest;
                Field::Bytes(bytes)
            }
            other => return Err(Error::new(format!("protobuf wire type {other} has no place here"))),
        };
        found.push((tag >> 3, field));
    }
    Ok(found)
}

fn varint(message: &mut &[u8]) -> Result<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first().ok_or_else(|| Error::new("protobuf number cut short"))?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Error::new("protobuf number too long"))
}

fn utf8(bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|e| Error::while_doing("protobuf string", e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_v2_value_shows_what_the_plugin_answered() {
        let value = [&b"k8s:enc:kms:v2:p1:"[..], b"\x0a\x03dat\x12\x05kek-1\x1a\x02\x01:\x22\x0c\x0a\x05a.com\x12\x03abc\x28\x01"].concat();
        let object = EncryptedObject::from_value(&value).expect("it is whole");
        let annotations = BTreeMap::from([("a.com".to_owned(), b"abc".to_vec())]);
        let expected =
            EncryptedObject { data: b"dat".to_vec(), key_id: "kek-1".to_owned(), source: b"\x01:".to_vec(), annotations, source_type: 1 };
        assert_eq!(object, expected);
        assert_eq!(object.to_value("p1"), value);
    }

    #[test]
    fn a_value_that_was_made_is_read_as_it_was_made() {
        let data = seal(&[1; 32], &[2; RANDOM], "/registry/secrets/a/b", &[3; 300]).expect("seals");
        assert_eq!((data.len(), &data[..RANDOM]), (RANDOM + 300 + 16, &[2; RANDOM][..]));
        let object = EncryptedObject { data, key_id: "kek".into(), source: vec![4; 200], ..EncryptedObject::default() };
        assert_eq!(EncryptedObject::from_value(&object.to_value("p1")).expect("whole"), object);
    }

    #[test]
    fn a_v1_value_shows_the_wrapped_dek() {
        let value = KmsValue::parse(b"k8s:enc:kms:v1:p1:\x00\x03abcdata:").expect("it is whole");
        assert_eq!((value.version.as_str(), value.provider.as_str()), ("v1", "p1"));
        assert_eq!(value.v1_wrapped_dek().expect("three bytes"), b"abc");
    }

    #[test]
    fn plaintext_is_no_kms_value() {
        KmsValue::parse(b"k8s\0\x0a\x0c").expect_err("an object stored in clear");
    }

    #[test]
    fn a_cut_message_is_an_error() {
        EncryptedObject::parse(b"\x0a\x05dat").expect_err("two bytes are missing");
    }
}
