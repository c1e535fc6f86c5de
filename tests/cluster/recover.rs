//! What an API server stored opens without it, and is shown as it shows it.

use std::collections::BTreeMap;

use keywright::encryption_configuration::EncryptionConfiguration;
use keywright::keyring::seal::Opener as Seal;
use keywright::keyring::store;
use keywright::provider::pkcs11::Tokens;
use keywright::recover::drill::{Plan, drill};
use keywright::recover::label::Kind;
use keywright::recover::show::{Form, show};
use keywright::recover::{Opened, Opener};
use keywright_testbed::api::{Api, base64};
use keywright_testbed::apiserver::{ApiServer, Settings};
use keywright_testbed::etcd::Etcd;
use serde_json::{Value, json};

use crate::home::{Home, KeyIn};
use crate::stack::{PROVIDER, Stack, bytes, tools};

/// Objects with everything that their kind can have.
fn create_objects(api: &Api) {
    let created = |path: &str, object: &Value| api.create(path, object).and_then(|answer| answer.ok()).expect("it is written");
    let namespace = "/api/v1/namespaces/recovered";
    created("/api/v1/namespaces", &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "recovered"}}));
    let odd = "tab\there, quote \" backslash \\ <html> \u{2028} emoji \u{1f511}\nsecond line\n";
    let metadata = json!({
        "name": "full",
        "labels": {"app": "yes", "empty": ""},
        "annotations": {"example.com/note": odd},
        "finalizers": ["example.com/hold"],
        "ownerReferences": [{
            "apiVersion": "v1", "kind": "ConfigMap", "name": "full", "uid": "6f2b0a6e-2f2b-4a51-9d5c-6f0a2f7a3b10",
            "controller": true, "blockOwnerDeletion": false,
        }],
    });
    let data = json!({"a": base64(b"hunter2"), "empty": "", "bytes": base64(&bytes(5_000, 9))});
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data, "immutable": true, "type": "example.com/odd"});
    created(&format!("{namespace}/secrets"), &secret);
    let generated = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"generateName": "generated-"}, "stringData": {"a": odd}});
    created(&format!("{namespace}/secrets"), &generated);
    created(&format!("{namespace}/secrets"), &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "empty"}}));
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "immutable": false,
        "data": {"text": odd, "yes": "no", "empty": ""}, "binaryData": {"b": base64(&[0, 255, 128])},
    });
    created(&format!("{namespace}/configmaps"), &map);
    // Waits for its finalizer, and so is shown with the time of its end.
    api.delete(&format!("{namespace}/configmaps/full")).and_then(|answer| answer.ok()).expect("its deletion begins");
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"},
        "involvedObject": {"kind": "ConfigMap", "namespace": "recovered", "name": "full"}, "reason": "Test", "message": "a test",
    });
    created(&format!("{namespace}/events"), &event);
}

/// Key, value and revision of everything below `prefix`.
fn stored(etcd: &Etcd, prefix: &str) -> Vec<(String, Vec<u8>, u64)> {
    let answer = etcd.etcdctl(&["get", prefix, "--prefix", "-w", "json"]).expect("etcd answers");
    let answer: Value = serde_json::from_slice(&answer).expect("JSON");
    let values: BTreeMap<_, _> = etcd.values(prefix).expect("etcd answers").into_iter().collect();
    let revisions = answer["kvs"].as_array().expect("there are some").iter().map(|pair| pair["mod_revision"].as_u64().expect("a number"));
    assert_eq!(values.len(), revisions.len(), "{prefix} changed meanwhile");
    values.into_iter().zip(revisions).map(|((key, value), revision)| (key, value, revision)).collect()
}

fn open(opener: &Opener, key: &str, value: &[u8]) -> Opened {
    opener.open(key.as_bytes(), value).unwrap_or_else(|e| panic!("{key}: {e}"))
}

