//! Which provider writes each resource now, and what an older one of the same plugin has left behind.
//!
//! A value can be under the primary and yet be lost with a line of the EncryptionConfiguration: wrapped over KMS v1, or under another name of the
//! same plugin, it is read by that provider alone. An API server finds it stale and writes it anew, so it can be rewritten like any other.

use crate::encryption_configuration::{EncryptionConfiguration, Kms, KmsVersion, Pattern, Provider};
use crate::etcd::key::Resource;

/// What is known of them; by default nothing, and so nothing is left behind.
#[derive(Debug, Clone, Default)]
pub struct Writers {
    /// The KMS v2 provider that writes what the pattern means, in the order of the file: exact names stand before what masks them.
    first: Vec<(Pattern, Kms)>,
    /// Every KMS provider of the file.
    all: Vec<Kms>,
}

impl Writers {
    /// Those of `configuration`.
    pub fn of(configuration: &EncryptionConfiguration) -> Self {
        let kms = |provider: &Provider| match provider {
            Provider::Kms(kms) => Some(kms.clone()),
            _ => None,
        };
        let v2 = |provider| kms(provider).filter(|kms| kms.version == KmsVersion::V2);
        let encrypted = configuration.encrypted_resources();
        Self {
            first: encrypted.iter().filter_map(|encrypted| Some((encrypted.pattern.clone(), v2(encrypted.writes)?))).collect(),
            all: configuration.providers().filter_map(kms).collect(),
        }
    }

    /// Whether a value of `resource` that our plugin has wrapped, as the provider of this `version` with a name for which `is_named` holds, is left
    /// behind: another provider of the same plugin writes the resource now.
    ///
    /// Where the file has the old provider at another socket, that is another plugin to it, and nothing is said. Where it does not have it at
    /// all any more, no API server reads the value.
    pub fn left_behind(&self, resource: &Resource<'_>, version: KmsVersion, is_named: impl Fn(&str) -> bool) -> bool {
        let Some((_, writer)) = self.first.iter().find(|(pattern, _)| resource.is_meant_by(pattern)) else { return false };
        if version == writer.version && is_named(&writer.name) {
            return false;
        }
        let mut old = self.all.iter().filter(|kms| kms.version == version && is_named(&kms.name));
        old.all(|kms| kms.endpoint == writer.endpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(providers: &[&str], version: KmsVersion, name: &str) -> bool {
        let lines: String = providers.iter().map(|provider| format!("  - {provider}\n")).collect();
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n{lines}"
        );
        let configuration = EncryptionConfiguration::parse(&text).expect("valid");
        Writers::of(&configuration).left_behind(&Resource::parse("secrets"), version, |known| known == name)
    }

    #[test]
    fn what_another_provider_of_the_writing_plugin_wrapped_is_left_behind() {
        let new = "kms: {apiVersion: v2, name: new, endpoint: unix:///kw.sock}";
        let v1 = "kms: {apiVersion: v1, name: old, endpoint: unix:///kw.sock}";
        let v2 = "kms: {apiVersion: v2, name: old, endpoint: unix:///kw.sock}";
        let other = "kms: {apiVersion: v2, name: other, endpoint: unix:///other.sock}";
        let (one, two) = (KmsVersion::V1, KmsVersion::V2);
        for (providers, version, name, expected) in [
            (&[new, v1][..], one, "old", true),
            (&[new, v2], two, "old", true),
            (&[new], one, "old", true), // nobody reads it any more
            (&[new, v1], two, "new", false),
            (&[new, v1], one, "new", true), // v1 and v2 are two providers, whatever they are called
            (&[v1, new], one, "old", false),
            (&[v1, new], two, "new", false), // an API server would take it back to v1
            (&["identity: {}", new], two, "new", false),
            (&[other, new], two, "new", false), // another plugin would take it away
        ] {
            assert_eq!(left(providers, version, name), expected, "{providers:?} {version:?} {name}");
        }
        assert!(!Writers::default().left_behind(&Resource::parse("secrets"), one, |_| true));
    }
}
