//! Every API server of the cluster, each asked by its own address: what its metrics say about the key it writes with.
//!
//! The metrics are those of kube-apiserver 1.29 and later (`apiserver_envelope_encryption_key_id_hash_*`). They are of alpha stability: where
//! they are not there, nothing is concluded.

use std::time::Duration;

use serde::Deserialize;

use super::{Access, KubeError, Options};
use crate::key_id::{self, KeyId};

/// Counts what was written and read with each key.
const USES: &str = "apiserver_envelope_encryption_key_id_hash_total{";
/// When a good Status last named each key, in seconds since 1970 by the clock of the API server.
const NAMED: &str = "apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds{";

/// One API server.
#[derive(Clone)]
pub struct Server {
    /// `ADDRESS:PORT`, from the EndpointSlices of the service `kubernetes`.
    pub address: String,
    access: Access,
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

/// The API servers that stand behind the service `kubernetes`, each with a client of its own that uses the same credentials.
///
/// Errors: those of [`Access`]; it needs the verb `list` on `endpointslices.discovery.k8s.io` in the namespace `default`.
pub async fn all(access: &Access, options: &Options) -> Result<Vec<Server>, KubeError> {
    let path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Dkubernetes";
    let slices: Slices = access.get(path, "a list of EndpointSlices").await?;
    let mut servers = Vec::new();
    for slice in slices.items {
        let ports: Vec<u16> = slice.ports.into_iter().flatten().filter_map(|port| port.port).collect();
        for address in slice.endpoints.into_iter().flatten().flat_map(|endpoint| endpoint.addresses) {
            for port in &ports {
                let address = if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") };
                servers.push(Server { access: Access::at(options, &address).await?, address });
            }
        }
    }
    Ok(servers)
}

/// How it is known that every server writes with `primary`; or of which it is not.
///
/// `coasting`: how long a server may write on after the last Status that named another key.
pub async fn adoption(servers: &[Server], primary: KeyId, coasting: Duration) -> Result<String, String> {
    if servers.is_empty() {
        return Err("the service `kubernetes` names no API server".into());
    }
    let mut missing = Vec::new();
    for server in servers {
        let judged = match server.access.text("/metrics").await {
            Ok(page) => judge(&page, &key_id::sha256_form(&primary.to_string()), coasting),
            Err(error) => Err(error.to_string()),
        };
        if let Err(why) = judged {
            missing.push(format!("{}: {why}", server.address));
        }
    }
    if missing.is_empty() { Ok(format!("by the metrics of {} API servers", servers.len())) } else { Err(missing.join("; ")) }
}

/// By one page of metrics: whether that server can still write with another key than the one of `hash`.
fn judge(page: &str, hash: &str, coasting: Duration) -> Result<(), String> {
    let label = |name: &str, value: &str| format!("{name}=\"{value}\"");
    let ours = label("key_id_hash", hash);
    let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
    let wrote =
        page.lines().filter(|line| line.starts_with(USES) && line.contains(&ours) && line.contains("transformation_type=\"to_storage\""));
    if wrote.filter_map(value).any(|uses| uses > 0.0) {
        return Ok(());
    }
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
    if since >= coasting.as_secs_f64() {
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