/// Opens every Secret and ConfigMap and compares it with what the API server shows; gives their number.
fn each_is_shown_as_by_the_api_server(opener: &Opener, etcd: &Etcd, api: &Api, kinds: [Kind; 2]) -> usize {
    let mut seen = 0;
    for (resource, kind) in ["secrets", "configmaps"].into_iter().zip(kinds) {
        let prefix = format!("/registry/{resource}/");
        for (key, value, revision) in stored(etcd, &prefix) {
            let opened = open(opener, &key, &value);
            assert_eq!(opened.how.kind, kind, "{key}");
            let (namespace, name) = key.strip_prefix(&prefix).and_then(|rest| rest.split_once('/')).expect("a namespace and a name");
            let path = format!("/api/v1/namespaces/{namespace}/{resource}/{name}");
            let mut expected = api.get(&path).and_then(|answer| answer.ok()).expect("it is read");
            expected["metadata"].as_object_mut().expect("metadata").remove("managedFields");
            let shown = show(&opened.plaintext, Form::Json, Some(revision)).unwrap_or_else(|e| panic!("{key}: {e}"));
            let shown: Value = serde_json::from_slice(shown.expose_secret()).expect("JSON");
            assert_eq!(shown, expected, "{key}");
            seen += 1;
        }
    }
    seen
}

#[test]
fn objects_under_kms_v2_open_with_the_keyring_alone_and_are_shown_as_the_api_server_shows_them() {
    let stack = Stack::start();
    create_objects(stack.api());
    let keyring = stack.plugin.socket().parent().map(|dir| dir.join("keyring")).expect("a folder");
    let keyring = store::load(&keyring, &Seal::InsecureDevelopment, &Tokens::none(), &keywright::entropy::OsEntropy)
        .expect("the plugin's keyring loads");
    let opener = Opener::new(vec![keyring], None);
    let seen = each_is_shown_as_by_the_api_server(&opener, &stack.etcd, stack.api(), [Kind::KmsV2, Kind::KmsV2]);
    assert!(seen >= 4, "{seen}");
    let (key, value, _) = stored(&stack.etcd, "/registry/secrets/recovered/full").pop().expect("it is there");
    let how = open(&opener, &key, &value).how;
    assert_eq!((how.name.as_str(), how.key_id), (PROVIDER, Some(stack.key_id.clone())));
    opener.open(b"/registry/secrets/recovered/other", &value).expect_err("a value belongs to its key");
    stack.nothing_secret_was_printed();
}

#[test]
fn a_secret_under_a_key_in_a_token_opens_from_a_snapshot_as_the_api_server_shows_it_while_the_token_is_there() {
    let stack = Stack::of(Home::new(KeyIn::SoftHsm));
    create_objects(stack.api());
    let answer = stack.api().get("/api/v1/namespaces/recovered/secrets/full").and_then(|answer| answer.ok());
    let mut expected = answer.expect("it is read");
    expected["metadata"].as_object_mut().expect("metadata").remove("managedFields");
    let folder = stack.home.folder();
    let (file, away) = (folder.join("snapshot.db"), folder.join("away"));
    stack.etcd.save(&file).expect("etcdctl saves");
    let file = file.to_str().expect("text");
    let decrypt = ["recover", "decrypt", "--snapshot", file, "--key", "/registry/secrets/recovered/full", "--output", "json"];
    let shown: Value = serde_json::from_str(&stack.home.run(&decrypt).succeeds()).expect("JSON");
    assert_eq!(shown, expected);
    let drill = ["recover", "drill", "--snapshot", file, "--output", "json"];
    let report: Value = serde_json::from_str(&stack.home.run(&drill).succeeds()).expect("JSON");
    let keys = report["keys"].as_array().expect("a list");
    let ours = keys.iter().find(|key| key["key_id"] == stack.key_id.as_str()).expect("its key");
    assert!(ours["opened"].as_u64().is_some_and(|opened| opened >= 4), "{report}");

    std::fs::rename(folder.join("softhsm2"), &away).expect("pulls the token");
    stack.home.run(&decrypt).fails(5, &["token `kek`", "restore it from the HSM's own backup"]);
    stack.home.run(&drill).fails(4, &["values of the sample did not open"]);
    std::fs::rename(&away, folder.join("softhsm2")).expect("puts it back");
    stack.home.run(&decrypt).succeeds();
}

