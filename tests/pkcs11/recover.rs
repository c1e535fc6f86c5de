//! `keywright recover` with keys in tokens: what a plugin wrapped there opens from a snapshot while the token is there, and while it is not nothing is
//! called damaged.

use std::path::{Path, PathBuf};
use std::process::Command;

use keywright_testbed::etcd::Etcd;
use keywright_testbed::ran::Ran;
use keywright_testbed::stored::{self, EncryptedObject};
use keywright_testbed::tokens::{Hsm, Token};
use keywright_testbed::tools::Tools;
use serde_json::{Value, json};

use crate::place::{Place, SEED, Wrapped, binary, folder};

const OBJECT: &[u8] = br#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"s"},"data":{"a":"aHVudGVyMg=="}}"#;

/// What an API server stores under `etcd_key`: `OBJECT` under a key of the seed that `wrapped` holds.
fn value(wrapped: &Wrapped, etcd_key: &str) -> Vec<u8> {
    let data = stored::seal(SEED, &[0x69; stored::RANDOM], etcd_key, OBJECT).expect("seals");
    let (key_id, source) = (wrapped.key_id.clone(), wrapped.ciphertext.clone());
    EncryptedObject { data, key_id, source, source_type: 1, ..EncryptedObject::default() }.to_value("keywright")
}

fn etcd_key(number: usize) -> String {
    format!("/registry/secrets/default/s{number}")
}

/// A snapshot in which each of `wrapped` is stored under the key of its number.
fn snapshot(dir: &Path, wrapped: &[&Wrapped]) -> PathBuf {
    let etcd = Etcd::start(&Tools::locate().expect("cargo xtask tools builds them")).expect("etcd starts");
    let pairs = wrapped.iter().enumerate().map(|(number, wrapped)| (etcd_key(number), value(wrapped, &etcd_key(number))));
    etcd.put_all(&pairs.collect::<Vec<_>>()).expect("etcd takes it");
    let file = dir.join("snapshot.db");
    etcd.save(&file).expect("etcdctl saves");
    file
}

fn decrypting<'a>(snapshot: &'a str, key: &'a str) -> [&'a str; 8] {
    ["recover", "decrypt", "--snapshot", snapshot, "--key", key, "--output", "raw"]
}

/// A token with the key of a keyring, and what that key wrapped.
fn wrapped_by_a_token(dir: &Path) -> (Token, Place, Wrapped) {
    let one = Hsm::softhsm(dir).expect("module").token("one", "12345678").expect("token");
    let place = Place::made(&[&one], "one", &[]);
    let wrapped = {
        let _plugin = place.serve();
        place.client().encrypt()
    };
    (one, place, wrapped)
}

/// Asserts that no byte of the object was printed.
#[track_caller]
fn shows_nothing(ran: &Ran) {
    assert!(ran.out.is_empty() && !ran.err.contains("hunter2") && !ran.err.contains("aHVudGVyMg"), "{ran:?}");
}

#[test]
fn a_value_that_a_token_wrapped_is_decrypted_while_the_token_is_there_and_called_damaged_at_no_time() {
    let dir = folder();
    let (one, place, wrapped) = wrapped_by_a_token(dir.path());
    let file = snapshot(dir.path(), &[&wrapped]);
    let (file, key) = (file.to_str().expect("text"), etcd_key(0));
    let decrypt = decrypting(file, &key);

    let ran = place.run(&decrypt);
    assert_eq!((ran.code, ran.out.as_bytes()), (0, OBJECT), "{ran:?}");
    let listed = Ran::of(Command::new(binary()).args(["recover", "list", "--snapshot", file, "--output", "json"])).expect("ends by itself");
    assert_eq!(listed.json()[0]["key_id"], wrapped.key_id, "no token is needed for a list: {listed:?}");

    one.hsm().take_away().expect("pulls it");
    let texts = [&wrapped.key_id[..], "token `one`", "in no export", "restore it from the HSM's own backup", "the value may be well"];
    let ran = place.run(&decrypt);
    assert!(!ran.err.contains("damaged"), "{ran:?}");
    shows_nothing(&ran);
    ran.fails(5, &texts);
    one.hsm().put_back().expect("puts it back");
    assert_eq!(place.run(&decrypt).out.as_bytes(), OBJECT);

    // The token is there and the key is not.
    let id = crate::place::ids(&one).remove(0);
    one.destroy_key(&crate::place::bytes_of(&id)).expect("destroys it");
    let ran = place.run(&decrypt);
    shows_nothing(&ran);
    ran.fails(3, &[&id, "it has no key with label", "Restore the key from the HSM's own backup"]);
}

