//! KMS v2.

use super::join::Ask;
use super::{Record, Service, encoded, later::Step, parse_key_id, refusal::Refusal};
use crate::envelope::{Envelope, Purpose};
use crate::protocol::v2::{DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusRequest, StatusResponse};
use crate::protocol::{self};
use crate::secret::SecretBytes;

impl Service {
    /// "key_id ... must be stable, and Encrypt must return the same one" (kms-provider, Kubernetes documentation): both come from the snapshot.
    ///
    /// Answered from memory alone: a primary that waits is well while it was seen to work lately. An error, for a mere text in `healthz` lets
    /// the API server go on writing for ever.
    pub(super) fn status(&self, _: StatusRequest, record: &mut Record) -> Result<StatusResponse, Refusal> {
        let keyring = self.snapshot()?;
        record.key_id.push_str(keyring.primary_name());
        record.primary = Some(*keyring.primary());
        if keyring.waits().is_some_and(|waits| waits.is_away(record.start)) {
            return Err(Refusal::TokenAway);
        }
        Ok(StatusResponse { version: "v2".into(), healthz: "ok".into(), key_id: keyring.primary_name().into() })
    }

    pub(super) fn encrypt(&self, mut request: EncryptRequest, record: &mut Record) -> Result<Step, Refusal> {
        record.uid = std::mem::take(&mut request.uid);
        let plaintext = protocol::plaintext(&mut request.plaintext)?;
        let keyring = self.snapshot()?;
        record.key_id.push_str(keyring.primary_name());
        record.primary = Some(*keyring.primary());
        if let Some(waits) = keyring.waits() {
            let key_id = keyring.primary_name().to_owned();
            return Ok(self.wrap_later(&keyring, waits, Purpose::KmsV2, plaintext, |ciphertext| encrypted(ciphertext, key_id)));
        }
        let ciphertext = keyring.wrap(Purpose::KmsV2, plaintext.expose_secret(), self.entropy.as_ref())?;
        encrypted(ciphertext, keyring.primary_name().into()).map(Step::Done)
    }

    pub(super) fn decrypt(&self, request: DecryptRequest, record: &mut Record) -> Result<Step, Refusal> {
        let DecryptRequest { ciphertext, uid, key_id, annotations } = request;
        (record.uid, record.key_id) = (uid, key_id);
        let bytes = protocol::ciphertext(&ciphertext)?;
        let key_id = parse_key_id(protocol::key_id(&record.key_id)?);
        protocol::annotations(&annotations)?;
        let keyring = self.snapshot()?;
        let version = Self::find(&keyring, &key_id?, record)?;
        // Encrypt sends no annotations, so what has some was not made by us, or was changed.
        if !annotations.is_empty() {
            return Err(Refusal::DoesNotOpen);
        }
        let envelope = Envelope::parse(bytes).map_err(|_| Refusal::DoesNotOpen)?;
        if let Some(waits) = version.waits() {
            // Known without the token, and two that are joined must name the same version.
            if !version.fits(&envelope) {
                return Err(Refusal::DoesNotOpen);
            }
            let ask = Ask { keyring: keyring.clone(), purpose: Purpose::KmsV2, ciphertext };
            return Ok(self.unwrap_later(ask, waits, record.start, decrypted));
        }
        decrypted(version.unwrap(Purpose::KmsV2, &envelope)?).map(Step::Done)
    }
}

fn encrypted(ciphertext: Vec<u8>, key_id: String) -> Result<SecretBytes, Refusal> {
    encoded(&EncryptResponse { ciphertext, key_id, annotations: Default::default() })
}

fn decrypted(plaintext: SecretBytes) -> Result<SecretBytes, Refusal> {
    encoded(&DecryptResponse { plaintext: plaintext.release_to_message() })
}
