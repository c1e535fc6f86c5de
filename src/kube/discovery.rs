//! What the API server serves, and by which path a stored object is reached.
//!
//! Read from the discovery documents of each group and version, which any authenticated user may read. They tell the storage version too:
//! its hash is SHA-256 over `GROUP/VERSION/KIND`, cut to 8 bytes, in base64 (kubernetes/apiserver, pkg/endpoints/discovery,
//! `StorageVersionHash`). A custom resource whose storage version is not served has no hash.

mod documents;

use std::fmt;

use super::{Access, KubeError};
use documents::{Groups, Resources, Versions};

/// Groups of Kubernetes itself: the etcd keys of their resources carry no group, but for two of them.
///
/// A group that a later release adds is not lost: its keys then resolve to nothing, which the plan says.
const BUILT_IN: [&str; 23] = [
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
];

/// Everything that is served.
#[derive(Debug, Clone, Default)]
pub struct Discovery {
    resources: Vec<Resource>,
    unread: Vec<Unread>,
}

/// One resource of one group, in all versions in which it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Empty for the core group.
    pub group: String,
    /// The plural, such as `secrets`.
    pub plural: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// In the order of the API server's preference; never empty.
    pub versions: Vec<Version>,
}

/// One version of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Such as `v1`.
    pub name: String,
    /// Whether an object can be patched in it.
    pub patch: bool,
    /// Whether objects are stored in it. The discovery of some resources does not tell: then no version is.
    pub storage: bool,
}

/// A group and version whose discovery failed, mostly because the aggregated API server behind it is away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// The group.
    pub group: String,
    /// The version.
    pub version: String,
    /// Why.
    pub problem: String,
}

/// Why a stored key leads to no resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unresolved {
    /// No API serves it.
    NotServed,
    /// Several groups have a resource of this name, and the key does not tell which.
    Ambiguous(Vec<String>),
    /// Its group could not be read.
    Unread(Unread),
}

impl fmt::Display for Resource {
    /// As kubectl takes it: `secrets`, `deployments.apps`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&label(&self.group, &self.plural))
    }
}

/// `PLURAL.GROUP`, or the plural alone for the core group.
pub(crate) fn label(group: &str, plural: &str) -> String {
    if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") }
}

impl Resource {
    /// Whether it is not one of Kubernetes itself, so that a CustomResourceDefinition (or an aggregated API) has made it.
    pub fn is_custom(&self) -> bool {
        !BUILT_IN.contains(&self.group.as_str())
    }

    /// The version to patch in: that in which it is stored, if it is served and can be patched, else the first that can.
    pub fn patch_version(&self) -> Option<&Version> {
        let mut able = self.versions.iter().filter(|version| version.patch);
        let first = able.clone().next();
        able.find(|version| version.storage).or(first)
    }

    /// The path of an object in `version`. `namespace` must be there exactly for a namespaced resource.
    ///
    /// `None` if it is not, or if a part cannot stand in a path.
    pub fn path(&self, version: &str, namespace: Option<&str>, name: &str) -> Option<String> {
        let root = if self.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", segment(&self.group)?) };
        let (version, plural, name) = (segment(version)?, segment(&self.plural)?, segment(name)?);
        match (self.namespaced, namespace) {
            (true, Some(namespace)) => Some(format!("{root}/{version}/namespaces/{}/{plural}/{name}", segment(namespace)?)),
            (false, None) => Some(format!("{root}/{version}/{plural}/{name}")),
            _ => None,
        }
    }
}

