//! Where a kubeadm node's API server has its etcd, from its static pod manifest.
//!
//! Paths are taken as the container sees them: kubeadm mounts each at its own place. Where that is not so, name the files by option.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

use super::live::{Endpoint, EndpointError, Options, PREFIX};

/// Where kubeadm puts it.
pub const PATH: &str = "/etc/kubernetes/manifests/kube-apiserver.yaml";
/// A manifest has some kilobytes; more than this is something else.
const MAX_LEN: u64 = 1 << 20;

/// What cannot be found out, and why.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// The file cannot be read.
    #[error("read {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is far too long.
    #[error("{0} is no pod manifest: it is longer than 1 MiB")]
    TooLong(PathBuf),
    /// No YAML, or not of a pod.
    #[error("{path} is no pod manifest: {reason}")]
    NotAPod {
        /// Which.
        path: PathBuf,
        /// Where the parser stopped.
        reason: String,
    },
    /// A pod, of something else.
    #[error("{0} has no container that runs kube-apiserver")]
    NoApiServer(PathBuf),
    /// A flag that is needed is not there.
    #[error("kube-apiserver has no {flag} in {path}: {need}")]
    Missing {
        /// Which file.
        path: PathBuf,
        /// Which flag.
        flag: &'static str,
        /// What it is needed for, or what to do.
        need: &'static str,
    },
    /// A flag whose value makes no sense.
    #[error("{flag} of kube-apiserver in {path}: {reason}")]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Which flag.
        flag: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// What the API server's flags say about its storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiServerFlags {
    /// The manifest.
    pub path: PathBuf,
    /// `--etcd-servers`; at least one.
    pub servers: Vec<Endpoint>,
    /// `--etcd-cafile`.
    pub cafile: Option<PathBuf>,
    /// `--etcd-certfile`.
    pub certfile: Option<PathBuf>,
    /// `--etcd-keyfile`.
    pub keyfile: Option<PathBuf>,
    /// `--etcd-prefix`, or its default.
    pub prefix: String,
    /// `--encryption-provider-config`.
    pub encryption_config: Option<PathBuf>,
    /// `--encryption-provider-config-automatic-reload`.
    pub automatic_reload: bool,
}

impl ApiServerFlags {
    /// Reads the manifest at `path`.
    pub fn read(path: &Path) -> Result<Self, ManifestError> {
        let fail = |source| ManifestError::Read { path: path.to_owned(), source };
        let len = std::fs::metadata(path).map_err(fail)?.len();
        if len > MAX_LEN {
            return Err(ManifestError::TooLong(path.to_owned()));
        }
        Self::parse(path, &std::fs::read_to_string(path).map_err(fail)?)
    }

    /// From the text of a manifest; `path` stands in errors.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ManifestError> {
        let pod: Pod = serde_saphyr::from_str(text).map_err(|error| {
            // The first line says what and where; more would quote the file.
            let reason = error.to_string().lines().next().unwrap_or_default().to_owned();
            ManifestError::NotAPod { path: path.to_owned(), reason }
        })?;
        let container = pod.spec.containers.iter().find(|container| container.is_api_server());
        let container = container.ok_or_else(|| ManifestError::NoApiServer(path.to_owned()))?;
        Found { path, words: container.words().collect() }.flags()
    }

    /// `--encryption-provider-config`, for those who cannot do without.
    pub fn encryption_config(&self) -> Result<&Path, ManifestError> {
        let need = "without it nothing in etcd is encrypted";
        let missing = || ManifestError::Missing { path: self.path.clone(), flag: "--encryption-provider-config", need };
        self.encryption_config.as_deref().ok_or_else(missing)
    }

    /// How to reach the same etcd with the same files.
    pub fn options(&self) -> Options {
        Options {
            cacert: self.cafile.clone(),
            cert: self.certfile.clone(),
            key: self.keyfile.clone(),
            prefix: self.prefix.clone(),
            ..Options::new(self.servers.clone())
        }
    }
}

#[derive(Deserialize)]
struct Pod {
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    containers: Vec<Container>,
}

#[derive(Deserialize)]
struct Container {
    #[serde(default)]
    name: String,
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    args: Vec<String>,
}

impl Container {
    /// By its program, wherever that lies; an image whose entry point it is needs no command, only the name.
    fn is_api_server(&self) -> bool {
        match self.command.first() {
            Some(program) => Path::new(program).file_name().is_some_and(|name| name == "kube-apiserver"),
            None => self.name == "kube-apiserver",
        }
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        self.command.iter().skip(1).chain(&self.args).map(String::as_str)
    }
}

/// The words after the program's name.
struct Found<'a> {
    path: &'a Path,
    words: Vec<&'a str>,
}

