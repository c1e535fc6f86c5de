//! Which processes of kube-apiserver there are, and what each has done with a key since its start.
//!
//! A process is known by the holder of its Lease in `kube-system` (`apiserver-<hash>_<random>`, kube-apiserver 1.26 and later): the name of the
//! Lease comes from the host and stays, the holder is drawn anew at every start. `process_start_time_seconds` of the metrics is no measure of
//! that: it moves with the clock of the machine, without any start.

use super::leases::{self, Lease};
use super::metrics::{USES, value};
use super::servers::Servers;
use super::{Access, KubeError, Options};
use crate::key_id::{self, KeyId};
use crate::rotation::hold::{Activity, Server};

/// Counts calls of a plugin by their outcome.
const CALLS: &str = "apiserver_envelope_encryption_kms_operations_latency_seconds_count{";

/// Every API server that holds a Lease; one that has ended is among them until its Lease goes, an hour later.
///
/// Errors: those of [`Access`]; it needs the verb `list` on `leases.coordination.k8s.io` in the namespace `kube-system`.
pub async fn all(access: &Access) -> Result<Vec<Server>, KubeError> {
    Ok(leases::list(access).await?.into_iter().map(server).collect())
}

fn server(Lease { name, host, holder }: Lease) -> Server {
    // Without a holder nobody renews it: its name alone will be the same for ever, so that it never counts as restarted.
    Server { holder: holder.unwrap_or_else(|| name.clone()), name: host.unwrap_or(name) }
}

/// What each API server has done with `version` since its start, by its metrics: of one server the one of the kubeconfig, of several each by its
/// own address.
pub async fn activity(
    access: &Access,
    options: &Options,
    several: bool,
    version: KeyId,
) -> Result<Vec<(String, Result<Activity, String>)>, KubeError> {
    let hash = key_id::sha256_form(&version.to_string());
    let read = |page: Result<String, KubeError>| page.map(|page| judge(&page, &hash)).map_err(|e| e.to_string());
    if !several {
        return Ok(vec![(access.server().to_owned(), read(access.text("/metrics").await))]);
    }
    let (pages, unasked) = Servers::list(options).await?.pages().await;
    let mut all: Vec<_> = pages.into_iter().map(|(address, page)| (address, read(page))).collect();
    if unasked > 0 {
        all.push((format!("{unasked} more API servers"), Err("they have a Lease or an address, and were not asked".into())));
    }
    Ok(all)
}

/// By one page of metrics.
fn judge(page: &str, hash: &str) -> Activity {
    let count = |prefix: &str, labels: [&str; 2]| {
        let of = page.lines().filter(|line| line.starts_with(prefix) && labels.iter().all(|label| line.contains(label)));
        let sum: f64 = of.filter_map(value).sum();
        // A count is whole; as a number of any size it does not wrap.
        sum.max(0.0) as u64
    };
    let ours = format!("key_id_hash=\"{hash}\"");
    // Whoever encrypts has had a seed wrapped: without that line the metrics are of another release.
    let counted = page.lines().any(|line| line.starts_with(CALLS) && line.contains("grpc_status_code=\"OK\""));
    let refused = counted.then(|| count(CALLS, ["grpc_status_code=\"FailedPrecondition\"", "Decrypt\""]));
    Activity { uses: count(USES, [&ours, "transformation_type="]), refused }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(hash: &str, direction: &str, uses: u32) -> String {
        format!("{USES}apiserver_id_hash=\"a\",key_id_hash=\"{hash}\",provider_name=\"kw\",transformation_type=\"{direction}\"}} {uses}\n")
    }

    fn called(method: &str, code: &str, times: u32) -> String {
        format!("{CALLS}grpc_status_code=\"{code}\",method_name=\"{method}\",provider_name=\"kw\"}} {times}\n")
    }

    #[test]
    fn what_was_used_and_refused_since_the_start_is_told_apart() {
        let started = called("/v2.KeyManagementService/Encrypt", "OK", 1);
        let table = [
            (started.clone(), Activity { uses: 0, refused: Some(0) }),
            (started.clone() + &used("sha256:new", "to_storage", 5), Activity { uses: 0, refused: Some(0) }),
            (
                started.clone() + &used("sha256:old", "to_storage", 2) + &used("sha256:old", "from_storage", 3),
                Activity { uses: 5, refused: Some(0) },
            ),
            (
                started.clone() + &called("/v2.KeyManagementService/Decrypt", "FailedPrecondition", 4),
                Activity { uses: 0, refused: Some(4) },
            ),
            (started + &called("/v2.KeyManagementService/Decrypt", "Unavailable", 4), Activity { uses: 0, refused: Some(0) }),
            (String::new(), Activity { uses: 0, refused: None }),
        ];
        for (page, expected) in table {
            assert_eq!(judge(&page, "sha256:old"), expected, "{page}");
        }
    }

    #[test]
    fn a_process_is_known_by_the_holder_of_its_lease() {
        let lease = |host: Option<&str>, holder: Option<&str>| {
            let text = |text: Option<&str>| text.map(str::to_owned);
            server(Lease { name: "apiserver-x".into(), host: text(host), holder: text(holder) })
        };
        assert_eq!(lease(Some("cp-1"), Some("apiserver-x_1")), Server { name: "cp-1".into(), holder: "apiserver-x_1".into() });
        assert_eq!(lease(None, None), Server { name: "apiserver-x".into(), holder: "apiserver-x".into() });
    }
}
