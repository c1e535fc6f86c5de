//! Every API server of the cluster, each asked by its own address: what its metrics say about the key it writes with.
//!
//! The metrics are those of kube-apiserver 1.29 and later (`apiserver_envelope_encryption_key_id_hash_*`). They are of alpha stability: where
//! they are not there, nothing is concluded.
//!
//! An API server is known by two things that it says of itself: an address in the EndpointSlices of the service `kubernetes`, for as long as it
//! renews that (seconds), and a Lease in `kube-system`, which stays for an hour after its end. Its metrics carry the digest of the Lease's name
//! (label `apiserver_id_hash`), so that two addresses that reach the same server are told from two servers. `tests/cluster/late.rs` finds that in
//! real servers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::uri::Authority;
use serde::Deserialize;

use super::leases::{self, Lease};
use super::metrics::{USES, value};
use super::{Access, KubeError, Options};
use crate::key_id::{self, KeyId};

/// When a good Status last named each key, in seconds since 1970 by the clock of the API server.
const NAMED: &str = "apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds{";
/// The label of these by which a server says which one it is: `sha256:` and the digest of the name of its Lease.
const IDENTITY: &str = "apiserver_id_hash";

/// How long one server may take for its metrics; one that stands still must not hold up the others for more than a minute.
const LIMIT: Duration = Duration::from_secs(10);

const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Dkubernetes";
/// The API servers of a cluster, and how each is asked.
pub struct Servers {
    asked: Vec<Server>,
    /// `ADDRESS:PORT` of each, as they publish them.
    published: BTreeSet<String>,
    /// Who has a Lease: by its identity, a name for people.
    leases: BTreeMap<String, String>,
}

struct Server {
    /// `HOST:PORT`, as it is asked.
    address: String,
    access: Access,
}

/// What one server said.
struct Said {
    identity: Option<String>,
    /// Whether it writes with the primary, or why that is not known.
    adopted: Result<(), String>,
}

#[derive(Deserialize)]
struct Slices {
    items: Vec<Slice>,
}

#[derive(Deserialize)]
struct Slice {
    #[serde(default)]
    endpoints: Option<Vec<Endpoint>>,
    #[serde(default)]
    ports: Option<Vec<Port>>,
}

#[derive(Deserialize)]
struct Endpoint {
    addresses: Vec<String>,
}

#[derive(Deserialize)]
struct Port {
    port: Option<u16>,
}

impl Servers {
    /// Asks the API server of the kubeconfig which others there are. Each will be asked with the same credentials, at the addresses of
    /// `options` if it has any.
    ///
    /// Errors: those of [`Access`]; it needs the verb `list` on `endpointslices.discovery.k8s.io` in the namespace `default`, and on
    /// `leases.coordination.k8s.io` in `kube-system`.
    pub async fn list(options: &Options) -> Result<Self, KubeError> {
        let access = Access::open(options).await?;
        let slices = access.get::<Slices>(SLICES, "a list of EndpointSlices").await;
        let slices = slices.map_err(needing("list endpointslices.discovery.k8s.io in the namespace default"))?;
        let leases = leases::list(&access).await.map_err(needing("list leases.coordination.k8s.io in the namespace kube-system"))?;
        let published: BTreeSet<String> = slices.items.into_iter().flat_map(addresses).collect();
        let mut asked = Vec::new();
        if options.servers.is_empty() {
            for text in &published {
                let broken = |_: http::uri::InvalidUri| KubeError::Client {
                    server: text.clone(),
                    problem: "an EndpointSlice has it, and it is no address".into(),
                };
                asked.push(Server::new(options, &text.parse().map_err(broken)?).await?);
            }
        } else {
            for address in &options.servers {
                asked.push(Server::new(options, address).await?);
            }
        }
        let leases = leases.iter().map(|lease| (key_id::sha256_form(&lease.name), shown(lease))).collect();
        Ok(Self { asked, published, leases })
    }

    /// How many there are, as far as that is known.
    pub fn count(&self) -> usize {
        self.asked.len().max(self.there())
    }

    /// How many say that they are there.
    fn there(&self) -> usize {
        self.published.len().max(self.leases.len())
    }

