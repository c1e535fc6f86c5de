//! The life of a keyring whose keys are in tokens, by the built binary: made, served, rotated, carried to another node, and what is destroyed is
//! gone from its token while nothing else is touched.

use std::process::Command;

use keywright_testbed::ran::Ran;
use keywright_testbed::tokens::{Guarded, Hsm, Token};
use keywright_testbed::wait;
use serde_json::{Value, json};
use tonic::Code;

use crate::place::{Place, SOON, binary, folder, id_in, ids, objects};

/// Two tokens in stores of their own: SoftHSM's `one` and Kryoptic's `two`. The folder goes when it is dropped.
fn two() -> (tempfile::TempDir, Token, Token) {
    let dir = folder();
    let one = Hsm::softhsm(dir.path()).expect("module").token("one", "12345678").expect("token");
    let two = Hsm::kryoptic(dir.path()).expect("module").token("two", "87654321").expect("token");
    (dir, one, two)
}

/// The ids of the keys of that version, by `keyring show`, sorted.
fn keys_of(place: &Place, version: u64) -> Vec<String> {
    let shown = place.in_tokens();
    let of = |key: &&Value| {
        let of = key["of"].as_str().expect("text");
        of == format!("version {version}") || of == format!("version {version}, for HMAC")
    };
    let mut ids: Vec<_> =
        shown["keys"].as_array().expect("a list").iter().filter(of).map(|key| id_in(key["key"].as_str().expect("text"))).collect();
    ids.sort();
    ids
}

#[test]
fn a_key_made_in_one_token_is_rotated_into_another_and_destroyed_there_alone() {
    let (_dir, one, two) = two();
    for token in [&one, &two] {
        token.make_key("a stranger's", &[9; 16], Guarded::Fully).expect("key");
    }
    let place = Place::made(&[&one, &two], "one", &[]);
    let first = place.key_ids().remove(0);
    let strangers = "09".repeat(16);
    let old = keys_of(&place, 1);
    assert_eq!(old.len(), 1);
    assert!(ids(&one).contains(&old[0]) && ids(&one).len() == 2 && ids(&two) == [strangers.as_str()]);
    let said = place.json(&["keyring", "verify"]);
    assert_eq!(said["keys_proved"], 1);

    let mut plugin = place.serve();
    let mut client = place.client();
    assert_eq!(client.status().expect("Status answers"), first);
    let by_first = client.encrypt();
    assert_eq!(by_first.key_id, first);
    client.opens(&[&by_first]);

    // The plugin that runs follows.
    let second = place.rotate(&["--provider", "pkcs11", "--token", "two"]);
    place.loaded();
    assert_eq!(client.status().expect("Status answers"), second);
    let by_second = client.encrypt();
    assert_eq!(by_second.key_id, second);
    client.opens(&[&by_first, &by_second]);
    assert_eq!(place.column("state"), ["retired", "primary"]);
    assert_eq!(ids(&two).len(), 2);

    place.retire(&first);
    place.loaded();
    assert_eq!(client.decrypt(&by_first).expect_err("is disabled").code(), Code::FailedPrecondition);
    let before = objects(&[&one, &two]);
    place.json(&[&Place::destroying(&first)[..], &["--dry-run"]].concat());
    assert_eq!(objects(&[&one, &two]), before, "--dry-run");
    let done = place.json(&Place::destroying(&first));
    assert_eq!(done["changed"], true);
    assert_eq!(ids(&one), [strangers.as_str()], "the key is gone, the other one is there");
    assert_eq!(objects(&[&two])[0], before[1], "the other token is as it was");
    place.loaded();
    client.opens(&[&by_second]);
    assert_eq!(client.decrypt(&by_first).expect_err("is destroyed").code(), Code::FailedPrecondition);
    assert_eq!(place.json(&Place::destroying(&first))["changed"], false);
    assert!(place.orphans().is_empty());

    // What the plugin knows it knows after a start, too.
    plugin.stop(SOON).expect("stops");
    let _plugin = place.serve();
    let mut client = place.client();
    client.opens(&[&by_second]);
}

