//! Whom to ask and as whom: kubectl's options, one client, requests with a limit on time and size.

mod connect;

use std::path::PathBuf;
use std::time::Duration;

use ::kube::client::{AuthError, Body};
use ::kube::config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError};
use bytes::Bytes;
use http::uri::Authority;
use http::{Method, Request};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::KubeError;
use crate::secret::SecretBytes;

/// Longer than anything the API server does before it gives up by itself (60 s).
const LIMIT: Duration = Duration::from_secs(70);

/// Largest answer about what is served: the CustomResourceDefinitions of a large operator are below 2 MiB each.
const LARGEST: usize = 16 << 20;

/// Largest answer to a patch: metadata of one object, which etcd limits to 1.5 MiB as a whole.
const LARGEST_METADATA: usize = 4 << 20;

const PROXY: &str =
    "the kubeconfig (proxy-url) or the environment (HTTPS_PROXY) names a proxy, and the API server is only connected to directly";

/// kubectl's options, and where each API server is.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `--kubeconfig`; else `$KUBECONFIG`, `~/.kube/config`, or the service account of the pod that this is.
    pub kubeconfig: Option<PathBuf>,
    /// `--context`; else the file's current one.
    pub context: Option<String>,
    /// `HOST:PORT` where each API server of the cluster is reached; none: at the addresses that they publish.
    pub servers: Vec<Authority>,
}

/// A client of one API server. Clones share its connections.
#[derive(Clone)]
pub struct Access {
    client: ::kube::Client,
    server: String,
    version: String,
}

/// What came back: any HTTP status, the API server's refusals included.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// From the header `Retry-After`, whole seconds.
    pub(crate) retry_after: Option<Duration>,
    /// Metadata may carry a value: kubectl keeps what was last applied in an annotation.
    pub(crate) body: SecretBytes,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    git_version: String,
}

/// The part of a refusal that is not free text.
#[derive(Deserialize)]
struct Refusal {
    reason: Option<String>,
}

impl Access {
    /// Reads the kubeconfig, connects, and asks for the server's version.
    pub async fn open(options: &Options) -> Result<Self, KubeError> {
        let mut access = Self::with(configuration(options).await?)?;
        let version: Version = access.get("/version", "a version").await?;
        access.version = version.git_version;
        Ok(access)
    }

    /// A client of the API server at `address`, in place of the one that the kubeconfig names. It is not asked yet, not even for its version.
    pub(super) async fn at(options: &Options, address: &Authority) -> Result<Self, KubeError> {
        let mut config = configuration(options).await?;
        let url = http::Uri::builder().scheme("https").authority(address.clone()).path_and_query("/").build();
        config.cluster_url = url.map_err(|e| KubeError::Client { server: address.to_string(), problem: e.to_string() })?;
        Self::with(config)
    }

    fn with(config: Config) -> Result<Self, KubeError> {
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let problem = |e| match e {
            ::kube::Error::Auth(e) => KubeError::Credentials(credentials(&e)),
            e => KubeError::Client { server: server.clone(), problem: chain(&e) },
        };
        if config.proxy_url.is_some() {
            return Err(KubeError::Client { server, problem: PROXY.to_owned() });
        }
        let client = connect::client(&config).map_err(problem)?;
        Ok(Self { client, server, version: String::new() })
    }

