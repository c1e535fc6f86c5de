//! KMS v1, which API servers still have behind a gate, and its client that says the socket's path where a host name belongs.

use std::collections::BTreeSet;
use std::path::Path;

use keywright_testbed::apiserver::{ApiServer, Settings};
use keywright_testbed::encryption::{Provider, configuration};
use keywright_testbed::etcd::Etcd;
use keywright_testbed::leak;
use keywright_testbed::stored::KmsValue;

use crate::home::{Configured, KeyIn};
use crate::kms;
use crate::stack::{MARKER, PROVIDER, SOON, bytes, tools};

fn v1_server(etcd: &Etcd, socket: &Path) -> ApiServer {
    let settings = Settings::new(configuration(&[Provider::kms_v1(PROVIDER, socket)])).feature_gate("KMSv1=true");
    ApiServer::start(tools(), etcd, &settings).expect("the API server starts")
}

#[test]
fn a_kms_v1_api_server_writes_and_reads_over_a_path_socket_with_legacy_clients() {
    a_v1_api_server_writes_and_reads(KeyIn::Local);
}

pub(crate) fn a_v1_api_server_writes_and_reads(key: KeyIn) {
    let keywright = Configured::with(key, "[kms]\nv1 = true\nlegacy_clients = true\n");
    let plugin = keywright.serve();
    let etcd = Etcd::start(tools()).expect("etcd starts");
    let mut server = v1_server(&etcd, plugin.socket());
    server.kms_ready(SOON).expect("the API server likes the plugin");
    for number in 0..10 {
        let answer = server.api().create_secret(&format!("old-{number}"), &[("value", &bytes(200, number))]);
        answer.and_then(|answer| answer.ok()).expect("it is written");
    }

    let value = etcd.value("/registry/secrets/default/old-0").expect("etcd has it");
    assert!(value.starts_with(b"k8s:enc:kms:v1:keywright:"), "it begins otherwise");
    assert_eq!(leak::found_in(&value, MARKER), [""; 0], "etcd shows the plaintext");
    let deks = (0..10).map(|number| {
        let value = etcd.value(&format!("/registry/secrets/default/old-{number}")).expect("etcd has it");
        KmsValue::parse(&value).and_then(|value| value.v1_wrapped_dek()).expect("it carries a wrapped DEK")
    });
    let deks: BTreeSet<Vec<u8>> = deks.collect();
    assert_eq!(deks.len(), 10, "each write of KMS v1 has a DEK of its own");

    let seen = plugin.log().len();
    server.restart().expect("the API server starts");
    for number in 0..10 {
        assert_eq!(server.api().secret(&format!("old-{number}")).expect("it is read")["value"], bytes(200, number), "old-{number}");
    }
    plugin.wait_line_with(seen, SOON, &["op=Decrypt", "api=v1", "code=OK"]).expect("the plugin was asked to decrypt");
    let printed = plugin.printed();
    assert_eq!(leak::found_in(printed.as_bytes(), MARKER), [""; 0]);
    for wrapped in deks {
        let dek = kms::decrypt_v1(plugin.socket(), &wrapped).expect("the plugin opens what it made");
        assert_eq!(leak::found_in(printed.as_bytes(), &dek), [""; 0], "a DEK is in the plugin's output");
    }
}

#[test]
fn a_kms_v1_api_server_over_a_path_socket_fails_without_legacy_clients() {
    let keywright = Configured::new("[kms]\nv1 = true\nlegacy_clients = false\n");
    let plugin = keywright.serve();
    let etcd = Etcd::start(tools()).expect("etcd starts");
    let server = v1_server(&etcd, plugin.socket());
    let answer = server.api().create_secret("refused", &[("value", MARKER)]).expect("the API server answers");
    assert_eq!(answer.status, 500, "{}", answer.text);
    assert!(answer.text.contains("PROTOCOL_ERROR"), "{}", answer.text);
    assert_eq!(etcd.count("/registry/secrets/default/").expect("etcd answers"), 0);
    assert!(!plugin.printed().contains("op=Encrypt"), "a request got through:\n{}", plugin.printed());
}
