//! The wire messages, and their way into our own types: every size is checked here, before a key is touched.
//!
//! Generated from `proto/`. Messages that carry plaintext have no `Debug` and wipe it when they are dropped.

use std::collections::HashMap;

use thiserror::Error;
use zeroize::Zeroize;

use crate::envelope;
use crate::secret::SecretBytes;

/// KMS v2, as served to every kube-apiserver since 1.27.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
pub mod v2 {
    include!(concat!(env!("OUT_DIR"), "/v2.rs"));
}

/// KMS v1, served when the configuration asks for it.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
pub mod v1beta1 {
    include!(concat!(env!("OUT_DIR"), "/v1beta1.rs"));
}

/// Header of the calls of our own commands, which say nothing about an API server.
pub const OURS: &str = "keywright-client";
/// Largest message that is read, in bytes. The longest valid one (a Decrypt with full annotations) has about half.
pub const MAX_MESSAGE: usize = 64 << 10;
/// Longest key_id of KMS v2, in bytes.
pub const MAX_KEY_ID: usize = 1024;
/// Most bytes of annotations, keys and values together.
pub const MAX_ANNOTATIONS: usize = 32 << 10;

/// What is wrong with a request before any key is asked: the caller's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Malformed {
    /// Nothing to wrap, or more than the envelope can hold.
    #[error("plaintext must have 1 to 952 bytes")]
    Plaintext,
    /// Nothing to unwrap, or more than KMS v2 stores.
    #[error("ciphertext must have 1 to 1024 bytes")]
    Ciphertext,
    /// No key_id, or a longer one than KMS v2 stores.
    #[error("key_id must have 1 to 1024 bytes")]
    KeyId,
    /// An annotation key that is no domain name, or too many bytes of annotations.
    #[error("annotations are over the limits of KMS v2")]
    Annotations,
    /// A KMS v1 request of another version.
    #[error("version must be v1beta1")]
    Version,
}

/// Checks what Encrypt is asked to wrap and takes it over.
pub fn plaintext(bytes: &mut Vec<u8>) -> Result<SecretBytes, Malformed> {
    let plaintext = SecretBytes::from_vec(std::mem::take(bytes));
    let fits = (1..=envelope::MAX_PLAINTEXT).contains(&plaintext.len());
    if fits { Ok(plaintext) } else { Err(Malformed::Plaintext) }
}

/// Checks the size of what Decrypt is asked to unwrap.
pub fn ciphertext(bytes: &[u8]) -> Result<&[u8], Malformed> {
    if (1..=envelope::MAX_LEN).contains(&bytes.len()) { Ok(bytes) } else { Err(Malformed::Ciphertext) }
}

/// Checks the size of a key_id.
pub fn key_id(text: &str) -> Result<&str, Malformed> {
    if (1..=MAX_KEY_ID).contains(&text.len()) { Ok(text) } else { Err(Malformed::KeyId) }
}

/// Checks annotations by the rules of the API server (`ValidateEncryptedObject` in its envelope package).
pub fn annotations(map: &HashMap<String, Vec<u8>>) -> Result<(), Malformed> {
    let total: usize = map.iter().map(|(key, value)| key.len() + value.len()).sum();
    let valid = total <= MAX_ANNOTATIONS && map.keys().all(|key| is_qualified_domain(key));
    if valid { Ok(()) } else { Err(Malformed::Annotations) }
}

/// Checks the version that every KMS v1 request carries.
pub fn v1_version(text: &str) -> Result<(), Malformed> {
    if text == "v1beta1" { Ok(()) } else { Err(Malformed::Version) }
}

/// A lower-case RFC 1123 subdomain of at least two labels, at most 253 bytes; one trailing dot is allowed and not counted.
fn is_qualified_domain(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    name.len() <= 253 && name.contains('.') && name.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = label.as_bytes();
    bytes.len() <= 63
        && bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes.iter().all(|b| alphanumeric(b) || *b == b'-')
}

impl Drop for v2::EncryptRequest {
    fn drop(&mut self) {
        self.plaintext.zeroize();
    }
}

impl Drop for v2::DecryptResponse {
    fn drop(&mut self) {
        self.plaintext.zeroize();
    }
}

impl Drop for v1beta1::EncryptRequest {
    fn drop(&mut self) {
        self.plain.zeroize();
    }
}

impl Drop for v1beta1::DecryptResponse {
    fn drop(&mut self) {
        self.plain.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotation_keys_pass_and_fail_as_they_do_in_the_api_server() {
        let long_label = format!("{}.io", "a".repeat(63));
        for good in ["a.com", "k8s.io", "dev.k8s.io.", "10.0.0.1", &long_label] {
            assert!(is_qualified_domain(good), "{good}");
        }
        let (too_long_label, too_long) = (format!("{}.io", "a".repeat(64)), format!("{}com", "abcd.".repeat(51)));
        for bad in [
            "com",
            ".",
            "...",
            ".io",
            "Dev.k8s.io",
            "*.example.com",
            "foo_bar.k8s.io",
            "foo@bar.example.com",
            "http://foo.example.com",
            "-a.io",
            "a-.io",
            "",
            &too_long_label,
            &too_long,
        ] {
            assert!(!is_qualified_domain(bad), "{bad}");
        }
    }

    #[test]
    fn annotations_may_have_32768_bytes_in_all_and_not_one_more() {
        let of = |value: usize| HashMap::from([("a.com".to_owned(), vec![0; value])]);
        assert_eq!(annotations(&of(MAX_ANNOTATIONS - 5)), Ok(()));
        assert_eq!(annotations(&of(MAX_ANNOTATIONS - 4)), Err(Malformed::Annotations));
    }

    #[test]
    fn sizes_are_refused_just_outside_their_limits() {
        for (len, ok) in [(0, false), (1, true), (952, true), (953, false)] {
            assert_eq!(plaintext(&mut vec![0; len]).is_ok(), ok, "plaintext of {len}");
        }
        for (len, ok) in [(0, false), (1, true), (1024, true), (1025, false)] {
            assert_eq!(ciphertext(&vec![0; len]).is_ok(), ok, "ciphertext of {len}");
            assert_eq!(key_id(&"k".repeat(len)).is_ok(), ok, "key_id of {len}");
        }
    }
}
