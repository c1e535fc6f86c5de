//! KMS v1 (`v1beta1`): a new DEK for every write, and no key_id beside it, so the envelope itself names its key.

use super::join::Ask;
use super::{Record, Service, encoded, later::Step, refusal::Refusal};
use crate::envelope::{Envelope, Purpose};
use crate::protocol;
use crate::protocol::v1beta1::{DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, VersionRequest, VersionResponse};
use crate::secret::SecretBytes;

impl Service {
    pub(super) fn v1_version(&self, request: VersionRequest) -> Result<VersionResponse, Refusal> {
        protocol::v1_version(&request.version)?;
        Ok(VersionResponse {
            version: "v1beta1".into(),
            runtime_name: env!("CARGO_PKG_NAME").into(),
            runtime_version: env!("CARGO_PKG_VERSION").into(),
        })
    }

    pub(super) fn v1_encrypt(&self, mut request: EncryptRequest, record: &mut Record) -> Result<Step, Refusal> {
        protocol::v1_version(&request.version)?;
        let plaintext = protocol::plaintext(&mut request.plain)?;
        let keyring = self.snapshot()?;
        record.key_id.push_str(keyring.primary_name());
        if let Some(waits) = keyring.waits() {
            return Ok(self.wrap_later(&keyring, waits, Purpose::KmsV1, plaintext, encrypted));
        }
        encrypted(keyring.wrap(Purpose::KmsV1, plaintext.expose_secret(), self.entropy.as_ref())?).map(Step::Done)
    }

    pub(super) fn v1_decrypt(&self, mut request: DecryptRequest, record: &mut Record) -> Result<Step, Refusal> {
        protocol::v1_version(&request.version)?;
        let bytes = protocol::ciphertext(&request.cipher)?;
        let keyring = self.snapshot()?;
        let envelope = Envelope::parse(bytes).map_err(|_| Refusal::DoesNotOpen)?;
        record.key_id = envelope.header.key_id.to_string();
        // The envelope alone names the version here.
        let version = Self::find(&keyring, &envelope.header.key_id, record)?;
        if let Some(waits) = version.waits() {
            if !version.fits(&envelope) {
                return Err(Refusal::DoesNotOpen);
            }
            let ask = Ask { keyring: keyring.clone(), purpose: Purpose::KmsV1, ciphertext: std::mem::take(&mut request.cipher) };
            return Ok(self.unwrap_later(ask, waits, record.start, decrypted));
        }
        decrypted(version.unwrap(Purpose::KmsV1, &envelope)?).map(Step::Done)
    }
}

fn encrypted(cipher: Vec<u8>) -> Result<SecretBytes, Refusal> {
    encoded(&EncryptResponse { cipher })
}

fn decrypted(plain: SecretBytes) -> Result<SecretBytes, Refusal> {
    encoded(&DecryptResponse { plain: plain.release_to_message() })
}
