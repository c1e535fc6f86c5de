//! No text makes the reader of exports panic; and what is accepted is the one text of its keyring, which goes on from itself.

#![no_main]

use keywright::entropy::{Entropy, EntropyError};
use keywright::export::{Export, Follows, follows};
use keywright::provider::pkcs11::Tokens;
use keywright::secret::SecretBytes;
use libfuzzer_sys::fuzz_target;

/// The same bytes always, so that an input does the same every time.
struct Fixed;

impl Entropy for Fixed {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        out.fill(7);
        Ok(())
    }
}

fuzz_target!(|text: &[u8]| {
    let Ok((export, opened)) = Export::open(SecretBytes::from_vec(text.to_vec()), &Tokens::none(), &Fixed) else { return };
    assert_eq!(export.text.expose_secret(), text);
    assert!(export.is_recorded_in(&opened.document));
    let again = Export::of(&opened).expect("what was proved is exported");
    assert_eq!(again.digest, export.digest);
    assert_eq!(follows(&opened, &opened), Ok(Follows::Same));
});
