//! Carries a plan out: so many empty patches at a time, each object until it is stored anew, gone, or failed for a reason.

mod report;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::num::{NonZeroU32, NonZeroUsize};
use std::pin::pin;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::task::{JoinError, JoinSet};

use super::answer::{Patience, Reason, Verdict, verdict};
use super::pace::{Pace, Turn, wait};
use super::plan::{Object, Plan};
use crate::entropy::{Entropy, EntropyError};
use crate::kube::access::Answer;
use crate::kube::{Access, KubeError};

pub use super::answer::Reason as FailureReason;
pub use report::{Counts, Failure, Progress, Report, Tally};

/// More at a time than this the API server would only queue.
const MOST_AT_A_TIME: usize = 256;

/// How often an object is tried whose failure is likely to stay.
const SHORT_PATIENCE: u32 = 3;

/// How hard the API server may be asked.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Patches in flight, at most 256. Eight at first, and more while answers take less than a quarter of `latency`.
    pub at_a_time: NonZeroUsize,
    /// Patches started per second.
    pub per_second: Option<NonZeroU32>,
    /// When the 95th percentile of the answers takes longer, half as many are in flight.
    pub latency: Duration,
    /// Attempts per object, the first included.
    pub attempts: NonZeroU32,
    /// Ask with `dryRun=All`: everything is checked, admission included, and nothing is written.
    pub dry_run: bool,
}

impl Default for Limits {
    /// Up to 32 in flight: etcd then stores several with each write of its log, and an API server allows 200 changes at a time by itself.
    /// No limit per second, half of it when answers take more than a second (the goal that Kubernetes sets itself for
    /// calls that change one object), ten attempts (about a minute: an API server's restart).
    fn default() -> Self {
        let at_a_time = const { NonZeroUsize::new(32).expect("32 is not zero") };
        let attempts = const { NonZeroU32::new(10).expect("ten is not zero") };
        Self { at_a_time, per_second: None, latency: Duration::from_secs(1), attempts, dry_run: false }
    }
}

/// Why a run stopped before its end. What was rewritten stays so.
#[derive(Debug, Error)]
pub enum RewriteError {
    /// An answer was not metadata only.
    #[error(
        "the answer to PATCH {path} was not metadata only, as was asked for: an API that ignores this would send whole objects; everything was stopped, and the answer thrown away"
    )]
    NotMetadata {
        /// Which object.
        path: String,
    },
    /// The API server's etcd is not the one that was scanned.
    #[error(
        "PATCH {path} left the object at revision {found}, before the scanned one ({scanned}): the API server does not store in the etcd that was scanned, or that was restored since; scan again, and the right one"
    )]
    OtherEtcd {
        /// Which object.
        path: String,
        /// What the API server says.
        found: u64,
        /// What the scan says.
        scanned: u64,
    },
    /// The credential is not accepted (any more).
    #[error("the API server does not accept the credential (HTTP 401 on PATCH {path}); renew it and run again")]
    Unauthorized {
        /// Which object.
        path: String,
    },
    /// No answer, again and again.
    #[error(transparent)]
    Kube(#[from] KubeError),
    /// No randomness for the waits.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// A request ended in a defect of ours.
    #[error("a request did not end as it should: {0}")]
    Task(#[from] JoinError),
}

/// Which object: indices into the plan; and how often it was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Job {
    resource: usize,
    object: usize,
    attempts: u32,
}

/// What came of one request, and how long it took.
type Ended = (Job, Duration, Result<Answer, KubeError>);

/// Patches every object of `plan`. `progress` is called after each object that is done with.
///
/// When `stop` is ready nothing more is started, and what is in flight is waited for; the report then says that it was stopped. Dropping the
/// future stops it too: requests in flight may or may not be carried out, and either is fine for the next run.
pub async fn run(
    access: &Access,
    plan: &Plan,
    limits: &Limits,
    entropy: &dyn Entropy,
    stop: impl Future<Output = ()>,
    progress: &mut dyn FnMut(&Progress<'_>),
) -> Result<Report, RewriteError> {
    let interval = limits.per_second.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate.get());
    let now = Instant::now();
    let pace = Pace::new(limits.at_a_time.get().min(MOST_AT_A_TIME), interval, limits.latency, now);
    let mut run = Run {
        access,
        plan,
        limits,
        entropy,
        progress,
        pace,
        report: Report::new(plan),
        begun: now,
        waiting: BinaryHeap::new(),
        forbidden: BTreeSet::new(),
    };
    run.all(stop).await?;
    Ok(run.report)
}

struct Run<'a> {
    access: &'a Access,
    plan: &'a Plan,
    limits: &'a Limits,
    entropy: &'a dyn Entropy,
    progress: &'a mut dyn FnMut(&Progress<'_>),
    pace: Pace,
    report: Report,
    begun: Instant,
    /// To be tried again, the earliest first.
    waiting: BinaryHeap<Reverse<(Instant, Job)>>,
    /// Resources and namespaces without the verb: ten thousand refusals say no more than one.
    forbidden: BTreeSet<(usize, Option<String>)>,
}

