//! A keyring that opens by a key in a token: made, sealed anew there and back, and opened again once a token that was away is back.

use keywright_testbed::tokens::{Fake, Guarded, Hsm, Token};
use keywright_testbed::wait;

use crate::place::{Place, SOON, bytes_of, folder, ids, objects, table};

/// `[seal]` by this token.
fn by(token: &Token) -> String {
    format!("token = \"{}\"", token.uri())
}

#[test]
fn a_keyring_of_local_keys_is_made_opened_and_served_by_a_key_in_a_token() {
    let dir = folder();
    for hsm in [Hsm::softhsm(dir.path()).expect("module"), Hsm::kryoptic(dir.path()).expect("module")] {
        let token = hsm.token("one", "12345678").expect("token");
        let place = Place::sealed(&[&token], &by(&token));
        place.init(&[]);
        assert_eq!(place.column("provider"), ["local"]);
        let shown = place.json(&["keyring", "show"]);
        assert_eq!(shown["tokens"]["keys"][0]["of"], "slot", "{shown}");
        assert_eq!(shown["tokens"]["keys"][0]["extractable"], false, "{shown}");
        let key = token.objects().expect("objects");
        assert!(key.len() == 1 && key[0].label.starts_with("keywright-seal-"), "{key:?}");
        let before = objects(&[&token]);
        let _plugin = place.serve();
        let wrapped = place.client().encrypt();
        place.client().opens(&[&wrapped]);
        place.rotate(&[]);
        place.loaded();
        place.client().opens(&[&wrapped]);
        assert_eq!(objects(&[&token]), before, "the slot has one key, whatever is rotated");
        assert!(place.orphans().is_empty());
    }
}

#[test]
fn an_export_of_a_keyring_of_local_keys_that_a_token_opens_is_read_where_there_is_no_token() {
    let dir = folder();
    let token = Hsm::softhsm(dir.path()).expect("module").token("one", "12345678").expect("token");
    let place = Place::sealed(&[&token], &by(&token));
    place.init(&[]);
    let export = place.export();
    let node = Place::new(&[]);
    node.json(&[&["keyring", "import"][..], &export.each_ref().map(String::as_str)].concat());
    assert_eq!(node.key_ids(), place.key_ids());
    assert_eq!(node.json(&["keyring", "verify"])["keys_proved"], 1);
}

#[test]
fn a_keyring_is_sealed_anew_from_a_key_file_to_a_token_to_another_and_back() {
    let dir = folder();
    let hsm = Hsm::softhsm(dir.path()).expect("module");
    let (one, two) = (hsm.token("one", "12345678").expect("token"), hsm.token("two", "87654321").expect("token"));
    let place = Place::new(&[&one, &two]);
    place.init(&[]);
    let (key_file, key_ids) = ("key_file = \"DIR/seal.key\"".replace("DIR", place.dir().to_str().expect("text")), place.key_ids());
    let wrapped = {
        let _plugin = place.serve();
        place.client().encrypt()
    };
    let seal_key = place.dir().join("seal.key").display().to_string();
    let before = place.text();
    place.json(&["keyring", "reseal", "--to-token", "one", "--dry-run"]);
    assert_eq!(place.text(), before);
    assert_eq!(ids(&one).len(), 0, "a plan has the token make no key");

    place.json(&["keyring", "reseal", "--to-token", "one"]);
    place.run(&["keyring", "verify"]).fails(3, &["the keyring has no key-file slot", "it has: pkcs11 token `one`"]);
    place.edit(&key_file, &by(&one));
    assert_eq!(place.json(&["keyring", "verify"])["keys_proved"], 1);
    let sealed = ids(&one);

    // The same token again takes the same key; another one makes its own.
    place.json(&["keyring", "reseal", "--to-token", "one", "--to-token", "two", "--to-key-file", &seal_key]);
    assert_eq!(ids(&two).len(), 1);
    for seal in [by(&one), by(&two), key_file.clone()] {
        place.configure(&seal, &[&one, &two].map(|token| table(place.dir(), token)).concat());
        assert_eq!(place.key_ids(), key_ids);
        let _plugin = place.serve();
        place.client().opens(&[&wrapped]);
    }
    place.json(&["keyring", "reseal", "--to-key-file", &seal_key]);
    assert_eq!(place.json(&["keyring", "verify"])["keys_proved"], 1);
    // Nothing in a token is deleted by it.
    assert_eq!(ids(&two).len(), 1);
    assert!(sealed.iter().all(|id| ids(&one).contains(id)));
    place.edit(&key_file, &by(&one));
    place.run(&["keyring", "verify"]).fails(3, &["the keyring has no pkcs11 token", "it has: key-file"]);
}