#[test]
fn a_keyring_goes_from_local_to_a_token_and_back_and_begin_goes_on_where_the_primary_is() {
    let dir = folder();
    let one = Hsm::softhsm(dir.path()).expect("module").token("one", "12345678").expect("token");
    let place = Place::new(&[&one]);
    place.init(&[]);
    assert!(place.text().starts_with("keywright-keyring 1\n"));
    let _plugin = place.serve();
    let mut client = place.client();
    let by_local = client.encrypt();
    let in_token = place.rotate(&["--provider", "pkcs11"]);
    assert!(place.text().starts_with("keywright-keyring 2\n"));
    place.loaded();
    let by_token = client.encrypt();
    assert_eq!(by_token.key_id, in_token);
    client.opens(&[&by_local, &by_token]);
    // Nothing said: as the primary's.
    place.rotate(&[]);
    assert_eq!(ids(&one).len(), 2);
    let local = place.rotate(&["--provider", "local"]);
    place.loaded();
    let by_local_again = client.encrypt();
    assert_eq!(by_local_again.key_id, local);
    client.opens(&[&by_local, &by_token, &by_local_again]);
    assert_eq!(place.column("provider"), ["local", "pkcs11", "pkcs11", "local"]);
    assert_eq!(ids(&one).len(), 2, "a local key is in no token");

    for key_id in &place.key_ids()[..3] {
        place.retire(key_id);
        place.json(&Place::destroying(key_id));
    }
    assert!(ids(&one).is_empty());
    place.loaded();
    client.opens(&[&by_local_again]);
    assert!(place.text().starts_with("keywright-keyring "));
    assert_eq!(place.json(&["keyring", "verify"])["generation"], place.json(&["keyring", "show"])["generation"]);
}

#[test]
fn two_keys_of_a_token_without_gcm_wrap_and_are_destroyed_together() {
    let (_dir, one, two) = two();
    let cbc = ["--algorithm", "aes-256-cbc-hmac-sha-256"];
    let place = Place::made(&[&one, &two], "one", &cbc);
    let first = place.key_ids().remove(0);
    assert_eq!(place.column("algorithm"), ["aes-256-cbc-hmac-sha-256"]);
    assert_eq!((keys_of(&place, 1), ids(&one).len()), (ids(&one), 2));
    let _plugin = place.serve();
    let mut client = place.client();
    let by_first = client.encrypt();
    client.opens(&[&by_first]);
    // As the primary's, but in another token: what is not said there is not taken from it.
    place.rotate(&["--provider", "pkcs11", "--token", "two"]);
    assert_eq!(place.column("algorithm"), ["aes-256-cbc-hmac-sha-256", "aes-256-gcm"]);
    place.rotate(&[&["--provider", "pkcs11", "--token", "two"], &cbc[..]].concat());
    place.loaded();
    let by_third = client.encrypt();
    client.opens(&[&by_first, &by_third]);
    assert_eq!(ids(&two).len(), 3);
    place.retire(&first);
    place.json(&Place::destroying(&first));
    assert_eq!((ids(&one).len(), ids(&two).len()), (0, 3));
}

