//! Section 1 of `docs/formats.md`.

use keywright::key_id::{KeyId, MAX_LEN, sha256_form};

use crate::vectors::{KeyIds, ValidKeyId, load};

fn vectors() -> KeyIds {
    let vectors: KeyIds = load("key_id.json");
    assert!(!vectors.valid.is_empty() && !vectors.invalid.is_empty());
    vectors
}

fn parsed(vector: &ValidKeyId) -> KeyId {
    vector.text.parse().unwrap_or_else(|error| panic!("{}: {error}", vector.name))
}

#[test]
fn every_valid_key_id_is_read_and_written_as_the_vectors_say() {
    for vector in &vectors().valid {
        let id = parsed(vector);
        assert_eq!(id.to_string(), vector.text, "{}", vector.name);
        assert_eq!(id.keyring.as_bytes().as_slice(), vector.keyring.0, "{}", vector.name);
        assert_eq!(id.version.to_string(), vector.version, "{}", vector.name);
        assert_eq!(id.check.as_bytes().as_slice(), vector.check.0, "{}", vector.name);
        assert_eq!(sha256_form(&vector.text), vector.sha256, "{}", vector.name);
    }
}

#[test]
fn every_defect_is_refused_with_the_error_that_names_it() {
    for vector in &vectors().invalid {
        let error = vector.text.parse::<KeyId>().expect_err(&vector.defect);
        assert_eq!(format!("{error:?}"), vector.error, "{}", vector.defect);
    }
}

#[test]
fn the_longest_vector_has_the_length_that_is_promised() {
    assert_eq!(vectors().valid.iter().map(|vector| vector.text.len()).max(), Some(MAX_LEN));
}

#[test]
fn no_changed_removed_or_added_byte_leaves_the_name_of_the_same_version() {
    for vector in &vectors().valid {
        let id = parsed(vector);
        let text = vector.text.as_bytes();
        let differs = |bytes: Vec<u8>| {
            if let Ok(other) = std::str::from_utf8(&bytes).map(str::parse::<KeyId>) {
                assert_ne!(other, Ok(id), "{:?} also names {}", String::from_utf8_lossy(&bytes), vector.text);
            }
        };
        for at in 0..text.len() {
            for value in (0..=u8::MAX).filter(|value| *value != text[at]) {
                differs([&text[..at], &[value], &text[at + 1..]].concat());
            }
            differs([&text[..at], &text[at + 1..]].concat());
        }
        for at in 0..=text.len() {
            for value in 0..=u8::MAX {
                differs([&text[..at], &[value], &text[at..]].concat());
            }
        }
    }
}
