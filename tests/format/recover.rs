//! Values as every provider of Kubernetes stores them, byte for byte, made by an implementation that shares nothing with ours.
//!
//! Each has the same plaintext and the same etcd key. The plugin of the KMS values is not Keywright, so their unwrapped DEK sources are given.

use keywright::encryption_configuration::EncryptionConfiguration;
use keywright::entropy::OsEntropy;
use keywright::envelope::Purpose;
use keywright::etcd::object::{EncryptedObject, SourceType};
use keywright::key_id::{KeyId, KeyringId};
use keywright::keyring::seal::Opener as Seal;
use keywright::keyring::{Keyring, LookupError, store};
use keywright::provider::pkcs11::Tokens;
use keywright::recover::cipher::{self, CipherError};
use keywright::recover::drill::{Plan, drill};
use keywright::recover::label::{Kind, Label, LabelError, label};
use keywright::recover::{Damage, OpenError, Opened, Opener, open_v1, open_v2};
use keywright::secret::SecretBytes;

const ETCD_KEY: &[u8] = b"/registry/secrets/default/s1";
const PLAINTEXT: &[u8] = b"k8s\0hello etcd";
const V1: &str = "6b38733a656e633a6165736362633a76313a6b6579313aa0a1a2a3a4a5a6a7a8a9aaabacadaeafdcc0f1f4dd3c43ccd3062a6ffc938bf5";
const V2: &str =
    "6b38733a656e633a61657367636d3a76313a6b6579313ab0b1b2b3b4b5b6b7b8b9babbf26d29ab84a8d73328d8f2d6ae39a53ace4e94df85d080cc370e4566e097";
const V3: &str = "6b38733a656e633a736563726574626f783a76313a6b6579313ac0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7a1b92aee1db169a2419efec308055f05f6cff08932d61c835408b920f316";
const V4: &str = "6b38733a656e633a6b6d733a76313a70313a000b777261707065642d64656bb0b1b2b3b4b5b6b7b8b9babbf26d29ab84a8d73328d8f2d6ae39a53ace4e94df85d080cc370e4566e097";
const V5: &str =
    "6b38733a656e633a6b6d733a76313a70313a000b777261707065642d64656ba0a1a2a3a4a5a6a7a8a9aaabacadaeafdcc0f1f4dd3c43ccd3062a6ffc938bf5";
const V6: &str = "6b38733a656e633a6b6d733a76323a70313a0a2ad0d1d2d301ca9a3b0000000069027fd9e8a1abda8b9178c2e2d945a49fc39ee63729efa8fe59c2cd718d12056b656b2d311a0b777261707065642d64656b";
const V7: &str = "6b38733a656e633a6b6d733a76323a70313a0a4a404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5fb0b1b2b3b4b5b6b7b8b9babb97e942800039d0c116c7306f1b62c79adfc4c76b7809ad5d3cf20286b47412056b656b2d321a0c777261707065642d73656564221c0a156c6f63616c2d6b656b2e6578616d706c652e636f6d12036162632801";
const PREFIX_V1: usize = "k8s:enc:kms:v1:p1:".len();
const PREFIX_V2: usize = PREFIX_V1;

/// `000102...1f`, in base64.
const KEY1: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// 32 bytes of ones; the bits behind the last byte are not zero, which Go takes too.
const OTHER: &str = "///////////////////////////////////////////=";

/// Key length in bytes; the body of aesgcm and of aescbc.
const AES_LENGTHS: &[(u8, &str, &str)] = &[
    (
        16,
        "00000000000000000000000022eef453f1fecae08ca91f1c03e5edc4faa9f614d6b9e94683b87ec6d773",
        "00000000000000000000000000000000ba7f95361ed947384892f5bf1c218958",
    ),
    (
        24,
        "000000000000000000000000b03b618bdf284840ec62275294ae166755edbb6cbae36340e6dbc6ca0ff6",
        "00000000000000000000000000000000c24ac6b69241d2557950e1b5cc0774a7",
    ),
    (
        32,
        "0000000000000000000000006584c6dedd49efd16788cc417b4895273136bd59c4aedb4afe0d6b205eaa",
        "00000000000000000000000000000000c895e5d3b86e4a250c17ecdb8055fdbd",
    ),
];

fn bytes(hex: &str) -> Vec<u8> {
    base16ct::lower::decode_vec(hex).expect("hexadecimal")
}

