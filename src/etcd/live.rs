//! A live etcd, read as a careful client: every read is linearizable, a range is read whole at one revision or is an error, and nothing
//! that an endpoint answers is taken on trust.
//!
//! One connection at a time. When it breaks, or its member has no leader, the same question goes to the next endpoint, which must
//! belong to the same cluster. Environment variables (etcdctl's `ETCDCTL_*`) are not read: what is asked stands on the command line.

mod endpoint;
mod error;
mod identity;
mod link;
mod page;
mod range;
mod session;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tonic::Code;
use zeroize::Zeroize;

use super::tls::{self, Tls};
use crate::secret::SecretBytes;
use session::Session;

pub use endpoint::{DEFAULT_ENDPOINT, Endpoint, EndpointError};
pub use error::{EtcdError, Incomplete, Refusal, Refused};
pub use identity::Identity;
pub use page::Broken;
pub use range::{Done, Progress, Request};

/// etcd's messages. Those that carry values or credentials have no `Debug`.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
mod pb {
    include!(concat!(env!("OUT_DIR"), "/etcdserverpb.rs"));
}

impl Drop for pb::AuthenticateRequest {
    fn drop(&mut self) {
        self.password.zeroize();
    }
}

impl Drop for pb::AuthenticateResponse {
    fn drop(&mut self) {
        self.token.zeroize();
    }
}

/// How often one question is asked before its last answer is the error. With the pauses between, an election has time to end.
const TRIES: u32 = 7;
/// The first pause between two tries; each next one is twice as long.
const PAUSE: Duration = Duration::from_millis(100);
/// `--dial-timeout`: for the connection and its handshake. etcdctl has 2 s.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// `--command-timeout`: for the answer to one question, a page at most. etcdctl has 5 s.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(15);
/// Where kube-apiserver keeps its objects unless its `--etcd-prefix` says otherwise.
pub const PREFIX: &str = "/registry";

/// How to reach an etcd: etcdctl's options, under its names.
#[derive(Debug, Clone)]
pub struct Options {
    /// `--endpoints`; at least one. All of them must be members of one cluster.
    pub endpoints: Vec<Endpoint>,
    /// `--cacert`: required for an https endpoint.
    pub cacert: Option<PathBuf>,
    /// `--cert`: our client certificate, with `key`.
    pub cert: Option<PathBuf>,
    /// `--key`.
    pub key: Option<PathBuf>,
    /// `--user` and its password, where etcd has its own authentication on.
    pub user: Option<User>,
    /// kube-apiserver's `--etcd-prefix`.
    pub prefix: String,
    /// [`DIAL_TIMEOUT`] by default.
    pub dial_timeout: Duration,
    /// [`COMMAND_TIMEOUT`] by default.
    pub command_timeout: Duration,
}

/// A user of etcd's own authentication.
#[derive(Debug, Clone)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its password, from a file or a prompt, never from the command line. Secret.
    pub password: Arc<SecretBytes>,
}

impl Options {
    /// Those endpoints, and etcdctl's defaults otherwise: no TLS files, no user.
    pub fn new(endpoints: Vec<Endpoint>) -> Self {
        Self {
            endpoints,
            cacert: None,
            cert: None,
            key: None,
            user: None,
            prefix: PREFIX.to_owned(),
            dial_timeout: DIAL_TIMEOUT,
            command_timeout: COMMAND_TIMEOUT,
        }
    }

    /// The endpoints over which values would travel in clear beyond this machine: worth a warning.
    pub fn in_clear(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().filter(|endpoint| !endpoint.is_tls() && !endpoint.is_loopback())
    }
}

/// A connection to one member of an etcd cluster at a time.
#[derive(Debug)]
pub struct Etcd {
    options: Options,
    tls: Option<Tls>,
    /// Index of the endpoint to ask, or to connect to next.
    at: usize,
    session: Option<Session>,
    /// What every answer must name.
    cluster_id: u64,
}

impl Etcd {
    /// Connects to the first endpoint that is a working member: it answers, has a leader and votes.
    ///
    /// Errors: `Tls` for the files; `NoEndpoint` says of every endpoint why not.
    pub async fn connect(options: Options) -> Result<Self, EtcdError> {
        let any_tls = options.endpoints.iter().any(Endpoint::is_tls);
        let files = [&options.cacert, &options.cert, &options.key].map(Option::as_deref);
        let tls = if any_tls { Some(tls::load(files[0], files[1], files[2])?) } else { None };
        let mut etcd = Self { options, tls, at: 0, session: None, cluster_id: 0 };
        let mut refused = Vec::new();
        for at in 0..etcd.options.endpoints.len() {
            etcd.at = at;
            match etcd.open().await {
                Ok(()) => return Ok(etcd),
                Err(refusal) => refused.push(etcd.refused(refusal)),
            }
        }
        Err(EtcdError::NoEndpoint(refused))
    }

