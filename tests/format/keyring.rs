//! Section 4 of `docs/formats.md`: the keyring file.

use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};

use keywright::envelope::{Envelope, Purpose};
use keywright::key_id::{Check, KeyId, KeyringId, Version};
use keywright::keyring::create::{self, First};
use keywright::keyring::document::{Document, DocumentError, Time};
use keywright::keyring::seal::{FileKeys, Opener, SealError};
use keywright::keyring::store::{self, LoadError};
use keywright::keyring::{Keyring, LookupError};
use keywright::provider::pkcs11::Tokens;
use keywright::secret::SecretBytes;

use crate::script::Script;
use crate::vectors::{Bytes, EveryState, Keyrings, error_name, load, text};

fn vectors() -> Keyrings {
    let vectors: Keyrings = load("keyring-1.json");
    assert_eq!(vectors.format, 1);
    assert!(!vectors.first.is_empty() && !vectors.invalid.is_empty());
    vectors
}

fn open(vector: &EveryState) -> Keyring {
    store::open(&text(&vector.lines), &vector.openers[0].opener(), &Tokens::none()).expect("the keyring with every state")
}

#[test]
fn a_first_keyring_made_with_the_entropy_of_a_vector_is_its_file_byte_for_byte() {
    for vector in &vectors().first {
        let entropy = Script::new(&vector.entropy.0);
        let openers: Vec<_> = vector.openers.iter().map(|way| way.opener()).collect();
        let first = First {
            key: create::NewKey::Local,
            openers: &openers,
            nodes: vector.nodes.iter().map(|node| node.parse().expect("a node")).collect(),
            hold: Duration::from_secs(vector.hold),
            now: Time::of(UNIX_EPOCH + Duration::from_secs(vector.created_unix)),
        };
        let written = create::keyring(first, &Tokens::none(), &entropy).expect(&vector.name);
        assert_eq!(written, text(&vector.lines), "{}", vector.name);
        assert!(entropy.is_used_up(), "{}: less randomness was used than is documented", vector.name);
    }
}

#[test]
fn a_first_keyring_opens_with_each_of_its_own_ways_in_and_with_no_other() {
    let vectors = vectors().first;
    for vector in &vectors {
        let text = text(&vector.lines);
        for way in &vector.openers {
            let keyring = store::open(&text, &way.opener(), &Tokens::none()).expect(&vector.name);
            assert_eq!((keyring.generation(), keyring.versions().len()), (1, 1), "{}", vector.name);
        }
        // Of a kind that the keyring does not have: a wrong secret of a kind that it has is tried below, once for each kind.
        let own: BTreeSet<_> = vector.openers.iter().map(|way| way.opener().kind().to_string()).collect();
        let others = vectors.iter().flat_map(|v| &v.openers).map(|way| way.opener()).filter(|o| !own.contains(&o.kind().to_string()));
        let mut tried = 0;
        for other in others {
            let refused = store::open(&text, &other, &Tokens::none()).expect_err(&vector.name);
            assert!(matches!(refused, LoadError::Seal(SealError::NoSlot { .. })), "{}: {refused}", vector.name);
            tried += 1;
        }
        assert!(tried > 0, "{}", vector.name);
    }
}

#[test]
fn a_keyring_with_every_state_opens_with_each_of_its_secrets_and_with_no_other_of_the_same_kind() {
    let vector = vectors().every_state;
    let text = text(&vector.lines);
    for way in &vector.openers {
        let keyring = store::open(&text, &way.opener(), &Tokens::none()).expect("opens");
        assert_eq!(keyring.generation(), vector.generation);
        assert_eq!(keyring.head().to_string(), vector.head);
        assert_eq!(keyring.coordination().expose_secret().as_slice(), vector.coordination.0);
        let found: Vec<_> = keyring.versions().iter().map(|v| (v.key_id().to_string(), v.state().name())).collect();
        let expected: Vec<_> = vector.versions.iter().map(|v| (v.key_id.clone(), v.state.as_str())).collect();
        assert_eq!(found, expected);
        let zeros = || SecretBytes::from_vec(vec![0; 32]);
        let wrong = match way.opener() {
            Opener::InsecureDevelopment | Opener::Token(_) => panic!("no such slot is in this vector"),
            Opener::KeyFile(_) => Opener::KeyFile(zeros()),
            Opener::Credential(name, _) => Opener::Credential(name, zeros()),
            Opener::Passphrase(_) => Opener::Passphrase(zeros()),
        };
        let refused = store::open(&text, &wrong, &Tokens::none()).expect_err("opened by a wrong secret");
        assert!(matches!(refused, LoadError::Seal(SealError::WrongSecret { .. })), "{refused}");
    }
    let kinds: BTreeSet<_> = vector.openers.iter().map(|way| way.opener().kind().to_string()).collect();
    assert_eq!(kinds.len(), 3, "one of each kind that is a secret");
    let document = Document::parse(&text).expect("parses");
    assert_eq!(document.hold, Duration::from_secs(vector.hold));
    assert_eq!(document.nodes.iter().map(ToString::to_string).collect::<Vec<_>>(), vector.nodes);
}