fn ascending(from: u8) -> SecretBytes {
    SecretBytes::from_vec((from..from + 32).collect())
}

/// All three local providers, each with these keys: name and base64.
fn configuration(keys: &[(&str, &str)]) -> EncryptionConfiguration {
    let keys: Vec<_> = keys.iter().map(|(name, secret)| format!("{{name: '{name}', secret: '{secret}'}}")).collect();
    let provider = |kind: &str| format!("{{{kind}: {{keys: [{}]}}}}", keys.join(", "));
    let providers = ["aescbc", "aesgcm", "secretbox"].map(provider).join(", ");
    let text = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers: [{providers}]\n"
    );
    EncryptionConfiguration::parse(&text).expect("valid")
}

fn keyring() -> Keyring {
    store::open(include_str!("../../keys/insecure-format-1/two-versions.keyring"), &Seal::InsecureDevelopment, &Tokens::none())
        .expect("opens")
}

fn plain(opened: Result<Opened, OpenError>) -> (Vec<u8>, Label) {
    let opened = opened.unwrap_or_else(|e| panic!("{e}"));
    (opened.plaintext.expose_secret().to_vec(), opened.how)
}

fn named(kind: Kind, name: &str) -> Label {
    Label { kind, name: name.into(), key_id: None }
}

fn tag_length(number: u8, content: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = content.len();
    while length > 127 {
        field.push((length & 127) as u8 | 128);
        length >>= 7;
    }
    field.push(length as u8);
    field.extend_from_slice(content);
    field
}

/// A KMS v2 value as an API server with Keywright behind it writes it, under a seed that the primary wrapped.
fn ours_v2(keyring: &Keyring, key_id: &str, extra: &[u8]) -> Vec<u8> {
    let seed = ascending(0x80);
    let source = keyring.wrap(Purpose::KmsV2, seed.expose_secret(), &OsEntropy).expect("wraps");
    let value = bytes(V7);
    let object = EncryptedObject::parse(&value[PREFIX_V2..]).expect("whole");
    [
        b"k8s:enc:kms:v2:kw:".to_vec(),
        tag_length(1, object.data),
        tag_length(2, key_id.as_bytes()),
        tag_length(3, &source),
        b"\x28\x01".to_vec(),
        extra.to_vec(),
    ]
    .concat()
}

/// A KMS v1 value of the same, with the data part of `vector`.
fn ours_v1(keyring: &Keyring, name: &str, vector: &str) -> Vec<u8> {
    let wrapped = keyring.wrap(Purpose::KmsV1, ascending(0).expose_secret(), &OsEntropy).expect("wraps");
    let data = bytes(vector)[PREFIX_V1 + 2 + "wrapped-dek".len()..].to_vec();
    [format!("k8s:enc:kms:v1:{name}:").into_bytes(), (wrapped.len() as u16).to_be_bytes().to_vec(), wrapped, data].concat()
}

#[test]
fn values_of_the_local_providers_open_with_the_key_of_their_name() {
    let opener = Opener::new(vec![], Some(configuration(&[("key1", KEY1)])));
    for (vector, kind) in [(V1, Kind::AesCbc), (V2, Kind::AesGcm), (V3, Kind::Secretbox)] {
        assert_eq!(plain(opener.open(ETCD_KEY, &bytes(vector))), (PLAINTEXT.to_vec(), named(kind, "key1")));
        assert_eq!(label(&bytes(vector), None), Ok(named(kind, "key1")));
    }
    let (same, how) = plain(opener.open(ETCD_KEY, PLAINTEXT));
    assert_eq!((same.as_slice(), how), (PLAINTEXT, named(Kind::Identity, "")));
}

#[test]
fn only_aesgcm_is_bound_to_its_etcd_key() {
    let opener = Opener::new(vec![], Some(configuration(&[("key1", KEY1)])));
    for key in [&b"registry/secrets/default/s1"[..], b"/registry/secrets/default/s2", b""] {
        for vector in [V1, V3] {
            assert_eq!(plain(opener.open(key, &bytes(vector))).0, PLAINTEXT);
        }
        let error = opener.open(key, &bytes(V2)).expect_err("bound");
        assert_eq!(error, OpenError::Local { label: named(Kind::AesGcm, "key1"), why: CipherError::DoesNotOpen, tried: 1 });
    }
}

