//! KMS v1 (`v1beta1`): a new DEK for every write, and no key_id beside it, so the envelope itself names its key.

use super::{Record, Service, refusal::Refusal};
use crate::envelope::{Envelope, Purpose};
use crate::protocol;
use crate::protocol::v1beta1::{DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, VersionRequest, VersionResponse};

impl Service {
    pub(super) fn v1_version(&self, request: VersionRequest) -> Result<VersionResponse, Refusal> {
        protocol::v1_version(&request.version)?;
        Ok(VersionResponse {
            version: "v1beta1".into(),
            runtime_name: env!("CARGO_PKG_NAME").into(),
            runtime_version: env!("CARGO_PKG_VERSION").into(),
        })
    }

    pub(super) fn v1_encrypt(&self, mut request: EncryptRequest, record: &mut Record) -> Result<EncryptResponse, Refusal> {
        protocol::v1_version(&request.version)?;
        let plaintext = protocol::plaintext(&mut request.plain)?;
        let keyring = self.snapshot()?;
        record.key_id.push_str(keyring.primary_name());
        Ok(EncryptResponse { cipher: keyring.wrap(Purpose::KmsV1, plaintext.expose_secret(), self.entropy.as_ref())? })
    }

    pub(super) fn v1_decrypt(&self, request: DecryptRequest, record: &mut Record) -> Result<DecryptResponse, Refusal> {
        protocol::v1_version(&request.version)?;
        let cipher = protocol::ciphertext(&request.cipher)?;
        let keyring = self.snapshot()?;
        let envelope = Envelope::parse(cipher).map_err(|_| Refusal::DoesNotOpen)?;
        record.key_id = envelope.header.key_id.to_string();
        let plain = Self::find(&keyring, &envelope.header.key_id, record)?.unwrap(Purpose::KmsV1, &envelope)?;
        Ok(DecryptResponse { plain: plain.release_to_message() })
    }
}
