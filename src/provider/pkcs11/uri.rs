//! Names of tokens and keys as PKCS#11 URIs (RFC 7512), the part of it that names things.
//!
//! Text of ours has one form: `pkcs11:token=LABEL;serial=SERIAL;object=LABEL;id=%..`, attributes in this order, what RFC 7512 lets stand as it is
//! left so, everything else as `%XX` in upper case, and an id always so. A person may write more freely: see [`TokenName::parse_given`].

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::{KeyAt, ObjectId, TokenName};

const SCHEME: &str = "pkcs11:";
/// Of CK_TOKEN_INFO.label.
const MAX_LABEL: usize = 32;
/// Of CK_TOKEN_INFO.serialNumber.
const MAX_SERIAL: usize = 16;
/// Of CKA_LABEL; a limit of ours.
const MAX_OBJECT: usize = 128;

/// Why text is no such name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UriError {
    /// It does not begin with the scheme.
    #[error("must begin with `pkcs11:`")]
    Scheme,
    /// Something without `=`.
    #[error("`{0}` is no attribute of the form name=value")]
    Form(String),
    /// Twice.
    #[error("attribute `{0}` stands there twice")]
    Twice(String),
    /// It would put a secret where it does not belong.
    #[error("a PIN must not stand in a URI, for it would reach logs and backups; use `pin_credential` or `pin_file`")]
    Pin,
    /// It names what is said elsewhere, or what does not stay the same.
    #[error("attribute `{name}` does not belong there: {why}")]
    Refused {
        /// The attribute.
        name: String,
        /// What is to be done instead.
        why: &'static str,
    },
    /// Not of RFC 7512, or not one that we use.
    #[error("unknown attribute `{0}`; a token is named by `token` and `serial`")]
    Unknown(String),
    /// Percent-encoding that is none, or bytes that are no text.
    #[error("the value of `{0}` is not percent-encoded text")]
    Encoding(String),
    /// Empty, or longer than a token can have.
    #[error("the value of `{name}` must have 1 to {most} bytes")]
    Length {
        /// The attribute.
        name: &'static str,
        /// The limit.
        most: usize,
    },
    /// An attribute that must be there.
    #[error("attribute `{0}` is missing")]
    Missing(&'static str),
    /// It says the right thing in another way.
    #[error("it is not written in its one form")]
    NotCanonical,
}

impl TokenName {
    /// Its one form, without a key.
    pub fn uri(&self) -> String {
        format!("{SCHEME}token={};serial={}", Encoded(&self.label), Encoded(&self.serial))
    }

    /// What a person wrote: attributes in any order, lower-case digits too.
    pub fn parse_given(text: &str) -> Result<Self, UriError> {
        let given = Given::parse(text)?;
        for (name, why) in [("object", "a token is named there, not a key"), ("id", "a token is named there, not a key")] {
            if given.find(name).is_some() {
                return Err(UriError::Refused { name: name.to_owned(), why });
            }
        }
        given.token()
    }
}

impl fmt::Display for KeyAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};object={};id=", self.token.uri(), Encoded(&self.label))?;
        self.id.iter().try_for_each(|byte| write!(f, "%{byte:02X}"))
    }
}

impl FromStr for KeyAt {
    type Err = UriError;

    /// Exactly what [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self, UriError> {
        let given = Given::parse(text)?;
        let label = given.text("object", MAX_OBJECT)?;
        let id: ObjectId = given.bytes("id")?.try_into().map_err(|_| UriError::Length { name: "id", most: 16 })?;
        let key = Self { token: given.token()?, label, id };
        if key.to_string() == text { Ok(key) } else { Err(UriError::NotCanonical) }
    }
}

/// Text with everything but the unreserved characters of RFC 7512 (its `pk11-res-avail` apart, which we encode) percent-encoded.
struct Encoded<'a>(&'a str);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                write!(f, "{}", char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

/// The attributes of a URI, each known and there once.
struct Given<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Given<'a> {
    fn parse(text: &'a str) -> Result<Self, UriError> {
        let path = text.strip_prefix(SCHEME).ok_or(UriError::Scheme)?;
        let mut found: Vec<(&str, &str)> = vec![];
        for attribute in path.split([';', '?', '&']) {
            let shown = || attribute.chars().take(64).collect::<String>();
            // A PIN that was mistyped is not repeated either.
            if attribute.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("pin")) && !attribute.starts_with("pin-source=") {
                return Err(UriError::Pin);
            }
            let (name, value) = attribute.split_once('=').ok_or_else(|| UriError::Form(shown()))?;
            match name {
                "token" | "serial" | "object" | "id" => {}
                _ => return Err(refused(name)),
            }
            if found.iter().any(|(known, _)| *known == name) {
                return Err(UriError::Twice(name.to_owned()));
            }
            found.push((name, value));
        }
        Ok(Self(found))
    }

    fn find(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    fn bytes(&self, name: &'static str) -> Result<Vec<u8>, UriError> {
        let value = self.find(name).ok_or(UriError::Missing(name))?;
        decoded(value).ok_or_else(|| UriError::Encoding(name.to_owned()))
    }

    fn text(&self, name: &'static str, most: usize) -> Result<String, UriError> {
        let bytes = self.bytes(name)?;
        if bytes.is_empty() || bytes.len() > most {
            return Err(UriError::Length { name, most });
        }
        String::from_utf8(bytes).map_err(|_| UriError::Encoding(name.to_owned()))
    }

    fn token(&self) -> Result<TokenName, UriError> {
        Ok(TokenName { label: self.text("token", MAX_LABEL)?, serial: self.text("serial", MAX_SERIAL)? })
    }
}

