//! No text makes the parser of keyring files panic; and what it accepts is understood again once it was written.

#![no_main]

use keywright::keyring::document::Document;
use keywright::secret::SecretKey;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(document) = Document::parse(text) else { return };
    let key = SecretKey::try_fill(|bytes| {
        bytes.fill(7);
        Ok::<(), ()>(())
    })
    .expect("nothing fails");
    let written = document.write(&key);
    let again = Document::parse(&written).expect("what was written parses");
    Document::authenticate(&written, &key).expect("what was written is authentic");
    assert_eq!(again.write(&key), written);
});
