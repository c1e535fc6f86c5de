//! Whatever parses as a key_id is shown as the same text, so that no two texts name the same version.

#![no_main]

use keywright::key_id::{KeyId, MAX_LEN};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(id) = text.parse::<KeyId>() {
        assert!(text.len() <= MAX_LEN);
        assert_eq!(id.to_string(), text);
    }
});
