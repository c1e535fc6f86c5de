//! What a scan counted, in a form that can be held against a count by Kubernetes' own packages.

use std::collections::BTreeMap;

use keywright_testbed::etcd::Etcd;
use serde_json::Value;

use crate::stack::tools;

/// Values of served resources, by resource, kind, provider and key.
pub(crate) type Counts = BTreeMap<(String, String, String, String), u64>;

/// Of the report of `keywright scan`.
pub(crate) fn counts(report: &Value) -> Counts {
    let served = report["counts"].as_array().expect("a list").iter().filter(|count| count["class"] != "not-served");
    let field = |count: &Value, name: &str| count[name].as_str().expect("text").to_owned();
    let mut counts = Counts::new();
    for count in served.filter(|count| count["old"] == false) {
        // The independent count does not know groups of built-in resources: their keys do not tell.
        let resource = field(count, "resource");
        let resource = if count["class"] == "built-in" { resource.split('.').next().unwrap_or_default().to_owned() } else { resource };
        let kind = field(count, "kind");
        *counts.entry((resource, kind, field(count, "provider"), field(count, "key_id"))).or_default() +=
            count["values"].as_u64().expect("a number");
    }
    counts
}

/// The same by a program in Go that takes the values apart with the packages of kube-apiserver.
pub(crate) fn counted_by_kubernetes(etcd: &Etcd) -> Counts {
    let out = keywright_testbed::process::output(tools().count(), &[etcd.endpoint(), "/registry"]).expect("it counts");
    let answer: Value = serde_json::from_slice(&out).expect("JSON");
    let unserved = ["masterleases", "peerserverleases", "ranges"];
    let field = |count: &Value, name: &str| count[name].as_str().expect("text").to_owned();
    let lines =
        answer["counts"].as_array().expect("a list").iter().filter(|count| !unserved.contains(&count["resource"].as_str().expect("text")));
    let mut counts = Counts::new();
    for count in lines {
        // Two resources of one API group share a folder with another one's name.
        let resource = match field(count, "resource").as_str() {
            "apiregistration.k8s.io" | "apiextensions.k8s.io" => unreachable!("they have three parts"),
            "apiservices.apiregistration.k8s.io" => "apiservices".to_owned(),
            "customresourcedefinitions.apiextensions.k8s.io" => "customresourcedefinitions".to_owned(),
            other => other.to_owned(),
        };
        let kind = match field(count, "kind").as_str() {
            "identity" => "plaintext".to_owned(),
            other => other.replace(' ', "-"),
        };
        *counts.entry((resource, kind, field(count, "provider"), field(count, "key_id"))).or_default() +=
            count["objects"].as_u64().expect("a number");
    }
    counts
}