#[test]
fn another_token_than_the_one_of_the_slot_does_not_open_it() {
    let dir = folder();
    let hsm = Hsm::softhsm(dir.path()).expect("module");
    let mut one = hsm.token("one", "12345678").expect("token");
    let two = hsm.token("two", "87654321").expect("token");
    let place = Place::sealed(&[&one, &two], &by(&one));
    place.init(&[]);
    let bytes = place.text();
    let before = objects(&[&one, &two]);
    place.edit(&by(&one), &by(&two));
    for words in [&["keyring", "verify"][..], &["rotate", "begin"], &["serve"]] {
        place.run(words).fails(3, &["the keyring has no pkcs11 token", two.serial(), one.serial()]);
    }
    assert_eq!((place.text(), objects(&[&one, &two])), (bytes.clone(), before));
    place.edit(&by(&two), &by(&one));
    assert_eq!(place.json(&["keyring", "verify"])["keys_proved"], 1);
    // The same label and serial number, and none of its keys.
    let label = one.objects().expect("objects").remove(0).label;
    let id = ids(&one).remove(0);
    one.reinitialise().expect("initialises it");
    for words in [&["keyring", "verify"][..], &["rotate", "begin"], &["serve"]] {
        place.run(words).fails(3, &["it has no key with label `keywright-seal-", &id]);
    }
    // And another key of the same name.
    one.make_key(&label, &bytes_of(&id), Guarded::Fully).expect("key");
    for words in [&["keyring", "verify"][..], &["rotate", "begin"], &["serve"]] {
        place.run(words).fails(3, &["this is not the secret that the keyring's pkcs11 token"]);
    }
    assert_eq!(place.text(), bytes);
}

#[test]
fn a_destroy_seals_another_root_key_by_the_same_key_of_the_token() {
    let dir = folder();
    let token = Hsm::softhsm(dir.path()).expect("module").token("one", "12345678").expect("token");
    let place = Place::sealed(&[&token], &by(&token));
    place.init(&["--provider", "pkcs11"]);
    let slot = |text: &str| text.lines().find(|line| line.starts_with("slot ")).expect("a slot").to_owned();
    assert_eq!(ids(&token).len(), 2);
    let (first, before) = (place.key_ids().remove(0), ids(&token));
    let old = slot(&place.text());
    place.rotate(&[]);
    place.retire(&first);
    assert_eq!(ids(&token).len(), 3);
    assert_eq!(slot(&place.text()), old, "the root key is the same until something is destroyed");
    place.json(&Place::destroying(&first));
    assert_ne!(slot(&place.text()), old);
    assert_eq!(ids(&token).len(), 2);
    assert_eq!(before.iter().filter(|id| ids(&token).contains(id)).count(), 1, "the key of the slot is the one that was");
    assert!(place.orphans().is_empty());
    let _plugin = place.serve();
    let wrapped = place.client().encrypt();
    place.client().opens(&[&wrapped]);
}

#[test]
fn a_token_that_is_away_keeps_the_keyring_shut_and_a_start_works_once_it_is_back() {
    let dir = folder();
    let token = Hsm::softhsm(dir.path()).expect("module").token("one", "12345678").expect("token");
    let place = Place::sealed(&[&token], &by(&token));
    place.init(&[]);
    let bytes = place.text();
    token.hsm().take_away().expect("pulls it");
    let texts = ["token `one`", "C_Initialize returned CKR_GENERAL_ERROR", "Look at the token and into the log of its module"];
    for words in
        [&["keyring", "verify"][..], &["keyring", "show"], &["keyring", "list"], &["rotate", "begin"], &["rotate", "status"], &["serve"]]
    {
        let ran = place.run(words);
        assert_eq!(ran.code, 5, "{words:?}: {ran:?}");
        ran.fails(5, &texts);
    }
    token.hsm().put_back().expect("puts it back");
    assert_eq!(place.text(), bytes);
    let _plugin = place.serve();
    let wrapped = place.client().encrypt();

    // A plugin that runs has its keys: what opens the file is needed for the next load only.
    token.hsm().take_away().expect("pulls it");
    place.client().opens(&[&wrapped]);
    place.client().status().expect("its keys are local");
    token.hsm().put_back().expect("puts it back");
    place.rotate(&[]);
    place.loaded();
    place.client().opens(&[&wrapped]);
}

#[test]
fn a_slot_whose_token_hangs_delays_a_start_and_no_longer_than_it_hangs() {
    let dir = folder();
    let fake = Fake::new(dir.path()).expect("module");
    let token = fake.hsm().token("one", "12345678").expect("token");
    let place = Place::sealed(&[&token], &by(&token));
    place.init(&[]);
    fake.script("hang Decrypt").expect("script");
    let plugin = place.spawn();
    fake.wait_inside("C_Decrypt", 1, SOON).expect("it hangs");
    fake.script("").expect("script");
    plugin.ready().expect("starts");
    wait::until("Status answers", SOON, || place.client().status().map_err(|e| e.to_string())).expect("answers");
}
