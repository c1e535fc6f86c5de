//! Where the cluster is: what was said on the command line, else what the configuration says, else the manifest of kube-apiserver.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::advice;
use super::failure::{Exit, Failure};
use crate::config::cluster::{Cluster, DEFAULT_PREFIX, ServerAddress, Store};
use crate::encryption_configuration::{self, EncryptionConfiguration, KmsVersion, Pattern, Provider};
use crate::etcd::live::{Endpoint, Etcd, Options, User};
use crate::etcd::manifest::ApiServerFlags;
use crate::kube;
use crate::ownership;
use crate::scan::tally::Names;

/// Where kubeadm puts it.
const MANIFEST: &str = "/etc/kubernetes/manifests/kube-apiserver.yaml";
/// Longest password of an etcd user, in bytes.
const MAX_PASSWORD: u64 = 1024;

/// How etcd is reached, by etcdctl's names.
#[derive(Args)]
#[group(id = "etcd")]
#[command(next_help_heading = "etcd")]
pub(super) struct EtcdArguments {
    /// Client URLs of etcd [default: those of the configuration, or of kube-apiserver's manifest]
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    endpoints: Vec<String>,
    /// Certificate of the authority that signed etcd's
    #[arg(long, value_name = "FILE", requires = "endpoints")]
    cacert: Option<PathBuf>,
    /// Client certificate
    #[arg(long, value_name = "FILE", requires = "endpoints", requires = "key")]
    cert: Option<PathBuf>,
    /// Key of the client certificate
    #[arg(long, value_name = "FILE", requires = "endpoints", requires = "cert")]
    key: Option<PathBuf>,
    /// User, where etcd has authentication of its own
    #[arg(long, value_name = "NAME", requires = "endpoints", requires = "password_file")]
    user: Option<String>,
    /// File with the user's password
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// Where the API servers' keys begin, their --etcd-prefix
    #[arg(long, value_name = "PREFIX", default_value = DEFAULT_PREFIX)]
    etcd_prefix: String,
    /// Manifest of kube-apiserver in which all of this is found [default: kubeadm's, where nothing else is said]
    #[arg(long, value_name = "FILE", conflicts_with = "endpoints")]
    manifest: Option<PathBuf>,
    /// EncryptionConfiguration of the API servers: what must be encrypted [default: the configuration's, or the manifest's]
    #[arg(long, value_name = "FILE")]
    encryption_config: Option<PathBuf>,
}

/// How the API server is reached, by kubectl's names.
#[derive(Args)]
#[group(id = "kubernetes")]
#[command(next_help_heading = "Kubernetes")]
pub(super) struct KubernetesArguments {
    /// The kubeconfig [default: the configuration's, or as kubectl finds it]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context in it
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Where each API server is reached, all of them [default: the configuration's, or where they say that they are]
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', value_parser = parse_server)]
    api_servers: Vec<ServerAddress>,
}

fn parse_server(text: &str) -> Result<ServerAddress, String> {
    ServerAddress::parse(text).ok_or_else(|| format!("it {}", ServerAddress::FORM))
}

impl KubernetesArguments {
    /// What was said here, else in the configuration.
    pub(super) fn options(&self, cluster: &Cluster) -> kube::Options {
        let configured = &cluster.kubernetes;
        let servers = if self.api_servers.is_empty() { &configured.servers } else { &self.api_servers };
        kube::Options {
            kubeconfig: self.kubeconfig.clone().or_else(|| configured.kubeconfig.clone()),
            context: self.context.clone().or_else(|| configured.context.clone()),
            servers: servers.iter().map(|server| server.authority().clone()).collect(),
        }
    }
}

/// What was found.
pub(super) struct Found {
    /// Each etcd, at least one.
    pub(super) stores: Vec<Options>,
    /// What is configured to be encrypted, if that is known.
    pub(super) configuration: Option<EncryptionConfiguration>,
    /// The longest that an API server waits for the plugin.
    pub(super) kms_timeout: Duration,
}

impl EtcdArguments {
    /// `cluster` is what the configuration says.
    pub(super) fn find(&self, cluster: &Cluster) -> Result<Found, Failure> {
        let mut manifest = None;
        let stores = if !self.endpoints.is_empty() {
            vec![self.said()?]
        } else if self.manifest.is_none() && !cluster.stores.is_empty() {
            cluster.stores.iter().map(configured).collect::<Result<_, _>>()?
        } else {
            let flags = self.manifest()?;
            let stores = vec![flags.options()];
            manifest = Some(flags);
            stores
        };
        for endpoint in stores.iter().flat_map(Options::in_clear) {
            super::note(&format!("WARNING: {endpoint} is not TLS: whatever is read there can be read on the way\n"));
        }
        let path = self.encryption_config.as_deref();
        let path = path.or(cluster.kubernetes.encryption_config.as_deref());
        let path = path.or(manifest.as_ref().and_then(|flags| flags.encryption_config.as_deref()));
        let configuration = path.map(read_configuration).transpose()?;
        let kms_timeout = configuration.as_ref().and_then(longest_timeout).unwrap_or(cluster.kubernetes.kms_timeout);
        Ok(Found { stores, configuration, kms_timeout })
    }

