//! Where the cluster is that the keyring is for: what a command needs to look into etcd and to ask the API server. A plugin that serves reads
//! none of it.

use std::path::PathBuf;
use std::time::Duration;

use http::uri::Authority;
use serde::Deserialize;
use toml::Spanned;

use super::{ConfigError, Place};

/// Where kube-apiserver keeps its keys unless it is told otherwise.
pub const DEFAULT_PREFIX: &str = "/registry";
/// How long an API server waits for a call to its plugin unless it is told otherwise.
pub const DEFAULT_KMS_TIMEOUT: Duration = Duration::from_secs(3);

/// Everything about the cluster.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    /// Every etcd in which its API servers store, usually one. None said: it is to be found in the manifest of kube-apiserver.
    pub stores: Vec<Store>,
    /// How its API server is reached.
    pub kubernetes: Kubernetes,
}

/// One etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// Such as `https://127.0.0.1:2379`; each is a member of the same cluster.
    pub endpoints: Vec<String>,
    /// Certificate of the authority that signed the servers'.
    pub cacert: Option<PathBuf>,
    /// Our certificate.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// Where the API servers' keys begin.
    pub prefix: String,
}

/// `HOST:PORT`, where one API server is reached.
///
/// Its text is kept as it was written; `HOST` is a name, an IPv4 address, or an IPv6 address in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress(Authority);

impl ServerAddress {
    /// What is wrong with a text that is none.
    pub const FORM: &str = "must be of the form \"HOST:PORT\"";

    /// `None` unless it has a host and a port, and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let authority: Authority = text.parse().ok()?;
        let whole = !authority.host().is_empty() && !text.contains('@') && authority.port_u16().is_some_and(|port| port > 0);
        whole.then_some(Self(authority))
    }

    /// For an URL.
    pub const fn authority(&self) -> &Authority {
        &self.0
    }
}

impl std::fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// One API server, or what stands in front of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kubernetes {
    /// The file; none: as kubectl would find it.
    pub kubeconfig: Option<PathBuf>,
    /// The context in it; none: the current one.
    pub context: Option<String>,
    /// Where each API server of the cluster is reached; none: at the addresses that they publish.
    pub servers: Vec<ServerAddress>,
    /// The EncryptionConfiguration of the API servers.
    pub encryption_config: Option<PathBuf>,
    /// The longest `timeout` of its KMS providers.
    pub kms_timeout: Duration,
}