impl Found<'_> {
    fn flags(&self) -> Result<ApiServerFlags, ManifestError> {
        // The API server takes every one that is given.
        let servers = self.values("--etcd-servers")?.join(",");
        if servers.is_empty() {
            return Err(self.missing("--etcd-servers", "name them: --endpoints"));
        }
        let servers = Endpoint::list(&servers, false).map_err(|e: EndpointError| self.invalid("--etcd-servers", e.to_string()))?;
        let [cafile, certfile, keyfile, encryption_config] =
            ["--etcd-cafile", "--etcd-certfile", "--etcd-keyfile", "--encryption-provider-config"].map(|flag| self.file(flag));
        let (cafile, certfile, keyfile) = (cafile?, certfile?, keyfile?);
        if cafile.is_none() && servers.iter().any(Endpoint::is_tls) {
            return Err(self.missing("--etcd-cafile", "its etcd is https: name the CA certificate: --cacert"));
        }
        match (&certfile, &keyfile) {
            (Some(_), None) => return Err(self.missing("--etcd-keyfile", "there is an --etcd-certfile")),
            (None, Some(_)) => return Err(self.missing("--etcd-certfile", "there is an --etcd-keyfile")),
            _ => {}
        }
        let prefix = self.values("--etcd-prefix")?.last().copied().unwrap_or(PREFIX).to_owned();
        let automatic_reload = self.switch("--encryption-provider-config-automatic-reload")?;
        let path = self.path.to_owned();
        Ok(ApiServerFlags { path, servers, cafile, certfile, keyfile, prefix, encryption_config: encryption_config?, automatic_reload })
    }

    /// `--flag=value` and `--flag value`, as often as given.
    fn values(&self, flag: &'static str) -> Result<Vec<&str>, ManifestError> {
        let mut found = Vec::new();
        let mut words = self.words.iter().copied();
        while let Some(word) = words.next() {
            match word.strip_prefix(flag) {
                Some("") => found.push(words.next().ok_or_else(|| self.invalid(flag, "it has no value".to_owned()))?),
                Some(rest) => found.extend(rest.strip_prefix('=')),
                None => {}
            }
        }
        Ok(found)
    }

    /// The last one wins; an empty one is none.
    fn file(&self, flag: &'static str) -> Result<Option<PathBuf>, ManifestError> {
        Ok(self.values(flag)?.last().filter(|path| !path.is_empty()).map(PathBuf::from))
    }

    /// A flag that is on by its name alone; a value needs the equals sign.
    fn switch(&self, flag: &'static str) -> Result<bool, ManifestError> {
        let mut on = false;
        for rest in self.words.iter().filter_map(|word| word.strip_prefix(flag)) {
            on = match rest {
                "" | "=1" | "=t" | "=T" | "=true" | "=True" | "=TRUE" => true,
                "=0" | "=f" | "=F" | "=false" | "=False" | "=FALSE" => false,
                _ if rest.starts_with('=') => return Err(self.invalid(flag, "it is neither true nor false".to_owned())),
                _ => on,
            };
        }
        Ok(on)
    }

    fn missing(&self, flag: &'static str, need: &'static str) -> ManifestError {
        ManifestError::Missing { path: self.path.to_owned(), flag, need }
    }

    fn invalid(&self, flag: &'static str, reason: String) -> ManifestError {
        ManifestError::Invalid { path: self.path.to_owned(), flag, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(words: &str) -> String {
        let lines: String = words.split_whitespace().map(|word| format!("    - {word}\n")).collect();
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: kube-apiserver\n  namespace: kube-system\nspec:\n  containers:\n  - command:\n    \
             - kube-apiserver\n{lines}    image: registry.k8s.io/kube-apiserver:v1.37.2\n    name: kube-apiserver\n  hostNetwork: true\nstatus: {{}}\n"
        )
    }

    fn parse(words: &str) -> Result<ApiServerFlags, ManifestError> {
        ApiServerFlags::parse(Path::new("m.yaml"), &manifest(words))
    }

    const KUBEADM: &str = "--advertise-address=10.0.0.4 --enable-bootstrap-token-auth=true \
        --encryption-provider-config=/etc/kubernetes/enc.yaml --encryption-provider-config-automatic-reload=true \
        --etcd-cafile=/etc/kubernetes/pki/etcd/ca.crt --etcd-certfile=/etc/kubernetes/pki/apiserver-etcd-client.crt \
        --etcd-keyfile=/etc/kubernetes/pki/apiserver-etcd-client.key --etcd-servers=https://127.0.0.1:2379 --secure-port=6443";

    #[test]
    fn everything_is_found_in_what_kubeadm_writes() {
        let flags = parse(KUBEADM).expect("complete");
        assert_eq!(flags.servers, Endpoint::list("https://127.0.0.1:2379", false).expect("valid"));
        assert_eq!(flags.cafile.as_deref(), Some(Path::new("/etc/kubernetes/pki/etcd/ca.crt")));
        assert_eq!(flags.certfile.as_deref(), Some(Path::new("/etc/kubernetes/pki/apiserver-etcd-client.crt")));
        assert_eq!(flags.keyfile.as_deref(), Some(Path::new("/etc/kubernetes/pki/apiserver-etcd-client.key")));
        assert_eq!(flags.encryption_config().expect("given"), Path::new("/etc/kubernetes/enc.yaml"));
        assert_eq!((flags.prefix.as_str(), flags.automatic_reload), ("/registry", true));
        assert_eq!(flags.options().cert, flags.certfile);
    }

    #[test]
    fn a_value_may_be_a_word_of_its_own_and_servers_may_be_given_twice() {
        let flags = parse(
            "--etcd-servers http://a:1,http://b:1 --etcd-prefix /k8s --etcd-servers=http://c:1 --encryption-provider-config-automatic-reload",
        );
        let flags = flags.expect("complete");
        assert_eq!(flags.servers.iter().map(ToString::to_string).collect::<Vec<_>>(), ["http://a:1", "http://b:1", "http://c:1"]);
        assert_eq!((flags.prefix.as_str(), flags.automatic_reload), ("/k8s", true));
        let error = flags.encryption_config().expect_err("not given");
        assert!(matches!(error, ManifestError::Missing { flag: "--encryption-provider-config", .. }), "{error}");
    }

    #[test]
    fn a_flag_whose_name_only_begins_alike_is_another_flag() {
        let flags =
            parse("--etcd-servers=http://a:1 --etcd-servers-overrides=/events#http://z:1 --encryption-provider-config-automatic-reload");
        let flags = flags.expect("complete");
        assert_eq!((flags.servers.len(), flags.encryption_config), (1, None));
    }

    #[test]
    fn args_count_as_well_and_the_program_may_lie_anywhere() {
        let text = "spec:\n  containers:\n  - name: sidecar\n    command: [sh]\n  - name: api\n    command: [/usr/local/bin/kube-apiserver]\n    \
                    args: ['--etcd-servers=http://a:1']\n";
        assert_eq!(ApiServerFlags::parse(Path::new("m.yaml"), text).expect("complete").servers.len(), 1);
    }

    #[test]
    fn the_error_names_the_flag_that_is_missing() {
        for (words, wanted) in [
            ("--secure-port=6443", "--etcd-servers"),
            ("--etcd-servers=", "--etcd-servers"),
            ("--etcd-servers=https://a:1", "--etcd-cafile"),
            ("--etcd-servers=http://a:1 --etcd-certfile=/c", "--etcd-keyfile"),
            ("--etcd-servers=http://a:1 --etcd-keyfile=/k", "--etcd-certfile"),
        ] {
            let error = parse(words).expect_err(words);
            assert!(matches!(error, ManifestError::Missing { flag, .. } if flag == wanted), "{words}: {error}");
        }
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        for (words, wanted) in [
            ("--etcd-servers=a", "--etcd-servers"),
            ("--etcd-servers=http://a:1 --etcd-prefix", "--etcd-prefix"),
            (
                "--etcd-servers=http://a:1 --encryption-provider-config-automatic-reload=maybe",
                "--encryption-provider-config-automatic-reload",
            ),
        ] {
            let error = parse(words).expect_err(words);
            assert!(matches!(error, ManifestError::Invalid { flag, .. } if flag == wanted), "{words}: {error}");
        }
    }

    #[test]
    fn what_is_no_manifest_of_an_api_server_is_an_error_and_no_panic() {
        let parse = |text: &str| ApiServerFlags::parse(Path::new("m.yaml"), text).expect_err("no manifest");
        for text in ["", "a", "spec: 3", "spec: {containers: 1}", "{", "a: &a [*a, *a]", "\u{0}"] {
            assert!(matches!(parse(text), ManifestError::NotAPod { .. }), "{text:?}: {}", parse(text));
        }
        assert!(matches!(parse("spec: {containers: [{name: etcd, command: [etcd]}]}"), ManifestError::NoApiServer(_)));
        // Every cut of a good one is an error or a manifest with less in it.
        let whole = manifest(KUBEADM);
        for end in 0..whole.len() {
            let _ = ApiServerFlags::parse(Path::new("m.yaml"), &whole[..end]);
        }
        let missing = ApiServerFlags::read(Path::new("/nonexistent/m.yaml")).expect_err("no file");
        assert!(matches!(missing, ManifestError::Read { .. }));
    }
}
