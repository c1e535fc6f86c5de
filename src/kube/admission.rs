//! What may change an object on its way back into etcd, or refuse it: webhooks, policies, conversions.
//!
//! An update passes them all, an empty one too. Whether one really acts on an object depends on selectors and conditions, some of them
//! over the object's content, which nobody reads here: what is named here *may* act.

mod documents;

use std::collections::{BTreeMap, BTreeSet};

use super::{Access, KubeError};
use documents::{Definition, List, Rule};

/// Where the API server keeps them. The group came with v1; policies of the second kind are younger and may not be served.
const PLACES: [(Kind, &str); 4] = [
    (Kind::MutatingWebhook, "mutatingwebhookconfigurations"),
    (Kind::ValidatingWebhook, "validatingwebhookconfigurations"),
    (Kind::MutatingPolicy, "mutatingadmissionpolicies"),
    (Kind::ValidatingPolicy, "validatingadmissionpolicies"),
];

/// What it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// May change an object.
    MutatingWebhook,
    /// May refuse it.
    ValidatingWebhook,
    /// May change an object.
    MutatingPolicy,
    /// May refuse it.
    ValidatingPolicy,
}

impl Kind {
    /// As in "the mutating webhook x".
    pub fn name(self) -> &'static str {
        match self {
            Self::MutatingWebhook => "mutating webhook",
            Self::ValidatingWebhook => "validating webhook",
            Self::MutatingPolicy => "MutatingAdmissionPolicy",
            Self::ValidatingPolicy => "ValidatingAdmissionPolicy",
        }
    }
}

/// One webhook or policy that acts on updates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// What it is.
    pub kind: Kind,
    /// `CONFIGURATION/WEBHOOK`, or the name of the policy.
    pub name: String,
    /// Whether an object is refused when it cannot be asked.
    pub fails_closed: bool,
    rules: Vec<Rule>,
}

impl Hook {
    /// Whether its rules name updates of this resource. With the usual match policy, all versions of a resource are one.
    pub fn may_act_on(&self, group: &str, plural: &str, namespaced: bool) -> bool {
        self.rules.iter().any(|rule| rule.covers(group, plural, namespaced))
    }
}

/// All of it, as far as it could be read.
#[derive(Debug, Clone, Default)]
pub struct Admission {
    /// Webhooks and policies.
    pub hooks: Vec<Hook>,
    /// `PLURAL.GROUP` of custom resources whose versions are converted by a webhook.
    pub conversion_webhooks: BTreeSet<String>,
    /// What could not be read, with the reason: nothing is known of it, which is not the same as that there is none.
    pub unread: BTreeMap<String, String>,
}

impl Admission {
    /// Reads webhooks and policies, and the definitions of the custom resources `custom` (group and plural).
    ///
    /// Fails only when no answer comes; what is refused is kept in `unread`.
    pub async fn read(access: &Access, custom: &BTreeSet<(String, String)>) -> Result<Self, KubeError> {
        let mut found = Self::default();
        for (kind, plural) in PLACES {
            let path = format!("/apis/admissionregistration.k8s.io/v1/{plural}");
            if let Some(list) = found.ask::<List>(access, &path, plural).await? {
                found.hooks.extend(list.hooks(kind));
            }
        }
        for (group, plural) in custom {
            let name = format!("{plural}.{group}");
            let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
            if let Some(definition) = found.ask::<Definition>(access, &path, &format!("customresourcedefinition {name}")).await?
                && definition.converts_by_webhook()
            {
                found.conversion_webhooks.insert(name);
            }
        }
        Ok(found)
    }

    /// `None` if there is no such thing, or if it could not be read, which is noted.
    async fn ask<T: serde::de::DeserializeOwned>(&mut self, access: &Access, path: &str, what: &str) -> Result<Option<T>, KubeError> {
        match access.get(path, "an object of Kubernetes").await {
            Ok(value) => Ok(Some(value)),
            Err(KubeError::Refused { status: 404, .. }) => Ok(None),
            Err(e @ (KubeError::Refused { .. } | KubeError::TooLarge { .. } | KubeError::Unreadable { .. })) => {
                self.unread.insert(what.to_owned(), e.to_string());
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// One mutating webhook with one rule.
    pub(crate) fn hook(rule: &Value) -> Hook {
        let list = json!({"items": [{"metadata": {"name": "config"}, "webhooks": [{"name": "hook.example", "rules": [rule]}]}]});
        let list: List = serde_json::from_value(list).expect("a list");
        list.hooks(Kind::MutatingWebhook).next().expect("one")
    }

    fn acts(rule: &Value) -> bool {
        hook(rule).may_act_on("apps", "deployments", true)
    }

    #[test]
    fn a_webhook_is_named_when_its_rules_cover_updates_of_the_resource() {
        let rule = |groups: Value, resources: Value, operations: Value, scope: Value| json!({"apiGroups": groups, "apiVersions": ["v9"], "resources": resources, "operations": operations, "scope": scope});
        let (apps, deployments, update) = (json!(["apps"]), json!(["deployments"]), json!(["CREATE", "UPDATE"]));
        assert!(acts(&rule(apps.clone(), deployments.clone(), update.clone(), Value::Null)));
        assert!(acts(&rule(json!(["*"]), json!(["*"]), json!(["*"]), json!("*"))));
        assert!(acts(&rule(apps.clone(), json!(["*/*"]), update.clone(), json!("Namespaced"))));
        assert!(!acts(&rule(json!([""]), deployments.clone(), update.clone(), Value::Null)));
        assert!(!acts(&rule(apps.clone(), json!(["pods"]), update.clone(), Value::Null)));
        assert!(!acts(&rule(apps.clone(), json!(["deployments/*", "deployments/status"]), update.clone(), Value::Null)));
        assert!(!acts(&rule(apps.clone(), deployments.clone(), json!(["CREATE", "DELETE"]), Value::Null)));
        assert!(!acts(&rule(apps, deployments, update, json!("Cluster"))));
    }

    #[test]
    fn a_webhook_that_names_no_failure_policy_fails_closed() {
        assert!(hook(&json!({})).fails_closed);
    }
}
