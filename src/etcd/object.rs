//! The message that KMS v2 stores with every value: protobuf `EncryptedObject`. Read by hand, borrowed, and held to the API server's rules.
//!
//! Fields come in any order and unknown ones are skipped. Of a field, or of an annotation, that comes twice the last one counts. A known
//! field of another wire type is an unknown field, as in the Go library that kube-apiserver reads with. What kube-apiserver refuses is an
//! error here. Source: `ValidateEncryptedObject` in `pkg/storage/value/encrypt/envelope/kmsv2/envelope.go` of kubernetes/apiserver.

mod wire;

use std::fmt;

use thiserror::Error;

use wire::{Field, Reader};

/// Longest key_id, in bytes.
pub const MAX_KEY_ID: usize = 1024;
/// Longest wrapped DEK source, in bytes.
pub const MAX_SOURCE: usize = 1024;
/// Largest sum of the lengths of all keys and values of the annotations, in bytes.
pub const MAX_ANNOTATIONS: usize = 32 * 1024;

/// Why bytes are no object that the API server would accept. It repeats nothing of them but numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ObjectError {
    /// Cut off, or not protobuf.
    #[error("it is no protobuf message")]
    Malformed,
    /// A key_id or the key of an annotation is not UTF-8.
    #[error("a text in it is not UTF-8")]
    NotText,
    /// A kind of DEK source that no release knows.
    #[error("it has the unknown kind {0} of DEK source")]
    SourceType(i32),
    /// No data.
    #[error("it has no data")]
    NoData,
    /// No wrapped DEK source.
    #[error("it has no wrapped DEK source")]
    NoSource,
    /// The wrapped DEK source is longer than [`MAX_SOURCE`].
    #[error("its wrapped DEK source has {0} bytes, more than {MAX_SOURCE}")]
    SourceTooLong(usize),
    /// No key_id.
    #[error("it has no key_id")]
    NoKeyId,
    /// The key_id is longer than [`MAX_KEY_ID`].
    #[error("its key_id has {0} bytes, more than {MAX_KEY_ID}")]
    KeyIdTooLong(usize),
    /// The key of an annotation is no fully qualified domain name.
    #[error("the key of an annotation is no fully qualified domain name")]
    AnnotationKey,
    /// The annotations together are longer than [`MAX_ANNOTATIONS`].
    #[error("its annotations have {0} bytes, more than {MAX_ANNOTATIONS}")]
    AnnotationsTooLong(usize),
}

/// What the wrapped DEK source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SourceType {
    /// An AES key: written up to Kubernetes 1.28.
    AesGcmKey,
    /// A seed, of which every value derives its own key: written from 1.28 on.
    Seed,
}

/// An `EncryptedObject` that the API server would accept. Nothing is copied; data and source are encrypted.
#[derive(Clone, PartialEq, Eq)]
pub struct EncryptedObject<'a> {
    /// The encrypted object, at least 1 byte.
    pub data: &'a [u8],
    /// Which key wrapped the source, by the plugin's word: 1 to 1024 bytes. Not secret.
    pub key_id: &'a str,
    /// What the plugin answered to Encrypt: 1 to 1024 bytes.
    pub source: &'a [u8],
    /// Sorted by key, each key once.
    pub annotations: Vec<(&'a str, &'a [u8])>,
    /// What is wrapped in `source`.
    pub source_type: SourceType,
}

impl<'a> EncryptedObject<'a> {
    /// Reads the bytes behind `k8s:enc:kms:v2:<provider name>:`.
    ///
    /// Allocates for the annotations only, at most 32 bytes for every 4 bytes of `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ObjectError> {
        let mut object = Self { data: &[], key_id: "", source: &[], annotations: vec![], source_type: SourceType::AesGcmKey };
        // Of an enum the lower 32 bits count.
        let mut source_type = 0_i32;
        let mut fields = Reader::new(bytes);
        while let Some(field) = fields.next_field()? {
            match field {
                Field::Bytes(1, data) => object.data = data,
                Field::Bytes(2, key_id) => object.key_id = text(key_id)?,
                Field::Bytes(3, source) => object.source = source,
                Field::Bytes(4, entry) => object.annotations.push(annotation(entry)?),
                Field::Varint(5, number) => source_type = number as i32,
                Field::Bytes(..) | Field::Varint(..) | Field::Other => {}
            }
        }
        object.source_type = match source_type {
            0 => SourceType::AesGcmKey,
            1 => SourceType::Seed,
            other => return Err(ObjectError::SourceType(other)),
        };
        last_of_each(&mut object.annotations);
        object.check()?;
        Ok(object)
    }

    /// In the API server's order.
    fn check(&self) -> Result<(), ObjectError> {
        if self.data.is_empty() {
            return Err(ObjectError::NoData);
        }
        match self.source.len() {
            0 => return Err(ObjectError::NoSource),
            1..=MAX_SOURCE => {}
            longer => return Err(ObjectError::SourceTooLong(longer)),
        }
        match self.key_id.len() {
            0 => return Err(ObjectError::NoKeyId),
            1..=MAX_KEY_ID => {}
            longer => return Err(ObjectError::KeyIdTooLong(longer)),
        }
        if !self.annotations.iter().all(|(key, _)| is_fully_qualified(key)) {
            return Err(ObjectError::AnnotationKey);
        }
        // All of them are parts of one slice, so that the sum does not overflow.
        match self.annotations.iter().map(|(key, value)| key.len() + value.len()).sum() {
            0..=MAX_ANNOTATIONS => Ok(()),
            longer => Err(ObjectError::AnnotationsTooLong(longer)),
        }
    }
}

impl fmt::Debug for EncryptedObject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (data, source, annotations) = (self.data.len(), self.source.len(), self.annotations.len());
        write!(f, "EncryptedObject({:?}, {:?}, {data} bytes, source of {source}, {annotations} annotations)", self.key_id, self.source_type)
    }
}

/// One entry of the map: a message of key 1 and value 2, either of which may be absent.
fn annotation(entry: &[u8]) -> Result<(&str, &[u8]), ObjectError> {
    let (mut key, mut value) = ("", &[][..]);
    let mut fields = Reader::new(entry);
    while let Some(field) = fields.next_field()? {
        match field {
            Field::Bytes(1, bytes) => key = text(bytes)?,
            Field::Bytes(2, bytes) => value = bytes,
            Field::Bytes(..) | Field::Varint(..) | Field::Other => {}
        }
    }
    Ok((key, value))
}

fn text(bytes: &[u8]) -> Result<&str, ObjectError> {
    std::str::from_utf8(bytes).map_err(|_| ObjectError::NotText)
}

/// Sorts by key and keeps the last of equal ones.
fn last_of_each(annotations: &mut Vec<(&str, &[u8])>) {
    // The sort keeps the order of equal keys, and the removal the first of them: hence from the back.
    annotations.reverse();
    annotations.sort_by_key(|(key, _)| *key);
    annotations.dedup_by_key(|(key, _)| *key);
}

/// The rule for keys of annotations: at least two labels of RFC 1123 in lower case, 253 bytes at most, and perhaps a full stop at the end.
fn is_fully_qualified(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        let ends_well = |byte: Option<&u8>| byte.is_some_and(|&byte| is_inner(byte));
        bytes.len() <= 63 && ends_well(bytes.first()) && ends_well(bytes.last()) && bytes.iter().all(|&b| is_inner(b) || b == b'-')
    };
    name.len() <= 253 && name.contains('.') && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests;
