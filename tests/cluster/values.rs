//! What goes in comes out, and what lies in etcd tells nothing.

use std::collections::BTreeMap;

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use hmac::{Hmac, Mac};
use keywright_testbed::api::{base64, secret_data};
use keywright_testbed::leak;
use keywright_testbed::stored::{EncryptedObject, KmsValue};
use serde_json::json;
use sha2::Sha256;

use crate::home::KeyIn;
use crate::kms;
use crate::stack::{MARKER, PROVIDER, Stack, bytes, stored};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Makes each of them a test with a local KEK, on the stack that tests share; [`ALL`] is for a stack with another.
macro_rules! checks {
    ($($name:ident),* $(,)?) => {
        mod local {
            $(
                #[test]
                fn $name() {
                    super::$name(super::Stack::shared());
                }
            )*
        }

        pub(crate) const ALL: &[fn(&Stack)] = &[$($name),*];
    };
}

checks!(
    a_secret_of_any_size_up_to_a_mebibyte_is_read_back_identical,
    a_secret_with_no_data_and_one_with_several_keys_of_a_mebibyte_together_are_read_back_identical,
    a_changed_secret_is_read_back_as_changed_and_a_deleted_one_is_gone_from_etcd,
    configmaps_are_read_back_identical,
    a_list_of_secrets_shows_each_value_identical,
    what_etcd_holds_begins_with_our_prefix_carries_our_key_id_and_shows_no_plaintext,
    every_secret_and_configmap_in_etcd_is_under_our_key,
    a_value_in_etcd_opens_with_the_seed_that_the_plugin_unwraps_and_only_under_its_own_key,
);

fn a_secret_of_any_size_up_to_a_mebibyte_is_read_back_identical(stack: &Stack) {
    for size in [0, 1, KIB, 64 * KIB, MIB] {
        let (name, value) = (format!("size-{size}"), bytes(size, 1));
        stack.api().create_secret(&name, &[("value", &value)]).and_then(|answer| answer.ok()).expect("it is written");
        let read = stack.api().secret(&name).expect("it is read");
        assert!(read == BTreeMap::from([("value".to_owned(), value)]), "{size} bytes came back otherwise");
    }
    stack.nothing_secret_was_printed();
}

fn a_secret_with_no_data_and_one_with_several_keys_of_a_mebibyte_together_are_read_back_identical(stack: &Stack) {
    let parts: Vec<(String, Vec<u8>)> = (0..4).map(|part| (format!("part-{part}"), bytes(MIB / 4, part))).collect();
    let parts: Vec<(&str, &[u8])> = parts.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    for (name, data) in [("no-data", &[][..]), ("four-parts", &parts[..])] {
        stack.api().create_secret(name, data).and_then(|answer| answer.ok()).expect("it is written");
        let expected: BTreeMap<String, Vec<u8>> = data.iter().map(|(key, value)| ((*key).to_owned(), value.to_vec())).collect();
        assert!(stack.api().secret(name).expect("it is read") == expected, "{name} came back otherwise");
    }
    stack.nothing_secret_was_printed();
}

fn a_changed_secret_is_read_back_as_changed_and_a_deleted_one_is_gone_from_etcd(stack: &Stack) {
    let path = "/api/v1/namespaces/default/secrets/changing";
    stack.api().create_secret("changing", &[("value", b"first")]).and_then(|answer| answer.ok()).expect("it is written");
    let changed = json!({"data": {"value": base64(MARKER)}});
    stack.api().patch(path, &changed).and_then(|answer| answer.ok()).expect("it is changed");
    assert_eq!(stack.api().secret("changing").expect("it is read"), BTreeMap::from([("value".to_owned(), MARKER.to_vec())]));
    stack.api().delete(path).and_then(|answer| answer.ok()).expect("it is deleted");
    assert_eq!(stack.etcd.values("/registry/secrets/default/changing").expect("etcd answers"), []);
    stack.nothing_secret_was_printed();
}

fn configmaps_are_read_back_identical(stack: &Stack) {
    for size in [0, 1, KIB, MIB - KIB] {
        let (name, binary) = (format!("map-{size}"), base64(&bytes(size, 2)));
        let map = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name},
            "data": {"text": "plaintext-marker-4Kd9 as text"},
            "binaryData": {"binary": binary},
        });
        stack.api().create("/api/v1/namespaces/default/configmaps", &map).and_then(|answer| answer.ok()).expect("it is written");
        let read =
            stack.api().get(&format!("/api/v1/namespaces/default/configmaps/{name}")).and_then(|answer| answer.ok()).expect("it is read");
        assert_eq!(read["data"], map["data"]);
        assert!(read["binaryData"]["binary"].as_str().unwrap_or_default() == binary, "{size} bytes came back otherwise");
    }
    stack.nothing_secret_was_printed();
}

