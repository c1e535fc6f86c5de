//! What scans show of a key version: that nothing names it any more, that something does, or that they cannot tell.
//!
//! What comes first is decided by generations of the keyring and revisions of etcd, never by a clock.

use crate::evidence::{Evidence, Objection};
use crate::key_id::KeyId;
use crate::keyring::document::{Document, Why};
use crate::keyring::rotation::Step;
use crate::scan::Kind;
use crate::scan::findings::is_under;
use crate::scan::report::{Report, Source};

/// Most etcd keys that an objection names.
const NAMED: usize = 5;

/// Whether every API server writes with the primary, as it was known before the scans began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Adoption {
    /// Each does, for this reason.
    Shown(String),
    /// Of some it is not known, or they do not.
    Missing(String),
}

/// One report for each store of the cluster, all of them made with the keyring as it is.
pub struct Scanned<'a> {
    /// The keyring now.
    pub document: &'a Document,
    /// Of live stores, each once.
    pub reports: &'a [Report],
    /// How many stores the cluster has.
    pub stores: usize,
    /// What was known before the scans.
    pub adoption: Adoption,
    /// Of backups that must stay restorable: what they name is needed.
    pub backups: &'a [Report],
}

impl Evidence for Scanned<'_> {
    fn nothing_needs(&self, key_id: &KeyId, step: Step) -> Result<Why, Objection> {
        let lacking = |missing: String| Objection::Lacking { step, key_id: *key_id, missing };
        // What is needed is said before what is missing: it stays true whatever else comes out.
        let name = key_id.to_string();
        let (mut count, mut first) = (0u64, Vec::new());
        for report in self.reports.iter().chain(self.backups) {
            let live = report.store.source == Source::Live;
            for found in report.counts.iter().filter(|found| is_under(found, &name)) {
                count = count.saturating_add(found.values);
                let place = match (live, found.old) {
                    (true, _) => "",
                    (false, false) => " in a backup",
                    (false, true) => " in old revisions of a backup",
                };
                let keys = found.first.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>();
                let more = if found.values > keys.len() as u64 { ", ..." } else { "" };
                first.push(format!("{} {}{place} ({}{more})", found.values, found.resource, keys.join(", ")));
            }
        }
        if count > 0 {
            return Err(Objection::Needed { step, key_id: *key_id, count, first });
        }
        self.complete().map_err(lacking)?;
        if let Adoption::Missing(missing) = &self.adoption {
            return Err(lacking(missing.clone()));
        }
        Ok(self.record())
    }
}

impl Scanned<'_> {
    /// Whether the reports tell all there is to tell; or what they do not.
    fn complete(&self) -> Result<(), String> {
        if self.reports.len() < self.stores || self.reports.is_empty() {
            return Err(format!("{} of {} stores were scanned", self.reports.len(), self.stores.max(1)));
        }
        let current = self.document.history.last().map(|last| last.digest);
        for report in self.reports {
            let Some(witness) = &report.keyring else { return Err("a scan was made without the keyring".into()) };
            if witness.id != self.document.keyring || Some(witness.head) != current {
                return Err("a scan was made with the keyring in another state; scan again".into());
            }
        }
        for report in self.reports.iter().chain(self.backups) {
            if !report.is_whole() {
                return Err("a scan did not read or count everything".into());
            }
            let unknown: u64 =
                report.counts.iter().filter(|count| matches!(count.kind, Kind::Unknown | Kind::Unreadable)).map(|count| count.values).sum();
            if unknown > 0 {
                let first = report.counts.iter().find(|count| matches!(count.kind, Kind::Unknown | Kind::Unreadable));
                let first = first.and_then(|count| count.first.first()).cloned().unwrap_or_default();
                return Err(format!(
                    "{unknown} values are damaged or of an unknown provider, and may be under any key (the first: {first})"
                ));
            }
        }
        if self.reports.iter().map(Report::under_primary).sum::<u64>() == 0 {
            return Err(
                "no value is under the primary: this is the etcd of another cluster, or nothing is encrypted with this keyring".into()
            );
        }
        Ok(())
    }

    /// What is recorded in the keyring.
    fn record(&self) -> Why {
        let stores: Vec<_> = self
            .reports
            .iter()
            .map(|report| {
                let cluster = report.store.cluster_id.map_or_else(|| "?".into(), |id| format!("{id:016x}"));
                format!("{cluster}{} at revision {}: 0 of {}", report.store.prefix, report.store.revision, report.values)
            })
            .collect();
        let adoption = match &self.adoption {
            Adoption::Shown(how) | Adoption::Missing(how) => how,
        };
        let text = format!("scan of {}; adopted: {adoption}", stores.join("; "));
        // Made of printable words, and cut to what a record holds.
        Why::from_person(&text).unwrap_or_else(|| "scan".parse().expect("one word is a reason"))
    }
}