    /// The metrics of each, by its address; and how many are not asked although they say that they are there.
    pub(crate) async fn pages(&self) -> (Vec<(String, Result<String, KubeError>)>, usize) {
        let mut pages = Vec::new();
        for server in &self.asked {
            pages.push((server.address.clone(), server.page().await));
        }
        let unasked = self.there().saturating_sub(pages.len());
        (pages, unasked)
    }

    /// How it is known that every server writes with `primary`; or of which it is not.
    ///
    /// `coasting`: how long a server may write on after the last Status that named another key.
    pub async fn adoption(&self, primary: KeyId, coasting: Duration) -> Result<String, String> {
        let mut said = Vec::new();
        for server in &self.asked {
            said.push((server.address.clone(), server.ask(primary, coasting).await));
        }
        self.decide(&said)
    }

    fn decide(&self, said: &[(String, Said)]) -> Result<String, String> {
        if said.is_empty() {
            return Err("the service `kubernetes` names no API server".into());
        }
        if said.len() < self.there() {
            let mut names: Vec<&str> = self.leases.values().map(String::as_str).collect();
            names.sort_unstable();
            names.extend(self.published.iter().map(String::as_str));
            let asked = if said.len() == 1 { "1 API server is".to_owned() } else { format!("{} API servers are", said.len()) };
            return Err(format!("{asked} asked, and the cluster has {} ({})", self.there(), names.join(", ")));
        }
        let mut missing = Vec::new();
        let mut known: BTreeMap<&str, &str> = BTreeMap::new();
        for (address, said) in said {
            let name = said.identity.as_ref().and_then(|identity| self.leases.get(identity));
            let name = name.map(|name| format!(" ({name})")).unwrap_or_default();
            if let Err(why) = &said.adopted {
                missing.push(format!("{address}{name}: {why}"));
            }
            if let Some(other) = said.identity.as_deref().and_then(|identity| known.insert(identity, address)) {
                missing.push(format!("{other} and {address} are the same API server{name}"));
            }
        }
        // Whoever did not answer may be one of these.
        if missing.is_empty() {
            let unseen = self.leases.iter().filter(|(identity, _)| !known.contains_key(identity.as_str()));
            missing.extend(unseen.map(|(_, name)| format!("{name} was not asked: none of the addresses is its own")));
        }
        if missing.is_empty() && said.len() > 1 && known.len() < said.len() {
            missing.push(format!("their metrics do not say which API server each is ({IDENTITY} is empty), so one may be counted twice"));
        }
        if missing.is_empty() { Ok(format!("by the metrics of {} API servers", said.len())) } else { Err(missing.join("; ")) }
    }
}

impl Server {
    async fn new(options: &Options, address: &Authority) -> Result<Self, KubeError> {
        Ok(Self { address: address.to_string(), access: Access::at(options, address).await? })
    }

    async fn page(&self) -> Result<String, KubeError> {
        let page = tokio::time::timeout(LIMIT, self.access.text("/metrics")).await;
        let page = page.unwrap_or_else(|_| {
            Err(KubeError::Silent { what: "GET /metrics".into(), server: self.access.server().to_owned(), after: LIMIT })
        });
        page.map_err(needing("get the nonResourceURL /metrics"))
    }

    async fn ask(&self, primary: KeyId, coasting: Duration) -> Said {
        match self.page().await {
            Ok(page) => Said { identity: identity(&page), adopted: judge(&page, &key_id::sha256_form(&primary.to_string()), coasting) },
            Err(error) => Said { identity: None, adopted: Err(error.to_string()) },
        }
    }
}

/// Makes a refusal say what the credential lacks.
fn needing(right: &'static str) -> impl Fn(KubeError) -> KubeError {
    move |error| match error {
        KubeError::Refused { what, server, status: 403, .. } => KubeError::Forbidden { what, server, right },
        error => error,
    }
}

fn addresses(slice: Slice) -> Vec<String> {
    let ports: Vec<u16> = slice.ports.into_iter().flatten().filter_map(|port| port.port).collect();
    let addresses = slice.endpoints.into_iter().flatten().flat_map(|endpoint| endpoint.addresses);
    let join = |address: &str, port: &u16| if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") };
    addresses.flat_map(|address| ports.iter().map(|port| join(&address, port)).collect::<Vec<_>>()).collect()
}

