//! The other end of the socket: asks a running plugin what a kube-apiserver would ask, and says what is wrong when it does not answer.

pub mod admin;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::entropy::{Entropy, EntropyError};
use crate::protocol::OURS;
use crate::protocol::v2::key_management_service_client::KeyManagementServiceClient;
use crate::protocol::v2::{DecryptRequest, EncryptRequest, StatusRequest};
use crate::secret::SecretBytes;
use crate::server::is_socket;

/// What stood in the way of an answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nothing stands at the path.
    #[error("there is no socket at {0}")]
    Absent(PathBuf),
    /// Something else does.
    #[error("{0} is not a socket")]
    NotASocket(PathBuf),
    /// A socket stands there and nobody listens.
    #[error("nobody listens on {0}: the process that made it is gone")]
    Refused(PathBuf),
    /// We may not connect.
    #[error("no permission to connect to {0}")]
    Denied(PathBuf),
    /// Connected, and closed before an answer came.
    #[error("the connection to {path} was closed without an answer to {call}")]
    Closed {
        /// The socket.
        path: PathBuf,
        /// Which call.
        call: &'static str,
    },
    /// No answer in time.
    #[error("no answer to {call} within {}", humantime::format_duration(*.after))]
    Silent {
        /// Which call.
        call: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// It answered that it cannot.
    #[error("{call} was answered {:?}: {}", .status.code(), .status.message())]
    Answered {
        /// Which call.
        call: &'static str,
        /// What it said.
        status: Box<Status>,
    },
    /// The system said something else.
    #[error("connect to {path}: {source}")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No random bytes to send.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

/// What a plugin answered, and how fast.
#[derive(Debug)]
pub struct Probe {
    /// Status: `v2`.
    pub version: String,
    /// Status: `ok`.
    pub healthz: String,
    /// Status: its primary.
    pub key_id: String,
    /// Encrypt: must be the same.
    pub encrypt_key_id: String,
    /// Whether Decrypt gave back what Encrypt was given.
    pub round_trip: bool,
    /// From request to answer.
    pub status_took: Duration,
    /// As above.
    pub encrypt_took: Duration,
    /// As above.
    pub decrypt_took: Duration,
}

/// A connection to a plugin.
struct Client {
    path: PathBuf,
    timeout: Duration,
    grpc: KeyManagementServiceClient<Channel>,
}

/// Asks Status, Encrypt of 32 random bytes, and Decrypt of the answer. Each may take `timeout`.
///
/// The first call is asked twice, for the connection's own start is not the plugin's latency.
pub async fn probe(path: &Path, timeout: Duration, entropy: &dyn Entropy) -> Result<Probe, ClientError> {
    let mut client = Client::connect(path, timeout).await?;
    client.status().await?;
    let (status, status_took) = client.status().await?;
    let mut seed = [0; 32];
    entropy.fill(&mut seed)?;
    let seed = SecretBytes::from_vec(seed.to_vec());
    let uid = "keywright-status";

    let start = Instant::now();
    let request = EncryptRequest { plaintext: seed.expose_secret().to_vec(), uid: uid.into() };
    let answer = tokio::time::timeout(timeout, client.grpc.encrypt(ours(request))).await;
    let encrypted = client.answer("Encrypt", answer)?;
    let encrypt_took = start.elapsed();

    let start = Instant::now();
    let request = DecryptRequest {
        ciphertext: encrypted.ciphertext,
        uid: uid.into(),
        key_id: encrypted.key_id.clone(),
        annotations: encrypted.annotations,
    };
    let answer = tokio::time::timeout(timeout, client.grpc.decrypt(ours(request))).await;
    let mut decrypted = client.answer("Decrypt", answer)?;
    let decrypt_took = start.elapsed();
    let opened = SecretBytes::from_vec(std::mem::take(&mut decrypted.plaintext));
    Ok(Probe {
        version: status.version,
        healthz: status.healthz,
        key_id: status.key_id,
        encrypt_key_id: encrypted.key_id,
        round_trip: opened.expose_secret() == seed.expose_secret(),
        status_took,
        encrypt_took,
        decrypt_took,
    })
}

/// Marks a call as one of ours: it says nothing about an API server.
fn ours<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert(OURS, tonic::metadata::MetadataValue::from_static("status"));
    request
}

impl Client {
    async fn connect(path: &Path, timeout: Duration) -> Result<Self, ClientError> {
        let stream = open(path).await?;
        let mut stream = Some(TokioIo::new(stream));
        // One connection and no other: a second attempt would hide what happened to the first.
        let connector = tower::service_fn(move |_| {
            let stream = stream.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
            async move { stream }
        });
        let channel = tokio::time::timeout(timeout, Endpoint::from_static("http://localhost").connect_with_connector(connector)).await;
        let channel = match channel {
            Ok(Ok(channel)) => channel,
            Ok(Err(_)) => return Err(ClientError::Closed { path: path.to_owned(), call: "the connection" }),
            Err(_) => return Err(ClientError::Silent { call: "the connection", after: timeout }),
        };
        Ok(Self { path: path.to_owned(), timeout, grpc: KeyManagementServiceClient::new(channel) })
    }

    async fn status(&mut self) -> Result<(crate::protocol::v2::StatusResponse, Duration), ClientError> {
        let start = Instant::now();
        let answer = tokio::time::timeout(self.timeout, self.grpc.status(ours(StatusRequest {}))).await;
        Ok((self.answer("Status", answer)?, start.elapsed()))
    }

    /// Sorts what came back.
    fn answer<T>(
        &self,
        call: &'static str,
        answer: Result<Result<tonic::Response<T>, Status>, tokio::time::error::Elapsed>,
    ) -> Result<T, ClientError> {
        match answer {
            Err(_) => Err(ClientError::Silent { call, after: self.timeout }),
            Ok(Ok(response)) => Ok(response.into_inner()),
            // A status with a source was made on this side: the connection broke.
            Ok(Err(status)) if std::error::Error::source(&status).is_some() || status.code() == Code::Unknown => {
                Err(ClientError::Closed { path: self.path.clone(), call })
            }
            Ok(Err(status)) => Err(ClientError::Answered { call, status: Box::new(status) }),
        }
    }
}

/// Connects to the socket at `path`.
pub async fn open(path: &Path) -> Result<UnixStream, ClientError> {
    let owned = || path.to_owned();
    match is_socket(path) {
        Ok(true) => {}
        Ok(false) => return Err(ClientError::NotASocket(owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(ClientError::Absent(owned())),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Err(ClientError::Denied(owned())),
        Err(source) => return Err(ClientError::Connect { path: owned(), source }),
    }
    UnixStream::connect(path).await.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => ClientError::Absent(owned()),
        io::ErrorKind::ConnectionRefused => ClientError::Refused(owned()),
        io::ErrorKind::PermissionDenied => ClientError::Denied(owned()),
        _ => ClientError::Connect { path: owned(), source },
    })
}
