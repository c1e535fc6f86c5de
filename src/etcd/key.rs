//! Where an etcd key belongs: which resource, namespace and name it stands for, or that no REST API serves it.
//!
//! The API server stores an object under `<prefix>/<resource prefix>/[<namespace>/]<name>`. The resource prefix of a built-in resource is
//! its plural without its group, with a few exceptions; that of a custom resource is group and plural. What follows of it:
//!
//! - The group of a built-in resource is known from a table only. A built-in resource that is not in the table, of another Kubernetes
//!   release, has an unknown group.
//! - `events` of the core group and of `events.k8s.io` are the same keys; they are called by the core group here.
//! - Two parts behind the resource prefix are namespace and name, one is a name. So is an object of a resource that has no namespaces; and
//!   no name contains `/`.
//! - An aggregated API server that shares the etcd may use any key of its own. It is taken for what it looks like.
//!
//! Sources, of Kubernetes 1.37.2: `test/integration/etcd/data.go`, `pkg/kubeapiserver/default_storage_factory_builder.go`, and for what no
//! REST API serves `pkg/registry/core/rest/storage_core.go` (ranges), `pkg/controlplane/instance.go` (masterleases),
//! `pkg/controlplane/apiserver/peer.go` (peerserverleases) and `pkg/storage/etcd3/compact.go` of kubernetes/apiserver. None of these goes
//! through an encrypting transformer: they are plaintext under any configuration.

mod table;

use std::fmt;

use table::{BUILT_IN, DOTTED};

use crate::encryption_configuration::Pattern;

/// `--etcd-prefix` of the API server, from `/` to `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix(String);

impl Default for Prefix {
    fn default() -> Self {
        Self::new("/registry")
    }
}

impl Prefix {
    /// The prefix that the API server makes of its option: it begins and ends with one `/`, and has no empty part, `.` or `..`.
    pub fn new(option: &str) -> Self {
        let mut parts = Vec::new();
        for part in option.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        let mut text = String::from("/");
        for part in parts {
            text.push_str(part);
            text.push('/');
        }
        Self(text)
    }

    /// The text, such as `/registry/`. Every key of this API server begins with it, `compact_rev_key` apart.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A resource by plural and group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource<'a> {
    /// Such as `secrets`.
    pub plural: &'a str,
    /// Such as `apps`, empty for the core group; `None` if the key does not tell.
    pub group: Option<&'a str>,
}

impl fmt::Display for Resource<'_> {
    /// As people write it: `secrets`, `deployments.apps`; `widgets.?` if the group is unknown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group {
            Some("") => f.write_str(self.plural),
            group => write!(f, "{}.{}", self.plural, group.unwrap_or("?")),
        }
    }
}

impl<'a> Resource<'a> {
    /// Reads what [`Display`](fmt::Display) writes.
    pub fn parse(text: &'a str) -> Self {
        match text.split_once('.') {
            None => Self { plural: text, group: Some("") },
            Some((plural, "?")) => Self { plural, group: None },
            Some((plural, group)) => Self { plural, group: Some(group) },
        }
    }
}

impl Resource<'_> {
    /// Whether `pattern` is for it. One of an unknown group may be meant: better a finding too much than one too few.
    pub fn is_meant_by(&self, pattern: &Pattern) -> bool {
        match (self.group, pattern) {
            (Some(group), _) => pattern.matches(self.plural, group),
            (None, Pattern::Resource { name, .. }) => name == self.plural,
            (None, Pattern::Group(_) | Pattern::Everything) => true,
        }
    }
}

/// What a key stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Located<'a> {
    /// An object of a resource that is part of Kubernetes.
    BuiltIn(ObjectKey<'a>),
    /// An object of a resource that a CustomResourceDefinition defines: its group has a full stop.
    Custom(ObjectKey<'a>),
    /// Under the prefix, or the API server's own, but served by no REST API.
    NotServed(NotServed),
    /// Under another prefix: another API server's, or another program's.
    Outside,
}

/// The parts of the key of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectKey<'a> {
    /// Its resource.
    pub resource: Resource<'a>,
    /// Its namespace; `None` for a resource without namespaces.
    pub namespace: Option<&'a str>,
    /// Its name.
    pub name: &'a str,
}

