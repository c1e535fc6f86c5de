//! Section 5 of `docs/formats.md`: values as the API server stores them.

use keywright::etcd::Entry;
use keywright::etcd::key::Prefix;
use keywright::etcd::value::{self, Form, KmsV1Body, Stored};
use keywright::scan::tally::{FIRST, Names, Settings, Tally};

use crate::vectors::{Bytes, StoredValues, load};

fn vectors() -> StoredValues {
    load("stored-1.json")
}

/// The parts of a value, as the vectors list them.
fn parts(value: &[u8]) -> Vec<Bytes> {
    let parts = match value::read(value) {
        Stored::Plain(_) => vec![],
        Stored::Local(_, named) => vec![named.guess().1],
        Stored::KmsV1(named) => {
            let body = KmsV1Body::parse(named.guess().1).expect("a body");
            vec![body.cipher, body.data]
        }
        Stored::KmsV2 { object, .. } => {
            let annotations = object.annotations.iter().flat_map(|(key, value)| [key.as_bytes(), value]);
            [object.data, object.source].into_iter().chain(annotations).collect()
        }
        other => panic!("no parts in {other:?}"),
    };
    parts.into_iter().map(|part| Bytes(part.to_vec())).collect()
}

#[test]
fn every_stored_value_is_read_as_an_independent_reading_does() {
    for vector in vectors().valid {
        assert_eq!(parts(&vector.value.0), vector.parts, "{}", vector.name);
    }
}

#[test]
fn every_stored_value_is_counted_by_its_provider_and_key() {
    for vector in vectors().valid {
        let settings = Settings { prefix: Prefix::default(), names: Names::default(), primary: None, first: FIRST };
        let mut tally = Tally::new(settings);
        tally.add(&Entry { key: b"/registry/secrets/default/s1", value: &vector.value.0, mod_revision: 5 });
        let counts = tally.counts();
        let [count] = &counts[..] else { panic!("{}: {counts:?}", vector.name) };
        let counted = (count.kind.name(), &count.provider, &count.key_id, &count.detail, count.values);
        assert_eq!(counted, (vector.kind.as_str(), &vector.provider, &vector.key_id, &vector.detail, 1), "{}", vector.name);
    }
}

#[test]
fn every_defect_of_a_stored_value_is_named_and_no_other_value_made_of_it() {
    for vector in vectors().invalid {
        assert_eq!(format!("{:?}", value::read(&vector.value.0)), vector.read, "{}", vector.defect);
    }
}

#[test]
fn a_value_cut_anywhere_is_never_taken_for_another_key() {
    let vectors = vectors();
    let whole = &vectors.cuts.of.0;
    let prefix = b"k8s:enc:kms:v2:".len();
    for at in 0..whole.len() {
        let read = value::read(&whole[..at]);
        let good = match &read {
            Stored::Plain(Form::Other) => at < b"k8s:enc:".len(),
            Stored::Unknown(label) => label.is_empty() && (b"k8s:enc:".len()..prefix).contains(&at),
            Stored::Unreadable(_) => at >= prefix && !vectors.cuts.still_whole.contains(&at),
            Stored::KmsV2 { provider, object } => {
                vectors.cuts.still_whole.contains(&at) && (*provider, object.key_id, object.source) == ("p1", "kek-2", b"wrapped-seed")
            }
            _ => false,
        };
        assert!(good, "cut at {at}: {read:?}");
    }
}