#[test]
fn a_key_that_is_there_already_is_taken_only_if_nothing_is_wrong_with_it() {
    let dir = folder();
    let one = Hsm::softhsm(dir.path()).expect("module").token("one", "12345678").expect("token");
    let place = Place::made(&[&one], "one", &[]);
    for (label, number, guarded) in [
        ("good", 1, Guarded::Fully),
        ("extractable", 2, Guarded::Extractable),
        ("readable", 3, Guarded::Readable),
        ("twice", 4, Guarded::Fully),
        ("twice", 4, Guarded::Fully),
    ] {
        one.make_key(label, &[number; 16], guarded).expect("key");
    }
    let id = |number: u8| format!("{number:02x}").repeat(16);
    let (keyring, before) = (place.text(), objects(&[&one]));
    let take = |label: &str, id: &str| place.run(&["keyring", "import-key", "--key-label", label, "--id", id]);
    take("extractable", &id(2)).fails(3, &["CKA_EXTRACTABLE is not false", "this one was not taken"]);
    take("readable", &id(3)).fails(3, &["CKA_SENSITIVE is not true", "this one was not taken"]);
    take("twice", &id(4)).fails(3, &["it has 2 keys with label `twice`", "nothing here deletes either"]);
    take("good", &id(5)).fails(3, &["it has no key with label `good` and id 05050505050505050505050505050505"]);
    take("other", &id(1)).fails(3, &["it has no key with label `other`"]);
    let short = take("good", "0101");
    assert!(short.code == 2 && short.err.contains("an id has 16 bytes, written as 32 hexadecimal digits"), "{short:?}");
    assert_eq!((place.text(), objects(&[&one])), (keyring, before.clone()), "what is refused changes nothing");

    let taken = place.json(&["keyring", "import-key", "--key-label", "good", "--id", &id(1)]);
    assert_eq!((id_in(taken["key"].as_str().expect("text")), &taken["changed"]), (id(1), &json!(true)));
    assert_eq!(place.column("state"), ["primary", "staged"]);
    take("good", &id(1)).fails(6, &["it is the key of kw1.", "already", "Nothing was changed"]);
    place.json(&["rotate", "promote"]);
    take("good", &id(1)).fails(6, &["it is the key of kw1.", "already"]);
    let _plugin = place.serve();
    let mut client = place.client();
    let wrapped = client.encrypt();
    assert_eq!(wrapped.key_id, taken["key_id"]);
    client.opens(&[&wrapped]);
    assert_eq!(objects(&[&one]), before, "nothing in the token was made or changed");
}

