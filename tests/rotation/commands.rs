//! Every step is idempotent, `--dry-run` changes nothing, and `--output json` has a fixed shape.

use serde_json::Value;

use crate::common::Place;

const RISK: [&str; 2] = ["--accept-risk", "a test"];

/// The steps of one rotation of `old`, each as it is typed.
fn steps(old: &str) -> Vec<Vec<&str>> {
    vec![
        vec!["rotate", "begin"],
        vec!["rotate", "promote"],
        [&["rotate", "verify", old][..], &RISK].concat(),
        [&["rotate", "disable", old][..], &RISK].concat(),
        vec!["rotate", "enable", old],
        [&["rotate", "verify", old][..], &RISK].concat(),
        [&["rotate", "disable", old][..], &RISK].concat(),
        [&["rotate", "destroy", old, "--yes-destroy", old][..], &RISK].concat(),
    ]
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn each_step_first_runs_dry_then_once_and_a_second_time_changes_nothing() {
    let place = Place::configured("", &["--hold", "0s"]);
    let old = place.key_ids().remove(0);
    for step in steps(&old) {
        let before = place.bytes();
        let dry = place.json(&[&step[..], &["--dry-run"]].concat());
        assert_eq!(place.bytes(), before, "{step:?} --dry-run");
        assert_eq!(dry["changed"], false, "{dry}");
        assert_eq!(dry["key_id"].is_null(), step[1] == "begin", "a key that was made for nothing has no name: {dry}");
        assert!(dry["result"].as_str().is_some_and(|said| said.contains("nothing was changed (--dry-run)")), "{dry}");

        let done = place.json(&step);
        assert_ne!(place.bytes(), before, "{step:?}");
        // A version that wraps and is in no export is worth a warning.
        let expected: &[&str] = match step[1] {
            "promote" => &["changed", "key_id", "next", "result", "step", "warning"],
            "destroy" => &["changed", "exports", "key_id", "next", "result", "step"],
            _ => &["changed", "key_id", "next", "result", "step"],
        };
        assert_eq!(keys(&done), expected);
        assert_eq!((&done["changed"], done["step"].as_str()), (&Value::Bool(true), Some(step[1])));
        assert!(done["next"].as_str().is_some_and(|next| !next.is_empty()));

        let after = place.bytes();
        let again = place.json(&step);
        assert_eq!((&again["changed"], &again["key_id"]), (&Value::Bool(false), &done["key_id"]), "{step:?}");
        if step[1] == "promote" {
            let named = place.json(&["rotate", "promote", done["key_id"].as_str().expect("text")]);
            assert_eq!(named["changed"], false);
        }
        assert_eq!(place.bytes(), after, "{step:?} again");
    }
    let generations: Vec<u64> = {
        let shown = place.json(&["keyring", "show"]);
        shown["history"].as_array().expect("a list").iter().map(|e| e["generation"].as_u64().expect("number")).collect()
    };
    assert_eq!(generations, (1..=9).collect::<Vec<_>>());
}

#[test]
fn what_looks_changes_nothing_and_has_a_fixed_shape() {
    let place = Place::configured("", &["--hold", "2h"]);
    place.run(&["rotate", "begin"]).succeeds();
    let before = place.bytes();
    let version = [
        "algorithm",
        "changed",
        "created",
        "exported",
        "iv",
        "key_id",
        "key_id_sha256",
        "provider",
        "state",
        "token_key",
        "verified",
        "version",
    ];
    let list = place.json(&["keyring", "list"]);
    let states: Vec<&str> = list.as_array().expect("a list").iter().map(|v| v["state"].as_str().expect("text")).collect();
    assert_eq!(states, ["primary", "staged"]);
    assert_eq!(keys(&list[0]), version);
    let status = place.json(&["rotate", "status"]);
    assert_eq!(keys(&status), ["generation", "hold_seconds", "holds", "keyring", "next", "stage", "versions"]);
    assert_eq!((status["stage"].as_str(), &status["holds"]), (Some("export"), &serde_json::json!([])));
    assert_eq!((&status["generation"], &status["hold_seconds"], &status["versions"]), (&2.into(), &7200.into(), &list));
    let show = place.json(&["keyring", "show"]);
    assert_eq!(keys(&show), ["file", "generation", "history", "hold_seconds", "keyring", "nodes", "slots", "tokens", "versions"]);
    let verify = place.json(&["keyring", "verify"]);
    assert_eq!((&verify["authentic"], &verify["keys_proved"], &verify["generation"]), (&true.into(), &2.into(), &2.into()));
    assert_eq!(place.bytes(), before);

    let refused = place.run(&["rotate", "verify", list[0]["key_id"].as_str().expect("text"), "--output", "json"]);
    assert_eq!(refused.code, 7, "{refused:?}");
    assert_eq!(keys(&refused.json()["error"]), ["attempted", "exit", "next", "why"]);
    assert_eq!(refused.json()["error"]["exit"], 7);
}
