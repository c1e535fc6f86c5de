use std::collections::BTreeMap;

use proptest::prelude::*;
use prost::Message;

use super::*;

/// The message as another implementation of protobuf writes and reads it.
#[derive(Clone, PartialEq, Message)]
struct Foreign {
    #[prost(bytes = "vec", tag = "1")]
    data: Vec<u8>,
    #[prost(string, tag = "2")]
    key_id: String,
    #[prost(bytes = "vec", tag = "3")]
    source: Vec<u8>,
    #[prost(btree_map = "string, bytes", tag = "4")]
    annotations: BTreeMap<String, Vec<u8>>,
    #[prost(int32, tag = "5")]
    source_type: i32,
}

fn good() -> Foreign {
    Foreign {
        data: vec![7; 60],
        key_id: "kek-2".into(),
        source: b"wrapped".to_vec(),
        annotations: BTreeMap::from([("a.example.com".into(), b"abc".to_vec())]),
        source_type: 1,
    }
}

fn refused(change: impl FnOnce(&mut Foreign)) -> ObjectError {
    let mut object = good();
    change(&mut object);
    EncryptedObject::parse(&object.encode_to_vec()).expect_err("refused")
}

fn named(annotation: &str) -> Result<(), ObjectError> {
    let object = Foreign { annotations: BTreeMap::from([(annotation.into(), vec![])]), ..good() };
    EncryptedObject::parse(&object.encode_to_vec()).map(drop)
}

#[test]
fn an_object_is_read_as_another_implementation_wrote_it() {
    let bytes = good().encode_to_vec();
    let object = EncryptedObject::parse(&bytes).expect("good");
    assert_eq!((object.data, object.key_id, object.source), (&[7; 60][..], "kek-2", &b"wrapped"[..]));
    assert_eq!(object.annotations, [("a.example.com", &b"abc"[..])]);
    assert_eq!(object.source_type, SourceType::Seed);
}