/// One part of a path, percent-encoded: names of roles have colons, and may have much else. `None` for what a server would fold away.
fn segment(text: &str) -> Option<String> {
    if matches!(text, "" | "." | "..") || text.contains('/') {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    Some(out)
}

impl Discovery {
    /// Asks for every group and version. One that does not answer is kept as unread; without the list of groups there is nothing.
    pub async fn read(access: &Access) -> Result<Self, KubeError> {
        let core: Versions = access.get("/api", "a list of versions").await?;
        let groups: Groups = access.get("/apis", "a list of groups").await?;
        let mut found = Self::default();
        for version in core.versions {
            found.ask(access, "", &version, &format!("/api/{version}")).await?;
        }
        for group in groups.groups {
            for version in group.versions_by_preference() {
                found.ask(access, &group.name, &version, &format!("/apis/{}/{version}", group.name)).await?;
            }
        }
        Ok(found)
    }

    async fn ask(&mut self, access: &Access, group: &str, version: &str, path: &str) -> Result<(), KubeError> {
        match access.get::<Resources>(path, "a list of resources").await {
            Ok(list) => self.add(group, version, list),
            Err(e @ (KubeError::Refused { .. } | KubeError::Unreadable { .. } | KubeError::Silent { .. })) => {
                self.unread.push(Unread { group: group.to_owned(), version: version.to_owned(), problem: e.to_string() });
            }
            Err(e) => return Err(e),
        }
        Ok(())
    }

    fn add(&mut self, group: &str, version: &str, list: Resources) {
        for entry in list.resources.into_iter().filter(|entry| !entry.name.contains('/')) {
            let storage = entry.is_stored_as(group, version);
            let version = Version { name: version.to_owned(), patch: entry.verbs.iter().any(|verb| verb == "patch"), storage };
            match self.resources.iter_mut().find(|known| known.group == group && known.plural == entry.name) {
                Some(known) => known.versions.push(version),
                None => self.resources.push(Resource {
                    group: group.to_owned(),
                    plural: entry.name,
                    namespaced: entry.namespaced,
                    versions: vec![version],
                }),
            }
        }
    }

    /// All resources, in the API server's order.
    pub fn resources(&self) -> &[Resource] {
        &self.resources
    }

    /// What could not be read.
    pub fn unread(&self) -> &[Unread] {
        &self.unread
    }

    /// The resource of a stored key. `group` is `None` where the key does not tell it: then only Kubernetes' own resources are meant,
    /// however a custom resource may be called.
    pub fn resolve(&self, group: Option<&str>, plural: &str) -> Result<&Resource, Unresolved> {
        let meant = |resource: &&Resource| {
            resource.plural == plural && group.map_or(BUILT_IN.contains(&resource.group.as_str()), |group| resource.group == group)
        };
        let found: Vec<&Resource> = self.resources.iter().filter(meant).collect();
        match found.as_slice() {
            [one] => Ok(one),
            [] => Err(match self.unread.iter().find(|unread| group == Some(unread.group.as_str())) {
                Some(unread) => Unresolved::Unread(unread.clone()),
                None => Unresolved::NotServed,
            }),
            // Two names of the same objects, stored once.
            [core, events] if core.group.is_empty() && events.group == "events.k8s.io" => Ok(core),
            several => Err(Unresolved::Ambiguous(several.iter().map(|resource| resource.group.clone()).collect())),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Group, version, plural, whether it has namespaces, verbs, hash of the storage version.
    type Served<'a> = (&'a str, &'a str, &'a str, bool, &'a [&'a str], &'a str);

    pub(crate) fn discovery(entries: &[Served<'_>]) -> Discovery {
        let mut found = Discovery::default();
        for (group, version, plural, namespaced, verbs, hash) in entries {
            let list = serde_json::json!({"resources": [
                {"name": plural, "namespaced": namespaced, "kind": "Kind", "verbs": verbs, "storageVersionHash": hash},
                {"name": format!("{plural}/status"), "namespaced": namespaced, "kind": "Kind", "verbs": verbs},
            ]});
            found.add(group, version, serde_json::from_value(list).expect("a list"));
        }
        found
    }

    #[test]
    fn a_key_without_a_group_is_never_taken_for_a_custom_resource() {
        let found =
            discovery(&[("", "v1", "services", true, &["patch"], ""), ("serving.knative.dev", "v1", "services", true, &["patch"], "")]);
        assert_eq!(found.resolve(None, "services").expect("one").group, "");
        assert_eq!(found.resolve(Some("serving.knative.dev"), "services").expect("one").group, "serving.knative.dev");
        assert_eq!(found.resolve(Some("apps"), "services"), Err(Unresolved::NotServed));
        assert_eq!(found.resolve(None, "widgets"), Err(Unresolved::NotServed));
    }

    #[test]
    fn events_have_two_names_and_other_pairs_are_ambiguous() {
        let both =
            |first, second| discovery(&[(first, "v1", "events", true, &["patch"], ""), (second, "v1", "events", true, &["patch"], "")]);
        assert_eq!(both("", "events.k8s.io").resolve(None, "events").expect("the core group").group, "");
        let expected = Unresolved::Ambiguous(vec!["apps".to_owned(), "batch".to_owned()]);
        assert_eq!(both("apps", "batch").resolve(None, "events"), Err(expected));
    }

    #[test]
    fn a_group_that_could_not_be_read_is_no_group_that_is_not_served() {
        let unread = Unread { group: "a.example".to_owned(), version: "v1".to_owned(), problem: "HTTP 503".to_owned() };
        let found = Discovery { unread: vec![unread.clone()], ..Discovery::default() };
        assert_eq!(found.resolve(Some("a.example"), "things"), Err(Unresolved::Unread(unread)));
        assert_eq!(found.resolve(Some("b.example"), "things"), Err(Unresolved::NotServed));
    }

    #[test]
    fn the_storage_version_is_patched_where_it_can_be() {
        // SHA-256 of "a.example/v1/Kind", the first 8 bytes in base64.
        let hash = documents::storage_version_hash("a.example", "v1", "Kind");
        let found = |verbs: &[&str]| {
            discovery(&[("a.example", "v2", "things", true, &["patch"], &hash), ("a.example", "v1", "things", true, verbs, &hash)])
        };
        let chosen = |found: &Discovery| found.resources()[0].patch_version().map(|version| version.name.clone());
        assert_eq!(chosen(&found(&["get", "patch"])).as_deref(), Some("v1"));
        assert_eq!(chosen(&found(&["get"])).as_deref(), Some("v2"));
        assert_eq!(chosen(&discovery(&[("a.example", "v2", "things", true, &["get"], "")])), None);
    }

    #[test]
    fn a_path_has_a_namespace_exactly_where_one_belongs_and_nothing_in_it_escapes() {
        let found = discovery(&[("", "v1", "secrets", true, &[], ""), ("rbac.authorization.k8s.io", "v1", "clusterroles", false, &[], "")]);
        let [secrets, roles] = found.resources() else { panic!("two") };
        assert_eq!(secrets.path("v1", Some("default"), "s1").as_deref(), Some("/api/v1/namespaces/default/secrets/s1"));
        assert_eq!(
            roles.path("v1", None, "system:node a?b#%").as_deref(),
            Some("/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode%20a%3Fb%23%25")
        );
        assert_eq!(secrets.path("v1", None, "s1"), None);
        assert_eq!(roles.path("v1", Some("default"), "r"), None);
        for name in ["", ".", "..", "a/b"] {
            assert_eq!(secrets.path("v1", Some("default"), name), None, "{name:?}");
        }
    }
}
