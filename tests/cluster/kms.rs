//! The plugin's socket, from a client in the test: to learn the seeds that must not be in a log, and to add load.

use std::path::Path;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use keywright::protocol::v1beta1;
use keywright::protocol::v1beta1::key_management_service_client::KeyManagementServiceClient as KeyManagementServiceClientV1;
use keywright::protocol::v2::key_management_service_client::KeyManagementServiceClient;
use keywright::protocol::v2::{DecryptRequest, EncryptRequest, StatusRequest};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// As the API server's default.
const TIMEOUT: Duration = Duration::from_secs(3);

/// A connection for blocking callers.
pub(crate) struct Client {
    runtime: Runtime,
    grpc: KeyManagementServiceClient<Channel>,
}

impl Client {
    /// Connects to the socket.
    pub(crate) fn connect(socket: &Path) -> Result<Self, Status> {
        let (runtime, channel) = channel(socket)?;
        Ok(Self { runtime, grpc: KeyManagementServiceClient::new(channel) })
    }

    /// Asks for the primary's key_id.
    pub(crate) fn status(&mut self) -> Result<String, Status> {
        Ok(self.runtime.block_on(self.grpc.status(StatusRequest {}))?.into_inner().key_id)
    }

    /// Wraps; gives key_id and ciphertext.
    pub(crate) fn encrypt(&mut self, plaintext: &[u8]) -> Result<(String, Vec<u8>), Status> {
        let request = EncryptRequest { plaintext: plaintext.to_vec(), uid: "test".to_owned() };
        let answer = self.runtime.block_on(self.grpc.encrypt(request))?.into_inner();
        Ok((answer.key_id, answer.ciphertext))
    }

    /// Unwraps.
    pub(crate) fn decrypt(&mut self, key_id: &str, ciphertext: &[u8]) -> Result<Vec<u8>, Status> {
        let request = DecryptRequest {
            ciphertext: ciphertext.to_vec(),
            uid: "test".to_owned(),
            key_id: key_id.to_owned(),
            annotations: Default::default(),
        };
        let mut answer = self.runtime.block_on(self.grpc.decrypt(request))?.into_inner();
        Ok(std::mem::take(&mut answer.plaintext))
    }
}

/// Unwraps one source through a connection of its own.
pub(crate) fn decrypt(socket: &Path, key_id: &str, ciphertext: &[u8]) -> Result<Vec<u8>, Status> {
    Client::connect(socket)?.decrypt(key_id, ciphertext)
}

/// Unwraps one DEK of KMS v1 through a connection of its own.
pub(crate) fn decrypt_v1(socket: &Path, cipher: &[u8]) -> Result<Vec<u8>, Status> {
    let (runtime, channel) = channel(socket)?;
    let request = v1beta1::DecryptRequest { version: "v1beta1".to_owned(), cipher: cipher.to_vec() };
    let mut answer = runtime.block_on(KeyManagementServiceClientV1::new(channel).decrypt(request))?.into_inner();
    Ok(std::mem::take(&mut answer.plain))
}

fn channel(socket: &Path) -> Result<(Runtime, Channel), Status> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let channel = runtime.block_on(Endpoint::from_static("http://localhost").timeout(TIMEOUT).connect_with_connector(connector));
    let channel = channel.map_err(|e| Status::new(Code::Unavailable, e.to_string()))?;
    Ok((runtime, channel))
}
