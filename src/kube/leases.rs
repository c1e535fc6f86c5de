//! The Leases of API servers in `kube-system`: what each process of kube-apiserver says of itself, and renews.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Access, KubeError};

const LEASES: &str =
    "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases?labelSelector=apiserver.kubernetes.io%2Fidentity%3Dkube-apiserver";
const HOSTNAME: &str = "kubernetes.io/hostname";

/// One Lease (kube-apiserver 1.26 and later).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lease {
    /// `apiserver-<hash>`: comes from the host, and stays.
    pub(super) name: String,
    /// Where it runs, if it says so.
    pub(super) host: Option<String>,
    /// `apiserver-<hash>_<random>`: drawn anew at every start. None: nobody renews it.
    pub(super) holder: Option<String>,
}

#[derive(Deserialize)]
struct List {
    items: Vec<Raw>,
}

#[derive(Deserialize)]
struct Raw {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    holder_identity: Option<String>,
}

impl From<Raw> for Lease {
    fn from(Raw { metadata: Metadata { name, mut labels }, spec }: Raw) -> Self {
        Self { name, host: labels.remove(HOSTNAME), holder: spec.holder_identity.filter(|holder| !holder.is_empty()) }
    }
}

/// Every API server that holds one; one that has ended is among them until its Lease goes, an hour later.
///
/// Errors: those of [`Access`]; it needs the verb `list` on `leases.coordination.k8s.io` in the namespace `kube-system`.
pub(super) async fn list(access: &Access) -> Result<Vec<Lease>, KubeError> {
    let leases: List = access.get(LEASES, "a list of Leases").await?;
    Ok(leases.items.into_iter().map(Lease::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_says_its_name_its_host_and_who_holds_it() {
        let read = |text: &str| serde_json::from_str::<Raw>(text).map(Lease::from).expect("a Lease");
        let full = r#"{"metadata": {"name": "apiserver-x", "labels": {"kubernetes.io/hostname": "cp-1"}}, "spec": {"holderIdentity": "apiserver-x_1"}}"#;
        assert_eq!(read(full), Lease { name: "apiserver-x".into(), host: Some("cp-1".into()), holder: Some("apiserver-x_1".into()) });
        let bare = Lease { name: "apiserver-x".into(), host: None, holder: None };
        assert_eq!(read(r#"{"metadata": {"name": "apiserver-x"}}"#), bare);
        assert_eq!(read(r#"{"metadata": {"name": "apiserver-x"}, "spec": {"holderIdentity": ""}}"#), bare);
    }
}