fn a_list_of_secrets_shows_each_value_identical(stack: &Stack) {
    let names: Vec<String> = (0..20).map(|number| format!("listed-{number}")).collect();
    for (name, salt) in names.iter().zip(0..) {
        stack.api().create_secret(name, &[("value", &bytes(100, salt))]).and_then(|answer| answer.ok()).expect("it is written");
    }
    let list = stack.api().get("/api/v1/namespaces/default/secrets").and_then(|answer| answer.ok()).expect("the list is read");
    let items = list["items"].as_array().expect("a list has items");
    for (name, salt) in names.iter().zip(0..) {
        let item = items.iter().find(|item| item["metadata"]["name"] == *name).unwrap_or_else(|| panic!("{name} is not in the list"));
        assert_eq!(secret_data(item).expect("its data is base64")["value"], bytes(100, salt), "{name}");
    }
    stack.nothing_secret_was_printed();
}

fn what_etcd_holds_begins_with_our_prefix_carries_our_key_id_and_shows_no_plaintext(stack: &Stack) {
    stack.api().create_secret("looked-at", &[("value", &bytes(KIB, 3))]).and_then(|answer| answer.ok()).expect("it is written");
    let map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "looked-at"}, "data": {"text": "plaintext-marker-4Kd9"}});
    stack.api().create("/api/v1/namespaces/default/configmaps", &map).and_then(|answer| answer.ok()).expect("it is written");

    // A local KEK wraps with 24 random bytes, a token with 12.
    let envelope = match stack.home.key() {
        KeyIn::Local => 104,
        KeyIn::SoftHsm => 92,
    };
    for key in ["/registry/secrets/default/looked-at", "/registry/configmaps/default/looked-at"] {
        let value = stack.etcd.value(key).expect("etcd has it");
        assert!(value.starts_with(b"k8s:enc:kms:v2:keywright:"), "{key} begins otherwise");
        let split = KmsValue::parse(&value).expect("it has a prefix");
        assert_eq!((split.version.as_str(), split.provider.as_str()), ("v2", PROVIDER));
        let object = EncryptedObject::from_value(&value).expect("it can be read");
        assert_eq!(object.key_id, stack.key_id, "{key}");
        assert_eq!(object.source_type, 1, "a seed, not a key");
        assert_eq!(object.source.len(), envelope, "an envelope around 32 bytes");
        assert!(object.annotations.is_empty(), "{key} has annotations");
        assert_eq!(leak::found_in(&value, MARKER), [""; 0], "{key} shows the plaintext");
        // The object's own words are plaintext too.
        assert_eq!(leak::found_in(&value, b"looked-at"), [""; 0], "{key} shows the object's name");
    }
    stack.nothing_secret_was_printed();
}

fn every_secret_and_configmap_in_etcd_is_under_our_key(stack: &Stack) {
    stack.api().create_secret("one-of-all", &[("value", MARKER)]).and_then(|answer| answer.ok()).expect("it is written");
    let stored = stored(&stack.etcd); // fails on a value that is not KMS v2
    assert!(stored.iter().any(|(key, _)| key == "/registry/secrets/default/one-of-all"));
    assert!(
        stored.iter().any(|(key, _)| key.starts_with("/registry/configmaps/kube-system/")),
        "the API server's own ConfigMap is missing"
    );
    for (key, object) in stored {
        assert_eq!(object.key_id, stack.key_id, "{key}");
    }
    stack.nothing_secret_was_printed();
}

fn a_value_in_etcd_opens_with_the_seed_that_the_plugin_unwraps_and_only_under_its_own_key(stack: &Stack) {
    stack.api().create_secret("opened", &[("value", MARKER)]).and_then(|answer| answer.ok()).expect("it is written");
    let key = "/registry/secrets/default/opened";
    let object = EncryptedObject::from_value(&stack.etcd.value(key).expect("etcd has it")).expect("it can be read");
    let seed = kms::decrypt(stack.plugin.socket(), &object.key_id, &object.source).expect("the plugin unwraps it");

    let plaintext = open(&seed, &object.data, key).expect("it opens");
    assert!(plaintext.starts_with(b"k8s\0"), "this is no object");
    assert_eq!(leak::found_in(&plaintext, MARKER), ["as it is"]);
    assert_eq!(open(&seed, &object.data, "/registry/secrets/default/other"), None);
    assert_eq!(open(&[0; 32], &object.data, key), None);
    stack.nothing_secret_was_printed();
}

/// What a current API server does to read a value: `info`, nonce and AES-256-GCM; the key is one block of HKDF-Expand from the seed.
fn open(seed: &[u8], data: &[u8], etcd_key: &str) -> Option<Vec<u8>> {
    let (info, rest) = data.split_at_checked(32)?;
    let (nonce, sealed) = rest.split_at_checked(12)?;
    let mut hmac = <Hmac<Sha256> as KeyInit>::new_from_slice(seed).ok()?;
    hmac.update(info);
    hmac.update(&[1]);
    let dek = hmac.finalize().into_bytes();
    let nonce = Nonce::try_from(nonce).ok()?;
    Aes256Gcm::new(&dek).decrypt(&nonce, Payload { msg: sealed, aad: etcd_key.as_bytes() }).ok()
}