#[test]
fn debug_output_of_an_object_shows_lengths_instead_of_bytes() {
    let bytes = good().encode_to_vec();
    let shown = format!("{:?}", EncryptedObject::parse(&bytes).expect("good"));
    assert_eq!(shown, r#"EncryptedObject("kek-2", Seed, 60 bytes, source of 7, 1 annotations)"#);
}

#[test]
fn what_the_api_server_refuses_is_refused_with_the_error_that_names_it() {
    assert_eq!(refused(|o| o.source_type = 2), ObjectError::SourceType(2));
    assert_eq!(refused(|o| o.source_type = -1), ObjectError::SourceType(-1));
    assert_eq!(refused(|o| o.data.clear()), ObjectError::NoData);
    assert_eq!(refused(|o| o.source.clear()), ObjectError::NoSource);
    assert_eq!(refused(|o| o.source = vec![1; 1025]), ObjectError::SourceTooLong(1025));
    assert_eq!(refused(|o| o.key_id.clear()), ObjectError::NoKeyId);
    assert_eq!(refused(|o| o.key_id = "k".repeat(1025)), ObjectError::KeyIdTooLong(1025));
    // With several faults at once, the first in the API server's order.
    assert_eq!(refused(|o| *o = Foreign { source_type: 9, ..Foreign::default() }), ObjectError::SourceType(9));
    assert_eq!(refused(|o| *o = Foreign::default()), ObjectError::NoData);
}

#[test]
fn the_limits_themselves_are_accepted() {
    let limits = Foreign {
        key_id: "k".repeat(1024),
        source: vec![1; 1024],
        annotations: BTreeMap::from([("a.example.com".into(), vec![0; 32768 - 13])]),
        ..good()
    };
    assert_eq!(EncryptedObject::parse(&limits.encode_to_vec()).map(drop), Ok(()));
    let one_more = Foreign { annotations: BTreeMap::from([("a.example.com".into(), vec![0; 32769 - 13])]), ..limits };
    assert_eq!(EncryptedObject::parse(&one_more.encode_to_vec()), Err(ObjectError::AnnotationsTooLong(32769)));
}

#[test]
fn annotations_are_named_by_the_rule_of_the_api_server() {
    let (label, long) = ("a".repeat(63), "a.".repeat(126) + "b");
    assert_eq!(long.len(), 253);
    for name in ["a.com", "k8s.io", "dev.k8s.io.", "10.0.0.1", "a-b.c", &format!("{label}.io"), &long, &format!("{long}.")] {
        assert_eq!(named(name), Ok(()), "{name}");
    }
    let (too_long_label, too_long) = (format!("{label}a.io"), format!("{long}b"));
    for name in [
        "",
        "com",
        ".",
        "..",
        "...",
        ".io",
        "a..io",
        "a.io..",
        "Dev.k8s.io",
        "*.example.com",
        "foo_bar.k8s.io",
        "foo@bar.example.com",
        "http://foo.example.com",
        "-a.io",
        "a-.io",
        "é.io",
        &too_long_label,
        &too_long,
    ] {
        assert_eq!(named(name), Err(ObjectError::AnnotationKey), "{name}");
    }
}

#[test]
fn the_last_of_several_fields_and_annotations_counts() {
    let second =
        Foreign { key_id: "kek-3".into(), annotations: BTreeMap::from([("a.example.com".into(), b"last".to_vec())]), ..Foreign::default() };
    let bytes = [good().encode_to_vec(), second.encode_to_vec()].concat();
    let object = EncryptedObject::parse(&bytes).expect("good");
    assert_eq!((object.key_id, object.annotations), ("kek-3", vec![("a.example.com", &b"last"[..])]));
    // Only what is left of the doubles counts against the limit.
    let big = Foreign { annotations: BTreeMap::from([("a.example.com".into(), vec![0; 30000])]), ..good() }.encode_to_vec();
    assert!(EncryptedObject::parse(&[big.clone(), big].concat()).is_ok());
}

#[test]
fn unknown_fields_of_every_kind_are_passed_over() {
    let unknown: [&[u8]; 8] = [
        &[0x30, 0x01],
        &[0x31, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0x32, 2, 0, 0],
        &[0x35, 1, 2, 3, 4],
        &[0x33, 0x0a, 1, 9, 0x33, 0x08, 7, 0x34, 0x34],
        // Known numbers with another wire type, and an enum with bits above the 32 that count.
        &[0x08, 5],
        &[0x2a, 1, 0],
        &[0x28, 0x81, 0x80, 0x80, 0x80, 0x10],
    ];
    for piece in unknown {
        for bytes in [[piece, &good().encode_to_vec()].concat(), [&good().encode_to_vec(), piece].concat()] {
            assert_eq!(EncryptedObject::parse(&bytes), EncryptedObject::parse(&good().encode_to_vec()), "{piece:02x?}");
        }
    }
}

#[test]
fn hostile_bytes_are_refused_without_believing_a_length() {
    let hostile: [&[u8]; 12] = [
        &[0x80],
        &[0x00, 0x00],
        &[0x0a],
        &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
        &[0x28, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02],
        &[0x34],
        &[0x33, 0x3c],
        &[0x36],
        &[0x37],
        &[0x80, 0x80, 0x80, 0x80, 0x10, 0x00],
        &[0x22, 2, 0x0a, 1],
    ];
    for bytes in hostile {
        assert_eq!(EncryptedObject::parse(bytes), Err(ObjectError::Malformed), "{bytes:02x?}");
        assert_eq!(EncryptedObject::parse(&[&good().encode_to_vec(), bytes].concat()), Err(ObjectError::Malformed), "{bytes:02x?}");
    }
    let deep = [vec![0x33; 100_000], vec![0x34; 100_000]].concat();
    assert_eq!(EncryptedObject::parse(&deep), Err(ObjectError::Malformed));
    for not_text in [&[0x12, 1, 0xff][..], &[0x22, 3, 0x0a, 1, 0xff]] {
        assert_eq!(EncryptedObject::parse(&[not_text, &good().encode_to_vec()].concat()), Err(ObjectError::NotText));
    }
}

fn any_object() -> impl Strategy<Value = Foreign> {
    let annotations = proptest::collection::btree_map("[a-z0-9]{1,9}\\.[a-z0-9]{1,9}", any::<Vec<u8>>(), 0..6);
    let bytes = || proptest::collection::vec(any::<u8>(), 1..200);
    (bytes(), "\\PC{1,60}", bytes(), annotations, 0..2).prop_map(|(data, key_id, source, annotations, source_type)| Foreign {
        data,
        key_id,
        source,
        annotations,
        source_type,
    })
}

/// The encodings of the fields one by one.
fn pieces(object: &Foreign) -> Vec<Vec<u8>> {
    let none = Foreign::default;
    let mut pieces = vec![
        Foreign { data: object.data.clone(), ..none() }.encode_to_vec(),
        Foreign { key_id: object.key_id.clone(), ..none() }.encode_to_vec(),
        Foreign { source: object.source.clone(), ..none() }.encode_to_vec(),
        Foreign { source_type: object.source_type, ..none() }.encode_to_vec(),
        vec![0x7a, 1, 0],
    ];
    for (key, value) in &object.annotations {
        pieces.push(Foreign { annotations: BTreeMap::from([(key.clone(), value.clone())]), ..none() }.encode_to_vec());
    }
    pieces
}

proptest! {
    #[test]
    fn objects_are_read_whatever_the_order_of_their_fields(
        (object, bytes) in any_object().prop_flat_map(|object| {
            let shuffled = Just(pieces(&object)).prop_shuffle().prop_map(|pieces| pieces.concat());
            (Just(object), shuffled)
        })
    ) {
        let read = EncryptedObject::parse(&bytes).expect("good");
        prop_assert_eq!(read.data, &object.data[..]);
        prop_assert_eq!(read.key_id, &object.key_id);
        prop_assert_eq!(read.source, &object.source[..]);
        prop_assert_eq!(read.source_type, if object.source_type == 1 { SourceType::Seed } else { SourceType::AesGcmKey });
        let annotations: Vec<_> = object.annotations.iter().map(|(key, value)| (key.as_str(), value.as_slice())).collect();
        prop_assert_eq!(read.annotations, annotations);
    }

    #[test]
    fn what_is_accepted_means_the_same_to_another_implementation(mut bytes in any_object().prop_map(|o| o.encode_to_vec()),
                                                                 at in any::<prop::sample::Index>(), put in any::<u8>()) {
        let at = at.index(bytes.len());
        bytes[at] = put;
        if let (Ok(ours), Ok(theirs)) = (EncryptedObject::parse(&bytes), Foreign::decode(&bytes[..])) {
            prop_assert_eq!((ours.data, ours.key_id, ours.source), (&theirs.data[..], theirs.key_id.as_str(), &theirs.source[..]));
            prop_assert_eq!(ours.annotations.len(), theirs.annotations.len());
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in any::<Vec<u8>>()) {
        let _ = EncryptedObject::parse(&bytes);
    }
}
