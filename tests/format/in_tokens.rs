//! Sections 2 to 4 of `docs/formats.md` for keys in tokens: keyring format 2, and envelopes of algorithms 2 and 3, as far as they can be read where no
//! token is. `tests/pkcs11/frozen.rs` reads them where the tokens are.

use std::time::Duration;

use keywright::envelope::{Envelope, Header, MAX_LEN};
use keywright::keyring::canary::{Canary, Subject};
use keywright::keyring::document::{Document, DocumentError, Home, StateLabel};
use keywright::keyring::seal::FileKeys;
use keywright::keyring::store::{self, LoadError};
use keywright::provider::pkcs11::{IvFrom, Problem, TokenName, Tokens};

use crate::vectors::{EnvelopesOfTokens, KeyringsInTokens, error_name, load, text, version};

pub(crate) fn vectors() -> KeyringsInTokens {
    let vectors: KeyringsInTokens = load("keyring-2.json");
    assert_eq!(vectors.format, 2);
    assert!(!vectors.keys.is_empty() && !vectors.invalid.is_empty() && !vectors.slots_that_do_not_open.is_empty());
    vectors
}

fn envelopes() -> EnvelopesOfTokens {
    let vectors: EnvelopesOfTokens = load("envelope-1-tokens.json");
    assert_eq!(vectors.format, 1);
    assert!(!vectors.valid.is_empty() && !vectors.invalid.is_empty());
    vectors
}

#[test]
fn a_keyring_whose_tokens_are_not_here_opens_and_names_every_version_that_it_could_not_prove() {
    let vector = vectors().every_state;
    let text = text(&vector.lines);
    for way in vector.openers.iter().filter(|way| !way.is_token()) {
        let keyring = store::open(&text, &way.opener(), &Tokens::none()).expect("opens");
        assert_eq!((keyring.generation(), keyring.head().to_string()), (vector.generation, vector.head.clone()));
        assert_eq!(keyring.coordination().expose_secret().as_slice(), vector.coordination.0);
        let found: Vec<_> = keyring.versions().iter().map(|v| (v.key_id().to_string(), v.state().name())).collect();
        let expected: Vec<_> = vector.versions.iter().map(|v| (v.key_id.clone(), v.state.as_str())).collect();
        assert_eq!(found, expected);
        // The destroyed one has no key to ask for, the third is local.
        let away: Vec<_> = keyring.away().iter().map(|(key_id, _)| key_id.version.number()).collect();
        assert_eq!(away, [2, 4, 5, 6]);
        assert!(keyring.away().iter().all(|(_, error)| error.problem == Problem::NotConfigured));
    }
    let refused = store::open(&text, &vector.openers[1].opener_with(&Tokens::none()), &Tokens::none()).expect_err("its token is not here");
    assert!(matches!(&refused, error if error.token().is_some_and(|error| error.problem == Problem::NotConfigured)), "{refused}");
}

#[test]
fn every_word_about_a_token_is_read_and_written_again_byte_for_byte() {
    let vectors = vectors();
    let (vector, text) = (&vectors.every_state, text(&vectors.every_state.lines));
    let document = Document::parse(&text).expect("parses");
    let keys = FileKeys::derive(&vector.root.key(), document.keyring);
    assert_eq!(Document::authenticate(&text, &keys.authenticate), Ok(()));
    assert_eq!(document.write(&keys.authenticate), text);
    assert_eq!((document.format(), document.hold), (2, Duration::from_secs(vector.hold)));
    assert_eq!(document.nodes.iter().map(ToString::to_string).collect::<Vec<_>>(), vector.nodes);
    let tokens: Vec<_> =
        vectors.tokens.iter().map(|token| TokenName { label: token.label.clone(), serial: token.serial.clone() }).collect();
    assert_eq!(tokens.iter().map(TokenName::uri).collect::<Vec<_>>(), vectors.tokens.iter().map(|t| t.name.clone()).collect::<Vec<_>>());
    let [one, two] = tokens.as_slice() else { panic!("two tokens") };
    let homes: Vec<_> = document
        .versions
        .iter()
        .map(|version| match &version.home {
            Home::Local(wrapped) => {
                assert_eq!(wrapped.is_some(), version.state != StateLabel::Destroyed);
                None
            }
            Home::Token(key) => Some((&key.at.token, key.mac.is_some(), key.iv)),
        })
        .collect();
    let (gcm, cbc) = (false, true);
    assert_eq!(
        homes,
        [
            Some((one, gcm, IvFrom::Host)),
            Some((two, cbc, IvFrom::Host)),
            None,
            Some((one, gcm, IvFrom::Token)),
            Some((two, cbc, IvFrom::Host)),
            Some((two, gcm, IvFrom::Host)),
        ]
    );
    let places: Vec<_> = vectors.keys.iter().map(|key| key.place.as_str()).collect();
    for version in document.versions.iter().filter(|version| version.state != StateLabel::Destroyed) {
        let named = version.in_token().map(|key| key.at.to_string());
        assert!(named.is_none_or(|named| places.contains(&named.as_str())), "{}", version.key_id);
    }
    let slots: Vec<_> = document.slots.iter().map(|slot| slot.token_key().map(ToString::to_string)).collect();
    assert!(matches!(slots.as_slice(), [None, Some(place), None] if places.contains(&place.as_str())), "{slots:?}");
    assert_eq!(document.attempts.iter().map(|attempt| attempt.key.to_string()).collect::<Vec<_>>(), vectors.attempts);
}

