//! `status`: what it prints, and what it says when there is no answer.
#![cfg(feature = "operator")]

use std::os::unix::net::UnixListener;

use keywright_testbed::plugin::Plugin;
use serde_json::Value;

use crate::common::{binary, folder, run, text, write};

fn json(arguments: &[&str]) -> (i32, Value) {
    let ran = run(&[arguments, &["--output", "json"]].concat());
    (ran.code, serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}")))
}

#[test]
fn a_running_plugin_is_shown_with_its_key_id_and_the_form_of_the_api_server() {
    let dir = folder();
    let plugin = Plugin::dev(binary(), dir.path()).expect("starts");
    let key_id = plugin.ready().expect("ready");
    let (code, answer) = json(&["status", "--dev", "--dir", text(dir.path())]);
    assert_eq!(code, 0);
    assert_eq!(answer["key_id"], key_id);
    assert_eq!(answer["key_id_sha256"], keywright::key_id::sha256_form(&key_id));
    assert_eq!((&answer["healthz"], &answer["version"], &answer["round_trip"]), (&"ok".into(), &"v2".into(), &"ok".into()));
    for call in ["status", "encrypt", "decrypt"] {
        assert!(answer["latency_us"][call].is_u64(), "{answer}");
    }
    let table = run(&["status", "--socket", text(plugin.socket())]);
    assert_eq!(table.code, 0);
    assert!(table.out.contains(&key_id) && table.out.contains("Decrypt took"), "{}", table.out);
}

#[test]
fn absent_refused_silent_and_foreign_each_are_said_plainly() {
    let dir = folder();
    let path = dir.path().join("kms.sock");
    let status = || run(&["status", "--socket", text(&path), "--timeout", "300ms"]);
    status().fails(5, &["there is no socket at", "Start the plugin"]);

    write(&path, b"", 0o600);
    status().fails(5, &["is not a socket"]);
    std::fs::remove_file(&path).expect("remove");

    let silent = UnixListener::bind(&path).expect("bind");
    status().fails(5, &["no answer to", "within 300ms", "does not answer"]);
    drop(silent);
    status().fails(5, &["nobody listens on", "replaces the left-over socket by itself"]);

    let (code, answer) = json(&["status", "--socket", text(&path)]);
    assert_eq!((code, &answer["error"]["exit"]), (5, &5.into()));
    assert!(answer["error"]["why"].as_str().expect("text").contains("nobody listens"));
}
