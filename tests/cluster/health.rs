//! What the API server says about its plugin.

use keywright_testbed::metrics;

use crate::stack::{MARKER, SOON, Stack};

#[test]
fn readyz_follows_the_plugin_from_ok_to_failing_and_back() {
    readyz_follows_the_plugin(&mut Stack::start());
}

#[test]
fn the_api_server_counts_our_key_id_and_only_successful_calls() {
    only_successful_calls_are_counted(Stack::shared());
}

pub(crate) fn readyz_follows_the_plugin(stack: &mut Stack) {
    stack.api().create_secret("readable", &[("value", MARKER)]).and_then(|answer| answer.ok()).expect("it is written");

    stack.kill_plugin();
    let words = stack.server.kms_failing(SOON).expect("it fails without its plugin");
    assert!(words.contains("kms-provider"), "{words}");
    // Nothing that is in the API server's memory needs the plugin.
    assert_eq!(stack.api().secret("readable").expect("it is read")["value"], MARKER);

    stack.start_plugin();
    stack.server.kms_ready(SOON).expect("it recovers with its plugin");
    stack.api().create_secret("later", &[("value", MARKER)]).and_then(|answer| answer.ok()).expect("it is written");
    stack.nothing_secret_was_printed();
}

pub(crate) fn only_successful_calls_are_counted(stack: &Stack) {
    stack.api().create_secret("counted", &[("value", MARKER)]).and_then(|answer| answer.ok()).expect("it is written");
    let page = stack.api().metrics().expect("the metrics page is there");
    let written = metrics::find(
        &page,
        "apiserver_envelope_encryption_key_id_hash_total",
        &[("provider_name", "keywright"), ("transformation_type", "to_storage")],
    );
    // The hash that the API server shows is the one that `status` prints.
    let status = ["status", "--output", "json", "--socket", &stack.plugin.socket().display().to_string()].map(str::to_owned);
    let status: Vec<&str> = status.iter().map(String::as_str).collect();
    let status = keywright_testbed::process::output(crate::stack::KEYWRIGHT, &status).expect("status succeeds");
    let status: serde_json::Value = serde_json::from_slice(&status).expect("status prints JSON");
    let hashes: Vec<&str> = written.iter().map(|sample| sample.labels["key_id_hash"].as_str()).collect();
    assert_eq!(hashes, [status["key_id_sha256"].as_str().expect("status prints the hash")]);

    let calls =
        metrics::find(&page, "apiserver_envelope_encryption_kms_operations_latency_seconds_count", &[("provider_name", "keywright")]);
    let codes: Vec<&str> = calls.iter().map(|sample| sample.labels["grpc_status_code"].as_str()).collect();
    assert!(calls.len() >= 2, "Status and Encrypt at least: {calls:?}");
    assert!(codes.iter().all(|code| *code == "OK"), "{calls:?}");
    assert_eq!(metrics::find(&page, "apiserver_envelope_encryption_invalid_key_id_from_status_total", &[]), []);
    stack.nothing_secret_was_printed();
}
