//! What a run has done so far, by resource, and what to tell of it.

use std::time::Duration;

use super::super::answer::Reason;
use super::super::plan::{Object, Plan};

/// Objects that the API server left as they were are named up to this many; they are all counted.
const NAMED: usize = 100;

/// Objects by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Stored at a later revision than the scan saw, by this run or by whoever wrote the object meanwhile. In a dry run: would be patched.
    pub rewritten: u64,
    /// Patched, and left at the scanned revision: the API server does not find it stale, so it has not adopted the new key.
    pub unchanged: u64,
    /// Deleted since the scan.
    pub gone: u64,
    /// Not rewritten, for a reason.
    pub failed: u64,
}

impl Counts {
    /// All that are done with.
    pub fn done(&self) -> u64 {
        [self.rewritten, self.unchanged, self.gone, self.failed].into_iter().fold(0, u64::saturating_add)
    }
}

/// One resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// As kubectl takes it: `secrets`, `deployments.apps`.
    pub resource: String,
    /// How many objects the plan has.
    pub planned: u64,
    /// What became of them.
    pub counts: Counts,
}

/// An object that was not rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its resource.
    pub resource: String,
    /// `NAMESPACE/NAME`, or the name.
    pub object: String,
    /// Why.
    pub reason: Reason,
}

/// How far one resource is, after one more of its objects.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// The resource.
    pub tally: &'a Tally,
    /// Objects of all resources that are done with, per second since the start.
    pub per_second: f64,
    /// Patches in flight at most, at present.
    pub at_a_time: usize,
}

/// What a run has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// By resource, as in the plan.
    pub resources: Vec<Tally>,
    /// Every object that failed.
    pub failures: Vec<Failure>,
    /// The first objects that the API server left as they were, as `RESOURCE NAMESPACE/NAME`.
    pub unchanged: Vec<String>,
    /// Whether it was asked to stop before its end. What is planned and not done with is as it was.
    pub stopped: bool,
}

impl Report {
    pub(super) fn new(plan: &Plan) -> Self {
        let tally = |planned: &super::super::plan::Planned| Tally {
            resource: planned.resource.to_string(),
            planned: planned.objects.len() as u64,
            counts: Counts::default(),
        };
        Self { resources: plan.resources.iter().map(tally).collect(), ..Self::default() }
    }

    /// What migrations did of `plan`: what a plan made afterwards, `after`, still names of a resource was left by them, as a failure if
    /// the migration of the resource `failed` (resource, name, message). Without `after` it is what they would do.
    pub fn migrated(plan: &Plan, after: Option<&Plan>, failed: Vec<(String, String, String)>) -> Self {
        let mut report = Self::new(plan);
        for tally in &mut report.resources {
            let same = after.and_then(|after| after.resources.iter().find(|planned| planned.resource.to_string() == tally.resource));
            let left = same.map(|planned| planned.objects.as_slice()).unwrap_or_default();
            let count = left.len() as u64;
            tally.counts.rewritten = tally.planned.saturating_sub(count);
            if failed.iter().any(|(resource, ..)| *resource == tally.resource) {
                tally.counts.failed = count;
            } else {
                tally.counts.unchanged = count;
                let room = NAMED.saturating_sub(report.unchanged.len());
                report.unchanged.extend(left.iter().take(room).map(|object| format!("{} {object}", tally.resource)));
            }
        }
        report.failures = failed
            .into_iter()
            .map(|(resource, object, message)| Failure { resource, object, reason: Reason::Migration(message) })
            .collect();
        report
    }

    /// The sum over all resources.
    pub fn total(&self) -> Counts {
        self.resources.iter().fold(Counts::default(), |sum, tally| Counts {
            rewritten: sum.rewritten.saturating_add(tally.counts.rewritten),
            unchanged: sum.unchanged.saturating_add(tally.counts.unchanged),
            gone: sum.gone.saturating_add(tally.counts.gone),
            failed: sum.failed.saturating_add(tally.counts.failed),
        })
    }

    pub(super) fn stored(&mut self, resource: usize, object: &Object, rewritten: bool) {
        let Some(tally) = self.resources.get_mut(resource) else { return };
        if rewritten {
            tally.counts.rewritten += 1;
            return;
        }
        tally.counts.unchanged += 1;
        if self.unchanged.len() < NAMED {
            self.unchanged.push(format!("{} {object}", tally.resource));
        }
    }

    pub(super) fn gone(&mut self, resource: usize) {
        if let Some(tally) = self.resources.get_mut(resource) {
            tally.counts.gone += 1;
        }
    }

    pub(super) fn failed(&mut self, resource: usize, object: &Object, reason: Reason) {
        let Some(tally) = self.resources.get_mut(resource) else { return };
        tally.counts.failed += 1;
        self.failures.push(Failure { resource: tally.resource.clone(), object: object.to_string(), reason });
    }

    pub(super) fn progress(&self, resource: usize, since: Duration, at_a_time: usize) -> Option<Progress<'_>> {
        let seconds = since.as_secs_f64().max(f64::EPSILON);
        let per_second = self.total().done() as f64 / seconds;
        Some(Progress { tally: self.resources.get(resource)?, per_second, at_a_time })
    }
}
