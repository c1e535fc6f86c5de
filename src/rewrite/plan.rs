//! What will be patched by which path, what cannot be and why, and who may interfere. Decides; asks nobody.

use std::collections::BTreeMap;
use std::fmt;

use crate::kube::admission::{Admission, Hook};
use crate::kube::discovery::{Discovery, Resource, Unread, Unresolved, label};

/// An object whose stored value is to be written anew.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stale {
    /// The API group, empty for the core group; `None` if the key does not tell it, as of all resources of Kubernetes itself.
    pub group: Option<String>,
    /// The plural, such as `secrets`.
    pub resource: String,
    /// `None` for an object without a namespace.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
    /// The revision that wrote the stale value.
    pub mod_revision: u64,
}

/// All of it, by resource.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Resources with objects to patch, by name.
    pub resources: Vec<Planned>,
    /// Objects that no patch can reach.
    pub impossible: Vec<Impossible>,
    /// What may act on updates and could not be asked for, with the reason.
    pub not_checked: BTreeMap<String, String>,
}

/// The objects of one resource.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The resource.
    pub resource: Resource,
    /// The version in which they are patched.
    pub version: String,
    /// In the order of the scan.
    pub objects: Vec<Object>,
    /// What may change them on the way, or refuse them.
    pub notes: Vec<Note>,
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its namespace, if it lives in one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// The revision that wrote the stale value.
    pub mod_revision: u64,
    /// Where it is patched.
    pub path: String,
}

impl fmt::Display for Object {
    /// `NAMESPACE/NAME`, or the name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// What to know before one agrees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// This may change an object or refuse it.
    Hook(Hook),
    /// Objects go through a conversion webhook between the version in which they are stored and that in which they are patched.
    ConversionWebhook,
    /// The version in which objects are stored is not served, or cannot be patched.
    NotTheStorageVersion,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hook(hook) => {
                let fails = if hook.fails_closed { ", and refuses what it cannot be asked about" } else { "" };
                write!(f, "{} {} may change or refuse them{fails}", hook.kind.name(), hook.name)
            }
            Self::ConversionWebhook => f.write_str("they go through a conversion webhook, which may change them"),
            Self::NotTheStorageVersion => f.write_str("they are not served in the version in which they are stored"),
        }
    }
}

/// An object that stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Impossible {
    /// The object.
    pub stale: Stale,
    /// Why.
    pub why: Why,
}

/// Why no patch can reach an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// No API serves the resource: left over from a definition that was deleted, or from another release of Kubernetes.
    NotServed,
    /// Served, but in no version that can be patched.
    NoPatch,
    /// Several groups have a resource of this name.
    Ambiguous(Vec<String>),
    /// The API of its group does not answer.
    Unread(Unread),
    /// Its key has a namespace where the resource has none, or the other way round, or a name that no object can have.
    NoPath,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotServed => f.write_str("no API serves this resource any more; serve it again, or delete the key from etcd"),
            Self::NoPatch => f.write_str("its API has no verb patch"),
            Self::Ambiguous(groups) => write!(f, "its key does not tell which API group it belongs to: {}", groups.join(", ")),
            Self::Unread(unread) => {
                write!(f, "the API {}/{} does not answer ({}); repeat when it does", unread.group, unread.version, unread.problem)
            }
            Self::NoPath => f.write_str("its key has no namespace where the resource has one, or one too many"),
        }
    }
}

impl Plan {
    /// How many objects will be patched.
    pub fn objects(&self) -> usize {
        self.resources.iter().map(|planned| planned.objects.len()).sum()
    }
}

/// Sorts `stale` by resource and finds a path for each. Nothing is lost: each object is in the plan or impossible.
pub fn plan(stale: Vec<Stale>, discovery: &Discovery, admission: &Admission) -> Plan {
    let mut plan = Plan { not_checked: admission.unread.clone(), ..Plan::default() };
    let mut by_resource: BTreeMap<String, Planned> = BTreeMap::new();
    for stale in stale {
        match place(&stale, discovery) {
            Ok((resource, version, path)) => {
                let new = || Planned {
                    resource: resource.clone(),
                    version: version.to_owned(),
                    objects: Vec::new(),
                    notes: notes(resource, version, admission),
                };
                let Stale { namespace, name, mod_revision, .. } = stale;
                by_resource.entry(resource.to_string()).or_insert_with(new).objects.push(Object { namespace, name, mod_revision, path });
            }
            Err(why) => plan.impossible.push(Impossible { stale, why }),
        }
    }
    plan.resources = by_resource.into_values().collect();
    plan
}

