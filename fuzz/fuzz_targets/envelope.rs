//! Whatever parses as an envelope is written back byte for byte, so that no two envelopes mean the same.

#![no_main]

use keywright::envelope::{Envelope, MAX_LEN};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(envelope) = Envelope::parse(bytes) {
        assert!(bytes.len() <= MAX_LEN);
        assert_eq!(envelope.write(), bytes);
    }
});
