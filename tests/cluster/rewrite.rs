//! What a rewrite meets on a real API server: objects that look as if they could not be written, and objects that cannot be.

use std::process::Command;

use keywright_testbed::apiserver::TOKEN;
use keywright_testbed::ran::Ran;
use serde_json::{Value, json};

use crate::stack::{KEYWRIGHT, LONG, SOON, Stack, bytes};

const SECRETS: &str = "/api/v1/namespaces/default/secrets";

fn create(stack: &Stack, path: &str, object: &Value) {
    stack.api().create(path, object).and_then(|answer| answer.ok()).unwrap_or_else(|e| panic!("{path}: {e}"));
}

/// Runs `words` while the API server is made to poll its plugin.
fn polled(stack: &Stack, words: &[&str], names: &[String]) -> Ran {
    stack.polled(|| Ran::within(Command::new(KEYWRIGHT).args(words).args(names), LONG).expect("it ends by itself"))
}

#[test]
fn immutable_finalizing_and_terminating_objects_are_rewritten_and_what_a_policy_keeps_back_is_named() {
    let stack = Stack::start();
    let etcd = stack.place();
    let value = keywright_testbed::api::base64(&bytes(50, 1));
    create(&stack, SECRETS, &json!({"metadata": {"name": "immutable"}, "immutable": true, "data": {"v": value}}));
    create(&stack, SECRETS, &json!({"metadata": {"name": "held", "finalizers": ["example.com/held"]}, "data": {"v": value}}));
    stack.api().delete(&format!("{SECRETS}/held")).and_then(|answer| answer.ok()).expect("it is being deleted");
    create(&stack, "/api/v1/namespaces", &json!({"metadata": {"name": "ending"}}));
    create(&stack, "/api/v1/namespaces/ending/secrets", &json!({"metadata": {"name": "inside"}, "data": {"v": value}}));
    stack.api().delete("/api/v1/namespaces/ending").and_then(|answer| answer.ok()).expect("nobody empties it here, so it stays");
    create(&stack, SECRETS, &json!({"metadata": {"name": "refused"}, "data": {"v": value}}));
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "no-updates"},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["secrets"]}]},
            "validations": [{"expression": "object.metadata.name != 'refused'", "message": "it is kept as it is"}],
        },
    });
    create(&stack, "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies", &policy);
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "no-updates"},
        "spec": {"policyName": "no-updates", "validationActions": ["Deny"]},
    });
    create(&stack, "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings", &binding);
    keywright_testbed::wait::until("the policy to be in force", SOON, || {
        let path = format!("{SECRETS}/refused");
        let answer = stack.api().patch(&path, &json!({"metadata": {"labels": {"a": "b"}}})).map_err(|e| e.to_string())?;
        if answer.status == 422 { Ok(()) } else { Err(answer.status.to_string()) }
    })
    .expect("it comes");

    let admin = stack.user("admin.conf", TOKEN);
    stack.promote();
    let rewritten = polled(&stack, &["rotate", "rewrite", "--output", "json"], &[&etcd[..], &admin].concat());
    assert_eq!(rewritten.code, 4, "{rewritten:?}");
    let answer: Value = serde_json::from_str(&rewritten.out).expect("JSON");
    let secrets = answer["resources"].as_array().expect("a list").iter().find(|r| r["resource"] == "secrets").expect("secrets");
    assert_eq!((secrets["rewritten"].as_u64(), secrets["failed"].as_u64()), (Some(3), Some(1)), "{answer:#}");
    let failure = &answer["failures"][0];
    assert_eq!(failure["object"], "default/refused");
    assert!(failure["reason"].as_str().expect("text").contains("no-updates"), "{failure}");
    stack.nothing_secret_was_printed();
}

#[test]
fn the_printed_role_is_enough_for_the_whole_rewrite_and_lets_nobody_read_a_secret() {
    let stack = Stack::start();
    for number in 0..20 {
        stack
            .api()
            .create_secret(&format!("s{number}"), &[("v", &bytes(50, number))])
            .and_then(|answer| answer.ok())
            .expect("it is written");
    }
    let etcd = stack.place();
    stack.promote();
    let admin = stack.user("admin.conf", TOKEN);
    let role =
        Ran::of(Command::new(KEYWRIGHT).args(["rotate", "rewrite", "--print-role"]).args(&etcd).args(&admin)).expect("it ends").succeeds();
    let applied = stack.api().request(
        "PATCH",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/keywright-rewrite?fieldManager=test",
        Some(("application/apply-patch+yaml", role.as_bytes())),
    );
    applied.and_then(|answer| answer.ok()).unwrap_or_else(|e| panic!("{e}:\n{role}"));
    create(&stack, "/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "rewriter"}}));
    let binding = json!({
        "metadata": {"name": "rewriter"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "keywright-rewrite"},
        "subjects": [{"kind": "ServiceAccount", "namespace": "default", "name": "rewriter"}],
    });
    create(&stack, "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding);
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}});
    let token = stack.api().create("/api/v1/namespaces/default/serviceaccounts/rewriter/token", &request).and_then(|answer| answer.ok());
    let token = token.expect("a token")["status"]["token"].as_str().expect("text").to_owned();
    let rewriter = stack.user("rewriter.conf", &token);

    let rewritten = polled(&stack, &["rotate", "rewrite", "--output", "json"], &[&etcd[..], &rewriter].concat());
    assert_eq!(rewritten.code, 0, "{rewritten:?}");
    let restricted = keywright_testbed::api::Api::new(stack.server.address(), &stack.server.certificates(), &token).expect("a client");
    let read = restricted.get(&format!("{SECRETS}/s0")).expect("it answers");
    assert_eq!(read.status, 403, "{}", read.text);
    stack.nothing_secret_was_printed();
}
