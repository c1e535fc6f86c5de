//! How a real API server words what stands in the way of an empty patch, and what the rewrite makes of each.

use std::collections::BTreeMap;
use std::process::Command;

use keywright_testbed::api::{Api, base64};
use keywright_testbed::apiserver::TOKEN;
use keywright_testbed::ran::Ran;
use keywright_testbed::wait;
use serde_json::{Value, json};

use crate::hook::Hook;
use crate::stack::{KEYWRIGHT, LONG, SOON, Stack, bytes};

const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";

/// A stack with a kubeconfig of its administrator, and what names its keyring and its etcd.
pub(crate) struct Bench {
    pub(crate) stack: Stack,
    pub(crate) etcd: Vec<String>,
    pub(crate) admin: Vec<String>,
}

impl Bench {
    pub(crate) fn of(stack: Stack) -> Self {
        let (etcd, admin) = (stack.place(), stack.user("admin.conf", TOKEN));
        Self { stack, etcd, admin }
    }

    pub(crate) fn create(&self, path: &str, object: &Value) -> Value {
        created(self.stack.api(), path, object)
    }

    pub(crate) fn secret(&self, namespace: &str, name: &str) {
        let object = json!({"metadata": {"name": name}, "data": {"v": base64(&bytes(50, 1))}});
        self.create(&format!("/api/v1/namespaces/{namespace}/secrets"), &object);
    }

    pub(crate) fn keywright(&self, words: &[&str], user: &[String]) -> Command {
        let mut command = Command::new(KEYWRIGHT);
        command.args(words).args(&self.etcd).args(user);
        command
    }

    /// A whole rewrite as `user`.
    pub(crate) fn rewrite(&self, user: &[String]) -> Ran {
        self.stack
            .polled(|| Ran::within(&mut self.keywright(&["rotate", "rewrite", "--output", "json"], user), LONG).expect("it ends by itself"))
    }
}

fn created(api: &Api, path: &str, object: &Value) -> Value {
    api.create(path, object).and_then(|answer| answer.ok()).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Why objects failed, by their names.
pub(crate) fn failures(answer: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let failures = answer["failures"].as_array().expect("a list");
    failures.iter().map(|failure| (text(&failure["object"]), text(&failure["reason"]))).collect()
}

/// Rewritten, unchanged, gone and failed objects of one resource.
pub(crate) fn counts(answer: &Value, resource: &str) -> [u64; 4] {
    let all = answer["resources"].as_array().expect("a list");
    let one = all.iter().find(|one| one["resource"] == resource).unwrap_or_else(|| panic!("no {resource} in {answer:#}"));
    ["rewritten", "unchanged", "gone", "failed"].map(|name| one[name].as_u64().expect("a number"))
}

#[test]
fn what_the_api_server_cannot_decrypt_is_told_from_a_verb_that_is_missing_and_the_rest_is_rewritten() {
    let bench = Bench::of(Stack::start());
    let (api, etcd) = (bench.stack.api(), &bench.stack.etcd);
    bench.create("/api/v1/namespaces", &json!({"metadata": {"name": "other"}}));
    for (namespace, name) in [("default", "good"), ("default", "damaged"), ("other", "first"), ("other", "second")] {
        bench.secret(namespace, name);
    }
    // One bit of the data, which no key can notice but the one that made it.
    let key = "/registry/secrets/default/damaged";
    let mut value = etcd.value(key).expect("it is stored");
    let sealed = keywright_testbed::stored::EncryptedObject::from_value(&value).expect("KMS v2").data;
    let at = value.windows(sealed.len()).position(|window| window == sealed).expect("the data is in the value");
    value[at + sealed.len() / 2] ^= 1;
    etcd.put_all(&[(key.to_owned(), value)]).expect("it is put");

    // A user who may patch Secrets in namespace default, and everything else elsewhere.
    let rule = |resources: &[&str]| json!([{"apiGroups": [""], "resources": resources, "verbs": ["patch"]}]);
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    // And who may see which API servers there are, and with which key each writes.
    let maps = json!([
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["patch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["list"]},
        {"nonResourceURLs": ["/metrics"], "verbs": ["get"]},
    ]);
    created(api, &format!("{rbac}/clusterroles"), &json!({"metadata": {"name": "maps"}, "rules": maps}));
    created(api, &format!("{rbac}/namespaces/default/roles"), &json!({"metadata": {"name": "secrets"}, "rules": rule(&["secrets"])}));
    created(api, "/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "half"}}));
    let subjects = json!([{"kind": "ServiceAccount", "namespace": "default", "name": "half"}]);
    let binding = |kind: &str, name: &str| json!({"metadata": {"name": name}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}, "subjects": subjects});
    created(api, &format!("{rbac}/clusterrolebindings"), &binding("ClusterRole", "maps"));
    created(api, &format!("{rbac}/namespaces/default/rolebindings"), &binding("Role", "secrets"));
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}});
    let token = created(api, "/api/v1/namespaces/default/serviceaccounts/half/token", &request);
    let half = bench.stack.user("half.conf", token["status"]["token"].as_str().expect("text"));

    bench.stack.promote();
    let ran = bench.rewrite(&half);
    assert_eq!(ran.code, 4, "{ran:?}");
    let answer = ran.json();
    assert_eq!(counts(&answer, "secrets"), [1, 0, 0, 3], "{answer:#}");
    let failures = failures(&answer);
    for name in ["other/first", "other/second"] {
        assert_eq!(failures[name], "the verb patch on it is missing; apply the ClusterRole that the plan prints");
    }
    let damaged = &failures["default/damaged"];
    assert!(damaged.starts_with("the API server cannot read it from etcd: "), "{damaged}");
    assert!(damaged.contains("not transformable"), "{damaged}");

    // The administrator gets further, and to the same end.
    let answer = bench.rewrite(&bench.admin).json();
    assert_eq!(counts(&answer, "secrets"), [2, 0, 0, 1], "{answer:#}");
    bench.stack.nothing_secret_was_printed();
}

