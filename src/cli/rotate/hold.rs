//! How the hold of a disabled version stands: asked of the API servers, of this node's plugin and of every etcd.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::super::failure::{Exit, Failure};
use super::super::place::Named;
use super::super::{cluster as etcd, output};
use super::cluster::Cluster;
use crate::adoption::refused::Page;
use crate::client::admin;
use crate::config;
use crate::etcd::key::Prefix;
use crate::key_id::KeyId;
use crate::keyring::document::{Document, Time, Why};
use crate::kube::{Access, starts};
use crate::rotation::hold::{Activity, AtDisable, Compacted, Hold, Now, Refused, Scanned, Server, Standing};
use crate::scan::report::Report;

/// How long the API servers may take in all, and each etcd: a command that shows how things stand must not hang.
const LIMIT: Duration = Duration::from_secs(30);

/// How the hold of `key_id` stands. `cluster` may say why there is none to ask.
pub(super) async fn look(named: &Named, cluster: Result<&Cluster<'_>, &str>, document: &Document, key_id: KeyId) -> Hold {
    let (generation, then) = AtDisable::read(document, key_id);
    let version = document.versions.iter().find(|v| v.key_id == key_id);
    let left = version.map_or(document.hold, |version| version.hold_left(document.hold, Time::of(SystemTime::now())));
    let refused = refused(named, document, key_id, generation).await;
    let now = match cluster {
        Ok(cluster) => {
            let (servers, activity) = match tokio::time::timeout(LIMIT, api_servers(cluster, document, key_id)).await {
                Ok(asked) => asked,
                Err(_) => (Err(format!("no answer within {}", humantime::format_duration(LIMIT))), Vec::new()),
            };
            Now { servers, activity, refused, stores: stores(cluster).await }
        }
        Err(why) => Now { servers: Err(why.to_owned()), activity: Vec::new(), refused, stores: Err(why.to_owned()) },
    };
    Hold::judge(left, &then, &now)
}

/// What is to be recorded with the disable of `key_id`: entries of the history, or why there is something that later cannot be shown.
pub(super) async fn record(cluster: &Cluster<'_>, document: &Document, key_id: KeyId, reports: &[Report]) -> (Vec<Why>, Option<String>) {
    let scanned = |report: &Report| {
        let store = &report.store;
        store.cluster_id.map(|cluster_id| Scanned { cluster_id, prefix: store.prefix.clone(), revision: store.revision })
    };
    let stores = reports.iter().filter_map(scanned).collect();
    let listed = async {
        let access = Access::open(&cluster.kubernetes).await.map_err(|e| e.to_string())?;
        servers(&access, document).await
    };
    let listed = tokio::time::timeout(LIMIT, listed).await.unwrap_or_else(|_| Err("it did not answer in time".into()));
    let (servers, missing) = match listed {
        Ok(servers) => (servers.into_iter().map(|server| server.holder).collect(), None),
        Err(why) => {
            (Vec::new(), Some(format!("which API servers run is not recorded, so that destroy will not know which have restarted: {why}")))
        }
    };
    match (AtDisable { stores, servers }.entries(key_id.version), missing) {
        (Some(entries), missing) => (entries, missing),
        (None, _) => (Vec::new(), Some("what was scanned does not fit into the history, so that destroy will want --accept-risk".into())),
    }
}

/// Every API server with a Lease; fewer than the keyring has nodes are not all.
async fn servers(access: &Access, document: &Document) -> Result<Vec<Server>, String> {
    let servers = starts::all(access).await.map_err(|e| e.to_string())?;
    let nodes = document.nodes.len();
    if servers.len() < nodes {
        return Err(format!("the keyring has {nodes} nodes, and {} API servers hold a Lease", servers.len()));
    }
    Ok(servers)
}

type Asked = (Result<Vec<Server>, String>, Vec<(String, Result<Activity, String>)>);

