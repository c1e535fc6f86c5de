//! The API server, reached as kubectl reaches it: whom to ask, what it serves, what stands in the way of an update.
//!
//! Nothing here asks for a Secret. Every answer is read up to a limit; texts of a kubeconfig and outputs of credential plugins, which
//! may hold tokens, are in no error.

pub mod access;
pub mod admission;
pub mod discovery;
mod leases;
mod metrics;
pub mod servers;
pub mod starts;

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

pub use access::{Access, Options};
pub use discovery::Discovery;

/// Why the API server was not asked, or what came of it.
#[derive(Debug, Error)]
pub enum KubeError {
    /// No file, no pod.
    #[error("no kubeconfig: neither $KUBECONFIG nor ~/.kube/config has one and this is no pod of the cluster; name one with --kubeconfig")]
    NoKubeconfig,
    /// It cannot be read, or says too little.
    #[error("the kubeconfig {}: {problem}", path.as_ref().map_or("of $KUBECONFIG or ~/.kube/config".to_owned(), |path| path.display().to_string()))]
    Kubeconfig {
        /// Its file, if one was named.
        path: Option<PathBuf>,
        /// What is wrong, without a word of its contents but the names of contexts and files.
        problem: String,
    },
    /// The credentials of the kubeconfig gave nothing to show.
    #[error("the credentials in the kubeconfig: {0}")]
    Credentials(String),
    /// No TLS client can be made of the kubeconfig.
    #[error("connect to {server}: {problem}")]
    Client {
        /// The API server's URL.
        server: String,
        /// What is wrong.
        problem: String,
    },
    /// No answer came.
    #[error("{what} at {server}: {problem}; is it up, and is the address in the kubeconfig right?")]
    Unreachable {
        /// Method and path.
        what: String,
        /// The API server's URL.
        server: String,
        /// What the system or the TLS library said.
        problem: String,
    },
    /// No answer in time.
    #[error("{what} at {server}: no answer within {}", humantime::format_duration(*.after))]
    Silent {
        /// Method and path.
        what: String,
        /// The API server's URL.
        server: String,
        /// How long was waited.
        after: Duration,
    },
    /// The answer was a refusal.
    #[error("{what} at {server}: HTTP {status}{}", reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default())]
    Refused {
        /// Method and path.
        what: String,
        /// The API server's URL.
        server: String,
        /// The HTTP status.
        status: u16,
        /// Its word for it, such as `Forbidden`.
        reason: Option<String>,
    },
    /// The credential may not ask that.
    #[error("{what} at {server}: HTTP 403: this credential needs the right to {right}")]
    Forbidden {
        /// Method and path.
        what: String,
        /// The API server's URL.
        server: String,
        /// The verb and what it is on, in RBAC's terms.
        right: &'static str,
    },
    /// The answer is larger than any that makes sense.
    #[error("{what} at {server}: the answer is larger than {limit} bytes")]
    TooLarge {
        /// Method and path.
        what: String,
        /// The API server's URL.
        server: String,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The answer is not what Kubernetes answers.
    #[error("{what} at {server}: the answer is not {expected}; does a proxy answer in its place?")]
    Unreadable {
        /// Method and path.
        what: String,
        /// The API server's URL.
        server: String,
        /// What it should have been.
        expected: &'static str,
    },
}
