//! Section 3 of `docs/formats.md`: the canary of a version and the check taken from it.

use keywright::envelope::Algorithm;
use keywright::key_id::KeyId;
use keywright::keyring::canary::Subject;
use keywright::provider::{Kek, KekError};

use crate::script::Script;
use crate::vectors::{Bytes, Canaries, Envelopes, load, version};

fn vectors() -> Canaries {
    let vectors: Canaries = load("canary-1.json");
    assert!(!vectors.valid.is_empty() && !vectors.invalid.is_empty());
    vectors
}

fn subject(keyring: &Bytes, number: u32) -> Subject {
    Subject { keyring: keyring.keyring(), version: version(number), algorithm: Algorithm::Xaes256Gcm }
}

fn proves(subject: Subject, kek: &Bytes, canary: &[u8]) -> bool {
    match subject.prove(&kek.kek(), canary) {
        Ok(()) => true,
        Err(KekError::Authentication) => false,
        Err(other) => panic!("not the one answer for what does not open: {other}"),
    }
}

#[test]
fn wrapping_with_the_nonce_of_a_vector_gives_its_canary_check_and_key_id() {
    for vector in &vectors().valid {
        let subject = subject(&vector.keyring, vector.version);
        let canary = subject.wrap(&vector.kek.kek(), &Script::new(&vector.nonce.0)).expect(&vector.name);
        assert_eq!(canary.as_bytes(), vector.canary.0, "{}", vector.name);
        assert!(proves(subject, &vector.kek, &vector.canary.0), "{}", vector.name);
        let check = subject.check(canary.as_bytes());
        assert_eq!(check.as_bytes().as_slice(), vector.check.0, "{}", vector.name);
        let key_id = KeyId { keyring: subject.keyring, version: subject.version, check };
        assert_eq!(key_id.to_string(), vector.key_id, "{}", vector.name);
    }
}

#[test]
fn a_canary_is_the_public_text_under_the_associated_data_that_is_documented() {
    let vectors = vectors();
    for vector in &vectors.valid {
        let (nonce, sealed) = vector.canary.0.split_at(vector.nonce.0.len());
        let opened = vector.kek.kek().unwrap_key(&vector.associated_data.0, nonce, sealed).expect(&vector.name);
        assert_eq!(opened.expose_secret(), vectors.plaintext.0, "{}", vector.name);
    }
}

#[test]
fn no_defect_proves_a_key() {
    for vector in &vectors().invalid {
        let subject = subject(&vector.keyring, vector.version);
        assert!(!proves(subject, &vector.kek, &vector.canary.0), "{}", vector.defect);
    }
}

#[test]
fn no_flipped_bit_and_no_truncation_proves_a_key_or_keeps_the_check() {
    for vector in &vectors().valid {
        let subject = subject(&vector.keyring, vector.version);
        let check = subject.check(&vector.canary.0);
        let mut canary = vector.canary.0.clone();
        for bit in 0..canary.len() * 8 {
            canary[bit / 8] ^= 1 << (bit % 8);
            assert!(!proves(subject, &vector.kek, &canary), "{}: bit {bit}", vector.name);
            assert_ne!(subject.check(&canary), check, "{}: bit {bit}", vector.name);
            canary[bit / 8] ^= 1 << (bit % 8);
        }
        for len in 0..canary.len() {
            assert!(!proves(subject, &vector.kek, &canary[..len]), "{}: the first {len} bytes", vector.name);
            assert_ne!(subject.check(&canary[..len]), check, "{}: the first {len} bytes", vector.name);
        }
    }
}

#[test]
fn the_check_depends_on_keyring_and_version() {
    for vector in &vectors().valid {
        let check = subject(&vector.keyring, vector.version).check(&vector.canary.0);
        let next = vector.version.wrapping_add(1).max(1);
        assert_ne!(subject(&vector.keyring, next).check(&vector.canary.0), check, "{}", vector.name);
        let other = Bytes(vector.keyring.0.iter().map(|byte| byte ^ 1).collect());
        assert_ne!(subject(&other, vector.version).check(&vector.canary.0), check, "{}", vector.name);
    }
}

#[test]
fn the_canaries_of_the_envelope_vectors_prove_their_keys_and_give_their_checks() {
    let vectors: Envelopes = load("envelope-1.json");
    for vector in &vectors.valid {
        let subject = subject(&vector.keyring, vector.version);
        assert!(proves(subject, &vector.kek, &vector.canary.0), "{}", vector.name);
        assert_eq!(subject.check(&vector.canary.0).as_bytes().as_slice(), vector.check.0, "{}", vector.name);
    }
}
