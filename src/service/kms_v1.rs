//! KMS v1 (`v1beta1`): a new DEK for every write, and no key_id beside it, so the envelope itself names its key.

use std::sync::Arc;

use tonic::{Request, Response, Status, async_trait};

use super::{Record, Service, refusal::Refusal};
use crate::envelope::{Envelope, Purpose};
use crate::protocol;
use crate::protocol::v1beta1::key_management_service_server::KeyManagementService;
use crate::protocol::v1beta1::{DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, VersionRequest, VersionResponse};

const API: &str = "v1";

/// The v1 service.
pub(super) struct KmsV1(pub(super) Arc<Service>);

#[async_trait]
impl KeyManagementService for KmsV1 {
    async fn version(&self, request: Request<VersionRequest>) -> Result<Response<VersionResponse>, Status> {
        let record = Record { operation: "Version", api: API, uid: "", key_id: String::new() };
        self.0.answer(record, |_| {
            protocol::v1_version(&request.get_ref().version)?;
            Ok(Response::new(VersionResponse {
                version: "v1beta1".into(),
                runtime_name: env!("CARGO_PKG_NAME").into(),
                runtime_version: env!("CARGO_PKG_VERSION").into(),
            }))
        })
    }

    async fn encrypt(&self, request: Request<EncryptRequest>) -> Result<Response<EncryptResponse>, Status> {
        let mut request = request.into_inner();
        let record = Record { operation: "Encrypt", api: API, uid: "", key_id: String::new() };
        self.0.answer(record, |record| {
            protocol::v1_version(&request.version)?;
            let plaintext = protocol::plaintext(&mut request.plain)?;
            let keyring = self.0.snapshot()?;
            record.key_id.push_str(keyring.primary_name());
            let cipher = keyring.wrap(Purpose::KmsV1, plaintext.expose_secret(), self.0.entropy.as_ref())?;
            Ok(Response::new(EncryptResponse { cipher }))
        })
    }

    async fn decrypt(&self, request: Request<DecryptRequest>) -> Result<Response<DecryptResponse>, Status> {
        let request = request.into_inner();
        let record = Record { operation: "Decrypt", api: API, uid: "", key_id: String::new() };
        self.0.answer(record, |record| {
            protocol::v1_version(&request.version)?;
            let cipher = protocol::ciphertext(&request.cipher)?;
            let keyring = self.0.snapshot()?;
            let envelope = Envelope::parse(cipher).map_err(|_| Refusal::DoesNotOpen)?;
            record.key_id = envelope.header.key_id.to_string();
            let plain = keyring.find(&envelope.header.key_id)?.unwrap(Purpose::KmsV1, &envelope)?;
            Ok(Response::new(DecryptResponse { plain: plain.release_to_caller() }))
        })
    }
}