impl Run<'_> {
    async fn all(&mut self, stop: impl Future<Output = ()>) -> Result<(), RewriteError> {
        let mut stop = pin!(stop);
        let sizes: Vec<usize> = self.plan.resources.iter().map(|planned| planned.objects.len()).collect();
        let mut fresh = sizes
            .into_iter()
            .enumerate()
            .flat_map(|(resource, objects)| (0..objects).map(move |object| Job { resource, object, attempts: 0 }))
            .peekable();
        let mut in_flight: JoinSet<Ended> = JoinSet::new();
        loop {
            if self.report.stopped {
                match in_flight.join_next().await {
                    Some(ended) => self.ended(ended?)?,
                    None => return Ok(()),
                }
                continue;
            }
            let now = Instant::now();
            let due = self.waiting.peek().map(|Reverse((at, _))| *at);
            let mut wake = due;
            if due.is_some_and(|at| at <= now) || fresh.peek().is_some() {
                match self.pace.turn(in_flight.len(), now) {
                    Turn::Now => {
                        let again = due.filter(|at| *at <= now).and_then(|_| self.waiting.pop()).map(|Reverse((_, job))| job);
                        if let Some(job) = again.or_else(|| fresh.next()) {
                            self.start(job, now, &mut in_flight);
                        }
                        continue;
                    }
                    Turn::At(at) => wake = Some(at),
                    Turn::AfterAnother => wake = None,
                }
            } else if in_flight.is_empty() && wake.is_none() {
                return Ok(());
            }
            tokio::select! {
                () = &mut stop => self.report.stopped = true,
                Some(ended) = in_flight.join_next(), if !in_flight.is_empty() => self.ended(ended?)?,
                () = tokio::time::sleep_until(wake.unwrap_or(now).into()), if wake.is_some() => {}
            }
        }
    }

    fn object(&self, job: Job) -> Option<&Object> {
        self.plan.resources.get(job.resource)?.objects.get(job.object)
    }

    fn start(&mut self, job: Job, now: Instant, in_flight: &mut JoinSet<Ended>) {
        let Some(object) = self.object(job) else { return };
        if self.forbidden.contains(&(job.resource, object.namespace.clone())) {
            self.failed(job, Reason::Forbidden);
            return;
        }
        let query = if self.limits.dry_run { "?dryRun=All" } else { "" };
        let (access, path) = (self.access.clone(), format!("{}{query}", object.path));
        self.pace.started(now);
        in_flight.spawn(async move {
            let begun = Instant::now();
            let answer = access.patch_nothing(&path).await;
            (job, begun.elapsed(), answer)
        });
    }

    fn ended(&mut self, (mut job, took, answer): Ended) -> Result<(), RewriteError> {
        job.attempts = job.attempts.saturating_add(1);
        let Some(object) = self.object(job) else { return Ok(()) };
        let (path, scanned, namespace) = (object.path.clone(), object.mod_revision, object.namespace.clone());
        let answer = match answer {
            Ok(answer) => answer,
            // The next attempt tells whether it was carried out.
            Err(e @ (KubeError::Unreachable { .. } | KubeError::Silent { .. })) => {
                self.pace.overloaded(None, Instant::now());
                return if job.attempts < self.limits.attempts.get() { self.again(job, None) } else { Err(e.into()) };
            }
            Err(e) => return Err(e.into()),
        };
        match verdict(&answer) {
            Verdict::Stored(found) if found < scanned => return Err(RewriteError::OtherEtcd { path, found, scanned }),
            Verdict::Stored(found) => {
                self.pace.answered(took);
                let rewritten = found > scanned || self.limits.dry_run;
                self.count(job, |report, resource, object| report.stored(resource, object, rewritten));
            }
            Verdict::Gone => {
                self.pace.answered(took);
                self.count(job, |report, resource, _| report.gone(resource));
            }
            Verdict::Failed(reason) => {
                if reason == Reason::Forbidden {
                    self.forbidden.insert((job.resource, namespace));
                }
                self.failed(job, reason);
            }
            Verdict::Again { reason, patience, overloaded, after } => {
                if overloaded {
                    self.pace.overloaded(after, Instant::now());
                }
                let most = match patience {
                    Patience::Full => self.limits.attempts.get(),
                    Patience::Short => self.limits.attempts.get().min(SHORT_PATIENCE),
                };
                if job.attempts < most {
                    return self.again(job, after);
                }
                self.failed(job, reason);
            }
            Verdict::NotMetadata => return Err(RewriteError::NotMetadata { path }),
            Verdict::Unauthorized => return Err(RewriteError::Unauthorized { path }),
        }
        Ok(())
    }

    fn again(&mut self, job: Job, asked: Option<Duration>) -> Result<(), RewriteError> {
        let mut chance = [0; 4];
        self.entropy.fill(&mut chance)?;
        let at = Instant::now() + wait(job.attempts, u32::from_be_bytes(chance), asked);
        self.waiting.push(Reverse((at, job)));
        Ok(())
    }

    fn failed(&mut self, job: Job, reason: Reason) {
        self.count(job, |report, resource, object| report.failed(resource, object, reason));
    }

    fn count(&mut self, job: Job, note: impl FnOnce(&mut Report, usize, &Object)) {
        let plan = self.plan;
        let Some(object) = plan.resources.get(job.resource).and_then(|planned| planned.objects.get(job.object)) else { return };
        note(&mut self.report, job.resource, object);
        if let Some(progress) = self.report.progress(job.resource, self.begun.elapsed(), self.pace.at_a_time()) {
            (self.progress)(&progress);
        }
    }
}