#[test]
fn keys_of_one_name_are_tried_in_order_and_names_may_have_colons() {
    let opener = Opener::new(vec![], Some(configuration(&[("key1", OTHER), ("key", KEY1), ("key1", KEY1)])));
    for vector in [V1, V2, V3] {
        assert_eq!(plain(opener.open(ETCD_KEY, &bytes(vector))).0, PLAINTEXT);
    }
    let opener = Opener::new(vec![], Some(configuration(&[("ke:y1", KEY1), ("ke", KEY1)])));
    for (vector, kind) in [(V1, Kind::AesCbc), (V2, Kind::AesGcm), (V3, Kind::Secretbox)] {
        let value = bytes(&vector.replacen("6b6579313a", "6b653a79313a", 1));
        assert_eq!(plain(opener.open(ETCD_KEY, &value)), (PLAINTEXT.to_vec(), named(kind, "ke:y1")));
        assert_eq!(label(&value, opener.configuration()), Ok(named(kind, "ke:y1")));
        assert_eq!(label(&value, None), Ok(named(kind, "ke")), "without the configuration it ends at the first colon");
    }
}

#[test]
fn what_is_missing_is_named() {
    let nothing = Opener::default();
    let others = Opener::new(vec![], Some(configuration(&[("key2", KEY1)])));
    let wrong = Opener::new(vec![], Some(configuration(&[("key1", OTHER)])));
    for (vector, kind) in [(V1, Kind::AesCbc), (V2, Kind::AesGcm), (V3, Kind::Secretbox)] {
        let value = bytes(vector);
        let label = named(kind, "key1");
        assert_eq!(nothing.open(ETCD_KEY, &value).err(), Some(OpenError::NoConfiguration(label.clone())));
        assert_eq!(others.open(ETCD_KEY, &value).err(), Some(OpenError::NoSuchKey(label.clone())));
        assert_eq!(wrong.open(ETCD_KEY, &value).err(), Some(OpenError::Local { label, why: CipherError::DoesNotOpen, tried: 1 }));
    }
    let foreign = |vector, kind, key_id: Option<&str>| {
        let error = OpenError::Foreign(Label { kind, name: "p1".into(), key_id: key_id.map(str::to_owned) });
        assert_eq!(Opener::new(vec![keyring()], None).open(ETCD_KEY, &bytes(vector)).err(), Some(error));
    };
    foreign(V4, Kind::KmsV1, None);
    foreign(V5, Kind::KmsV1, None);
    foreign(V6, Kind::KmsV2, Some("kek-1"));
    foreign(V7, Kind::KmsV2, Some("kek-2"));
}

#[test]
fn data_of_kms_values_opens_with_the_dek_source_and_only_under_its_etcd_key() {
    let v1 = |vector: &str| bytes(vector)[PREFIX_V1 + 2 + "wrapped-dek".len()..].to_vec();
    let (gcm, cbc) = (v1(V4), v1(V5));
    assert_eq!(open_v1(&gcm, &ascending(0), ETCD_KEY).expect("opens").expose_secret(), PLAINTEXT);
    assert_eq!(open_v1(&cbc, &ascending(0), ETCD_KEY).expect("opens").expose_secret(), PLAINTEXT);
    assert_eq!(open_v1(&cbc, &ascending(0), b"/else").expect("not bound").expose_secret(), PLAINTEXT);
    assert_eq!(open_v1(&gcm, &ascending(0), b"/else").err(), Some(CipherError::DoesNotOpen));
    assert_eq!(open_v1(&gcm, &ascending(1), ETCD_KEY).err(), Some(CipherError::DoesNotOpen));
    assert_eq!(open_v1(&cbc, &ascending(1), ETCD_KEY).err(), Some(CipherError::DoesNotOpen));
    for (vector, source, source_type) in [(V6, ascending(0), SourceType::AesGcmKey), (V7, ascending(0x80), SourceType::Seed)] {
        let value = bytes(vector);
        let object = EncryptedObject::parse(&value[PREFIX_V2..]).expect("whole");
        assert_eq!(object.source_type, source_type);
        assert_eq!(open_v2(&object, &source, ETCD_KEY).expect("opens").expose_secret(), PLAINTEXT);
        for key in [&b"registry/secrets/default/s1"[..], b"/registry/secrets/default/s2"] {
            assert_eq!(open_v2(&object, &source, key).err(), Some(CipherError::DoesNotOpen));
        }
        assert_eq!(open_v2(&object, &ascending(1), ETCD_KEY).err(), Some(CipherError::DoesNotOpen));
        let short = SecretBytes::from_vec(vec![0x80; 31]);
        assert_eq!(open_v2(&object, &short, ETCD_KEY).err(), Some(CipherError::KeyLength(31)));
        let swapped = if source_type == SourceType::Seed { SourceType::AesGcmKey } else { SourceType::Seed };
        assert!(open_v2(&EncryptedObject { source_type: swapped, ..object }, &source, ETCD_KEY).is_err());
    }
}

