//! A cluster that is in plaintext, or on `aescbc`, and then wholly on KMS, shown object by object.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keywright_testbed::api::base64;
use keywright_testbed::apiserver::{ApiServer, Settings, TOKEN};
use keywright_testbed::etcd::Etcd;
use keywright_testbed::plugin::Plugin;
use keywright_testbed::ran::Ran;
use keywright_testbed::{kubeconfig, scratch};
use serde_json::{Value, json};

use crate::stack::{KEYWRIGHT, SOON, bytes, tools};

/// Secrets of each time before the migration.
const EACH: u64 = 20;
const LONG: Duration = Duration::from_secs(120);

/// The whole file: Secrets and ConfigMaps through `providers`.
fn through(providers: &[Value]) -> String {
    json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{"resources": ["secrets", "configmaps"], "providers": providers}],
    })
    .to_string()
}

fn write(server: &ApiServer, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let written = server.api().create_secret(&format!("kept-{number}"), &[("value", &bytes(100, number))]);
        written.and_then(|answer| answer.ok()).expect("it is written");
    }
}

/// What encrypts Secrets, with their numbers.
fn kinds(report: &Value) -> Vec<(String, u64)> {
    let counts = report["stores"][0]["report"]["counts"].as_array().expect("a list").iter();
    counts
        .filter(|count| count["resource"] == "secrets" && count["old"] == false)
        .map(|count| (count["kind"].as_str().expect("text").to_owned(), count["values"].as_u64().expect("a number")))
        .collect()
}

#[test]
fn a_cluster_in_plaintext_and_on_aescbc_is_wholly_on_kms_after_a_rewrite_and_every_object_reads_as_before() {
    let dir = scratch::folder("migration").expect("a private folder");
    let etcd = Etcd::start(tools()).expect("etcd starts");
    let identity = json!({"identity": {}});
    let aescbc = json!({"aescbc": {"keys": [{"name": "with:colon", "secret": base64(&[7; 32])}]}});
    let start = |providers: &[Value]| ApiServer::start(tools(), &etcd, &Settings::new(through(providers))).expect("the API server starts");
    let server = start(std::slice::from_ref(&identity));
    write(&server, 0..EACH);
    drop(server);
    let server = start(&[aescbc.clone(), identity.clone()]);
    write(&server, EACH..2 * EACH);
    drop(server);

    let plugin = Plugin::dev(Path::new(KEYWRIGHT), dir.path()).expect("the plugin starts");
    let kms = json!({"kms": {"apiVersion": "v2", "name": "keywright", "endpoint": format!("unix://{}", plugin.socket().display())}});
    let configuration = dir.path().join("encryption.json");
    std::fs::write(&configuration, through(&[kms.clone(), aescbc.clone(), identity.clone()])).expect("write");
    let server = start(&[kms.clone(), aescbc, identity]);
    server.kms_ready(SOON).expect("it likes the plugin");
    let config = dir.path().join("kubeconfig");
    kubeconfig::write(&config, &server, TOKEN).expect("it is written");
    let text = |path: &Path| path.display().to_string();
    let run = |words: &[&str], more: &[String]| {
        let names = ["--dev".to_owned(), "--dir".into(), text(dir.path()), "--endpoints".into(), etcd.endpoint().to_owned()];
        let names = [&names[..], &["--encryption-config".into(), text(&configuration)], more].concat();
        Ran::within(Command::new(KEYWRIGHT).args(words).args(names), LONG).expect("it ends by itself")
    };
    let scan = ["scan", "--output", "json", "--require-no-plaintext"];

    let before = run(&scan, &[]);
    assert_eq!(before.code, 4, "{before:?}");
    assert!(before.err.contains("/registry/secrets/default/kept-0"), "{}", before.err);
    let report: Value = serde_json::from_str(&before.out).expect("JSON");
    assert_eq!(kinds(&report), [("plaintext".to_owned(), EACH), ("aescbc".to_owned(), EACH)]);
    let names: Vec<&str> = report["stores"][0]["report"]["counts"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|c| c["kind"] == "aescbc")
        .map(|c| c["provider"].as_str().expect("text"))
        .collect();
    assert_eq!(names, ["with:colon"], "the configuration says where the name ends");

    // What the API server has adopted shows at its next poll.
    let over = &AtomicBool::new(false);
    let rewritten = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let _ = server.api().kms_ready();
                std::thread::sleep(Duration::from_millis(500));
            }
        });
        let ran = run(&["rotate", "rewrite", "--output", "json"], &["--kubeconfig".into(), text(&config)]);
        over.store(true, Ordering::SeqCst);
        ran
    });
    assert_eq!(rewritten.code, 0, "{rewritten:?}");
    let after = run(&[&scan[..], &["--expect-primary"]].concat(), &[]);
    assert_eq!(after.code, 0, "{after:?}");
    assert_eq!(kinds(&after.json()), [("kms-v2".to_owned(), 2 * EACH)]);
    drop(server);

    // With nothing but KMS: what was left behind could not be read.
    let server = start(&[kms]);
    server.kms_ready(SOON).expect("it likes the plugin");
    for number in 0..2 * EACH {
        assert_eq!(server.api().secret(&format!("kept-{number}")).expect("it is read")["value"], bytes(100, number), "kept-{number}");
    }
}