async fn api_servers(cluster: &Cluster<'_>, document: &Document, key_id: KeyId) -> Asked {
    let access = match Access::open(&cluster.kubernetes).await {
        Ok(access) => access,
        Err(e) => return (Err(e.to_string()), Vec::new()),
    };
    let servers = servers(&access, document).await;
    let several = servers.as_ref().is_ok_and(|servers| servers.len() > 1);
    match starts::activity(&access, &cluster.kubernetes, several, key_id).await {
        Ok(activity) => (servers, activity),
        Err(e) => (servers, vec![("the service `kubernetes`".to_owned(), Err(e.to_string()))]),
    }
}

async fn refused(named: &Named, document: &Document, key_id: KeyId, generation: u64) -> Result<Refused, String> {
    let socket = config::admin_path(&named.socket);
    if !admin::serves(&socket, document.generation).await.map_err(|e| e.to_string())? {
        return Err(format!("it does not serve generation {} yet", document.generation));
    }
    let page = admin::fetch(&socket, "/refused").await.map_err(|e| e.to_string())?;
    let page = Page::read(&page).ok_or("it is of another release")?;
    let (count, last) = page.since(key_id, generation);
    Ok(Refused { count, last, counting: page.running })
}

async fn stores(cluster: &Cluster<'_>) -> Result<Vec<Compacted>, String> {
    let mut stores = Vec::new();
    for store in &cluster.found.stores {
        let prefix = Prefix::new(&store.prefix).as_str().to_owned();
        let asked = async {
            let mut etcd = etcd::connect(store.clone()).await.map_err(|failure| failure.why)?;
            let oldest = etcd.oldest_revision().await.map_err(|e| e.to_string())?;
            Ok(Compacted { cluster_id: etcd.cluster_id(), prefix, oldest })
        };
        stores.push(tokio::time::timeout(LIMIT, asked).await.unwrap_or_else(|_| Err("etcd did not answer in time".to_owned()))?);
    }
    Ok(stores)
}

/// Why `key_id` is not destroyed yet, if so.
pub(super) fn objection(hold: &Hold, key_id: KeyId) -> Option<Failure> {
    let attempted = format!("destroy {key_id}");
    if let Some(what) = hold.violated() {
        let next = "Find who: `keywright scan` shows what is stored under which key, the log of the plugin when it was asked. `keywright rotate enable` brings the version back; --accept-risk \"REASON\" goes on without.";
        return Some(Failure::new(Exit::Refused, attempted, format!("something needs the version: {what}"), next));
    }
    let missing = hold.missing();
    (!missing.is_empty()).then(|| {
        let next = "Do that, and run this again; `keywright rotate status` shows what is left. --accept-risk \"REASON\" goes on without.";
        Failure::new(Exit::Incomplete, attempted, format!("its hold is not over: {}", missing.join("; ")), next)
    })
}

/// How a condition stands in one word, and all that is said of it.
fn said(standing: &Standing) -> (&'static str, Vec<&str>) {
    match standing {
        Standing::Met(how) => ("met", vec![how]),
        Standing::Missing(missing) => ("missing", missing.iter().map(String::as_str).collect()),
        Standing::Unrecorded(what) => ("missing", vec![what]),
        Standing::Violated(what) => ("violated", vec![what]),
    }
}

/// For people: a line for each condition.
pub(super) fn table(hold: &Hold) -> String {
    let rows = hold.0.iter().map(|condition| {
        let (is, what) = said(&condition.standing);
        vec![condition.name.to_owned(), is.to_owned(), what.join("; ")]
    });
    output::columns(&["hold", "is", "what"], rows)
}

/// For scripts.
pub(super) fn as_json(hold: &Hold) -> Value {
    let conditions = hold.0.iter().map(|condition| {
        let (is, what) = said(&condition.standing);
        json!({ "condition": condition.name, "is": is, "what": what })
    });
    conditions.collect()
}
