//! No text makes the parser of keyring files panic; and a keyring has one text: what is accepted is what is written, byte for byte.

#![no_main]

use keywright::keyring::document::Document;
use keywright::secret::SecretKey;
use libfuzzer_sys::fuzz_target;

/// Everything above the last line, and that line without the digits that depend on the key.
fn without_tag(text: &str) -> &str {
    text.strip_suffix('\n').and_then(|line| line.get(..line.len() - 64)).expect("a tag and a line feed stand at the end")
}

fuzz_target!(|text: &str| {
    let Ok(document) = Document::parse(text) else { return };
    let key = SecretKey::from_slice(&[7; SecretKey::LEN]).expect("a key has that length");
    let written = document.write(&key);
    assert_eq!(without_tag(&written), without_tag(text));
    Document::authenticate(&written, &key).expect("what was written is authentic");
});
