//! KMS v2.

use std::sync::Arc;

use tonic::{Request, Response, Status, async_trait};

use super::{Record, Service, parse_key_id, refusal::Refusal};
use crate::envelope::{Envelope, Purpose};
use crate::protocol::v2::key_management_service_server::KeyManagementService;
use crate::protocol::v2::{DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusRequest, StatusResponse};
use crate::protocol::{self};

const API: &str = "v2";

/// The v2 service.
pub(super) struct KmsV2(pub(super) Arc<Service>);

#[async_trait]
impl KeyManagementService for KmsV2 {
    /// "key_id ... must be stable, and Encrypt must return the same one" (kms-provider, Kubernetes documentation): both come from the snapshot.
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let record = Record { operation: "Status", api: API, uid: "", key_id: String::new() };
        self.0.answer(record, |record| {
            let keyring = self.0.snapshot()?;
            record.key_id.push_str(keyring.primary_name());
            Ok(Response::new(StatusResponse { version: "v2".into(), healthz: "ok".into(), key_id: keyring.primary_name().into() }))
        })
    }

    async fn encrypt(&self, request: Request<EncryptRequest>) -> Result<Response<EncryptResponse>, Status> {
        let mut request = request.into_inner();
        let uid = std::mem::take(&mut request.uid);
        let record = Record { operation: "Encrypt", api: API, uid: &uid, key_id: String::new() };
        self.0.answer(record, |record| {
            let plaintext = protocol::plaintext(&mut request.plaintext)?;
            let keyring = self.0.snapshot()?;
            record.key_id.push_str(keyring.primary_name());
            let ciphertext = keyring.wrap(Purpose::KmsV2, plaintext.expose_secret(), self.0.entropy.as_ref())?;
            Ok(Response::new(EncryptResponse { ciphertext, key_id: keyring.primary_name().into(), annotations: Default::default() }))
        })
    }

    async fn decrypt(&self, request: Request<DecryptRequest>) -> Result<Response<DecryptResponse>, Status> {
        let mut request = request.into_inner();
        let key_id = std::mem::take(&mut request.key_id);
        let record = Record { operation: "Decrypt", api: API, uid: &request.uid, key_id };
        self.0.answer(record, |record| {
            let ciphertext = protocol::ciphertext(&request.ciphertext)?;
            let key_id = protocol::key_id(&record.key_id)?;
            protocol::annotations(&request.annotations)?;
            let keyring = self.0.snapshot()?;
            let version = keyring.find(&parse_key_id(key_id)?)?;
            // Encrypt sends no annotations, so what has some was not made by us, or was changed.
            if !request.annotations.is_empty() {
                return Err(Refusal::DoesNotOpen);
            }
            let envelope = Envelope::parse(ciphertext).map_err(|_| Refusal::DoesNotOpen)?;
            let plaintext = version.unwrap(Purpose::KmsV2, &envelope)?;
            Ok(Response::new(DecryptResponse { plaintext: plaintext.release_to_caller() }))
        })
    }
}