#[test]
fn all_key_lengths_of_aes_open_what_they_wrote() {
    // Written by Go's crypto/aes and crypto/cipher: nonce or IV of zeros, plaintext `k8s\0hello etcd`, no associated data; keys 00 01 02 ...
    for (length, gcm, cbc) in AES_LENGTHS {
        let key: Vec<u8> = (0..*length).collect();
        assert_eq!(cipher::aes_gcm(&key, &bytes(gcm), b"").expect("opens").expose_secret(), PLAINTEXT, "{length} bytes");
        assert_eq!(cipher::aes_cbc(&key, &bytes(cbc)).expect("opens").expose_secret(), PLAINTEXT, "{length} bytes");
    }
    assert_eq!(cipher::aes_gcm(&[0; 20], &[0; 28], b"").err(), Some(CipherError::KeyLength(20)));
    assert_eq!(cipher::aes_cbc(&[0; 20], &[0; 32]).err(), Some(CipherError::KeyLength(20)));
    assert_eq!(cipher::secretbox(&[0; 20], &[0; 40]).err(), Some(CipherError::KeyLength(20)));
}

#[test]
fn values_that_keywright_wrapped_open_with_its_keyring_alone() {
    let keyring = keyring();
    let key_id = keyring.primary_name().to_owned();
    let (two, gcm, cbc) = (ours_v2(&keyring, &key_id, b""), ours_v1(&keyring, "a:b", V4), ours_v1(&keyring, "a:b", V5));
    let how = |kind, name: &str| Label { kind, name: name.into(), key_id: Some(key_id.clone()) };
    let opener = Opener::new(vec![keyring], None);
    assert_eq!(plain(opener.open(ETCD_KEY, &two)), (PLAINTEXT.to_vec(), how(Kind::KmsV2, "kw")));
    assert_eq!(plain(opener.open(ETCD_KEY, &gcm)), (PLAINTEXT.to_vec(), how(Kind::KmsV1, "a:b")));
    assert_eq!(plain(opener.open(b"/moved", &cbc)), (PLAINTEXT.to_vec(), how(Kind::KmsV1, "a:b")));
    assert_eq!((label(&two, None), label(&gcm, None)), (Ok(how(Kind::KmsV2, "kw")), Ok(how(Kind::KmsV1, "a:b"))));
    for value in [&two, &gcm] {
        let error = opener.open(b"/moved", value).expect_err("bound to its etcd key");
        assert!(matches!(error, OpenError::Object { why: CipherError::DoesNotOpen, .. }), "{error}");
    }
}

#[test]
fn a_keyring_that_lacks_the_version_and_an_object_that_was_changed_say_so() {
    let keyring = keyring();
    let key_id: KeyId = *keyring.primary();
    let opener = Opener::new(vec![self::keyring()], None);
    let refused = |value: &[u8]| opener.open(ETCD_KEY, value).expect_err("refused");
    // The key_id of a newer version, in the envelope too: both are of another keyring file.
    let relabel = |id: KeyId| {
        let mut value = ours_v2(&keyring, &id.to_string(), b"");
        let header = keywright::envelope::Header { algorithm: keywright::envelope::Algorithm::Xaes256Gcm, key_id };
        let at = value.windows(32).position(|w| w == header.to_bytes()).expect("the envelope");
        value[at..at + 32].copy_from_slice(&keywright::envelope::Header { key_id: id, ..header }.to_bytes());
        value
    };
    let newer = KeyId { version: keywright::key_id::Version::new(9).expect("not zero"), ..key_id };
    let error = refused(&relabel(newer));
    assert!(matches!(error, OpenError::Version { why: LookupError::Unknown, .. }), "{error}");
    assert!(error.to_string().contains(&newer.to_string()), "{error}");
    let elsewhere = KeyId { keyring: KeyringId::from_bytes([7; 8]), ..key_id };
    let error = refused(&relabel(elsewhere));
    assert!(matches!(error, OpenError::OtherKeyring { keyring, .. } if keyring == elsewhere.keyring), "{error}");
    let older = *keyring.versions()[0].key_id();
    assert!(matches!(refused(&relabel(older)), OpenError::SourceDoesNotOpen(_)));
    assert!(matches!(refused(&ours_v2(&keyring, &older.to_string(), b"")), OpenError::Damaged { why: Damage::KeyId, .. }));
    let annotated = ours_v2(&keyring, keyring.primary_name(), &tag_length(4, &tag_length(1, b"a.com")));
    assert!(matches!(refused(&annotated), OpenError::Damaged { why: Damage::Annotations, .. }));
}