/// Keys of the API server that are no objects. It writes each of them in plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NotServed {
    /// `compact_rev_key`, outside of every prefix: the revision last compacted.
    CompactRevision,
    /// `ranges`: which service addresses and node ports are taken.
    Ranges,
    /// `masterleases`: the addresses of API servers.
    MasterLeases,
    /// `peerserverleases`: the addresses of API servers for each other.
    PeerServerLeases,
    /// Of no form that the API server uses.
    Other,
}

impl NotServed {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CompactRevision => "compact_rev_key",
            Self::Ranges => "ranges",
            Self::MasterLeases => "masterleases",
            Self::PeerServerLeases => "peerserverleases",
            Self::Other => "other keys",
        }
    }
}

/// Finds out what `key` stands for, where the API server's prefix is `prefix`.
pub fn locate<'a>(key: &'a [u8], prefix: &Prefix) -> Located<'a> {
    if key == b"compact_rev_key" {
        return Located::NotServed(NotServed::CompactRevision);
    }
    let Some(rest) = key.strip_prefix(prefix.as_str().as_bytes()) else { return Located::Outside };
    // The API server's names are ASCII.
    std::str::from_utf8(rest).ok().and_then(under_prefix).unwrap_or(Located::NotServed(NotServed::Other))
}

fn under_prefix(rest: &str) -> Option<Located<'_>> {
    let (first, behind) = rest.split_once('/')?;
    match first {
        "ranges" => return Some(Located::NotServed(NotServed::Ranges)),
        "masterleases" => return Some(Located::NotServed(NotServed::MasterLeases)),
        "peerserverleases" => return Some(Located::NotServed(NotServed::PeerServerLeases)),
        // The only resource prefixes of two parts without a full stop.
        "services" => {
            let (second, behind) = behind.split_once('/')?;
            let plural = match second {
                "specs" => "services",
                "endpoints" => "endpoints",
                _ => return None,
            };
            return object(Resource { plural, group: Some("") }, behind).map(Located::BuiltIn);
        }
        _ => {}
    }
    if first.contains('.') {
        // A plural is one label of a domain name.
        let (plural, behind) = behind.split_once('/').filter(|(plural, _)| !plural.is_empty() && !plural.contains('.'))?;
        let object = object(Resource { plural, group: Some(first) }, behind)?;
        return Some(if DOTTED.contains(&(first, plural)) { Located::BuiltIn(object) } else { Located::Custom(object) });
    }
    let resource = match BUILT_IN.binary_search_by_key(&first, |(prefix, _, _)| prefix) {
        Ok(at) => BUILT_IN.get(at).map(|(_, plural, group)| Resource { plural, group: Some(group) })?,
        Err(_) if first.is_empty() => return None,
        Err(_) => Resource { plural: first, group: None },
    };
    object(resource, behind).map(Located::BuiltIn)
}