    /// The API server's URL.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Its version, such as `v1.37.2`, as it was when this client was made; empty where it was not asked for.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Reads the JSON at `path`. `expected` says in an error what it should have been.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str, expected: &'static str) -> Result<T, KubeError> {
        let what = format!("GET {path}");
        let request = Request::get(path).header("Accept", "application/json").body(Body::empty());
        let answer = self.send(&what, request, LARGEST).await?;
        if answer.status != 200 {
            let reason = serde_json::from_slice::<Refusal>(answer.body.expose_secret()).ok().and_then(|refusal| refusal.reason);
            return Err(KubeError::Refused { what, server: self.server.clone(), status: answer.status, reason });
        }
        serde_json::from_slice(answer.body.expose_secret()).map_err(|_| KubeError::Unreadable {
            what,
            server: self.server.clone(),
            expected,
        })
    }

    /// Reads the text at `path`, such as `/metrics`.
    pub(super) async fn text(&self, path: &str) -> Result<String, KubeError> {
        let what = format!("GET {path}");
        let request = Request::get(path).body(Body::empty());
        let answer = self.send(&what, request, LARGEST).await?;
        if answer.status != 200 {
            return Err(KubeError::Refused { what, server: self.server.clone(), status: answer.status, reason: None });
        }
        let text = std::str::from_utf8(answer.body.expose_secret());
        text.map(str::to_owned).map_err(|_| KubeError::Unreadable { what, server: self.server.clone(), expected: "text" })
    }

    /// Merges nothing into the object at `path`, so that the API server writes it anew if it finds it stale, and asks for its metadata
    /// only. `path` may have a query.
    pub(crate) async fn patch_nothing(&self, path: &str) -> Result<Answer, KubeError> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let request = Request::builder()
            .method(Method::PATCH)
            .uri(format!("{path}{separator}fieldManager=keywright"))
            .header("Accept", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1")
            .header("Content-Type", "application/merge-patch+json")
            .body(Body::from(Bytes::from_static(b"{}")));
        self.send(&format!("PATCH {path}"), request, LARGEST_METADATA).await
    }

    /// Sends `body` as JSON, or nothing, to `path`, which may have a query, and takes whatever is answered.
    pub(crate) async fn exchange(&self, method: Method, path: &str, body: Option<&serde_json::Value>) -> Result<Answer, KubeError> {
        let what = format!("{method} {path}");
        let content = body.map_or_else(Body::empty, |body| Body::from(Bytes::from(body.to_string())));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Accept", "application/json")
            .header("Content-Type", "application/json")
            .body(content);
        self.send(&what, request, LARGEST_METADATA).await
    }

    async fn send(&self, what: &str, request: http::Result<Request<Body>>, largest: usize) -> Result<Answer, KubeError> {
        let (what, server) = (|| what.to_owned(), || self.server.clone());
        let request = request.map_err(|e| KubeError::Client { server: server(), problem: chain(&e) })?;
        let exchange = async {
            let answer = self.client.send(request).await.map_err(|e| match e {
                ::kube::Error::Auth(e) => KubeError::Credentials(credentials(&e)),
                e => KubeError::Unreachable { what: what(), server: server(), problem: chain(&e) },
            })?;
            let status = answer.status().as_u16();
            let retry_after = answer.headers().get("Retry-After").and_then(|value| value.to_str().ok()?.parse().ok());
            let body = Limited::new(answer.into_body(), largest).collect().await.map_err(|e| {
                if e.is::<LengthLimitError>() {
                    KubeError::TooLarge { what: what(), server: server(), limit: largest }
                } else {
                    KubeError::Unreachable { what: what(), server: server(), problem: chain(e.as_ref()) }
                }
            })?;
            Ok(Answer { status, retry_after: retry_after.map(Duration::from_secs), body: SecretBytes::from_vec(body.to_bytes().into()) })
        };
        let answer = tokio::time::timeout(LIMIT, exchange).await;
        answer.unwrap_or_else(|_| Err(KubeError::Silent { what: what(), server: server(), after: LIMIT }))
    }
}

async fn configuration(options: &Options) -> Result<Config, KubeError> {
    let chosen = KubeConfigOptions { context: options.context.clone(), ..KubeConfigOptions::default() };
    let problem = |e: KubeconfigError| KubeError::Kubeconfig { path: options.kubeconfig.clone(), problem: described(&e) };
    if let Some(path) = &options.kubeconfig {
        let file = Kubeconfig::read_from(path).map_err(problem)?;
        return Config::from_custom_kubeconfig(file, &chosen).await.map_err(problem);
    }
    match Config::from_kubeconfig(&chosen).await {
        Ok(config) => Ok(config),
        // As kubectl: without a file it is the pod's own service account, if this is a pod.
        Err(KubeconfigError::ReadConfig(e, _)) if e.kind() == std::io::ErrorKind::NotFound && options.context.is_none() => {
            Config::incluster().map_err(|_| KubeError::NoKubeconfig)
        }
        Err(e) => Err(problem(e)),
    }
}