#[test]
fn an_export_of_keys_in_tokens_opens_nothing_without_the_token_and_says_whose_backup_is_needed() {
    let dir = folder();
    let (one, place, wrapped) = wrapped_by_a_token(dir.path());
    let generation = || place.json(&["keyring", "show"])["generation"].as_u64().expect("a number");
    let before = generation();
    let export = place.export();
    assert_eq!(generation(), before + 1, "an export is on record, though no version can say so");
    let again = dir.path().join("again.age").display().to_string();
    let words = place.dir().join("words").display().to_string();
    let said = place.json(&["keyring", "export", "--passphrase-file", &words, "--output-file", &again]);
    assert_eq!((&said["changed"], &said["key_ids"], &said["digest"]), (&json!(false), &json!([]), &json!(export[4])));
    assert_eq!((&said["key_ids_in_tokens"], generation()), (&json!([wrapped.key_id]), before + 1));
    let third = dir.path().join("third.age").display().to_string();
    let said = place.run(&["keyring", "export", "--passphrase-file", &words, "--output-file", &third, "--dry-run"]);
    assert!(said.code == 0 && said.out.contains("1, of which no key is in it: the HSM's own backup is their only one"), "{said:?}");

    let file = snapshot(dir.path(), &[&wrapped]);
    let (file, key) = (file.to_str().expect("text"), etcd_key(0));
    let export = [&["--export"], &export.each_ref().map(String::as_str)[..]].concat();
    let words = [&decrypting(file, &key)[..], &export].concat();
    let ran = Ran::of(Command::new(binary()).args(&words)).expect("ends by itself");
    shows_nothing(&ran);
    ran.fails(3, &["token `one`", "in no export", "give a configuration that has the token", "the HSM's own backup is the only one"]);

    // Another machine that has the token and no keyring.
    let other = Place::new(&[&one]);
    let ran = other.run(&words);
    assert_eq!((ran.code, ran.out.as_bytes()), (0, OBJECT), "{ran:?}");
    assert!(!other.keyring().exists());
    one.hsm().take_away().expect("pulls it");
    let ran = other.run(&words);
    shows_nothing(&ran);
    ran.fails(5, &["token `one`", "in no export"]);
}

#[test]
fn a_drill_opens_what_is_local_and_in_tokens_that_are_there_and_names_what_needs_the_one_that_is_away() {
    let dir = folder();
    let one = Hsm::softhsm(dir.path()).expect("module").token("one", "12345678").expect("token");
    let two = Hsm::kryoptic(dir.path()).expect("module").token("two", "87654321").expect("token");
    let place = Place::made(&[&one, &two], "one", &[]);
    let _plugin = place.serve();
    let mut client = place.client();
    let mut wrapped = vec![client.encrypt()];
    let cbc = ["--provider", "pkcs11", "--token", "two", "--algorithm", "aes-256-cbc-hmac-sha-256"];
    for words in [&cbc[..], &["--provider", "local"]] {
        place.rotate(words);
        place.loaded();
        wrapped.push(client.encrypt());
    }
    let all: Vec<_> = wrapped.iter().chain(&wrapped).collect();
    let file = snapshot(dir.path(), &all);
    let drill = ["recover", "drill", "--snapshot", file.to_str().expect("text"), "--output", "json"];
    // Of each key: sampled, opened, and why not.
    let outcome = |ran: &Ran| -> Vec<(u64, u64, String)> {
        let report = ran.json();
        let keys = report["keys"].as_array().expect("a list").clone();
        let of = |wrapped: &Wrapped| {
            let key = keys.iter().find(|key| key["key_id"] == wrapped.key_id.as_str()).expect("each key is there");
            let number = |name: &str| key[name].as_u64().expect("a number");
            let failures = key["failures"].as_array().expect("a list").iter();
            let reasons: Vec<_> = failures.map(|failure: &Value| failure["reason"].as_str().expect("text").to_owned()).collect();
            (number("sampled"), number("opened"), reasons.join("\n"))
        };
        wrapped.iter().map(of).collect()
    };
    let ran = place.run(&drill);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(outcome(&ran), [(2, 2, String::new()), (2, 2, String::new()), (2, 2, String::new())]);

    two.hsm().take_away().expect("pulls it");
    let ran = place.run(&drill);
    let seen = outcome(&ran);
    ran.fails(4, &["2 values of the sample did not open"]);
    assert_eq!((seen[0].1, seen[1].1, seen[2].1), (2, 0, 2), "{seen:?}");
    let why = &seen[1].2;
    assert!(why.matches("token `two`").count() == 2 && why.contains("HSM's own backup") && !why.contains("damaged"), "{why}");
    two.hsm().put_back().expect("puts it back");
    assert_eq!(place.run(&drill).code, 0);
}
