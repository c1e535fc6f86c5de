//! No stored value makes its reader panic; what is accepted of KMS v2 is read the same when it is written in another order; and a tally
//! counts every value once, whatever it is.

#![no_main]

use keywright::etcd::Entry;
use keywright::etcd::key::Prefix;
use keywright::etcd::object::{EncryptedObject, SourceType};
use keywright::etcd::value::{self, KmsV1Body, Stored};
use keywright::scan::tally::{FIRST, Names, Settings, Tally};
use libfuzzer_sys::fuzz_target;

fn varint(mut number: usize, out: &mut Vec<u8>) {
    while number > 0x7f {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put(field: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(field << 3 | 2);
    varint(bytes.len(), out);
    out.extend_from_slice(bytes);
}

/// Last field first, annotations backwards.
fn written(object: &EncryptedObject<'_>) -> Vec<u8> {
    let mut out = vec![5 << 3, u8::from(object.source_type == SourceType::Seed)];
    for (key, value) in object.annotations.iter().rev() {
        let mut entry = vec![];
        put(2, value, &mut entry);
        put(1, key.as_bytes(), &mut entry);
        put(4, &entry, &mut out);
    }
    put(3, object.source, &mut out);
    put(2, object.key_id.as_bytes(), &mut out);
    put(1, object.data, &mut out);
    out
}

fn again(object: &EncryptedObject<'_>) {
    let bytes = written(object);
    assert_eq!(EncryptedObject::parse(&bytes).as_ref(), Ok(object));
}

fuzz_target!(|bytes: &[u8]| {
    match value::read(bytes) {
        Stored::Plain(_) => assert!(!bytes.starts_with(b"k8s:enc:")),
        Stored::KmsV2 { object, .. } => again(&object),
        Stored::Local(_, named) | Stored::KmsV1(named) => {
            let (name, body) = named.guess();
            assert_eq!(named.after_prefix(), [name.as_bytes(), b":", body].concat());
            assert!(named.among([name]).eq([(name, body)]));
            let _ = KmsV1Body::parse(body).and_then(|body| body.key_id());
        }
        Stored::Unknown(_) | Stored::Unreadable(_) => {}
    }
    if let Ok(object) = EncryptedObject::parse(bytes) {
        again(&object);
    }
    // The same bytes as a key and as a value.
    let settings = Settings { prefix: Prefix::default(), names: Names::default(), primary: None, first: FIRST };
    let mut tally = Tally::new(settings);
    tally.add(&Entry { key: bytes, value: bytes, mod_revision: 1 });
    assert_eq!(tally.counts().iter().map(|count| count.values).sum::<u64>() + tally.uncounted(), 1);
});
