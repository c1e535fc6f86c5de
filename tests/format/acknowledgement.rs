//! Section 7 of `docs/formats.md`: the acknowledgement of a node.

use keywright::acknowledgement;
use keywright::keyring::document::Document;
use keywright::keyring::store;
use keywright::provider::pkcs11::Tokens;

use crate::vectors::{Acknowledgements, EveryState, Keyrings, load, text};

fn every_state() -> EveryState {
    load::<Keyrings>("keyring-1.json").every_state
}

#[test]
fn what_a_node_acknowledges_is_its_vector_byte_for_byte_and_is_accepted() {
    let (vectors, of) = (load::<Acknowledgements>("acknowledgement-1.json"), every_state());
    let file = text(&of.lines);
    let keyring = store::open(&file, &of.openers[0].opener(), &Tokens::none()).expect("opens");
    let document = Document::parse(&file).expect("parses");
    assert_eq!(vectors.valid.len(), of.nodes.len());
    for vector in &vectors.valid {
        let node = vector.node.parse().expect("a node");
        assert_eq!(acknowledgement::write(&keyring, &node), vector.text);
        assert_eq!(acknowledgement::check(&vector.text, &document, &of.coordination.key()), Ok(node));
        assert!(vector.text.len() <= acknowledgement::MAX_LEN);
    }
    assert_eq!(vectors.domain.0, b"keywright acknowledgement 1");
}

#[test]
fn every_defect_of_an_acknowledgement_is_refused_with_the_error_that_names_it() {
    let (vectors, of) = (load::<Acknowledgements>("acknowledgement-1.json"), every_state());
    let document = Document::parse(&text(&of.lines)).expect("parses");
    for vector in &vectors.invalid {
        let error = acknowledgement::check(&vector.text, &document, &of.coordination.key()).expect_err(&vector.defect);
        let name: String = format!("{error:?}").chars().take_while(char::is_ascii_alphabetic).collect();
        assert_eq!(name, vector.error, "{}: {error}", vector.defect);
    }
}

#[test]
fn no_changed_byte_and_no_truncation_of_an_acknowledgement_is_accepted() {
    let (vectors, of) = (load::<Acknowledgements>("acknowledgement-1.json"), every_state());
    let document = Document::parse(&text(&of.lines)).expect("parses");
    let whole = &vectors.valid[0].text;
    let refused =
        |text: &str, at: usize| assert!(acknowledgement::check(text, &document, &of.coordination.key()).is_err(), "byte {at}: {text:?}");
    for at in 0..whole.len() {
        refused(&whole[..at], at);
        refused(&[&whole[..at], &whole[at + 1..]].concat(), at);
        for put in ["\r", " ", "0", "\n"] {
            refused(&[&whole[..at], put, &whole[at..]].concat(), at);
        }
        for bit in 0..7 {
            let changed = char::from(whole.as_bytes()[at] ^ (1 << bit));
            refused(&format!("{}{changed}{}", &whole[..at], &whole[at + 1..]), at);
        }
    }
}