fn place<'a>(stale: &Stale, discovery: &'a Discovery) -> Result<(&'a Resource, &'a str, String), Why> {
    let resource = discovery.resolve(stale.group.as_deref(), &stale.resource).map_err(|e| match e {
        Unresolved::NotServed => Why::NotServed,
        Unresolved::Ambiguous(groups) => Why::Ambiguous(groups),
        Unresolved::Unread(unread) => Why::Unread(unread),
    })?;
    let version = resource.patch_version().ok_or(Why::NoPatch)?;
    let path = resource.path(&version.name, stale.namespace.as_deref(), &stale.name).ok_or(Why::NoPath)?;
    Ok((resource, &version.name, path))
}

fn notes(resource: &Resource, version: &str, admission: &Admission) -> Vec<Note> {
    let acting = admission.hooks.iter().filter(|hook| hook.may_act_on(&resource.group, &resource.plural, resource.namespaced));
    let mut notes: Vec<Note> = acting.cloned().map(Note::Hook).collect();
    if admission.conversion_webhooks.contains(&label(&resource.group, &resource.plural)) {
        notes.push(Note::ConversionWebhook);
    }
    // Custom resources only: of some built-in ones the discovery does not tell the storage version, and their conversion is compiled in.
    if resource.is_custom() && !resource.versions.iter().any(|known| known.storage && known.name == version) {
        notes.push(Note::NotTheStorageVersion);
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::admission::tests::hook;
    use crate::kube::discovery::tests::discovery;

    fn stale(group: Option<&str>, resource: &str, namespace: Option<&str>, name: &str) -> Stale {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Stale { group: owned(group), resource: resource.to_owned(), namespace: owned(namespace), name: name.to_owned(), mod_revision: 7 }
    }

    fn served() -> Discovery {
        discovery(&[
            ("", "v1", "secrets", true, &["get", "patch"], ""),
            ("", "v1", "componentstatuses", false, &["get"], ""),
            ("widgets.example", "v1", "widgets", true, &["patch"], ""),
        ])
    }

    #[test]
    fn every_object_is_either_planned_or_impossible_with_its_reason() {
        let all = vec![
            stale(None, "secrets", Some("default"), "s1"),
            stale(Some("widgets.example"), "widgets", Some("a"), "w1"),
            stale(None, "secrets", Some("default"), "s2"),
            stale(Some("gone.example"), "things", None, "t1"),
            stale(None, "componentstatuses", None, "c1"),
            stale(None, "secrets", None, "s3"),
        ];
        let count = all.len();
        let plan = plan(all, &served(), &Admission::default());
        let paths: Vec<&str> = plan.resources.iter().flat_map(|planned| &planned.objects).map(|object| object.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "/api/v1/namespaces/default/secrets/s1",
                "/api/v1/namespaces/default/secrets/s2",
                "/apis/widgets.example/v1/namespaces/a/widgets/w1"
            ]
        );
        let reasons: Vec<(&str, &Why)> = plan.impossible.iter().map(|one| (one.stale.name.as_str(), &one.why)).collect();
        assert_eq!(reasons, [("t1", &Why::NotServed), ("c1", &Why::NoPatch), ("s3", &Why::NoPath)]);
        assert_eq!(plan.objects() + plan.impossible.len(), count);
    }

    #[test]
    fn what_may_interfere_is_named_for_the_resource_that_it_covers_only() {
        let acting = hook(&serde_json::json!({"apiGroups": [""], "resources": ["secrets"], "operations": ["UPDATE"]}));
        let admission = Admission {
            hooks: vec![acting.clone()],
            conversion_webhooks: ["widgets.widgets.example".to_owned()].into(),
            unread: [("mutatingadmissionpolicies".to_owned(), "HTTP 403".to_owned())].into(),
        };
        let all = vec![stale(None, "secrets", Some("a"), "s"), stale(Some("widgets.example"), "widgets", Some("a"), "w")];
        let plan = plan(all, &served(), &admission);
        let notes: Vec<&[Note]> = plan.resources.iter().map(|planned| planned.notes.as_slice()).collect();
        assert_eq!(notes, [&[Note::Hook(acting)][..], &[Note::ConversionWebhook, Note::NotTheStorageVersion]]);
        assert_eq!(plan.not_checked, admission.unread);
    }
}