/// Of more than two parts the first is taken for the namespace: the API server lists, and reads, whatever stands under a resource.
fn object<'a>(resource: Resource<'a>, behind: &'a str) -> Option<ObjectKey<'a>> {
    let (namespace, name) = behind.split_once('/').map_or((None, behind), |(namespace, name)| (Some(namespace), name));
    if name.is_empty() || namespace == Some("") { None } else { Some(ObjectKey { resource, namespace, name }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn located(key: &str) -> String {
        let show = |kind: &str, key: ObjectKey<'_>| format!("{kind} {} {} {}", key.resource, key.namespace.unwrap_or("-"), key.name);
        match locate(key.as_bytes(), &Prefix::default()) {
            Located::BuiltIn(key) => show("built-in", key),
            Located::Custom(key) => show("custom", key),
            Located::NotServed(what) => what.name().into(),
            Located::Outside => "outside".into(),
        }
    }

    #[test]
    fn objects_are_found_under_the_names_that_people_use() {
        for (key, expected) in [
            ("/registry/secrets/default/s1", "built-in secrets default s1"),
            ("/registry/deployments/kube-system/coredns", "built-in deployments.apps kube-system coredns"),
            ("/registry/minions/node1", "built-in nodes - node1"),
            ("/registry/services/specs/default/kubernetes", "built-in services default kubernetes"),
            ("/registry/services/endpoints/default/kubernetes", "built-in endpoints default kubernetes"),
            ("/registry/controllers/default/rc", "built-in replicationcontrollers default rc"),
            ("/registry/ingress/default/i", "built-in ingresses.networking.k8s.io default i"),
            ("/registry/clusterroles/system:node", "built-in clusterroles.rbac.authorization.k8s.io - system:node"),
            (
                "/registry/apiextensions.k8s.io/customresourcedefinitions/a.b.c",
                "built-in customresourcedefinitions.apiextensions.k8s.io - a.b.c",
            ),
            ("/registry/apiregistration.k8s.io/apiservices/v1.apps", "built-in apiservices.apiregistration.k8s.io - v1.apps"),
            ("/registry/example.com/widgets/default/w", "custom widgets.example.com default w"),
            ("/registry/example.com/clusterwidgets/w", "custom clusterwidgets.example.com - w"),
            ("/registry/apiextensions.k8s.io/widgets/w", "custom widgets.apiextensions.k8s.io - w"),
            ("/registry/podsecuritypolicy/p", "built-in podsecuritypolicy.? - p"),
            // More parts than an object has are still counted where they lie.
            ("/registry/secrets/default/a/b", "built-in secrets default a/b"),
        ] {
            assert_eq!(located(key), expected, "{key}");
        }
    }

    #[test]
    fn what_no_rest_api_serves_is_a_class_of_its_own() {
        for (key, expected) in [
            ("compact_rev_key", "compact_rev_key"),
            ("/registry/ranges/serviceips", "ranges"),
            ("/registry/ranges/servicenodeports", "ranges"),
            ("/registry/masterleases/10.0.0.1", "masterleases"),
            ("/registry/peerserverleases/apiserver-x", "peerserverleases"),
            ("/registry/health", "other keys"),
            ("/registry/", "other keys"),
            ("/registry//secrets/a/b", "other keys"),
            ("/registry/secrets/", "other keys"),
            ("/registry/secrets//x", "other keys"),
            ("/registry/secrets/default/", "other keys"),
            ("/registry/example.com/widgets", "other keys"),
            ("/registry/example.com//w", "other keys"),
            ("/registry/example.com/a.b/w", "other keys"),
            ("/registry/services/default/x", "other keys"),
            ("/registry/services/specs", "other keys"),
            ("/registrysecrets/default/x", "outside"),
            ("/registry", "outside"),
            ("registry/secrets/default/x", "outside"),
            ("/other/secrets/default/x", "outside"),
            ("", "outside"),
        ] {
            assert_eq!(located(key), expected, "{key}");
        }
        assert_eq!(locate(b"/registry/secrets/\xff/x", &Prefix::default()), Located::NotServed(NotServed::Other));
    }

    #[test]
    fn a_prefix_is_the_one_that_the_api_server_makes_of_its_option() {
        for (option, prefix) in [
            ("/registry", "/registry/"),
            ("registry", "/registry/"),
            ("/a//b/./c/../d/", "/a/b/d/"),
            ("", "/"),
            ("/", "/"),
            ("/../..", "/"),
            ("kubernetes.io", "/kubernetes.io/"),
        ] {
            assert_eq!(Prefix::new(option).as_str(), prefix, "{option}");
        }
        let at_root = locate(b"/secrets/default/s1", &Prefix::new("/"));
        assert!(matches!(at_root, Located::BuiltIn(ObjectKey { resource: Resource { plural: "secrets", .. }, .. })), "{at_root:?}");
    }

    #[test]
    fn a_resource_is_read_as_it_is_written() {
        for text in ["secrets", "deployments.apps", "widgets.example.com", "podsecuritypolicy.?"] {
            assert_eq!(Resource::parse(text).to_string(), text);
        }
        assert_eq!(Resource::parse("widgets.?").group, None);
        assert_eq!(Resource::parse("secrets").group, Some(""));
    }

    #[test]
    fn the_table_is_sorted_so_that_a_search_finds_every_line() {
        assert!(BUILT_IN.is_sorted_by(|(a, _, _), (b, _, _)| a < b));
        assert!(BUILT_IN.iter().all(|(prefix, _, _)| !prefix.contains(['.', '/'])));
    }
}