#[test]
fn each_version_opens_its_envelope_exactly_when_its_state_allows() {
    let vector = vectors().every_state;
    let keyring = open(&vector);
    for version in &vector.versions {
        let envelope = Envelope::parse(&version.envelope.0).expect("an envelope");
        assert_eq!(envelope.header.key_id.to_string(), version.key_id);
        match keyring.find(&envelope.header.key_id) {
            Ok(unwrapping) => {
                assert!(["staged", "primary", "retired"].contains(&version.state.as_str()), "{} unwraps", version.state);
                let opened = unwrapping.unwrap(Purpose::KmsV2, &envelope).expect("opens");
                assert_eq!(opened.expose_secret(), version.plaintext.0);
                assert!(unwrapping.unwrap(Purpose::KmsV1, &envelope).is_err(), "opened for the other purpose");
            }
            Err(LookupError::Disabled) => assert_eq!(version.state, "disabled"),
            Err(LookupError::Destroyed) => assert_eq!(version.state, "destroyed"),
            Err(LookupError::Unknown) => panic!("{} is not found", version.key_id),
        }
    }
}

#[test]
fn a_key_id_that_differs_in_one_part_finds_no_version() {
    let vector = vectors().every_state;
    let keyring = open(&vector);
    for version in &vector.versions {
        let id: KeyId = version.key_id.parse().expect("a key_id");
        let mut others = vec![KeyId { version: Version::new(u32::MAX).expect("not zero"), ..id }];
        for at in 0..8 {
            let mut bytes = *id.keyring.as_bytes();
            bytes[at] ^= 1;
            others.push(KeyId { keyring: KeyringId::from_bytes(bytes), ..id });
        }
        for at in 0..16 {
            let mut bytes = *id.check.as_bytes();
            bytes[at] ^= 1;
            others.push(KeyId { check: Check::from_bytes(bytes), ..id });
        }
        for number in (1..=6).filter(|number| *number != id.version.number()) {
            others.push(KeyId { version: Version::new(number).expect("not zero"), ..id });
        }
        for other in others {
            assert_eq!(keyring.find(&other).err(), Some(LookupError::Unknown), "{other} for {id}");
        }
    }
}

#[test]
fn the_primary_wraps_with_the_nonce_of_a_vector_into_its_very_bytes() {
    let vector = vectors().every_state;
    let keyring = open(&vector);
    let primary = vector.versions.iter().find(|v| v.state == "primary").expect("a primary");
    assert_eq!(keyring.primary().to_string(), primary.key_id);
    let wrapped = keyring.wrap(Purpose::KmsV2, &primary.plaintext.0, &Script::new(&primary.nonce.0)).expect("wraps");
    assert_eq!(wrapped, primary.envelope.0);
}

