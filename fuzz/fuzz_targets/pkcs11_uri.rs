//! No text makes the readers of PKCS#11 URIs panic; a key is written in one way only, and a token that was given freely is read back from its
//! one form.

#![no_main]

use keywright::provider::pkcs11::{KeyAt, TokenName};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(key) = text.parse::<KeyAt>() {
        assert_eq!(key.to_string(), text);
        assert_eq!(TokenName::parse_given(&key.token.uri()), Ok(key.token));
    }
    if let Ok(name) = TokenName::parse_given(text) {
        assert!((1..=32).contains(&name.label.len()) && (1..=16).contains(&name.serial.len()));
        assert_eq!(TokenName::parse_given(&name.uri()), Ok(name));
    }
});