#[test]
fn every_defect_of_a_file_is_refused_where_the_file_alone_tells_and_else_the_version_is_one_of_a_token_that_is_away() {
    let vectors = vectors();
    let opener = vectors.every_state.openers[0].opener();
    let mut left_to_the_token = 0;
    for vector in &vectors.invalid {
        let outcome = store::open(&text(&vector.lines), &opener, &Tokens::none());
        if !vector.found_without_tokens {
            assert_eq!(outcome.expect(&vector.defect).away().len(), 4, "{}", vector.defect);
            left_to_the_token += 1;
            continue;
        }
        let error = outcome.err().unwrap_or_else(|| panic!("{} is not refused", vector.defect));
        assert_eq!(error_name(&error), vector.error, "{}: {error}", vector.defect);
        let line = match error {
            LoadError::Document(DocumentError::Line { line, .. }) => Some(line),
            _ => None,
        };
        assert_eq!(line, vector.line, "{}: {error}", vector.defect);
    }
    assert!(left_to_the_token >= 5 && vectors.invalid.len() > 100, "{left_to_the_token} of {}", vectors.invalid.len());
}

#[test]
fn no_changed_byte_and_no_truncation_of_a_file_is_authentic() {
    let vector = vectors().every_state;
    let whole = text(&vector.lines);
    assert!(whole.is_ascii());
    let keys = FileKeys::derive(&vector.root.key(), Document::parse(&whole).expect("parses").keyring);
    let refused = |text: &str, what: &str, at: usize| {
        let authentic = Document::parse(text).is_ok() && Document::authenticate(text, &keys.authenticate).is_ok();
        assert!(!authentic, "{what} {at}");
    };
    for at in 0..whole.len() {
        refused(&whole[..at], "cut off at byte", at);
        refused(&[&whole[..at], &whole[at + 1..]].concat(), "without byte", at);
        let changed = char::from(whole.as_bytes()[at] ^ 1);
        refused(&format!("{}{changed}{}", &whole[..at], &whole[at + 1..]), "changed byte", at);
    }
}

#[test]
fn the_least_that_makes_a_file_one_of_format_2_is_read_as_such() {
    let vectors = vectors();
    let mut opened = 0;
    for vector in &vectors.more {
        let text = text(&vector.lines);
        assert_eq!(Document::parse(&text).expect(&vector.name).format(), 2, "{}", vector.name);
        let older = text.replacen("keyring 2\n", "keyring 1\n", 1);
        assert!(matches!(Document::parse(&older), Err(DocumentError::Line { line: 1, .. })), "{}", vector.name);
        for way in vector.openers.iter().filter(|way| !way.is_token()) {
            store::open(&text, &way.opener(), &Tokens::none()).expect(&vector.name);
            opened += 1;
        }
    }
    assert_eq!((opened, vectors.more.len()), (3, 4));
}

#[test]
fn an_envelope_of_a_key_in_a_token_is_taken_apart_and_put_together_as_its_vector_says() {
    for vector in &envelopes().valid {
        let envelope = Envelope::parse(&vector.envelope.0).expect(&vector.name);
        let header = Header { algorithm: vector.algorithm(), key_id: vector.key_id.parse().expect("a key_id") };
        assert_eq!((envelope.header, envelope.nonce), (header, vector.nonce.0.as_slice()), "{}", vector.name);
        assert_eq!(envelope.sealed.len(), header.algorithm.sealed_len(vector.plaintext.0.len()), "{}", vector.name);
        assert_eq!(header.associated_data(vector.purpose()), vector.associated_data.0, "{}", vector.name);
        assert_eq!(envelope.write(), vector.envelope.0, "{}", vector.name);
        assert_eq!(vector.hmac.is_some(), vector.algorithm == "aes-256-cbc-hmac-sha-256", "{}", vector.name);
        assert_eq!(vector.aes.0.len(), 32, "{}", vector.name);
    }
    let longest = |name: &str| envelopes().valid.iter().filter(|v| v.algorithm == name).map(|v| v.envelope.0.len()).max();
    assert_eq!((longest("aes-256-gcm"), longest("aes-256-cbc-hmac-sha-256")), (Some(1012), Some(MAX_LEN)));
}

#[test]
fn the_check_of_a_key_in_a_token_is_the_one_of_its_canary_and_of_its_algorithm() {
    for vector in &envelopes().valid {
        let subject = Subject { keyring: vector.keyring.keyring(), version: version(vector.version), algorithm: vector.algorithm() };
        assert_eq!(vector.canary.0.len(), Canary::len(subject.algorithm), "{}", vector.name);
        assert_eq!(subject.check(&vector.canary.0).as_bytes().as_slice(), vector.check.0, "{}", vector.name);
        for algorithm in keywright::envelope::Algorithm::ALL.into_iter().filter(|algorithm| *algorithm != subject.algorithm) {
            let other = Subject { algorithm, ..subject };
            assert_ne!(other.check(&vector.canary.0).as_bytes().as_slice(), vector.check.0, "{}", vector.name);
        }
    }
}

#[test]
fn a_defect_in_the_form_of_an_envelope_is_refused_before_a_token_is_asked() {
    let (mut refused, mut left_to_the_token) = (0, 0);
    for vector in &envelopes().invalid {
        match Envelope::parse(&vector.envelope.0) {
            Err(error) => {
                assert_eq!(format!("{error:?}"), vector.refused, "{}", vector.defect);
                refused += 1;
            }
            Ok(_) => {
                assert_eq!(vector.refused, "does not open", "{}", vector.defect);
                left_to_the_token += 1;
            }
        }
    }
    assert!(refused >= 8 && left_to_the_token >= 20, "{refused} {left_to_the_token}");
}
