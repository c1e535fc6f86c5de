//! What was counted, against what should be: everything under the primary, nothing in plaintext.

use super::writers::Writers;
use super::{Class, Count, Kind};
use crate::encryption_configuration::KmsVersion;
use crate::etcd::key::Resource;

/// Values that are not as they should be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Finding {
    /// How many.
    pub values: u64,
    /// The etcd keys of the first of them, escaped.
    pub first: Vec<String>,
}

impl Finding {
    fn add(&mut self, count: &Count, most: usize) {
        self.values = self.values.saturating_add(count.values);
        let room = most.saturating_sub(self.first.len());
        self.first.extend(count.first.iter().take(room).cloned());
    }
}

/// Everything that can be wrong with current values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    /// Of expected resources: encrypted with anything but the primary, or not at all, or nobody knows. All of them without a primary.
    pub not_under_primary: Finding,
    /// Of expected resources: under the primary, but read by a provider alone that does not write any more.
    pub left_behind: Finding,
    /// Of expected resources: in plaintext.
    pub plaintext: Finding,
    /// Damaged, in any resource.
    pub unreadable: Finding,
    /// Of an unknown provider, in any resource.
    pub unknown: Finding,
    /// What no REST API serves. Plaintext, as it must be: listed, no fault.
    pub not_served: Finding,
    /// Keys outside the prefix. Of something else: listed, no fault of this API server.
    pub outside: Finding,
}

impl Findings {
    /// Judges `counts` by the key_id of the primary, and by which resources are expected to be encrypted, and `writers`. Of each finding
    /// at most `first` keys are named. Old revisions are passed over.
    pub fn of<'a>(
        counts: impl IntoIterator<Item = &'a Count>,
        primary: Option<&str>,
        is_expected: impl Fn(&Resource<'_>) -> bool,
        writers: &Writers,
        first: usize,
    ) -> Self {
        let mut findings = Self::default();
        for count in counts.into_iter().filter(|count| !count.old) {
            match count.class {
                Class::NotServed => findings.not_served.add(count, first),
                Class::Outside => findings.outside.add(count, first),
                Class::BuiltIn | Class::Custom => findings.judge(count, primary, &is_expected, writers, first),
            }
        }
        findings
    }

    fn judge(
        &mut self,
        count: &Count,
        primary: Option<&str>,
        is_expected: impl Fn(&Resource<'_>) -> bool,
        writers: &Writers,
        first: usize,
    ) {
        match count.kind {
            Kind::Unreadable => self.unreadable.add(count, first),
            Kind::Unknown => self.unknown.add(count, first),
            _ => {}
        }
        let resource = Resource::parse(&count.resource);
        if !is_expected(&resource) {
            return;
        }
        if count.kind == Kind::Plaintext {
            self.plaintext.add(count, first);
        }
        if !primary.is_some_and(|primary| is_under(count, primary)) {
            self.not_under_primary.add(count, first);
        } else if version(count.kind).is_some_and(|version| writers.left_behind(&resource, version, |name| name == count.provider)) {
            self.left_behind.add(count, first);
        }
    }
}

/// The API by which a KMS wrapped values of this kind.
const fn version(kind: Kind) -> Option<KmsVersion> {
    match kind {
        Kind::KmsV1 => Some(KmsVersion::V1),
        Kind::KmsV2 => Some(KmsVersion::V2),
        _ => None,
    }
}

/// Whether the values of `count` name `key_id` as their key. No value names an empty one.
pub fn is_under(count: &Count, key_id: &str) -> bool {
    !key_id.is_empty() && count.key_id == key_id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encryption_configuration::{EncryptionConfiguration, Pattern};

    fn count(resource: &str, class: Class, kind: Kind, key_id: &str) -> Count {
        Count {
            class,
            resource: resource.into(),
            kind,
            provider: String::new(),
            key_id: key_id.into(),
            detail: String::new(),
            old: false,
            values: 3,
            newest: 1,
            first: vec![format!("{resource}/1"), format!("{resource}/2")],
        }
    }

    fn counts() -> Vec<Count> {
        let (built_in, v2) = (Class::BuiltIn, Kind::KmsV2);
        let old = Count { old: true, ..count("secrets", built_in, Kind::Plaintext, "") };
        vec![
            count("secrets", built_in, v2, "new"),
            count("secrets", built_in, v2, "old"),
            count("configmaps", built_in, Kind::Aescbc, ""),
            count("leases.coordination.k8s.io", built_in, Kind::Plaintext, ""),
            count("widgets.example.com", Class::Custom, Kind::Plaintext, ""),
            count("secrets", built_in, Kind::Unreadable, ""),
            count("pods", built_in, Kind::Unknown, ""),
            count("ranges", Class::NotServed, Kind::Plaintext, ""),
            count("outside the prefix", Class::Outside, Kind::Plaintext, ""),
            old,
        ]
    }

    fn found(primary: Option<&str>, patterns: &[&str]) -> Findings {
        let patterns: Vec<Pattern> = patterns.iter().map(|text| Pattern::parse(text).expect("a pattern")).collect();
        Findings::of(&counts(), primary, |resource| patterns.iter().any(|pattern| resource.is_meant_by(pattern)), &Writers::default(), 3)
    }

    #[test]
    fn only_expected_resources_must_be_under_the_primary() {
        let secrets = found(Some("new"), &["secrets"]);
        assert_eq!(secrets.not_under_primary, Finding { values: 6, first: ["secrets/1", "secrets/2", "secrets/1"].map(Into::into).into() });
        assert_eq!(secrets.plaintext, Finding::default());
        let everything = found(Some("new"), &["*.*"]);
        assert_eq!((everything.not_under_primary.values, everything.plaintext.values), (18, 6));
        assert_eq!(found(Some("new"), &["*.example.com"]).plaintext.first, ["widgets.example.com/1", "widgets.example.com/2"]);
        assert_eq!(found(Some("new"), &["*."]).not_under_primary.values, 12);
        assert_eq!(found(None, &["secrets"]).not_under_primary.values, 9);
        assert_eq!(found(Some(""), &["secrets"]).not_under_primary.values, 9);
    }

    #[test]
    fn what_is_under_the_primary_by_a_provider_that_is_to_go_is_a_finding_of_its_own() {
        let text = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n\
                    \x20 - kms: {apiVersion: v2, name: kw, endpoint: unix:///kw.sock}\n\
                    \x20 - kms: {apiVersion: v1, name: kw, endpoint: unix:///kw.sock}\n";
        let writers = Writers::of(&EncryptionConfiguration::parse(text).expect("valid"));
        let by = |kind, provider: &str| Count { provider: provider.into(), ..count("secrets", Class::BuiltIn, kind, "new") };
        let counts = [by(Kind::KmsV2, "kw"), by(Kind::KmsV1, "kw"), by(Kind::KmsV2, "renamed")];
        let left = |primary| {
            let findings = Findings::of(&counts, Some(primary), |_| true, &writers, 9);
            (findings.left_behind.values, findings.not_under_primary.values)
        };
        assert_eq!((left("new"), left("other")), ((6, 0), (0, 9)));
    }

    #[test]
    fn damage_is_found_everywhere_and_what_is_not_served_is_listed_apart() {
        let findings = found(Some("new"), &[]);
        assert_eq!((findings.unreadable.values, findings.unknown.values), (3, 3));
        assert_eq!((findings.not_served.first, findings.outside.values), (vec!["ranges/1".to_owned(), "ranges/2".to_owned()], 3));
        assert_eq!((findings.not_under_primary, findings.plaintext), (Finding::default(), Finding::default()));
    }
}