    /// Where the keys of the API servers begin.
    pub(super) fn prefix(&self) -> &str {
        &self.etcd_prefix
    }

    fn said(&self) -> Result<Options, Failure> {
        let password = |path: &PathBuf| {
            let next = "Put the password alone into a file of mode 0600, and name it with --password-file.";
            ownership::read_private_file(path, MAX_PASSWORD)
                .map_err(|e| Failure::new(Exit::Configuration, "read the password of etcd's user", e, next))
        };
        let user = match (&self.user, &self.password_file) {
            (Some(name), Some(path)) => {
                let mut password = password(path)?;
                password.strip_line_end();
                Some(User { name: name.clone(), password: Arc::new(password) })
            }
            _ => None,
        };
        let endpoints = endpoints(&self.endpoints, self.cacert.is_some() || self.cert.is_some())?;
        Ok(Options {
            cacert: self.cacert.clone(),
            cert: self.cert.clone(),
            key: self.key.clone(),
            user,
            prefix: self.etcd_prefix.clone(),
            ..Options::new(endpoints)
        })
    }

    fn manifest(&self) -> Result<ApiServerFlags, Failure> {
        let path = self.manifest.as_deref().unwrap_or(Path::new(MANIFEST));
        ApiServerFlags::read(path).map_err(|e| {
            let next = "Say --endpoints (and --cacert, --cert, --key), put [[etcd]] into the configuration, or name the manifest with --manifest FILE.";
            Failure::new(Exit::Configuration, "find the etcd of the cluster", e, next)
        })
    }
}

impl Found {
    /// What must be encrypted; `None` if that is not known.
    pub(super) fn patterns(&self) -> Option<Vec<Pattern>> {
        let configuration = self.configuration.as_ref()?;
        Some(configuration.encrypted_resources().iter().map(|encrypted| encrypted.pattern.clone()).collect())
    }

    /// The names by which stored values are told apart.
    pub(super) fn names(&self) -> Names {
        let mut names = Names::default();
        for provider in self.configuration.iter().flat_map(EncryptionConfiguration::providers) {
            let keys = || provider.keys().iter().map(|key| key.name.clone());
            match provider {
                Provider::AesCbc(_) => names.aescbc.extend(keys()),
                Provider::AesGcm(_) => names.aesgcm.extend(keys()),
                Provider::Secretbox(_) => names.secretbox.extend(keys()),
                Provider::Kms(kms) if kms.version == KmsVersion::V1 => names.kms_v1.push(kms.name.clone()),
                Provider::Kms(_) | Provider::Identity => {}
            }
        }
        names
    }
}

/// Connects, or says of every endpoint why not.
pub(super) async fn connect(options: Options) -> Result<Etcd, Failure> {
    Etcd::connect(options).await.map_err(|e| Failure::new(Exit::Runtime, "connect to etcd", &e, advice::etcd(&e)))
}

fn configured(store: &Store) -> Result<Options, Failure> {
    let endpoints = endpoints(&store.endpoints, store.cacert.is_some() || store.cert.is_some())?;
    Ok(Options {
        cacert: store.cacert.clone(),
        cert: store.cert.clone(),
        key: store.key.clone(),
        prefix: store.prefix.clone(),
        ..Options::new(endpoints)
    })
}

fn endpoints(texts: &[String], tls_files: bool) -> Result<Vec<Endpoint>, Failure> {
    let parse = |text: &String| {
        Endpoint::parse(text, tls_files)
            .map_err(|e| Failure::new(Exit::Usage, format!("take {text} as an endpoint of etcd"), e, "Write it as https://HOST:2379."))
    };
    texts.iter().map(parse).collect()
}

pub(super) fn read_configuration(path: &Path) -> Result<EncryptionConfiguration, Failure> {
    let loaded = encryption_configuration::load(path).map_err(|e| {
        let next = "Name the file that kube-apiserver has as --encryption-provider-config, with --encryption-config FILE.";
        Failure::new(Exit::Configuration, format!("read the EncryptionConfiguration {}", path.display()), e, next)
    })?;
    if let Some(mode) = loaded.open_to_others {
        super::note(&format!("WARNING: {} has mode {mode:04o}: others can read the keys in it\n", path.display()));
    }
    Ok(loaded.configuration)
}

fn longest_timeout(configuration: &EncryptionConfiguration) -> Option<Duration> {
    let timeouts = configuration.providers().filter_map(|provider| match provider {
        Provider::Kms(kms) => Some(kms.timeout),
        _ => None,
    });
    timeouts.max()
}