fn refused(name: &str) -> UriError {
    let why = match name {
        "module-path" | "module-name" => "say `module`",
        "pin-source" => "say `pin_credential` or `pin_file`",
        "slot-id" | "slot-description" | "slot-manufacturer" => "slots are numbered anew when a token comes back",
        "type" => "keys are always secret keys",
        "manufacturer" | "model" | "library-manufacturer" | "library-description" | "library-version" => {
            "label and serial number name a token"
        }
        _ => return UriError::Unknown(name.chars().take(64).collect()),
    };
    UriError::Refused { name: name.to_owned(), why }
}

/// The bytes that `value` stands for.
fn decoded(value: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'%' {
            // A space or a control character is never written as it is.
            if !first.is_ascii_graphic() {
                return None;
            }
            bytes.push(*first);
            continue;
        }
        let (digits, behind) = rest.split_first_chunk::<2>()?;
        rest = behind;
        let mut byte = [0];
        base16ct::mixed::decode(digits, &mut byte).ok()?;
        bytes.extend(byte);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> KeyAt {
        let token = TokenName { label: "kms ; 1".into(), serial: "00ab".into() };
        KeyAt { token, label: "keywright-0011".into(), id: [0xa5; 16] }
    }

    #[test]
    fn a_key_has_one_form_and_no_other_is_read() {
        let text = key().to_string();
        assert_eq!(text, format!("pkcs11:token=kms%20%3B%201;serial=00ab;object=keywright-0011;id={}", "%A5".repeat(16)));
        assert_eq!(text.parse(), Ok(key()));
        for other in [
            text.replace("%A5", "%a5"),
            text.replace("%3B", "%3b"),
            text.replace("kms", "%6Bms"),
            text.replace("token=kms%20%3B%201;serial=00ab", "serial=00ab;token=kms%20%3B%201"),
        ] {
            assert_eq!(other.parse::<KeyAt>(), Err(UriError::NotCanonical), "{other}");
        }
        assert_eq!(text.replace(&"%A5".repeat(16), &"%A5".repeat(15)).parse::<KeyAt>(), Err(UriError::Length { name: "id", most: 16 }));
        assert_eq!(format!("{text};").parse::<KeyAt>(), Err(UriError::Form(String::new())));
    }

    #[test]
    fn a_person_may_write_a_token_in_any_order_and_is_told_what_does_not_belong_there() {
        let given = |text: &str| TokenName::parse_given(text);
        let name = TokenName { label: "kms ;".into(), serial: "1".into() };
        assert_eq!(given("pkcs11:serial=1;token=kms%20%3b"), Ok(name));
        assert_eq!(given("pkcs11:token=a;serial=1;pin-value=1234"), Err(UriError::Pin));
        assert_eq!(given("pkcs11:token=a;serial=1?pin-value=1234"), Err(UriError::Pin));
        for mistyped in ["pin-value", "pin-value:1234", "PIN-VALUE=1234", "pin=1234", "pin-1234"] {
            assert_eq!(given(&format!("pkcs11:token=a;serial=1;{mistyped}")), Err(UriError::Pin), "{mistyped}");
        }
        assert_eq!(given("pkcs11:token=a;token=a;serial=1"), Err(UriError::Twice("token".into())));
        assert_eq!(given("pkcs11:token=a"), Err(UriError::Missing("serial")));
        assert_eq!(given("pkcs11:token=a%zz;serial=1"), Err(UriError::Encoding("token".into())));
        assert_eq!(given("pkcs11:token=a%;serial=1"), Err(UriError::Encoding("token".into())));
        assert_eq!(given("pkcs11:token=a%ff;serial=1"), Err(UriError::Encoding("token".into())));
        assert_eq!(given("pkcs11:token=a b;serial=1"), Err(UriError::Encoding("token".into())));
        assert_eq!(given("pkcs11:token=;serial=1"), Err(UriError::Length { name: "token", most: 32 }));
        assert_eq!(given("token=a;serial=1"), Err(UriError::Scheme));
        assert_eq!(given("pkcs11:token=a;serial=1;tokken=b"), Err(UriError::Unknown("tokken".into())));
        for name in ["module-path", "pin-source", "slot-id", "object", "id", "model"] {
            assert!(matches!(given(&format!("pkcs11:token=a;serial=1;{name}=b")), Err(UriError::Refused { .. })), "{name}");
        }
    }

    proptest! {
        #[test]
        fn every_key_is_read_as_it_is_written(label in "\\PC{1,8}", serial in "[ -~]{1,16}", object in "\\PC{1,20}", id in any::<[u8; 16]>()) {
            let key = KeyAt { token: TokenName { label, serial }, label: object, id };
            prop_assert_eq!(TokenName::parse_given(&key.token.uri()), Ok(key.token.clone()));
            prop_assert_eq!(key.to_string().parse(), Ok(key));
        }

        #[test]
        fn no_text_panics_and_what_is_read_is_written_back(text in "(pkcs11:)?[tokenserialobjectid=;%0-9a-zA-Z?&]{0,60}") {
            let _ = TokenName::parse_given(&text);
            if let Ok(key) = text.parse::<KeyAt>() {
                prop_assert_eq!(key.to_string(), text);
            }
        }
    }
}