#[test]
fn no_flipped_bit_of_an_envelope_opens_under_the_key_it_names_or_under_the_one_it_was_made_with() {
    let vector = vectors().every_state;
    let keyring = open(&vector);
    for version in vector.versions.iter().filter(|v| ["staged", "primary", "retired"].contains(&v.state.as_str())) {
        let named = version.key_id.parse().expect("a key_id");
        let mut bytes = version.envelope.0.clone();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(envelope) = Envelope::parse(&bytes) {
                for id in [named, envelope.header.key_id] {
                    let opened = keyring.find(&id).ok().and_then(|unwrapping| unwrapping.unwrap(Purpose::KmsV2, &envelope).ok());
                    assert!(opened.is_none(), "bit {bit} under {id}");
                }
            }
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn every_defect_of_a_file_is_refused_with_the_error_and_the_line_that_name_it() {
    let vectors = vectors();
    let opener = vectors.every_state.openers[0].opener();
    for vector in &vectors.invalid {
        let error = store::open(&text(&vector.lines), &opener, &Tokens::none()).expect_err(&vector.defect);
        // Format 2 has come since these were frozen: such a file is refused as before, for what it says now.
        let (expected, expected_line) = match vector.defect.as_str() {
            "format 2" => ("Line", Some(1)),
            "format 2 of another form" => ("NoAuthentication", None),
            _ => (vector.error.as_str(), vector.line),
        };
        assert_eq!(error_name(&error), expected, "{}: {error}", vector.defect);
        let line = match error {
            LoadError::Document(DocumentError::Line { line, .. }) => Some(line),
            _ => None,
        };
        assert!(line == expected_line, "{}: {line:?} instead of {expected_line:?}: {error}", vector.defect);
    }
}

#[test]
fn an_absurd_cost_of_a_passphrase_is_refused_by_the_parser_which_has_no_passphrase_to_derive_from() {
    let mut tried = 0;
    for vector in vectors().invalid.iter().filter(|v| v.defect.starts_with("authentic, argon2")) {
        let refused = Document::parse(&text(&vector.lines)).err();
        assert!(matches!(refused, Some(DocumentError::Line { .. })), "{}: {refused:?}", vector.defect);
        tried += 1;
    }
    assert!(tried >= 10, "{tried}");
}

#[test]
fn no_changed_byte_and_no_truncation_of_a_file_is_authentic() {
    for vector in &vectors().first {
        let whole = text(&vector.lines);
        assert!(whole.is_ascii(), "{}", vector.name);
        let id = Document::parse(&whole).expect(&vector.name).keyring;
        let keys = FileKeys::derive(&vector.root.key(), id);
        Document::authenticate(&whole, &keys.authenticate).expect(&vector.name);
        let fast = vector.openers.iter().find(|way| !way.is_slow()).map(|way| way.opener());
        let refused = |text: &str, what: &str, at: usize| {
            // Even to a reader who has the right root key whatever became of the slots.
            let authentic = Document::parse(text).is_ok() && Document::authenticate(text, &keys.authenticate).is_ok();
            assert!(!authentic, "{}: {what} {at}", vector.name);
            if let Some(opener) = &fast {
                assert!(store::open(text, opener, &Tokens::none()).is_err(), "{}: {what} {at}", vector.name);
            }
        };
        for at in 0..whole.len() {
            refused(&whole[..at], "cut off at byte", at);
            refused(&[&whole[..at], &whole[at + 1..]].concat(), "without byte", at);
            refused(&[&whole[..at], " ", &whole[at..]].concat(), "a space before byte", at);
            let changed = char::from(whole.as_bytes()[at] ^ 1);
            refused(&format!("{}{changed}{}", &whole[..at], &whole[at + 1..]), "changed byte", at);
        }
        refused(&whole.replace('\n', "\r\n"), "line ends of", 2);
        refused(&format!("\u{feff}{whole}"), "byte order mark before byte", 0);
        refused(&format!("{whole}\n"), "line appended after byte", whole.len());
    }
}

#[test]
fn a_file_without_its_last_lines_does_not_load() {
    for vector in &vectors().first {
        for missing in 1..vector.lines.len() {
            let without = text(&vector.lines[..vector.lines.len() - missing]);
            let error = store::open(&without, &vector.openers[0].opener(), &Tokens::none()).expect_err(&vector.name);
            assert!(matches!(error, LoadError::Document(DocumentError::NoAuthentication)), "{}: {error}", vector.name);
        }
    }
}

#[test]
fn the_root_key_of_a_vector_is_the_one_that_authenticates_it() {
    let vectors = vectors();
    let first = vectors.first.iter().map(|v| (&v.lines, &v.root));
    for (lines, root) in first.chain([(&vectors.every_state.lines, &vectors.every_state.root)]) {
        let text = text(lines);
        let id = Document::parse(&text).expect("parses").keyring;
        let authenticates = |root: &Bytes| Document::authenticate(&text, &FileKeys::derive(&root.key(), id).authenticate);
        assert_eq!(authenticates(root), Ok(()));
        assert_eq!(authenticates(&Bytes(vec![0; 32])), Err(DocumentError::NotAuthentic));
    }
}