#[test]
fn no_value_cut_anywhere_or_with_a_changed_byte_opens_as_something_else() {
    let keyring = keyring();
    let ours = [ours_v2(&keyring, keyring.primary_name(), b""), ours_v1(&keyring, "kw", V4)];
    let opener = Opener::new(vec![keyring], Some(configuration(&[("key1", KEY1)])));
    for value in [bytes(V2), bytes(V3)].iter().chain(&ours) {
        assert!(opener.open(ETCD_KEY, value).is_ok());
        for length in b"k8s:enc:".len()..value.len() {
            assert!(opener.open(ETCD_KEY, &value[..length]).is_err(), "{length} bytes of {}", value.len());
        }
        for at in b"k8s:enc:".len()..value.len() {
            let mut changed = value.clone();
            changed[at] ^= 0x20;
            // A plugin's name is not authenticated, nor a varint's spare form: what opens must be what was written.
            if let Ok(opened) = opener.open(ETCD_KEY, &changed) {
                assert_eq!(opened.plaintext.expose_secret(), PLAINTEXT, "byte {at}");
                assert!((15..18).contains(&at), "byte {at} was changed unnoticed");
            }
        }
    }
    // AES-CBC authenticates nothing: what opens is at least an object.
    let value = bytes(V1);
    for length in b"k8s:enc:".len()..value.len() {
        assert!(opener.open(ETCD_KEY, &value[..length]).is_err(), "{length} bytes");
    }
    for (value, error) in [
        (&b"k8s:enc:"[..], LabelError::UnknownProvider("k8s:enc:".into())),
        (b"k8s:enc:rot13:v1:key:what it is", LabelError::UnknownProvider("k8s:enc:rot13:v1".into())),
        (b"k8s:enc:aescbc:v2:key1:x", LabelError::UnknownProvider("k8s:enc:aescbc:v2".into())),
        (b"k8s:enc:kms:v2:name", LabelError::Cut(Kind::KmsV2)),
        (b"k8s:enc:kms:v1:name:\xff\xff", LabelError::Cut(Kind::KmsV1)),
    ] {
        assert_eq!(opener.open(ETCD_KEY, value).err(), Some(OpenError::Label(error.clone())));
        assert_eq!(label(value, None), Err(error));
    }
}

#[test]
fn the_padding_of_aescbc_is_checked_as_the_api_server_does_and_a_lone_iv_is_refused() {
    let value = bytes(V1);
    let body = &value[value.len() - 32..];
    let key = ascending(0);
    for length in (0..32).chain([33, 47]) {
        let error = cipher::aes_cbc(key.expose_secret(), &[body, body].concat()[..length]).err();
        assert_eq!(error, Some(CipherError::Length { found: length, cipher: "AES-CBC" }), "{length} bytes");
    }
    // A changed IV changes the same bit of the first block, which here is the last: the padding of two bytes.
    for (at, bit) in [(15, 0x02), (15, 0x01), (15, 0x10), (14, 0x01), (0, 0x01)] {
        let mut changed = body.to_vec();
        changed[at] ^= bit;
        assert_eq!(cipher::aes_cbc(key.expose_secret(), &changed).err(), Some(CipherError::DoesNotOpen), "bit {bit} of byte {at}");
    }
    let mut allowed = body.to_vec();
    allowed[5] ^= 0x20;
    assert_eq!(cipher::aes_cbc(key.expose_secret(), &allowed).expect("not authenticated").expose_secret(), b"k8s\0hEllo etcd");
}

