//! Guards: nothing is taken away without evidence, a risk that a person takes stands in the history, and destroy waits.

use std::time::Duration;

use crate::common::Place;

const RISK: [&str; 2] = ["--accept-risk", "the cluster is a test"];

/// A keyring with a retired first version; gives its key_id.
fn retired(init: &[&str]) -> (Place, String) {
    let place = Place::configured("", init);
    let old = place.key_ids().remove(0);
    place.run(&["rotate", "begin"]).succeeds();
    place.run(&["rotate", "promote"]).succeeds();
    (place, old)
}

fn history(place: &Place) -> Vec<String> {
    let shown = place.json(&["keyring", "show"]);
    shown["history"].as_array().expect("a list").iter().map(|e| e["what"].as_str().expect("text").to_owned()).collect()
}

#[test]
fn verify_disable_and_destroy_each_want_evidence_or_a_reason_which_is_recorded() {
    let (place, old) = retired(&["--hold", "0s"]);
    let missing = "no scan of etcd was made";
    for step in ["verify", "disable", "destroy"] {
        let confirmed = ["rotate", step, &old, "--yes-destroy", &old];
        let words = if step == "destroy" { &confirmed[..] } else { &confirmed[..3] };
        let before = place.bytes();
        place.run(words).fails(7, &[missing, "--accept-risk", "ook into etcd first"]);
        place.run(&[words, &["--accept-risk", "  "]].concat()).fails(2, &["the reason says nothing"]);
        assert_eq!(place.bytes(), before, "{step}");
        place.run(&[words, &RISK].concat()).succeeds();
        assert_eq!(history(&place).last().map(String::as_str), Some(&*format!("{step} 1 risk accepted: {}", RISK[1])));
    }
    let shown = place.run(&["keyring", "show"]).succeeds();
    assert!(shown.contains(&format!("destroy 1 risk accepted: {}", RISK[1])), "{shown}");
}

#[test]
fn disable_wants_the_record_of_verify_whatever_the_risk() {
    let (place, old) = retired(&[]);
    place.run(&[&["rotate", "disable", &old][..], &RISK].concat()).fails(7, &["no record that nothing needs", "keywright rotate verify"]);
}

#[test]
fn the_primary_is_never_taken_away_and_an_unknown_version_is_a_usage_error() {
    let (place, old) = retired(&[]);
    let primary = place.key_ids().remove(1);
    let before = place.bytes();
    for step in ["verify", "disable"] {
        place.run(&[&["rotate", step, &primary][..], &RISK].concat()).fails(6, &["is primary"]);
    }
    place.run(&[&["rotate", "destroy", &primary, "--yes-destroy", &primary][..], &RISK].concat()).fails(6, &["is primary"]);
    place.run(&["rotate", "enable", &primary]).fails(6, &["is primary"]);
    let digit = if old.ends_with('0') { '1' } else { '0' };
    let unknown = format!("{}{digit}", &old[..old.len() - 1]);
    place.run(&[&["rotate", "verify", &unknown][..], &RISK].concat()).fails(2, &["is not a version of this keyring"]);
    assert_eq!(place.bytes(), before);
}

#[test]
fn destroy_wants_the_key_id_typed_and_the_hold_over() {
    let (place, old) = retired(&["--hold", "7days"]);
    let other = place.key_ids().remove(1);
    place.run(&[&["rotate", "verify", &old][..], &RISK].concat()).succeeds();
    place.run(&[&["rotate", "disable", &old][..], &RISK].concat()).succeeds();
    let before = place.bytes();
    place.run(&[&["rotate", "destroy", &old][..], &RISK].concat()).fails(2, &["it was not confirmed", "--yes-destroy KEY_ID"]);
    let wrong = place.run(&[&["rotate", "destroy", &old, "--yes-destroy", &other][..], &RISK].concat());
    wrong.fails(2, &["what was typed is not the key_id of that version"]);
    let early = place.run(&[&["rotate", "destroy", &old, "--yes-destroy", &old][..], &RISK].concat());
    early.fails(6, &["was disabled too short a time ago", "of the hold are left", "rotate enable"]);
    assert_eq!(place.bytes(), before);
    let next = place.json(&["rotate", "status"])["next"].as_str().expect("text").to_owned();
    // All of it, or some seconds less.
    let left = next.strip_prefix("wait ").and_then(|rest| rest.split_once(" until ")).expect("how long").0;
    let left = humantime::parse_duration(left).expect("a duration");
    assert!(left <= Duration::from_secs(7 * 86_400) && left > Duration::from_secs(6 * 86_400), "{next}");
    assert!(next.contains(&old), "{next}");
}
