//! Section 9 of `docs/formats.md`: the report of a scan as evidence.

use keywright::keyring::store;
use keywright::provider::pkcs11::Tokens;
use keywright::scan::report::{MAX_LEN, Report, Witness};

use crate::vectors::{EveryState, Keyrings, Reports, load, text};

fn every_state() -> EveryState {
    load::<Keyrings>("keyring-1.json").every_state
}

#[test]
fn a_report_opens_and_is_sealed_again_byte_for_byte() {
    let (vectors, of) = (load::<Reports>("report-1.json"), every_state());
    let keyring = store::open(&text(&of.lines), &of.openers[0].opener(), &Tokens::none()).expect("opens");
    for vector in &vectors.valid {
        let report = Report::open(&vector.text, keyring.coordination()).unwrap_or_else(|error| panic!("{}: {error}", vector.name));
        assert_eq!(report.seal(keyring.coordination()), vector.text, "{}", vector.name);
        let says = (report.references(&vector.key_id), report.under_primary(), report.is_whole());
        assert_eq!(says, (vector.references, vector.under_primary, vector.whole), "{}", vector.name);
        assert!(report.keyring.is_none_or(|witness| witness == Witness::of(&keyring)), "{}", vector.name);
        assert!(vector.text.len() <= MAX_LEN);
    }
    assert_eq!(vectors.domain.0, b"keywright report 1");
}

#[test]
fn every_defect_of_a_report_is_refused_with_the_error_that_names_it() {
    let (vectors, of) = (load::<Reports>("report-1.json"), every_state());
    for vector in &vectors.invalid {
        let error = Report::open(&vector.text, &of.coordination.key()).expect_err(&vector.defect);
        let name: String = format!("{error:?}").chars().take_while(char::is_ascii_alphabetic).collect();
        assert_eq!(name, vector.error, "{}: {error}", vector.defect);
    }
}