#[test]
fn a_drill_opens_its_sample_of_each_key_and_names_what_is_not_restorable() {
    let keyring = keyring();
    let key_id = keyring.primary_name().to_owned();
    let good = ours_v2(&keyring, &key_id, b"");
    let mut entries =
        vec![(ETCD_KEY.to_vec(), good.clone()), (ETCD_KEY.to_vec(), bytes(V1)), (b"/registry/pods/a".to_vec(), b"k8s\0".to_vec())];
    let opener = Opener::new(vec![keyring], Some(configuration(&[("key1", KEY1)])));
    let plan = Plan { sample: 5, seed: 1, date: "2027-02-01T00:00:00Z".parse().expect("valid") };
    let report = drill(&opener, entries.clone(), plan);
    assert!(report.is_restorable(), "{}", report.table());
    let counts: Vec<_> = report.keys.iter().map(|k| (k.kind.as_str(), k.values, k.sampled, k.opened)).collect();
    assert_eq!(counts, [("identity", 1, 0, 0), ("aescbc", 1, 1, 1), ("kms v2", 1, 1, 1)]);

    // Stored under another key than it was written for: the one kind of failure that looks well until it is opened.
    entries.extend((0..20).map(|n| (format!("/registry/secrets/default/moved-{n}").into_bytes(), good.clone())));
    entries.push((b"/registry/secrets/default/odd".to_vec(), b"k8s:enc:rot13:v1:k:x".to_vec()));
    let report = drill(&opener, entries.clone(), Plan { sample: 21, ..plan });
    assert!(!report.is_restorable());
    let kms = report.keys.last().expect("a line");
    assert_eq!((kms.values, kms.sampled, kms.opened, kms.failures.len()), (21, 21, 1, 10));
    assert_eq!((report.unreadable, report.unreadable_named[0].key.as_str()), (1, "/registry/secrets/default/odd"));
    let table = report.table();
    for part in ["drill of 2027-02-01T00:00:00Z", &key_id, "moved-", "another etcd key", "NOT RESTORABLE"] {
        assert!(table.contains(part), "{part} is not in\n{table}");
    }
    // The sample is no larger than was asked for, decided by the seed, and not always the same.
    let taken = |seed| {
        let report = drill(&opener, entries.clone(), Plan { sample: 3, seed, ..plan });
        assert_eq!(report.keys.last().map(|k| k.sampled), Some(3));
        serde_json::to_string(&report.keys).expect("JSON")
    };
    assert_eq!(taken(7), taken(7));
    assert!((8..16).any(|seed| taken(seed) != taken(7)));
    let backwards = drill(&opener, entries.iter().rev().cloned(), Plan { sample: 3, seed: 7, ..plan });
    assert_eq!(serde_json::to_string(&backwards.keys).expect("JSON"), taken(7), "the order in which values come decides nothing");
    let json = serde_json::to_value(&report).expect("JSON");
    assert_eq!((&json["drill"], &json["date"], &json["keys"][2]["opened"]), (&1.into(), &"2027-02-01T00:00:00Z".into(), &1.into()));
    let odd = [(ETCD_KEY, good.as_slice()), (b"/odd", b"k8s:enc:rot13:v1:k:x")];
    let report = drill(&opener, odd, plan);
    assert!(!report.is_restorable() && report.keys.iter().all(|key| key.opened == key.sampled), "one value says nothing of its key");
    let nothing: [(&[u8], &[u8]); 0] = [];
    assert!(!drill(&opener, nothing, plan).is_restorable(), "what was not tried is not proved");
}

#[test]
fn a_key_of_a_keyring_never_opens_what_another_plugin_wrapped_under_its_key_id() {
    let keyring = keyring();
    let value = bytes(V7);
    let object = EncryptedObject::parse(&value[PREFIX_V2..]).expect("whole");
    let name = keyring.primary_name().as_bytes().to_vec();
    let value = [
        b"k8s:enc:kms:v2:kw:".to_vec(),
        tag_length(1, object.data),
        tag_length(2, &name),
        tag_length(3, object.source),
        b"\x28\x01".to_vec(),
    ]
    .concat();
    let error = Opener::new(vec![keyring], None).open(ETCD_KEY, &value).expect_err("no envelope");
    assert!(matches!(error, OpenError::Damaged { why: Damage::Envelope(_), .. }), "{error}");
}
