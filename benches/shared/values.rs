//! Values in etcd of about a kibibyte each, as API servers store them under two keys and in plaintext, and what a scan counts of them.

use std::collections::BTreeMap;

use keywright::entropy::{Entropy, OsEntropy};
use keywright_testbed::etcd::Etcd;
use serde_json::Value;

/// Where all of them begin.
pub(crate) const PREFIX: &str = "/registry";
const KEY_IDS: [&str; 2] =
    ["kw1.0123456789abcdef.1.00112233445566778899aabbccddeeff", "kw1.0123456789abcdef.2.ffeeddccbbaa99887766554433221100"];
/// Of an envelope of ours around a seed.
const WRAPPED: usize = 104;

/// Values by resource, kind and key_id.
pub(crate) type Counts = BTreeMap<(String, String, String), u64>;

/// Writes that many values, and says what they are: of ten, four Secrets under one key, four under another, and two Pods in plaintext.
pub(crate) fn fill(etcd: &Etcd, values: usize) -> Counts {
    let mut written = Counts::new();
    let all: Vec<usize> = (0..values).collect();
    for some in all.chunks(5_000) {
        let pairs: Vec<(String, Vec<u8>)> = some
            .iter()
            .map(|&at| {
                let (resource, kind, key_id) = match at % 10 {
                    0..4 => ("secrets", "kms-v2", KEY_IDS[0]),
                    4..8 => ("secrets", "kms-v2", KEY_IDS[1]),
                    _ => ("pods", "plaintext", ""),
                };
                *written.entry((resource.to_owned(), kind.to_owned(), key_id.to_owned())).or_default() += 1;
                let value = if key_id.is_empty() { plaintext(at) } else { kms_value(at, key_id) };
                (format!("{PREFIX}/{resource}/namespace-{}/object-{at:07}", at % 100), value)
            })
            .collect();
        etcd.put_all(&pairs).expect("etcd takes them");
    }
    written
}

/// What an API server stores under KMS v2 for an object of about a kibibyte: ciphertext is random bytes to everybody else.
fn kms_value(at: usize, key_id: &str) -> Vec<u8> {
    let mut value = b"k8s:enc:kms:v2:keywright:".to_vec();
    for (number, field) in [(1, random(720 + at % 64)), (2, key_id.as_bytes().to_vec()), (3, random(WRAPPED))] {
        field_of(&mut value, number, &field);
    }
    value.extend([5 << 3, 1]); // the source is a seed
    value
}

/// An object as it stands in etcd unencrypted, in the API server's protobuf form (message Unknown: what it is, and its bytes).
fn plaintext(at: usize) -> Vec<u8> {
    let mut value = b"k8s\0".to_vec();
    field_of(&mut value, 1, b"\x0a\x02v1\x12\x03Pod");
    field_of(&mut value, 2, &random(960 + at % 64));
    value
}

/// A field of bytes in protobuf.
fn field_of(message: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    message.push(number << 3 | 2);
    prost::encoding::encode_varint(bytes.len() as u64, message);
    message.extend(bytes);
}

fn random(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    OsEntropy.fill(&mut bytes).expect("the kernel has randomness");
    bytes
}

/// What a scan says that it counted; the whole report, so that a value too many is seen as well.
pub(crate) fn counted(said: &[u8]) -> Counts {
    let said: Value = serde_json::from_slice(said).expect("the scan prints JSON");
    let field = |count: &Value, name: &str| count[name].as_str().expect("text").to_owned();
    let counts = said["stores"][0]["report"]["counts"].as_array().expect("a list");
    let mut found = Counts::new();
    for count in counts {
        let what = (field(count, "resource"), field(count, "kind"), field(count, "key_id"));
        *found.entry(what).or_default() += count["values"].as_u64().expect("a number");
    }
    found
}