/// The server of a Lease, for people.
fn shown(lease: &Lease) -> String {
    match &lease.host {
        Some(host) => format!("{host}, Lease {}", lease.name),
        None => format!("Lease {}", lease.name),
    }
}

/// Which server it is whose metrics these are, if they say so.
fn identity(page: &str) -> Option<String> {
    let label = format!("{IDENTITY}=\"");
    let of = |line: &str| line.split(&label).nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned);
    page.lines().filter(|line| !line.starts_with('#')).find_map(of).filter(|identity| !identity.is_empty())
}

/// By one page of metrics: whether that server can still write with another key than the one of `hash`.
fn judge(page: &str, hash: &str, coasting: Duration) -> Result<(), String> {
    let label = |name: &str, value: &str| format!("{name}=\"{value}\"");
    let ours = label("key_id_hash", hash);
    let named: Vec<&str> = page.lines().filter(|line| line.starts_with(NAMED)).collect();
    let Some(new) = named.iter().find(|line| line.contains(&ours)) else {
        return Err("no Status has named the primary to it yet".into());
    };
    // Another plugin beside ours has keys of its own.
    let provider = new.split("provider_name=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
    let provider = label("provider_name", provider);
    let others = named.iter().filter(|line| line.contains(&provider) && !line.contains(&ours));
    let other = others.filter_map(|line| value(line)).fold(0.0, f64::max);
    let since = value(new).unwrap_or_default() - other;
    // Whatever it wrote with the primary: its plugin went back to an older keyring.
    if since <= 0.0 {
        return Err("the last Status named another key to it than the primary".into());
    }
    let wrote =
        page.lines().filter(|line| line.starts_with(USES) && line.contains(&ours) && line.contains("transformation_type=\"to_storage\""));
    if wrote.filter_map(value).any(|uses| uses > 0.0) || since >= coasting.as_secs_f64() {
        return Ok(());
    }
    Err(format!("it has not written with the primary yet, and was told another key {since:.0} s before it last heard of this one"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COASTING: Duration = Duration::from_secs(183);

    fn named(provider: &str, hash: &str, at: f64) -> String {
        format!("{NAMED}apiserver_id_hash=\"a\",key_id_hash=\"{hash}\",provider_name=\"{provider}\"}} {at:e}\n")
    }

    fn used(hash: &str, direction: &str, uses: u32) -> String {
        format!("{USES}apiserver_id_hash=\"a\",key_id_hash=\"{hash}\",provider_name=\"kw\",transformation_type=\"{direction}\"}} {uses}\n")
    }

    #[test]
    fn a_server_that_has_written_with_the_primary_has_adopted_it() {
        let told = named("kw", "sha256:old", 1e9) + &named("kw", "sha256:new", 1e9 + 1.0);
        let judge = |page: &str| judge(page, "sha256:new", COASTING);
        assert!(judge(&told).is_err());
        assert!(judge(&(told.clone() + &used("sha256:new", "from_storage", 3))).is_err(), "reading proves nothing");
        assert!(judge(&(told.clone() + &used("sha256:old", "to_storage", 3))).is_err());
        assert!(judge(&(told.clone() + &used("sha256:new", "to_storage", 0))).is_err());
        assert_eq!(judge(&(told + &used("sha256:new", "to_storage", 1))), Ok(()));
    }

    #[test]
    fn a_server_that_was_told_an_older_key_since_has_not_adopted_whatever_it_wrote() {
        let written = used("sha256:new", "to_storage", 9);
        let told = |old: f64, new: f64| named("kw", "sha256:old", old) + &named("kw", "sha256:new", new) + &written;
        assert_eq!(judge(&told(1e9, 1e9 + 1.0), "sha256:new", COASTING), Ok(()));
        assert!(judge(&told(1e9 + 1.0, 1e9), "sha256:new", COASTING).is_err());
        assert!(judge(&told(1e9, 1e9), "sha256:new", COASTING).is_err(), "which came last is not known");
    }

    fn servers(published: &[&str], leases: &[&str]) -> Servers {
        let leases = leases.iter().map(|name| (key_id::sha256_form(name), (*name).to_owned())).collect();
        Servers { asked: Vec::new(), published: published.iter().map(|address| (*address).to_owned()).collect(), leases }
    }

    fn said(all: &[(&str, Option<&str>)]) -> Vec<(String, Said)> {
        let one = |(address, lease): &(&str, Option<&str>)| {
            ((*address).to_owned(), Said { identity: lease.map(key_id::sha256_form), adopted: Ok(()) })
        };
        all.iter().map(one).collect()
    }

    #[test]
    fn every_server_that_is_there_must_have_been_asked_and_each_only_counts_once() {
        let three = servers(&["192.0.2.1:6443", "192.0.2.2:6443", "192.0.2.3:6443"], &["a", "b", "c"]);
        let decided = |all: &[(&str, Option<&str>)]| three.decide(&said(all));
        assert_eq!(decided(&[("x:1", Some("a")), ("x:2", Some("b")), ("x:3", Some("c"))]), Ok("by the metrics of 3 API servers".into()));
        let few = decided(&[("x:1", Some("a")), ("x:2", Some("b"))]).expect_err("one is left out");
        assert!(few.starts_with("2 API servers are asked, and the cluster has 3 (a, b, c, 192.0.2.1:6443, "), "{few}");
        let twice = decided(&[("x:1", Some("a")), ("x:2", Some("b")), ("x:3", Some("b"))]).expect_err("one is left out");
        assert_eq!(twice, "x:2 and x:3 are the same API server (b)");
        let other = decided(&[("x:1", Some("a")), ("x:2", Some("b")), ("x:3", Some("d"))]).expect_err("one is of another cluster");
        assert_eq!(other, "c was not asked: none of the addresses is its own");
        assert!(decided(&[]).is_err());
    }

    #[test]
    fn a_server_that_has_a_lease_counts_where_it_is_not_published_yet_and_one_that_is_published_counts_without() {
        let starting = servers(&["192.0.2.1:6443"], &["a", "b"]);
        assert_eq!(starting.count(), 2);
        let missing = starting.decide(&said(&[("192.0.2.1:6443", Some("a"))])).expect_err("b is not asked");
        assert!(missing.contains("1 API server is asked, and the cluster has 2 (a, b, "), "{missing}");
        let nameless = servers(&["192.0.2.1:6443", "192.0.2.2:6443"], &[]);
        let missing = nameless.decide(&said(&[("x:1", None), ("x:2", None)])).expect_err("they may be one");
        assert!(missing.contains("apiserver_id_hash is empty"), "{missing}");
        assert_eq!(servers(&["x:1"], &[]).decide(&said(&[("x:1", None)])), Ok("by the metrics of 1 API servers".into()));
    }

    #[test]
    fn a_page_says_which_server_it_is_of() {
        assert_eq!(identity(&named("kw", "sha256:new", 1.0)), Some("a".into()));
        assert_eq!(identity(&named("kw", "sha256:new", 1.0).replace("hash=\"a\"", "hash=\"\"")), None);
        assert_eq!(identity("# HELP x apiserver_id_hash=\"a\"\nx 1\n"), None);
    }

    #[test]
    fn a_server_that_has_not_is_waited_out_by_its_own_clock() {
        let told = |seconds: f64| named("kw", "sha256:old", 1e9) + &named("kw", "sha256:new", 1e9 + seconds);
        assert!(judge(&told(182.0), "sha256:new", COASTING).is_err());
        assert_eq!(judge(&told(184.0), "sha256:new", COASTING), Ok(()));
        let beside = named("another", "sha256:theirs", 1e9 + 180.0) + &told(184.0);
        assert_eq!(judge(&beside, "sha256:new", COASTING), Ok(()), "another plugin has keys of its own");
        assert!(judge("", "sha256:new", COASTING).is_err());
        assert_eq!(judge(&named("kw", "sha256:new", 1e9), "sha256:new", COASTING), Ok(()), "it never knew another key");
    }
}
