//! What each state serves, on a running plugin that follows the commands.

use tonic::Code;

use crate::common::{Place, write};

const RISK: [&str; 2] = ["--accept-risk", "a test"];

#[test]
fn a_staged_version_unwraps_what_another_plugin_wraps_already() {
    let here = Place::dev();
    let _plugin = here.serve();
    here.run(&["rotate", "begin"]).succeeds();
    here.loaded();

    let there = Place::dev();
    write(there.keyring(), here.bytes());
    there.run(&["rotate", "promote"]).succeeds();
    let _other = there.serve();
    let [old, new] = <[String; 2]>::try_from(here.key_ids()).expect("two versions");

    let wrapped = there.client().encrypt(b"seed of the other one");
    assert_eq!(wrapped.key_id, new);
    let mut client = here.client();
    client.opens(&wrapped);
    assert_eq!(client.status(), old, "staged wraps nothing");
    assert_eq!(client.encrypt(b"seed").key_id, old, "staged wraps nothing");
}

#[test]
fn disabled_refuses_enable_brings_it_back_and_destroyed_stays_away() {
    let place = Place::dev();
    let _plugin = place.serve();
    let mut client = place.client();
    let wrapped = client.encrypt(b"seed");
    let old = wrapped.key_id.clone();
    place.run(&["rotate", "begin"]).succeeds();
    place.run(&["rotate", "promote"]).succeeds();
    place.loaded();
    client.opens(&wrapped);
    let newer = client.encrypt(b"newer seed");
    assert_ne!(newer.key_id, old);

    let disable = || {
        place.run(&[&["rotate", "verify", &old][..], &RISK].concat()).succeeds();
        place.run(&[&["rotate", "disable", &old][..], &RISK].concat()).succeeds();
        place.loaded();
    };
    disable();
    client.refuses(&wrapped, Code::FailedPrecondition, "key version is disabled");
    place.run(&["rotate", "enable", &old]).succeeds();
    place.loaded();
    client.opens(&wrapped);

    disable();
    place.run(&[&["rotate", "destroy", &old, "--yes-destroy", &old][..], &RISK].concat()).succeeds();
    place.loaded();
    client.refuses(&wrapped, Code::FailedPrecondition, "key version is destroyed");
    client.opens(&newer);
    place.run(&["rotate", "enable", &old]).fails(6, &["is destroyed", "enable needs a version that is disabled"]);
    // What is destroyed is a record without material, and its number is not used again.
    let line = String::from_utf8(place.bytes()).expect("text");
    let line = line.lines().find(|line| line.starts_with(&format!("version {old} "))).expect("the record stays");
    assert!(line.contains(" destroyed ") && !line.contains(" wrapped "), "{line}");
    place.run(&["rotate", "begin"]).succeeds();
    assert!(place.key_ids()[2].contains(".3."), "{:?}", place.key_ids());
}