#[test]
fn what_a_token_says_of_its_keys_is_shown_and_so_are_keys_of_no_version() {
    let (_dir, one, two) = two();
    let place = Place::made(&[&one, &two], "one", &[]);
    place.rotate(&["--provider", "pkcs11", "--token", "two"]);
    let label = one.objects().expect("objects").remove(0).label;
    assert!(label.starts_with("keywright-"), "{label}");
    // Of our label, of no version; and one that is somebody else's.
    one.make_key(&label, &[5; 16], Guarded::Fully).expect("key");
    one.make_key("a stranger's", &[6; 16], Guarded::Fully).expect("key");
    let shown = place.in_tokens();
    let keys = shown["keys"].as_array().expect("a list");
    assert_eq!(keys.len(), 2, "{shown}");
    for (key, of) in keys.iter().zip(["version 1", "version 2"]) {
        assert_eq!(key["of"], of);
        for (name, value) in
            [("extractable", false), ("sensitive", true), ("never_extractable", true), ("always_sensitive", true), ("made_in_token", true)]
        {
            assert_eq!(key[name], value, "{name}: {key}");
        }
    }
    assert_eq!(place.orphans(), ["05".repeat(16)]);
    let text = place.run(&["keyring", "show"]).succeeds();
    for part in ["there, and of no version", "extractable: no", "made in the token: yes"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    assert!(!text.contains("stranger"), "{text}");

    // A token that is away is said, and is no error.
    two.hsm().take_away().expect("pulls it");
    let shown = place.in_tokens();
    assert_eq!(shown["keys"][0]["sensitive"], true);
    assert!(shown["keys"][1]["error"].as_str().is_some_and(|error| error.contains("token")), "{shown}");
}

#[test]
fn an_export_carries_no_key_of_a_token_and_serves_where_the_token_is() {
    let dir = folder();
    let one = Hsm::softhsm(dir.path()).expect("module").token("one", "12345678").expect("token");
    let place = Place::made(&[&one], "one", &[]);
    place.rotate(&[]);
    let export = place.export();
    let export = export.each_ref().map(String::as_str);
    let verify = [&["keyring", "verify", "--output", "json", "--export"][..], &export].concat();
    let verified = Ran::of(Command::new(binary()).args(verify)).expect("ends by itself");
    assert_eq!(verified.code, 0, "{verified:?}");
    assert_eq!((&verified.json()["keys_proved"], verified.json()["versions"][0]["provider"].as_str()), (&json!(0), Some("pkcs11")));
    let _plugin = place.serve();
    let wrapped = place.client().encrypt();

    let node = Place::new(&[&one]);
    let import = [&["keyring", "import"][..], &export].concat();
    node.json(&import);
    assert_eq!(node.key_ids(), place.key_ids());
    assert_eq!(node.json(&["keyring", "verify"])["keys_proved"], 2);
    let _other = node.serve();
    node.client().opens(&[&wrapped]);
    assert_eq!(ids(&one).len(), 2, "an import makes no key");

    // Where the token is not, the keys are not either: nothing of them came along.
    let without = Place::new(&[]);
    let before = objects(&[&one]);
    let refused = without.run(&import);
    assert!(refused.code == 3 && refused.err.contains("[[token]]"), "{refused:?}");
    assert!(!without.keyring().exists());
    assert_eq!(objects(&[&one]), before);
}

#[test]
fn verify_says_that_a_token_is_away_and_proves_again_once_it_is_back() {
    let dir = folder();
    let one = Hsm::softhsm(dir.path()).expect("module").token("one", "12345678").expect("token");
    let place = Place::made(&[&one], "one", &[]);
    place.rotate(&["--provider", "local"]);
    let bytes = place.text();
    one.hsm().take_away().expect("pulls it");
    let first = place.key_ids().remove(0);
    place.run(&["keyring", "verify"]).fails(4, &["1 of 2 keys were not proved", &first, "token `one`"]);
    one.hsm().put_back().expect("puts it back");
    assert_eq!(place.json(&["keyring", "verify"])["keys_proved"], 2);
    assert_eq!(place.text(), bytes);
}

#[test]
fn a_retired_version_whose_token_is_away_stops_no_start_and_is_an_alarm_until_it_is_back() {
    for to in ["local", "pkcs11"] {
        let (_dir, one, two) = two();
        let place = Place::made(&[&one, &two], "one", &[]);
        let (by_first, first) = {
            let _plugin = place.serve();
            let wrapped = place.client().encrypt();
            (wrapped, place.key_ids().remove(0))
        };
        let words: &[&str] = if to == "local" { &["--provider", "local"] } else { &["--provider", "pkcs11", "--token", "two"] };
        let second = place.rotate(words);
        one.hsm().take_away().expect("pulls it");

        let _plugin = place.serve();
        let mut client = place.client();
        assert_eq!(client.status().expect("the primary answers"), second);
        let by_second = client.encrypt();
        client.opens(&[&by_second]);
        let refused = client.decrypt(&by_first).expect_err("its token is away");
        assert_eq!(refused.code(), Code::Unavailable, "{refused}");
        assert!(refused.message().contains("the token that holds the key does not answer"), "{refused}");
        wait::until("an alarm", SOON, || {
            let said = place.run(&["status"]);
            let wanted = said.code == 0 && said.out.contains("ALARM") && said.out.contains("key version 1 is away");
            if wanted { Ok(()) } else { Err(format!("{said:?}")) }
        })
        .expect("status says so");
        let said = place.json(&["status"]);
        assert_eq!(said["healthz"], "ok", "{said}");

        one.hsm().put_back().expect("puts it back");
        wait::until("it opens", SOON, || client.decrypt(&by_first).map_err(|e| e.to_string())).expect("without a restart");
        wait::until("no alarm", SOON * 4, || {
            let said = place.run(&["status"]);
            if said.out.contains("ALARM") { Err(said.out) } else { Ok(()) }
        })
        .expect("status says so");
        assert_eq!(place.key_ids(), [first, second]);
    }
}