    /// The id of the cluster: with the prefix it names a store.
    pub fn cluster_id(&self) -> u64 {
        self.cluster_id
    }

    /// The prefix of every key that the API server writes: `--etcd-prefix` as it uses it, with a slash at both ends, so that
    /// `/registry` does not take in `/registry2`.
    pub fn prefix(&self) -> String {
        match self.options.prefix.trim_matches('/') {
            "" => "/".to_owned(),
            middle => format!("/{middle}/"),
        }
    }

    /// Makes a session with the endpoint at hand.
    async fn open(&mut self) -> Result<(), Refusal> {
        let endpoint = self.options.endpoints.get(self.at).ok_or(Refusal::Timeout)?;
        let session = Session::open(endpoint, &self.options, self.tls.as_ref()).await?;
        let found = session.cluster_id();
        match self.cluster_id {
            0 => self.cluster_id = found,
            expected if expected != found => return Err(Refusal::OtherCluster { expected, found }),
            _ => {}
        }
        self.session = Some(session);
        Ok(())
    }

    /// One range, asked until a member of this cluster has answered it or [`TRIES`] are used up. Whoever answers, the answer is the same:
    /// reads are linearizable, and a page of a scan names its revision.
    async fn ask(&mut self, request: &pb::RangeRequest) -> Result<pb::RangeResponse, EtcdError> {
        let mut refused = Vec::new();
        for tried in 0..TRIES {
            let refusal = match self.ask_once(request).await {
                Ok(answer) => return Ok(answer),
                Err(refusal) => refusal,
            };
            // A second endpoint that cannot be used is no reason not to try the third.
            let again = refusal.is_passing() || (refusal.is_of_endpoint() && self.options.endpoints.len() > 1);
            refused.push(self.refused(refusal));
            if !again {
                break;
            }
            self.session = None;
            self.at = (self.at + 1) % self.options.endpoints.len().max(1);
            if tried + 1 < TRIES {
                tokio::time::sleep(PAUSE * 2u32.saturating_pow(tried)).await;
            }
        }
        Err(EtcdError::of(refused))
    }

    async fn ask_once(&mut self, request: &pb::RangeRequest) -> Result<pb::RangeResponse, Refusal> {
        if self.session.is_none() {
            self.open().await?;
        }
        let session = self.session.as_mut().ok_or(Refusal::Timeout)?;
        let answer = session.range(request).await?;
        let found = answer.header.as_ref().map_or(0, |header| header.cluster_id);
        if found != self.cluster_id {
            return Err(Refusal::OtherCluster { expected: self.cluster_id, found });
        }
        Ok(answer)
    }

    fn refused(&self, refusal: Refusal) -> Refused {
        let endpoint = self.options.endpoints.get(self.at).map(ToString::to_string).unwrap_or_default();
        Refused { endpoint, refusal }
    }
}

/// Whether the status is etcd's own with this text. The texts are part of its API: its clients tell errors apart by them.
fn says(status: &tonic::Status, code: Code, text: &str) -> bool {
    status.code() == code && status.message().strip_prefix("etcdserver: ") == Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_prefix(prefix: &str) -> Etcd {
        let options = Options { prefix: prefix.to_owned(), ..Options::new(Vec::new()) };
        Etcd { options, tls: None, at: 0, session: None, cluster_id: 1 }
    }

    #[test]
    fn the_prefix_ends_in_a_slash_however_it_was_given() {
        for (given, used) in [("/registry", "/registry/"), ("registry", "/registry/"), ("/a/b/", "/a/b/"), ("/", "/"), ("", "/")] {
            assert_eq!(with_prefix(given).prefix(), used, "{given}");
        }
    }

    #[tokio::test]
    async fn no_endpoint_at_all_is_an_error_and_no_panic() {
        let error = Etcd::connect(Options::new(Vec::new())).await.expect_err("nobody to ask");
        assert!(matches!(&error, EtcdError::NoEndpoint(refused) if refused.is_empty()), "{error}");
        let mut nobody = with_prefix("/registry");
        assert!(matches!(nobody.ask(&pb::RangeRequest::default()).await, Err(EtcdError::NoAnswer(_))));
    }

    #[test]
    fn http_beyond_this_machine_is_told_apart_from_loopback_and_tls() {
        let endpoints = Endpoint::list("http://127.0.0.1:2379,http://10.0.0.1:2379,https://10.0.0.2:2379,http://localhost:1", false);
        let options = Options::new(endpoints.expect("valid"));
        let in_clear: Vec<_> = options.in_clear().map(ToString::to_string).collect();
        assert_eq!(in_clear, ["http://10.0.0.1:2379"]);
    }
}