impl Default for Kubernetes {
    fn default() -> Self {
        Self { kubeconfig: None, context: None, servers: Vec::new(), encryption_config: None, kms_timeout: DEFAULT_KMS_TIMEOUT }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStore {
    endpoints: Spanned<Vec<String>>,
    cacert: Option<Spanned<PathBuf>>,
    cert: Option<Spanned<PathBuf>>,
    key: Option<Spanned<PathBuf>>,
    prefix: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawKubernetes {
    kubeconfig: Option<Spanned<PathBuf>>,
    context: Option<String>,
    servers: Option<Spanned<Vec<String>>>,
    encryption_config: Option<Spanned<PathBuf>>,
    kms_timeout: Option<Spanned<String>>,
}

impl Place<'_> {
    pub(super) fn cluster(&self, stores: Vec<RawStore>, kubernetes: RawKubernetes) -> Result<Cluster, ConfigError> {
        let stores = stores.into_iter().map(|store| self.store(store)).collect::<Result<_, _>>()?;
        Ok(Cluster { stores, kubernetes: self.kubernetes(kubernetes)? })
    }

    fn store(&self, raw: RawStore) -> Result<Store, ConfigError> {
        let url = |endpoint: &String| endpoint.starts_with("https://") || endpoint.starts_with("http://");
        if raw.endpoints.get_ref().is_empty() || !raw.endpoints.get_ref().iter().all(url) {
            return self.refuse("etcd.endpoints", &raw.endpoints, "must be one or more of the form \"https://HOST:2379\"");
        }
        let prefix = match raw.prefix {
            Some(prefix) if !prefix.get_ref().starts_with('/') || prefix.get_ref().len() < 2 => {
                return self.refuse("etcd.prefix", &prefix, "must begin with `/`, as `--etcd-prefix` of kube-apiserver does");
            }
            Some(prefix) => prefix.into_inner().trim_end_matches('/').to_owned(),
            None => DEFAULT_PREFIX.to_owned(),
        };
        let path = |key, path: Option<Spanned<PathBuf>>| path.map(|path| self.absolute(key, path)).transpose();
        if raw.cert.is_some() != raw.key.is_some() {
            return self.refuse("etcd.cert", &raw.endpoints, "and `etcd.key` stand together or not at all");
        }
        Ok(Store {
            endpoints: raw.endpoints.into_inner(),
            cacert: path("etcd.cacert", raw.cacert)?,
            cert: path("etcd.cert", raw.cert)?,
            key: path("etcd.key", raw.key)?,
            prefix,
        })
    }

    fn kubernetes(&self, raw: RawKubernetes) -> Result<Kubernetes, ConfigError> {
        let path = |key, path: Option<Spanned<PathBuf>>| path.map(|path| self.absolute(key, path)).transpose();
        let kms_timeout = match raw.kms_timeout {
            None => DEFAULT_KMS_TIMEOUT,
            Some(text) => match humantime::parse_duration(text.get_ref()) {
                Ok(timeout) if !timeout.is_zero() => timeout,
                _ => return self.refuse("kubernetes.kms_timeout", &text, "must be a duration such as \"3s\""),
            },
        };
        let servers = match raw.servers {
            None => Vec::new(),
            Some(texts) => match texts.get_ref().iter().map(|text| ServerAddress::parse(text)).collect::<Option<Vec<_>>>() {
                Some(servers) if !servers.is_empty() => servers,
                _ => return self.refuse("kubernetes.servers", &texts, "must be one or more of the form \"HOST:PORT\""),
            },
        };
        Ok(Kubernetes {
            kubeconfig: path("kubernetes.kubeconfig", raw.kubeconfig)?,
            context: raw.context,
            servers,
            encryption_config: path("kubernetes.encryption_config", raw.encryption_config)?,
            kms_timeout,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::parse;
    use super::*;

    const SEALED: &str = "keyring = \"/k\"\n[seal]\nkey_file = \"/s\"\n";

    fn message(text: &str) -> String {
        parse(Path::new("c.toml"), &format!("{SEALED}{text}")).expect_err("not valid").to_string()
    }

    #[test]
    fn a_cluster_has_defaults_and_any_number_of_stores() {
        let text =
            format!("{SEALED}[[etcd]]\nendpoints = [\"https://a:2379\"]\n[[etcd]]\nendpoints = [\"http://b:1\"]\nprefix = \"/events/\"\n");
        let cluster = parse(Path::new("c.toml"), &text).expect("valid").cluster;
        assert_eq!(cluster.stores.iter().map(|s| s.prefix.as_str()).collect::<Vec<_>>(), ["/registry", "/events"]);
        assert_eq!(cluster.kubernetes, Kubernetes::default());
    }

    #[test]
    fn an_api_server_is_named_by_a_host_and_a_port_and_nothing_else() {
        for good in ["cp-1:6443", "127.0.0.1:1", "[::1]:65535"] {
            assert_eq!(ServerAddress::parse(good).expect("valid").to_string(), good);
        }
        for bad in ["", "cp-1", ":6443", "cp-1:", "cp-1:0", "cp-1:65536", "cp-1:x", "::1:6443", "you@cp-1:6443", "cp-1:6443/", "cp 1:6443"]
        {
            assert_eq!(ServerAddress::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_store_that_cannot_be_reached_as_written_is_refused_with_its_line() {
        for (extra, start) in [
            ("[[etcd]]\nendpoints = []", "c.toml:5: `etcd.endpoints` must be"),
            ("[[etcd]]\nendpoints = [\"127.0.0.1:2379\"]", "c.toml:5: `etcd.endpoints` must be"),
            ("[[etcd]]\nendpoints = [\"http://a\"]\nprefix = \"registry\"", "c.toml:6: `etcd.prefix` must begin"),
            ("[[etcd]]\nendpoints = [\"http://a\"]\ncacert = \"ca.crt\"", "c.toml:6: `etcd.cacert` must be an absolute path"),
            ("[[etcd]]\nendpoints = [\"http://a\"]\ncert = \"/c\"", "c.toml:5: `etcd.cert` and `etcd.key` stand together"),
            ("[kubernetes]\nkms_timeout = \"0s\"", "c.toml:5: `kubernetes.kms_timeout` must be"),
            ("[kubernetes]\nservers = []", "c.toml:5: `kubernetes.servers` must be one or more of the form \"HOST:PORT\""),
            ("[kubernetes]\nservers = [\"a:1\", \"b\"]", "c.toml:5: `kubernetes.servers` must be"),
            ("[kubernetes]\nservers = [\"https://a:1\"]", "c.toml:5: `kubernetes.servers` must be"),
            ("[kubernetes]\nkubeconfg = \"/k\"", "c.toml:5: unknown key `kubeconfg`; did you mean `kubeconfig`?"),
        ] {
            let message = message(extra);
            assert!(message.starts_with(start), "{message}");
        }
    }
}
