//! Webhook configurations, policies and definitions of custom resources, as much of them as is used.

use serde::Deserialize;

use super::{Hook, Kind};

/// A list of configurations or of policies.
#[derive(Deserialize)]
pub(super) struct List {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    metadata: Metadata,
    #[serde(default)]
    webhooks: Vec<Webhook>,
    spec: Option<Policy>,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Webhook {
    name: String,
    failure_policy: Option<String>,
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Policy {
    failure_policy: Option<String>,
    match_constraints: Option<Constraints>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Constraints {
    #[serde(default)]
    resource_rules: Vec<Rule>,
}

/// What it is asked about.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rule {
    #[serde(default)]
    api_groups: Vec<String>,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    operations: Vec<String>,
    scope: Option<String>,
}

impl Rule {
    pub(super) fn covers(&self, group: &str, plural: &str, namespaced: bool) -> bool {
        let any = |list: &[String], wanted: &[&str]| list.iter().any(|entry| wanted.contains(&entry.as_str()));
        let scope = match self.scope.as_deref() {
            Some("Namespaced") => namespaced,
            Some("Cluster") => !namespaced,
            _ => true,
        };
        scope
            && any(&self.api_groups, &["*", group])
            && any(&self.resources, &["*", "*/*", plural])
            && any(&self.operations, &["*", "UPDATE"])
    }
}

impl List {
    pub(super) fn hooks(self, kind: Kind) -> impl Iterator<Item = Hook> {
        self.items.into_iter().flat_map(move |item| {
            let configuration = item.metadata.name;
            let policy = item.spec.map(|policy| Hook {
                kind,
                name: configuration.clone(),
                fails_closed: policy.failure_policy.as_deref() != Some("Ignore"),
                rules: policy.match_constraints.map(|constraints| constraints.resource_rules).unwrap_or_default(),
            });
            let webhooks: Vec<Hook> = item
                .webhooks
                .into_iter()
                .map(|webhook| Hook {
                    kind,
                    name: format!("{configuration}/{}", webhook.name),
                    fails_closed: webhook.failure_policy.as_deref() != Some("Ignore"),
                    rules: webhook.rules,
                })
                .collect();
            policy.into_iter().chain(webhooks)
        })
    }
}

/// A CustomResourceDefinition.
#[derive(Deserialize)]
pub(super) struct Definition {
    spec: DefinitionSpec,
}

#[derive(Deserialize)]
struct DefinitionSpec {
    conversion: Option<Conversion>,
}

#[derive(Deserialize)]
struct Conversion {
    strategy: String,
}

impl Definition {
    pub(super) fn converts_by_webhook(&self) -> bool {
        self.spec.conversion.as_ref().is_some_and(|conversion| conversion.strategy == "Webhook")
    }
}
