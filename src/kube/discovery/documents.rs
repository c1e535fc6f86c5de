//! The discovery documents, as much of them as is used.

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// `/api`.
#[derive(Deserialize)]
pub(super) struct Versions {
    pub(super) versions: Vec<String>,
}

/// `/apis`.
#[derive(Deserialize)]
pub(super) struct Groups {
    pub(super) groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Group {
    pub(super) name: String,
    versions: Vec<Named>,
    preferred_version: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    version: String,
}

impl Group {
    /// The preferred one first.
    pub(super) fn versions_by_preference(&self) -> Vec<String> {
        let preferred = self.preferred_version.iter().map(|named| named.version.clone());
        let is_preferred = |version: &str| self.preferred_version.as_ref().is_some_and(|named| named.version == version);
        preferred.chain(self.versions.iter().map(|named| named.version.clone()).filter(|version| !is_preferred(version))).collect()
    }
}

/// `/apis/GROUP/VERSION`.
#[derive(Deserialize)]
pub(super) struct Resources {
    pub(super) resources: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) namespaced: bool,
    kind: String,
    #[serde(default)]
    pub(super) verbs: Vec<String>,
    #[serde(default)]
    storage_version_hash: String,
}

impl Entry {
    /// Whether objects of this resource are stored in the version `version` of `group`.
    pub(super) fn is_stored_as(&self, group: &str, version: &str) -> bool {
        self.storage_version_hash == storage_version_hash(group, version, &self.kind)
    }
}

/// As the API server makes it: 8 bytes in base64, which is 12 characters.
pub(super) fn storage_version_hash(group: &str, version: &str, kind: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digest = Sha256::digest(format!("{group}/{version}/{kind}"));
    let bits = digest.iter().take(8).fold(0u128, |bits, byte| bits << 8 | u128::from(*byte)) << 2; // 66 bits: 11 characters
    let sextet = |at: u32| (bits >> (60 - 6 * at)) & 63;
    let mut text: String = (0..11).filter_map(|at| ALPHABET.get(usize::try_from(sextet(at)).ok()?)).map(|c| char::from(*c)).collect();
    text.push('=');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_a_real_api_server() {
        // From the discovery of kube-apiserver 1.37.2.
        assert_eq!(storage_version_hash("", "v1", "Secret"), "S6u1pOWzb84=");
    }
}
