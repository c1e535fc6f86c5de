//! Sections 2 and 3 of `docs/formats.md`: the envelope and its associated data.

use keywright::envelope::{Algorithm, Envelope, HEADER_LEN, Header, MAX_LEN, ParseError, Purpose};
use keywright::key_id::{Check, KeyId, KeyringId, Version};
use keywright::provider::local::LocalKek;
use keywright::provider::{Kek, KekError};

use crate::script::Script;
use crate::vectors::{Envelopes, ValidEnvelope, load, version};

fn vectors() -> Envelopes {
    let vectors: Envelopes = load("envelope-1.json");
    assert_eq!(vectors.format, 1);
    assert!(!vectors.valid.is_empty() && !vectors.invalid.is_empty());
    vectors
}

fn header(vector: &ValidEnvelope) -> Header {
    Header { algorithm: Algorithm::Xaes256Gcm, key_id: vector.key_id() }
}

/// Opens `bytes` under the name that they give themselves; the plaintext is secret elsewhere, here it comes from a public vector.
fn open(kek: &LocalKek, purpose: Purpose, bytes: &[u8]) -> Option<Vec<u8>> {
    let envelope = Envelope::parse(bytes).ok()?;
    unwrap(kek, &envelope.header.associated_data(purpose), &envelope)
}

fn unwrap(kek: &LocalKek, aad: &[u8], envelope: &Envelope<'_>) -> Option<Vec<u8>> {
    match kek.unwrap_key(aad, envelope.nonce, envelope.sealed) {
        Ok(opened) => Some(opened.expose_secret().to_vec()),
        Err(KekError::Authentication) => None,
        Err(other) => panic!("not the one answer for what does not open: {other}"),
    }
}

#[test]
fn wrapping_with_the_nonce_of_a_vector_gives_its_very_bytes() {
    for vector in &vectors().valid {
        let header = header(vector);
        assert_eq!(header.key_id.keyring, vector.keyring.keyring(), "{}", vector.name);
        assert_eq!(header.key_id.version, version(vector.version), "{}", vector.name);
        assert_eq!(header.key_id.check.as_bytes().as_slice(), vector.check.0, "{}", vector.name);
        let aad = header.associated_data(vector.purpose());
        assert_eq!(aad, vector.associated_data.0, "{}", vector.name);
        let wrapped = vector.kek.kek().wrap_key(&aad, &vector.plaintext.0, &Script::new(&vector.nonce.0)).expect(&vector.name);
        let written = Envelope { header, nonce: &wrapped.nonce, sealed: &wrapped.sealed }.write();
        assert_eq!(written, vector.envelope.0, "{}", vector.name);
    }
}

#[test]
fn parsing_and_unwrapping_a_vector_gives_what_was_wrapped() {
    for vector in &vectors().valid {
        let envelope = Envelope::parse(&vector.envelope.0).expect(&vector.name);
        assert_eq!(envelope.header, header(vector), "{}", vector.name);
        assert_eq!(envelope.nonce, vector.nonce.0, "{}", vector.name);
        assert_eq!(envelope.write(), vector.envelope.0, "{}", vector.name);
        assert_eq!(open(&vector.kek.kek(), vector.purpose(), &vector.envelope.0), Some(vector.plaintext.0.clone()), "{}", vector.name);
    }
}

#[test]
fn the_lengths_that_are_promised_occur_and_fit() {
    let lengths: Vec<_> = vectors().valid.iter().map(|v| (v.plaintext.0.len(), v.envelope.0.len())).collect();
    for expected in [(1, 73), (4, 76), (32, 104), (952, MAX_LEN)] {
        assert!(lengths.contains(&expected), "no vector of {expected:?} bytes among {lengths:?}");
    }
}

#[test]
fn every_defect_is_refused_for_the_reason_that_its_vector_gives() {
    for vector in &vectors().invalid {
        let parsed = Envelope::parse(&vector.envelope.0);
        if vector.refused == "does not open" {
            let envelope = parsed.expect(&vector.defect);
            let aad = envelope.header.associated_data(vector.purpose());
            assert_eq!(unwrap(&vector.kek.kek(), &aad, &envelope), None, "{}", vector.defect);
        } else {
            assert_eq!(format!("{:?}", parsed.expect_err(&vector.defect)), vector.refused, "{}", vector.defect);
        }
    }
}

