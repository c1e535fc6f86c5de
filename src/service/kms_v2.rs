//! KMS v2.

use super::{Record, Service, parse_key_id, refusal::Refusal};
use crate::envelope::{Envelope, Purpose};
use crate::protocol::v2::{DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusRequest, StatusResponse};
use crate::protocol::{self};

impl Service {
    /// "key_id ... must be stable, and Encrypt must return the same one" (kms-provider, Kubernetes documentation): both come from the snapshot.
    pub(super) fn status(&self, _: StatusRequest, record: &mut Record) -> Result<StatusResponse, Refusal> {
        let keyring = self.snapshot()?;
        record.key_id.push_str(keyring.primary_name());
        record.primary = Some(*keyring.primary());
        Ok(StatusResponse { version: "v2".into(), healthz: "ok".into(), key_id: keyring.primary_name().into() })
    }

    pub(super) fn encrypt(&self, mut request: EncryptRequest, record: &mut Record) -> Result<EncryptResponse, Refusal> {
        record.uid = std::mem::take(&mut request.uid);
        let plaintext = protocol::plaintext(&mut request.plaintext)?;
        let keyring = self.snapshot()?;
        record.key_id.push_str(keyring.primary_name());
        record.primary = Some(*keyring.primary());
        let ciphertext = keyring.wrap(Purpose::KmsV2, plaintext.expose_secret(), self.entropy.as_ref())?;
        Ok(EncryptResponse { ciphertext, key_id: keyring.primary_name().into(), annotations: Default::default() })
    }

    pub(super) fn decrypt(&self, request: DecryptRequest, record: &mut Record) -> Result<DecryptResponse, Refusal> {
        let DecryptRequest { ciphertext, uid, key_id, annotations } = request;
        (record.uid, record.key_id) = (uid, key_id);
        let ciphertext = protocol::ciphertext(&ciphertext)?;
        let key_id = parse_key_id(protocol::key_id(&record.key_id)?);
        protocol::annotations(&annotations)?;
        let keyring = self.snapshot()?;
        let version = Self::find(&keyring, &key_id?, record)?;
        // Encrypt sends no annotations, so what has some was not made by us, or was changed.
        if !annotations.is_empty() {
            return Err(Refusal::DoesNotOpen);
        }
        let envelope = Envelope::parse(ciphertext).map_err(|_| Refusal::DoesNotOpen)?;
        let plaintext = version.unwrap(Purpose::KmsV2, &envelope)?;
        Ok(DecryptResponse { plaintext: plaintext.release_to_message() })
    }
}