#[test]
fn a_webhook_that_refuses_is_named_whatever_status_it_chooses_and_one_that_is_away_is_asked_again() {
    let bench = Bench::of(Stack::start());
    let hook = Hook::start();
    // Each of these means something else where it is not a webhook that says it.
    let statuses = [400, 401, 403, 404, 409, 422, 429, 500, 503];
    for status in statuses {
        bench.secret("default", &format!("s{status}"));
    }
    bench.secret("default", "passed");
    bench.create("/api/v1/namespaces", &json!({"metadata": {"name": "away", "labels": {"hook": "away"}}}));
    bench.secret("away", "unasked");
    let webhook = |name: &str, url: String, namespace: Value| {
        json!({
            "name": name, "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Fail", "timeoutSeconds": 5,
            "clientConfig": {"url": url, "caBundle": hook.authority()}, "namespaceSelector": {"matchExpressions": [namespace]},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["secrets"]}],
        })
    };
    let configuration = json!({"metadata": {"name": "hooks"}, "webhooks": [
        webhook("refuses.example.com", hook.url(), json!({"key": "hook", "operator": "DoesNotExist"})),
        webhook("away.example.com", "https://127.0.0.1:1/".to_owned(), json!({"key": "hook", "operator": "Exists"})),
    ]});
    bench.create(&format!("{ADMISSION}/validatingwebhookconfigurations"), &configuration);
    for name in ["default/secrets/s400", "away/secrets/unasked"] {
        wait::until("the webhook to be in force", SOON, || {
            let path = format!("/api/v1/namespaces/{name}?dryRun=All");
            let answer = bench.stack.api().patch(&path, &json!({"metadata": {"labels": {"a": "b"}}})).map_err(|e| e.to_string())?;
            if answer.text.contains(".example.com") { Ok(()) } else { Err(answer.text) }
        })
        .expect("it comes");
    }

    bench.stack.promote();
    let ran = bench.rewrite(&bench.admin);
    assert_eq!(ran.code, 4, "{ran:?}");
    let answer = ran.json();
    assert_eq!(counts(&answer, "secrets"), [1, 0, 0, 1 + statuses.len() as u64], "{answer:#}");
    let failures = failures(&answer);
    for status in statuses {
        let reason = &failures[&format!("default/s{status}")];
        let expected = format!("admission refused the update: admission webhook \"refuses.example.com\" denied the request: says {status}");
        assert_eq!(*reason, expected);
        assert_eq!(hook.asked(&format!("s{status}")), 1, "a refusal by s{status} is not asked for twice");
    }
    let away = &failures["away/unasked"];
    assert!(away.starts_with("admission refused the update: ") && away.contains("failed calling webhook \"away.example.com\""), "{away}");
    bench.stack.nothing_secret_was_printed();
}