#[test]
fn objects_under_every_local_provider_open_with_the_configuration_and_a_drill_says_so() {
    let key = |length: usize| base64(&bytes(64, 77)[64 - length..]);
    let text = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n\
         - resources: [secrets]\n  providers:\n  - aescbc: {{keys: [{{name: 'with:colon', secret: {}}}, {{name: old, secret: {}}}]}}\n\
         - resources: [configmaps]\n  providers:\n  - aesgcm:\n      keys:\n      - name: key1\n        secret: |\n          {}\n\
         - resources: [events]\n  providers: [secretbox: {{keys: [{{name: key1, secret: {}}}]}}]\n\
         - resources: [serviceaccounts]\n  providers: [aesgcm: {{keys: [{{name: key1, secret: {}}}]}}, identity: {{}}]\n\
         - resources: ['*.apps']\n  providers: [identity: {{}}]\n",
        key(16),
        key(32),
        key(24),
        key(32),
        key(32)
    );
    let configuration = EncryptionConfiguration::parse(&text).expect("valid");
    let etcd = Etcd::start(tools()).expect("etcd starts");
    let server = ApiServer::start(tools(), &etcd, &Settings::new(text)).expect("the API server takes the same text");
    create_objects(server.api());
    let opener = Opener::new(vec![], Some(configuration));
    let seen = each_is_shown_as_by_the_api_server(&opener, &etcd, server.api(), [Kind::AesCbc, Kind::AesGcm]);
    assert!(seen >= 4, "{seen}");
    for (prefix, kind, name) in [
        ("/registry/secrets/recovered/", Kind::AesCbc, "with:colon"),
        ("/registry/events/recovered/", Kind::Secretbox, "key1"),
        ("/registry/namespaces/", Kind::Identity, ""),
    ] {
        for (key, value, _) in stored(&etcd, prefix) {
            let opened = open(&opener, &key, &value);
            assert!(opened.plaintext.expose_secret().starts_with(b"k8s\0"), "{key}");
            assert_eq!((opened.how.kind, opened.how.name.as_str()), (kind, name), "{key}");
        }
    }
    let entries: Vec<_> =
        etcd.values("/registry/").expect("etcd answers").into_iter().map(|(key, value)| (key.into_bytes(), value)).collect();
    let report = drill(&opener, entries, Plan { sample: 3, seed: 1, date: "2027-02-01T00:00:00Z".parse().expect("valid") });
    assert!(report.is_restorable(), "{}", report.table());
    let kinds: Vec<_> = report.keys.iter().map(|key| key.kind.as_str()).collect();
    assert_eq!(kinds, ["identity", "aescbc", "aesgcm", "secretbox"]);
}

/// Rules that the API server has and ours must have too: each text is refused by both.
#[test]
fn a_configuration_that_we_refuse_does_not_start_an_api_server_either() {
    let text = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n\
                - resources: ['*.']\n  providers: [identity: {}]\n- resources: [secrets]\n  providers: [identity: {}]\n";
    let error = EncryptionConfiguration::parse(text).expect_err("masked");
    assert!(error.to_string().contains("masked by the earlier `*.`"), "{error}");
    let etcd = Etcd::start(tools()).expect("etcd starts");
    let refused = ApiServer::start(tools(), &etcd, &Settings::new(text.into())).map(|_| ()).expect_err("it does not start").to_string();
    assert!(refused.contains("masked by earlier rule"), "{refused}");
}
