//! The stable public name of one key version: `kw1.<keyring id>.<version>.<check>`.
//!
//! Frozen format, see `docs/formats.md` section 1: never change it, add another prefix. It is lower case, printable, at most
//! 64 bytes and unique for ever: the check commits to the key itself, so a restored version, or one forged by anybody but
//! the maker of the keyring, has another key_id although it has the same number.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::hex;

/// Longest key_id in bytes: `kw1.` + 16 + `.` + 10 + `.` + 32.
pub const MAX_LEN: usize = 64;

const PREFIX: &str = "kw1";

/// Why a text is not a key_id. It says nothing of the text itself, which may come from a stranger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ParseError {
    /// Longer than [`MAX_LEN`].
    #[error("longer than {MAX_LEN} bytes")]
    TooLong,
    /// Not four parts, the first being `kw1`.
    #[error("not of the form kw1.<keyring id>.<version>.<check>")]
    Shape,
    /// The keyring id is not 16 lower-case hexadecimal digits.
    #[error("keyring id is not 16 lower-case hexadecimal digits")]
    Keyring,
    /// The version is not a decimal number from 1 to 4294967295 without leading zeros.
    #[error("version is not a decimal number from 1 to 4294967295 without leading zeros")]
    Version,
    /// The check is not 32 lower-case hexadecimal digits.
    #[error("check is not 32 lower-case hexadecimal digits")]
    Check,
}

/// Names one keyring: 64 random bits, written as 16 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyringId([u8; 8]);

impl KeyringId {
    /// The id of these 8 bytes.
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The 8 bytes, as they stand in an envelope.
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl fmt::Display for KeyringId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl FromStr for KeyringId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        hex::decode(text).map(Self).ok_or(ParseError::Keyring)
    }
}

/// The number of a key version within its keyring, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(u32);

impl Version {
    /// The first version of every keyring.
    pub const FIRST: Self = Self(1);

    /// `None` for zero, which numbers nothing.
    pub const fn new(number: u32) -> Option<Self> {
        if number == 0 { None } else { Some(Self(number)) }
    }

    /// The number, at least 1.
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Version {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
        let number = if plain { text.parse().ok() } else { None };
        number.and_then(Self::new).ok_or(ParseError::Version)
    }
}

/// 128 bits that commit to the key of a version, taken from its canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Check([u8; 16]);

impl Check {
    /// The check of these 16 bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes, as they stand in an envelope.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

/// The name of one key version. Public: it stands in etcd in clear and may be logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId {
    /// The keyring that the version belongs to.
    pub keyring: KeyringId,
    /// Its number there.
    pub version: Version,
    /// What commits to its key.
    pub check: Check,
}

/// `sha256:` and the lower-case hexadecimal SHA-256 of a key_id's text: how kube-apiserver shows it in its metrics and errors.
pub fn sha256_form(key_id: &str) -> String {
    format!("sha256:{}", base16ct::lower::encode_string(&Sha256::digest(key_id.as_bytes())))
}

impl KeyId {
    /// Its text, made without an allocation: a large keyring writes thousands at every load.
    pub fn text(&self) -> Text {
        let mut text = Text { bytes: [b'.'; MAX_LEN], len: 0 };
        text.push(PREFIX.as_bytes());
        text.skip();
        text.push_hex(&self.keyring.0);
        text.skip();
        text.push_number(self.version.number());
        text.skip();
        text.push_hex(&self.check.0);
        text
    }
}

/// A key_id as text.
#[derive(Clone, Copy)]
pub struct Text {
    /// Full stops where nothing was written yet.
    bytes: [u8; MAX_LEN],
    len: usize,
}

