//! What a StorageVersionMigration says, as much of it as is used.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::answer::printable;
use crate::kube::discovery::Resource;

/// The label of what this command has made.
pub(super) const LABEL: (&str, &str) = ("app.kubernetes.io/managed-by", "keywright");

/// The annotation with the key_id that was primary when it was made.
pub(super) const PRIMARY: &str = "keywright/primary";

/// Words after which a message of the API server may quote a field's value.
const QUOTING: [&str; 4] = ["nvalid value", " is invalid", "nsupported value", "uplicate value"];

/// The document.
#[derive(Deserialize)]
pub(super) struct Migration {
    metadata: Metadata,
    spec: Spec,
    #[serde(default)]
    status: Progress,
}

#[derive(Deserialize)]
struct Metadata {
    uid: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Spec {
    resource: Named,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    group: String,
    resource: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Progress {
    conditions: Vec<Condition>,
    resource_version: String,
}

#[derive(Deserialize)]
struct Condition {
    r#type: String,
    status: String,
    #[serde(default)]
    message: String,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// Nobody has touched it.
    New,
    /// Taken up; the message of its condition.
    Running(String),
    Succeeded,
    Failed(String),
}

/// The API server's refusal.
#[derive(Deserialize, Default)]
pub(super) struct Status {
    #[serde(default)]
    pub(super) message: String,
}

impl Status {
    /// Empty for what is no JSON of Kubernetes.
    pub(super) fn read(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_default()
    }
}

impl Migration {
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    pub(super) fn uid(&self) -> &str {
        &self.metadata.uid
    }

    /// Whether this command has made it.
    pub(super) fn is_ours(&self) -> bool {
        self.metadata.labels.get(LABEL.0).is_some_and(|value| value == LABEL.1)
    }

    /// Whether it will yet bring `resource` under `primary`.
    pub(super) fn serves(&self, primary: &str, resource: &Resource) -> bool {
        let named = &self.spec.resource;
        let same = named.group == resource.group && named.resource == resource.plural;
        let primary = self.metadata.annotations.get(PRIMARY).is_some_and(|value| value == primary);
        same && primary && matches!(self.state(), State::New | State::Running(_))
    }

    pub(super) fn state(&self) -> State {
        let condition = |kind: &str| self.status.conditions.iter().find(|known| known.r#type == kind && known.status == "True");
        if let Some(failed) = condition("Failed") {
            return State::Failed(told(&failed.message));
        }
        if condition("Succeeded").is_some() {
            return State::Succeeded;
        }
        match condition("Running") {
            Some(running) => State::Running(told(&running.message)),
            None if !self.status.resource_version.is_empty() => State::Running("it was taken up".to_owned()),
            None => State::New,
        }
    }
}

/// A message up to where it may quote a value.
fn told(message: &str) -> String {
    match QUOTING.iter().filter_map(|words| message.find(words).map(|at| at + words.len())).min() {
        Some(end) => format!("{} (the rest may quote a value)", printable(message.get(..end).unwrap_or_default())),
        None => printable(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn migration(status: &Value) -> Migration {
        let document = json!({
            "metadata": {"uid": "u", "labels": {LABEL.0: LABEL.1}, "annotations": {PRIMARY: "new"}},
            "spec": {"resource": {"resource": "secrets"}},
            "status": status,
        });
        Migration::read(document.to_string().as_bytes()).expect("it is one")
    }

    fn condition(kind: &str, status: &str, message: &str) -> Value {
        json!({"type": kind, "status": status, "reason": "R", "message": message})
    }

    fn secrets() -> Resource {
        Resource { group: String::new(), plural: "secrets".to_owned(), namespaced: true, versions: Vec::new() }
    }

    #[test]
    fn the_state_follows_the_conditions_that_are_true() {
        let state = |status| migration(&status).state();
        assert_eq!(state(json!({})), State::New);
        assert_eq!(state(json!({"resourceVersion": "7"})), State::Running("it was taken up".to_owned()));
        let running = condition("Running", "True", "3/4");
        assert_eq!(state(json!({"conditions": [running]})), State::Running("3/4".to_owned()));
        assert_eq!(state(json!({"conditions": [running, condition("Succeeded", "True", "")]})), State::Succeeded);
        assert_eq!(
            state(json!({"conditions": [running, condition("Succeeded", "False", ""), condition("Failed", "True", "no")]})),
            State::Failed("no".to_owned())
        );
    }

    #[test]
    fn only_an_unfinished_one_for_the_same_primary_and_resource_is_of_use() {
        let unfinished = migration(&json!({"resourceVersion": "7"}));
        assert!(unfinished.serves("new", &secrets()));
        assert!(!unfinished.serves("old", &secrets()));
        assert!(!unfinished.serves("new", &Resource { plural: "configmaps".to_owned(), ..secrets() }));
        assert!(!migration(&json!({"conditions": [condition("Succeeded", "True", "")]})).serves("new", &secrets()));
    }

    #[test]
    fn what_is_told_of_a_failure_quotes_no_value() {
        let message = "1/2 not yet migrated: Secret \"s\" is invalid: data.password: Invalid value: \"hunter2\"";
        let told = told(message);
        assert!(told.starts_with("1/2 not yet migrated: Secret \"s\" is invalid (") && !told.contains("hunter2"), "{told}");
    }
}
