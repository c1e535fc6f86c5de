//! Which of the entries that a scan sees are to be written anew.

use super::writers::Writers;
use crate::encryption_configuration::{KmsVersion, Pattern};
use crate::etcd::Entry;
use crate::etcd::key::{self, Located, Prefix, Resource};
use crate::etcd::value::{self, KmsV1Body, Stored};
use crate::key_id::{KeyId, KeyringId};
use crate::rewrite::plan::Stale;

/// What decides whether a value is stale.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// `--etcd-prefix` of the API server.
    pub prefix: Prefix,
    /// What must be encrypted, by the EncryptionConfiguration.
    pub patterns: Vec<Pattern>,
    /// Which providers write, by the same.
    pub writers: Writers,
    /// Whose versions we may take away.
    pub keyring: KeyringId,
    /// What everything is to be under.
    pub primary: KeyId,
}

impl Wanted {
    /// The object of `entry`, if it is served and not as it should be: of a resource that must be encrypted and not under the primary,
    /// under another version of the same keyring, whatever resource it is, or under the primary by a provider that is to go.
    pub fn stale(&self, entry: &Entry<'_>) -> Option<Stale> {
        let (Located::BuiltIn(object) | Located::Custom(object)) = key::locate(entry.key, &self.prefix) else { return None };
        let resource = object.resource;
        let is_stale = match self.named(entry.value) {
            Some(key_id) if key_id == self.primary => self.is_left_behind(&resource, entry.value),
            Some(key_id) if key_id.keyring == self.keyring => true,
            _ => self.patterns.iter().any(|pattern| resource.is_meant_by(pattern)),
        };
        is_stale.then(|| Stale {
            group: resource.group.map(str::to_owned),
            resource: resource.plural.to_owned(),
            namespace: object.namespace.map(str::to_owned),
            name: object.name.to_owned(),
            mod_revision: entry.mod_revision,
        })
    }

    fn is_left_behind(&self, resource: &Resource<'_>, value: &[u8]) -> bool {
        match value::read(value) {
            Stored::KmsV2 { provider, .. } => self.writers.left_behind(resource, KmsVersion::V2, |name| name == provider),
            Stored::KmsV1(named) => self.writers.left_behind(resource, KmsVersion::V1, |name| named.among([name]).next().is_some()),
            _ => false,
        }
    }

    fn named(&self, value: &[u8]) -> Option<KeyId> {
        match value::read(value) {
            Stored::KmsV2 { object, .. } => object.key_id.parse().ok(),
            // Under KMS v1 there is no current key to an API server, so an empty patch rewrites it only where another provider writes.
            Stored::KmsV1(named) => KmsV1Body::parse(named.guess().1).and_then(|body| body.key_id()),
            _ => None,
        }
    }
}
