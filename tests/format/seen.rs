//! Section 8 of `docs/formats.md`: what a plugin remembers of the keyring that it has seen.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use keywright::keyring::document::Document;
use keywright::keyring::seen::{Seen, SeenError};

use crate::vectors::{Keyrings, SeenFiles, load, text};

fn document() -> Document {
    Document::parse(&text(&load::<Keyrings>("keyring-1.json").every_state.lines)).expect("parses")
}

/// A state folder with this text in the place of what was seen.
fn folder(text: &str) -> tempfile::TempDir {
    let dir = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir().expect("folder");
    let path = dir.path().join("seen");
    fs::write(&path, text).expect("write");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
    dir
}

#[test]
fn what_is_remembered_of_a_keyring_is_its_vector_byte_for_byte() {
    let dir = folder("");
    Seen::of(&document()).expect("has a history").write(dir.path()).expect("writes");
    let written = fs::read_to_string(dir.path().join("seen")).expect("reads");
    assert_eq!(written, load::<SeenFiles>("seen-1.json").of_the_keyring);
}

#[test]
fn an_earlier_state_of_the_same_past_passes_and_anything_else_is_an_alarm_by_name() {
    let (vectors, document) = (load::<SeenFiles>("seen-1.json"), document());
    let check = |text: &str| Seen::read(folder(text).path()).expect("reads").expect("was written").check(&document);
    for vector in &vectors.passes {
        assert!(check(&vector.text).is_ok(), "{}", vector.name);
    }
    for vector in &vectors.alarms {
        let error = check(&vector.text).expect_err(&vector.name);
        assert!(format!("{error:?}").starts_with(&format!("{} ", vector.error)), "{}: {error:?}", vector.name);
    }
}

#[test]
fn a_record_of_another_form_is_refused_and_not_taken_for_none() {
    for vector in &load::<SeenFiles>("seen-1.json").invalid {
        let read = Seen::read(folder(&vector.text).path());
        assert!(matches!(read, Err(SeenError::Form(_))), "{}: {read:?}", vector.defect);
    }
}
