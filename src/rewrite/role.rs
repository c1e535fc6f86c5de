//! The rights that a plan needs, as a manifest to apply, and no others.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::{Plan, migration};

/// The name of the ClusterRole.
pub const NAME: &str = "keywright-rewrite";

/// The name of the ClusterRole for a rewrite by StorageVersionMigrations.
pub const MIGRATION_NAME: &str = "keywright-migration";

/// A ClusterRole with which the plan can be made and carried out: `patch` on its resources, and reading of what may interfere, and of who writes with which key.
///
/// There is no `get`, `list` or `watch` on what is patched. `patch` on Secrets is as strong as reading them nevertheless: see
/// `docs/rewrite.md`.
pub fn role(plan: &Plan) -> String {
    let mut patched: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for planned in &plan.resources {
        patched.entry(&planned.resource.group).or_default().insert(&planned.resource.plural);
    }
    let mut text = head(NAME);
    for (group, resources) in patched {
        rule(&mut text, group, resources, None, "patch");
    }
    reading(&mut text, plan);
    text
}

/// A ClusterRole with which the plan can be made and left to the API server's own migrations: it may touch no stored object at all.
///
/// A verb `create` cannot be tied to names: it may ask for the migration of any resource, which changes nothing in it.
pub fn migration_role(plan: &Plan) -> String {
    let mut text = head(MIGRATION_NAME);
    let names: BTreeSet<String> = plan.resources.iter().map(|planned| migration::name(&planned.resource)).collect();
    if !names.is_empty() {
        rule(&mut text, migration::GROUP, [migration::PLURAL], None, "create");
        for verb in ["get", "delete"] {
            rule(&mut text, migration::GROUP, [migration::PLURAL], Some(&names), verb);
        }
    }
    reading(&mut text, plan);
    text
}

fn head(name: &str) -> String {
    format!("apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: {name}\nrules:\n")
}

/// What the plan reads of what may interfere.
fn reading(text: &mut String, plan: &Plan) {
    let custom = plan.resources.iter().filter(|planned| planned.resource.is_custom());
    let definitions: BTreeSet<String> = custom.map(|planned| planned.resource.to_string()).collect();
    if !definitions.is_empty() {
        rule(text, "apiextensions.k8s.io", ["customresourcedefinitions"], Some(&definitions), "get");
    }
    let interfering =
        ["mutatingadmissionpolicies", "mutatingwebhookconfigurations", "validatingadmissionpolicies", "validatingwebhookconfigurations"];
    rule(text, "admissionregistration.k8s.io", interfering, None, "list");
    // Who the API servers are, and which key each of them writes with.
    rule(text, "discovery.k8s.io", ["endpointslices"], None, "list");
    rule(text, "coordination.k8s.io", ["leases"], None, "list");
    text.push_str("- nonResourceURLs: [\"/metrics\"]\n  verbs: [\"get\"]\n");
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
    #[test]
    fn the_role_for_migrations_has_no_verb_on_what_is_stored() {
        let served = discovery(&[("", "v1", "secrets", true, &["patch"], "")]);
        let stale =
            Stale { group: None, resource: "secrets".to_owned(), namespace: Some("a".to_owned()), name: "s".to_owned(), mod_revision: 1 };
        let text = migration_role(&plan(vec![stale], &served, &Admission::default()));
        let expected = r#"rules:
- apiGroups: ["storagemigration.k8s.io"]
  resources: ["storageversionmigrations"]
  verbs: ["create"]
- apiGroups: ["storagemigration.k8s.io"]
  resources: ["storageversionmigrations"]
  resourceNames: ["keywright-secrets"]
  verbs: ["get"]
- apiGroups: ["storagemigration.k8s.io"]
  resources: ["storageversionmigrations"]
  resourceNames: ["keywright-secrets"]
  verbs: ["delete"]
- apiGroups: ["admissionregistration.k8s.io"]
"#;
        assert!(text.contains(expected), "{text}");
    }
}
