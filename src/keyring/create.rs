//! Makes new key material: a whole keyring, or one more version.

use std::time::SystemTime;

use crate::entropy::Entropy;
use crate::envelope::Algorithm;
use crate::key_id::{KeyId, KeyringId, Version};
use crate::keyring::canary::Subject;
use crate::keyring::document::{Document, ProviderLabel, StateLabel, VersionRecord};
use crate::keyring::seal::{FileKeys, Opener, SealError, Slot};
use crate::provider::local::LocalKek;
use crate::provider::{Kek, KekError};
use crate::secret::SecretKey;

const KEK_DOMAIN: &[u8] = b"keywright KEK 1";

/// The text of a new keyring file with one primary version, sealed for `opener`.
pub fn keyring(opener: &Opener, now: SystemTime, entropy: &dyn Entropy) -> Result<String, SealError> {
    let mut id = [0; 8];
    entropy.fill(&mut id).map_err(KekError::from)?;
    let id = KeyringId::from_bytes(id);
    let root = random_key(entropy)?;
    let keys = FileKeys::derive(&root, id);
    let document = Document {
        keyring: id,
        generation: 1,
        slots: vec![Slot::seal(opener, id, &root, entropy)?],
        versions: vec![local_version(id, Version::FIRST, StateLabel::Primary, &keys, now, entropy)?],
    };
    Ok(document.write(&keys.authenticate))
}

/// A new local version in `state`, its KEK wrapped under the root key of the keyring.
pub fn local_version(
    keyring: KeyringId,
    version: Version,
    state: StateLabel,
    keys: &FileKeys,
    now: SystemTime,
    entropy: &dyn Entropy,
) -> Result<VersionRecord, KekError> {
    let subject = Subject { keyring, version, algorithm: Algorithm::Xaes256Gcm };
    let key = random_key(entropy)?;
    let canary = subject.wrap(&LocalKek::new(&key), entropy)?;
    let key_id = KeyId { keyring, version, check: subject.check(&canary) };
    let wrapped = keys.wrap.wrap_key(&kek_aad(&key_id), key.expose_secret(), entropy)?;
    Ok(VersionRecord {
        key_id,
        state,
        provider: ProviderLabel::Local,
        algorithm: subject.algorithm,
        created: humantime::format_rfc3339_seconds(now).to_string(),
        canary,
        wrapped: Some([wrapped.nonce, wrapped.sealed].concat()),
    })
}

/// Opens the KEK of `record`; [`KekError::Authentication`] if it was not wrapped under this root key for this key_id.
pub fn unwrap_local(record: &VersionRecord, wrapped: &[u8], keys: &FileKeys) -> Result<LocalKek, KekError> {
    let (nonce, sealed) = wrapped.split_at_checked(24).ok_or(KekError::Authentication)?;
    let key = keys.wrap.unwrap_key(&kek_aad(&record.key_id), nonce, sealed)?;
    let key = SecretKey::from_slice(key.expose_secret()).ok_or(KekError::Authentication)?;
    Ok(LocalKek::new(&key))
}

fn kek_aad(key_id: &KeyId) -> Vec<u8> {
    [KEK_DOMAIN, key_id.to_string().as_bytes()].concat()
}

fn random_key(entropy: &dyn Entropy) -> Result<SecretKey, KekError> {
    SecretKey::try_fill(|out| entropy.fill(out)).map_err(KekError::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Counted;
    use crate::key_id::Version;
    use std::path::Path;

    /// Version 1 retired, version 2 primary; every byte reproducible.
    fn two_versions() -> String {
        let entropy = Counted::default();
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_800_000_000);
        let id = KeyringId::from_bytes(*b"sample-1");
        let root = random_key(&entropy).expect("key");
        let keys = FileKeys::derive(&root, id);
        let version = |number, state| {
            let number = Version::new(number).expect("not zero");
            local_version(id, number, state, &keys, now, &entropy).expect("version")
        };
        let versions = vec![version(1, StateLabel::Retired), version(2, StateLabel::Primary)];
        let slots = vec![Slot::seal(&Opener::InsecureDevelopment, id, &root, &entropy).expect("slot")];
        Document { keyring: id, generation: 2, slots, versions }.write(&keys.authenticate)
    }

    #[test]
    fn the_sample_keyring_is_byte_for_byte_what_this_release_writes() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("keys/insecure-format-1/two-versions.keyring");
        if std::env::var_os("KEYWRIGHT_WRITE_SAMPLES").is_some() {
            std::fs::write(&path, two_versions()).expect("write");
        }
        assert_eq!(std::fs::read_to_string(&path).expect("read"), two_versions());
    }
}
