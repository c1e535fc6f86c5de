//! The rights that a plan needs, as a manifest to apply, and no others.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::Plan;

/// The name of the ClusterRole.
pub const NAME: &str = "keywright-rewrite";

/// A ClusterRole with which the plan can be made and carried out: `patch` on its resources, and reading of what may interfere, and of who writes with which key.
///
/// There is no `get`, `list` or `watch` on what is patched. `patch` on Secrets is as strong as reading them nevertheless: see
/// `docs/rewrite.md`.
pub fn role(plan: &Plan) -> String {
    let mut patched: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut definitions = BTreeSet::new();
    for planned in &plan.resources {
        let resource = &planned.resource;
        patched.entry(&resource.group).or_default().insert(&resource.plural);
        if resource.is_custom() {
            definitions.insert(resource.to_string());
        }
    }
    let mut text = format!("apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: {NAME}\nrules:\n");
    for (group, resources) in patched {
        rule(&mut text, group, resources, None, "patch");
    }
    if !definitions.is_empty() {
        rule(&mut text, "apiextensions.k8s.io", ["customresourcedefinitions"], Some(&definitions), "get");
    }
    let interfering =
        ["mutatingadmissionpolicies", "mutatingwebhookconfigurations", "validatingadmissionpolicies", "validatingwebhookconfigurations"];
    rule(&mut text, "admissionregistration.k8s.io", interfering, None, "list");
    // Who the API servers are, and which key each of them writes with.
    rule(&mut text, "discovery.k8s.io", ["endpointslices"], None, "list");
    rule(&mut text, "coordination.k8s.io", ["leases"], None, "list");
    text.push_str("- nonResourceURLs: [\"/metrics\"]\n  verbs: [\"get\"]\n");
    text
}

/// All values are DNS names, or empty: in quotation marks they are YAML strings as they stand.
fn rule<'a>(text: &mut String, group: &str, resources: impl IntoIterator<Item = &'a str>, names: Option<&BTreeSet<String>>, verb: &str) {
    let list = |entries: Vec<&str>| entries.iter().map(|entry| format!("{entry:?}")).collect::<Vec<_>>().join(", ");
    let resources = list(resources.into_iter().collect());
    let mut line = |key: &str, value: &str| writeln!(text, "{key}: [{value}]").expect("a String takes everything");
    line("- apiGroups", &list(vec![group]));
    line("  resources", &resources);
    if let Some(names) = names {
        line("  resourceNames", &list(names.iter().map(String::as_str).collect()));
    }
    line("  verbs", &list(vec![verb]));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::admission::Admission;
    use crate::kube::discovery::tests::discovery;
    use crate::rewrite::plan::{Stale, plan};

    #[test]
    fn the_role_has_patch_on_just_what_is_planned_and_reads_nothing_of_it() {
        let served = discovery(&[
            ("", "v1", "secrets", true, &["patch"], ""),
            ("", "v1", "configmaps", true, &["patch"], ""),
            ("", "v1", "pods", true, &["patch"], ""),
            ("widgets.example", "v1", "widgets", true, &["patch"], ""),
        ]);
        let stale = |group: Option<&str>, resource: &str| Stale {
            group: group.map(str::to_owned),
            resource: resource.to_owned(),
            namespace: Some("default".to_owned()),
            name: "one".to_owned(),
            mod_revision: 1,
        };
        let all = vec![stale(None, "secrets"), stale(None, "configmaps"), stale(Some("widgets.example"), "widgets")];
        let text = role(&plan(all, &served, &Admission::default()));
        let expected = r#"apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: keywright-rewrite
rules:
- apiGroups: [""]
  resources: ["configmaps", "secrets"]
  verbs: ["patch"]
- apiGroups: ["widgets.example"]
  resources: ["widgets"]
  verbs: ["patch"]
- apiGroups: ["apiextensions.k8s.io"]
  resources: ["customresourcedefinitions"]
  resourceNames: ["widgets.widgets.example"]
  verbs: ["get"]
- apiGroups: ["admissionregistration.k8s.io"]
  resources: ["mutatingadmissionpolicies", "mutatingwebhookconfigurations", "validatingadmissionpolicies", "validatingwebhookconfigurations"]
  verbs: ["list"]
- apiGroups: ["discovery.k8s.io"]
  resources: ["endpointslices"]
  verbs: ["list"]
- apiGroups: ["coordination.k8s.io"]
  resources: ["leases"]
  verbs: ["list"]
- nonResourceURLs: ["/metrics"]
  verbs: ["get"]
"#;
        assert_eq!(text, expected);
    }
}