/// The error without anything that the file says in confidence: its parser shows the lines around a mistake, tokens included.
fn described(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(_) => "it is not YAML of a kubeconfig".to_owned(),
        KubeconfigError::LoadContext(name) => format!("it has no context {name:?}"),
        KubeconfigError::LoadClusterOfContext(name) => format!("it has no cluster {name:?}"),
        KubeconfigError::CurrentContextNotSet => "it names no current context; choose one with --context".to_owned(),
        KubeconfigError::ReadConfig(e, path) => format!("read {}: {e}", path.display()),
        e => e.to_string(),
    }
}

/// The error without the output of a credential plugin, which may be a token.
fn credentials(error: &AuthError) -> String {
    match error {
        AuthError::AuthExecRun { cmd, out } => format!("the command {cmd:?} ended with {}", out.status),
        AuthError::AuthExecParse(_) => "the command's output is no ExecCredential".to_owned(),
        AuthError::AuthExec(_) => "the command gave no credential".to_owned(),
        AuthError::AuthExecStart(e) => format!("the command does not start: {e}"),
        AuthError::ReadTokenFile(e, path) => format!("read the token file {}: {e}", path.display()),
        _ => "they are not of a kind that can be shown to the API server".to_owned(),
    }
}

/// An error with its causes: the first text alone is often "client error (Connect)".
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "token-that-is-nobodys-business";

    async fn refused(text: &str, context: Option<&str>) -> String {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("it is written");
        let options = Options { kubeconfig: Some(file.path().to_owned()), context: context.map(str::to_owned), ..Options::default() };
        let text = Access::open(&options).await.map(|_| ()).expect_err("it is no good").to_string();
        text.replace(&file.path().display().to_string(), "FILE")
    }

    fn kubeconfig(server: &str) -> String {
        serde_json::json!({
            "current-context": "here",
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": {"token": TOKEN}}],
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        })
        .to_string()
    }

    #[tokio::test]
    async fn a_broken_kubeconfig_is_named_and_its_token_is_not_shown() {
        let broken = format!("users:\n- name: u\n  user:\n    token: {TOKEN}\n   wrong: [\n");
        assert_eq!(refused(&broken, None).await, "the kubeconfig FILE: it is not YAML of a kubeconfig");
    }

    #[tokio::test]
    async fn an_unknown_context_is_named() {
        assert_eq!(refused(&kubeconfig("https://127.0.0.1:1"), Some("there")).await, "the kubeconfig FILE: it has no context \"there\"");
    }

    #[tokio::test]
    async fn a_proxy_is_not_passed_by() {
        let mut file: serde_json::Value = serde_json::from_str(&kubeconfig("https://127.0.0.1:1")).expect("JSON");
        file["clusters"][0]["cluster"]["proxy-url"] = "http://user:hunter2@127.0.0.1:3128".into();
        assert_eq!(refused(&file.to_string(), None).await, format!("connect to https://127.0.0.1:1: {PROXY}"));
    }

    #[tokio::test]
    async fn an_api_server_that_is_not_there_is_named_with_the_reason() {
        let text = refused(&kubeconfig("http://127.0.0.1:1"), None).await;
        assert!(text.starts_with("GET /version at http://127.0.0.1:1: "), "{text}");
        assert!(text.contains("Connection refused"), "{text}");
        assert!(!text.contains(TOKEN), "{text}");
    }

    #[tokio::test]
    async fn a_missing_kubeconfig_is_named() {
        let options = Options { kubeconfig: Some("/nowhere/kubeconfig".into()), ..Options::default() };
        let text = Access::open(&options).await.map(|_| ()).expect_err("there is none").to_string();
        assert_eq!(text, "the kubeconfig /nowhere/kubeconfig: read /nowhere/kubeconfig: No such file or directory (os error 2)");
    }
}