impl Text {
    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).expect("a key_id is made of digits, letters and full stops")
    }

    fn push(&mut self, bytes: &[u8]) {
        // The longest key_id fits exactly, see MAX_LEN.
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Leaves the full stop that stands there.
    fn skip(&mut self) {
        self.len += 1;
    }

    fn push_hex(&mut self, bytes: &[u8]) {
        // The longest key_id fits exactly, see MAX_LEN.
        let end = self.len + 2 * bytes.len();
        base16ct::lower::encode(bytes, &mut self.bytes[self.len..end]).expect("two digits for every byte");
        self.len = end;
    }

    fn push_number(&mut self, mut number: u32) {
        let mut digits = [0; 10];
        let mut start = digits.len();
        while start == digits.len() || number > 0 {
            start -= 1;
            digits[start] = b'0' + (number % 10) as u8;
            number /= 10;
        }
        self.push(&digits[start..]);
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().as_str())
    }
}

impl FromStr for KeyId {
    type Err = ParseError;

    /// Strict: exactly one text is accepted for each value, so a changed byte never names the same version.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.len() > MAX_LEN {
            return Err(ParseError::TooLong);
        }
        let mut parts = text.split('.');
        let mut next = || parts.next().ok_or(ParseError::Shape);
        let (prefix, keyring, version, check) = (next()?, next()?, next()?, next()?);
        if prefix != PREFIX || parts.next().is_some() {
            return Err(ParseError::Shape);
        }
        Ok(Self { keyring: keyring.parse()?, version: version.parse()?, check: hex::decode(check).map(Check).ok_or(ParseError::Check)? })
    }
}

/// Writes at most 16 bytes as hexadecimal digits.
fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    let mut digits = [0; 32];
    f.write_str(base16ct::lower::encode_str(bytes, &mut digits).map_err(|_| fmt::Error)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "kw1.0011223344556677.42.000102030405060708090a0b0c0d0e0f";

    #[test]
    fn a_key_id_is_written_as_it_was_read() {
        let id: KeyId = TEXT.parse().expect("valid");
        assert_eq!(id.to_string(), TEXT);
        assert_eq!(id.version.number(), 42);
    }

    #[test]
    fn the_longest_key_id_has_64_bytes() {
        let id = KeyId {
            keyring: KeyringId::from_bytes([0xff; 8]),
            version: Version::new(u32::MAX).expect("not zero"),
            check: Check::from_bytes([0xff; 16]),
        };
        assert_eq!(id.to_string().len(), MAX_LEN);
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn every_defect_has_its_own_error() {
        let check = "000102030405060708090a0b0c0d0e0f";
        for (text, error) in [
            (String::new(), ParseError::Shape),
            ("kw1".into(), ParseError::Shape),
            (format!("kw2.0011223344556677.1.{check}"), ParseError::Shape),
            (format!("kw1.0011223344556677.1.{check}."), ParseError::Shape),
            (format!("kw1.00112233445566.1.{check}"), ParseError::Keyring),
            (format!("kw1.001122334455667A.1.{check}"), ParseError::Keyring),
            (format!("kw1.0011223344556677.0.{check}"), ParseError::Version),
            (format!("kw1.0011223344556677.01.{check}"), ParseError::Version),
            (format!("kw1.0011223344556677.+1.{check}"), ParseError::Version),
            (format!("kw1.0011223344556677..{check}"), ParseError::Version),
            (format!("kw1.0011223344556677.4294967296.{check}"), ParseError::Version),
            ("kw1.0011223344556677.1.0001".into(), ParseError::Check),
            (format!("kw1.0011223344556677.1.{}", check.to_uppercase()), ParseError::Check),
            (format!("kw1.0011223344556677.1.{check}0000000000000"), ParseError::TooLong),
        ] {
            assert_eq!(text.parse::<KeyId>(), Err(error), "{text}");
        }
    }

    #[test]
    fn the_sha256_form_is_the_one_of_the_api_server() {
        // The example of the Kubernetes metrics: key_id `1`.
        assert_eq!(sha256_form("1"), "sha256:6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b");
    }

    proptest! {
        #[test]
        fn any_accepted_text_is_the_only_text_of_its_value(text in "kw1\\.[0-9a-fA-F]{15,17}\\.[0-9+]{1,11}\\.[0-9a-f]{31,33}") {
            if let Ok(id) = text.parse::<KeyId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in any::<String>()) {
            let _ = text.parse::<KeyId>();
        }
    }
}