#[test]
fn no_single_flipped_bit_leaves_an_envelope_that_opens() {
    for vector in &vectors().valid {
        let kek = vector.kek.kek();
        let mut bytes = vector.envelope.0.clone();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&kek, vector.purpose(), &bytes), None, "{}: bit {} of byte {}", vector.name, bit % 8, bit / 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(bytes, vector.envelope.0);
    }
}

#[test]
fn no_truncation_and_no_appended_byte_leaves_an_envelope_that_opens() {
    for vector in &vectors().valid {
        let (kek, purpose, whole) = (vector.kek.kek(), vector.purpose(), &vector.envelope.0);
        for len in 0..whole.len() {
            assert_eq!(open(&kek, purpose, &whole[..len]), None, "{}: the first {len} bytes", vector.name);
            assert_eq!(open(&kek, purpose, &whole[whole.len() - len..]), None, "{}: the last {len} bytes", vector.name);
        }
        for byte in 0..=u8::MAX {
            let longer = [whole.as_slice(), &[byte]].concat();
            assert_eq!(open(&kek, purpose, &longer), None, "{}: {byte:#04x} appended", vector.name);
            if whole.len() == MAX_LEN {
                assert_eq!(Envelope::parse(&longer), Err(ParseError::TooLong));
            }
        }
    }
}

#[test]
fn an_envelope_does_not_open_when_any_part_of_its_associated_data_is_another() {
    for vector in &vectors().valid {
        let (kek, id) = (vector.kek.kek(), vector.key_id());
        let envelope = Envelope::parse(&vector.envelope.0).expect(&vector.name);
        let other_purpose = match vector.purpose() {
            Purpose::KmsV1 => Purpose::KmsV2,
            Purpose::KmsV2 => Purpose::KmsV1,
        };
        let other_ids = [
            KeyId { keyring: KeyringId::from_bytes(id.keyring.as_bytes().map(|byte| byte ^ 1)), ..id },
            KeyId { version: Version::new(id.version.number() ^ 2).expect("not zero"), ..id },
            KeyId { check: Check::from_bytes(id.check.as_bytes().map(|byte| byte ^ 1)), ..id },
        ];
        let others = other_ids.map(|key_id| Header { key_id, ..envelope.header }.associated_data(vector.purpose()));
        assert_eq!(unwrap(&kek, &envelope.header.associated_data(other_purpose), &envelope), None, "{}: purpose", vector.name);
        for aad in others {
            assert_eq!(unwrap(&kek, &aad, &envelope), None, "{}: key_id", vector.name);
        }
    }
}

#[test]
fn every_byte_of_the_associated_data_counts() {
    for vector in &vectors().valid {
        let (kek, envelope) = (vector.kek.kek(), Envelope::parse(&vector.envelope.0).expect(&vector.name));
        let aad = header(vector).associated_data(vector.purpose());
        assert!(unwrap(&kek, &aad, &envelope).is_some(), "{}", vector.name);
        for at in 0..aad.len() {
            let mut changed = aad.clone();
            changed[at] ^= 1;
            assert_eq!(unwrap(&kek, &changed, &envelope), None, "{}: byte {at} changed", vector.name);
            assert_eq!(unwrap(&kek, &aad[..at], &envelope), None, "{}: cut off at byte {at}", vector.name);
        }
    }
}

#[test]
fn no_vector_opens_as_another_one() {
    let vectors = vectors().valid;
    for (at, one) in vectors.iter().enumerate() {
        for other in vectors.iter().skip(at + 1) {
            // The header of one before nonce and ciphertext of the other, and the other way round.
            for (head, body) in [(one, other), (other, one)] {
                let crossed = [&head.envelope.0[..HEADER_LEN], &body.envelope.0[HEADER_LEN..]].concat();
                if crossed == body.envelope.0 && head.purpose() == body.purpose() {
                    continue;
                }
                assert_eq!(open(&head.kek.kek(), head.purpose(), &crossed), None, "{} under {}", body.name, head.name);
                assert_eq!(open(&body.kek.kek(), head.purpose(), &crossed), None, "{} under {}", body.name, head.name);
            }
        }
    }
}
