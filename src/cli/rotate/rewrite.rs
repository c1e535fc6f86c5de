//! `keywright rotate rewrite`: has the API server write anew what is stored under another key than the primary.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::super::failure::{Exit, Failure};
use super::super::keyring::read;
use super::super::output::{self, Answer};
use super::super::place::Named;
use super::super::progress::Bar;
use super::super::{block_on, note, target};
use super::cluster::{self, Cluster};
use super::interrupt;
use crate::entropy::OsEntropy;
use crate::hardening;
use crate::keyring::store::Opened;
use crate::kube::admission::Admission;
use crate::kube::{Access, Discovery, KubeError};
use crate::rewrite::migration::{Begun, Ended, MigrationError, Migrations, name};
use crate::rewrite::plan::{Impossible, Plan, Stale};
use crate::rewrite::{self, Limits, Report};
use crate::scan::evidence::Adoption;

#[derive(Args)]
#[command(
    after_help = "Scans etcd, waits until every API server has adopted the primary, and sends an empty patch for each stale object. The answers carry
metadata only, but the credential is as strong as one that reads: docs/rewrite.md, and --print-role for the ClusterRole it needs.
It keeps no record of its own: killed and started again, it goes on with what is still stale. On SIGINT and SIGTERM it starts no more patches, waits for
those in flight, says what was done, and ends with 7; a second signal ends it at once.

Examples:
  keywright rotate rewrite --config /etc/keywright/config.toml --dry-run
  keywright rotate rewrite --config /etc/keywright/config.toml --rate 100
  keywright rotate rewrite --config /etc/keywright/config.toml --via storageversionmigration
  keywright rotate rewrite --dev --endpoints http://127.0.0.1:2379 --kubeconfig admin.conf"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    target: target::Arguments,
    #[command(flatten)]
    cluster: cluster::Arguments,
    #[command(flatten)]
    pace: Pace,
    /// Who writes: this command, by patches, or kube-controller-manager, by one StorageVersionMigration for each resource
    #[arg(long, value_name = "WAY", default_value = "patch")]
    via: Via,
    /// How long the StorageVersionMigration of one resource may take
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = humantime::parse_duration)]
    migration_wait: Duration,
    /// Have the API server check every patch, admission included, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the ClusterRole that is needed for what is stale now, and patch nothing
    #[arg(long)]
    print_role: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Via {
    /// Empty patches; needs nothing but the role
    Patch,
    /// The API server's own migration; --at-a-time and --rate do not apply
    #[value(name = "storageversionmigration")]
    Migration,
}

/// How hard the API server is asked, and how long it is waited for.
#[derive(Args)]
pub(super) struct Pace {
    /// Most patches in flight; 8 at first, more while the API server answers fast, fewer when it is slow
    #[arg(long, value_name = "NUMBER", default_value = "32")]
    at_a_time: NonZeroUsize,
    /// Most patches started per second [default: as many as are answered]
    #[arg(long, value_name = "NUMBER")]
    rate: Option<NonZeroU32>,
    /// How long to wait for every API server to adopt the primary
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = humantime::parse_duration)]
    adoption_wait: Duration,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    hardening::apply().map_err(|e| Failure::new(Exit::Unexpected, "forbid core dumps", e, "This is not foreseen; please report it."))?;
    let outcome = attempt(&arguments);
    let left = outcome.as_ref().ok().and_then(|(_, left)| left.clone());
    arguments.target.show(outcome.map(|(answer, _)| answer))?;
    left.map_or(Ok(()), |(exit, why, next)| Err(Failure::new(exit, "rewrite everything", why, next)))
}

/// Why something is left, and what to do about it.
type Left = Option<(Exit, String, &'static str)>;

fn attempt(arguments: &Arguments) -> Result<(Answer, Left), Failure> {
    let named = arguments.target.named()?;
    let opened = read(&arguments.target, &named)?;
    let cluster = arguments.cluster.find(&named)?;
    block_on(async {
        let access = cluster.access().await?;
        if arguments.print_role {
            let (plan, _) = plan(&cluster, &opened, &access).await?;
            let role = if arguments.via == Via::Patch { rewrite::role(&plan) } else { rewrite::migration_role(&plan) };
            return Ok((Answer { json: json!({ "role": role }), text: role }, None));
        }
        if !arguments.dry_run {
            adopted(&cluster, &opened, &arguments.pace).await?;
        }
        let (plan, _) = plan(&cluster, &opened, &access).await?;
        let report = match arguments.via {
            Via::Patch => patch(&access, &plan, &arguments.pace, arguments.dry_run).await?,
            Via::Migration => migrate(&cluster, &opened, &access, &plan, arguments).await?,
        };
        Ok((answer(&named, &plan, &report, arguments.dry_run), left(&plan, &report)))
    })
}

/// Waits until every API server writes with the primary: one that does not would write what it is asked to rewrite under the old key again.
pub(super) async fn adopted(cluster: &Cluster<'_>, opened: &Opened, pace: &Pace) -> Result<String, Failure> {
    let mut said = String::new();
    let adoption = cluster
        .adoption(&opened.document)
        .wait(pace.adoption_wait, &mut |missing| {
            // The time left in it changes; the rest is said once.
            let what = missing.split(';').next().unwrap_or(missing);
            if said != what {
                note(&format!("waiting: {missing}\n"));
                said = what.to_owned();
            }
        })
        .await;
    match adoption {
        Adoption::Shown(how) => Ok(how),
        Adoption::Missing(missing) => {
            let next = "Ask each API server for /readyz/kms-providers, which has it poll the plugin; then run this again.";
            Err(Failure::new(Exit::Incomplete, "see that every API server writes with the primary", missing, next))
        }
    }
}

/// What a scan finds stale, and how it can be reached. Beside it how many values were counted.
pub(super) async fn plan(cluster: &Cluster<'_>, opened: &Opened, access: &Access) -> Result<(Plan, u64), Failure> {
    let keyring = cluster::prove(opened)?;
    let scans = cluster.scan(&keyring).await?;
    let values = scans.iter().map(|scan| scan.report.values).sum();
    let stale: Vec<Stale> = scans.into_iter().flat_map(|scan| scan.stale).collect();
    let asked = |e: KubeError| {
        Failure::new(Exit::Runtime, "plan the rewrite", &e, "See --kubeconfig and --context, and what this credential may do.")
    };
    let discovery = Discovery::read(access).await.map_err(asked)?;
    let custom =
        stale.iter().filter_map(|stale| Some((stale.group.clone()?, stale.resource.clone()))).filter(|(group, _)| group.contains('.'));
    let admission = Admission::read(access, &custom.collect()).await.map_err(asked)?;
    Ok((rewrite::plan(stale, &discovery, &admission), values))
}

/// Patches what is planned.
pub(super) async fn patch(access: &Access, plan: &Plan, pace: &Pace, dry_run: bool) -> Result<Report, Failure> {
    let bar = Bar::new("rewrite", "objects");
    let all = plan.objects() as u64;
    let mut done = 0;
    let limits = Limits { at_a_time: pace.at_a_time, per_second: pace.rate, dry_run, ..Limits::default() };
    let signals = interrupt::watch()?;
    rewrite::run(access, plan, &limits, &OsEntropy, signals.asked(), &mut |_| {
        done += 1;
        bar.at(done, all);
    })
    .await
    .map_err(|e| Failure::new(Exit::Runtime, "rewrite stale objects", &e, "Run it again: it goes on with what is still stale."))
}

/// Has one migration after the other carried out, and counts by a further scan what they left.
async fn migrate(
    cluster: &Cluster<'_>,
    opened: &Opened,
    access: &Access,
    planned: &Plan,
    arguments: &Arguments,
) -> Result<Report, Failure> {
    let dry_run = arguments.dry_run;
    let keyring = cluster::prove(opened)?;
    let primary = keyring.primary().text();
    let discovery = Discovery::read(access).await.map_err(|e| migration_failure(&e.into()))?;
    let migrations = Migrations::find(access, &discovery, primary.as_str()).map_err(|e| migration_failure(&e))?;
    let bar = Bar::new("migrate", "resources");
    let mut failed = Vec::new();
    for (resource, done) in planned.resources.iter().map(|planned| &planned.resource).zip(0..) {
        bar.at(done, planned.resources.len() as u64);
        let begun = migrations.begin(resource, dry_run).await.map_err(|e| migration_failure(&e))?;
        let how = match (begun, dry_run) {
            (Begun::Made, false) => "made",
            (Begun::TakenUp, false) => "taken up",
            (Begun::Made, true) => "would be made",
            (Begun::TakenUp, true) => "would be taken up",
        };
        note(&format!("{resource}: StorageVersionMigration {} {how}\n", name(resource)));
        if dry_run {
            continue;
        }
        let mut said = |message: &str| note(&format!("{resource}: {message}\n"));
        let ended = migrations.finish(resource, arguments.migration_wait, &mut said).await.map_err(|e| migration_failure(&e))?;
        if let Ended::Failed(message) = ended {
            failed.push((resource.to_string(), name(resource), message));
        }
    }
    if dry_run {
        return Ok(Report::migrated(planned, None, failed));
    }
    let (now, _) = plan(cluster, opened, access).await?;
    Ok(Report::migrated(planned, Some(&now), failed))
}

fn migration_failure(error: &MigrationError) -> Failure {
    const TURN_ON: &str = "It is on by itself from Kubernetes 1.37. In 1.35 and 1.36 give kube-apiserver --feature-gates=StorageVersionMigrator=true and \
--runtime-config=storagemigration.k8s.io/v1beta1=true, and kube-controller-manager the same feature gate. Or leave out --via: patches need none of it.";
    let (exit, next) = match error {
        MigrationError::NotServed { .. } => (Exit::Configuration, TURN_ON),
        MigrationError::NotTakenUp { .. } => (
            Exit::Runtime,
            "See that kube-controller-manager runs, with the feature gate StorageVersionMigrator and its controller storage-version-migrator-controller; it was removed again. Or leave out --via.",
        ),
        MigrationError::NotOurs { .. } => {
            (Exit::Refused, "Look at it with kubectl, and delete it if nobody needs it; then run this again.")
        }
        MigrationError::Refused { status: 403, .. } => (Exit::Runtime, "Apply the ClusterRole that --print-role prints with this --via."),
        MigrationError::Late { .. } => (Exit::Incomplete, "It goes on; run this again, which takes it up, or see --migration-wait."),
        _ => (Exit::Runtime, "Run it again: it goes on with what is still stale."),
    };
    Failure::new(exit, "rewrite by StorageVersionMigration", error, next)
}

/// What no patch could rewrite.
pub(super) fn left(plan: &Plan, report: &Report) -> Left {
    let total = report.total();
    let planned = plan.objects() as u64;
    if report.stopped {
        let why = format!("a signal stopped it: {} of {planned} objects are done with, the others are as they were", total.done());
        return Some((Exit::Incomplete, why, "Run it again: it goes on with what is still stale."));
    }
    if total.failed > 0 {
        let first = report.failures.first().map(|f| format!("{} {}: {}", f.resource, f.object, f.reason)).unwrap_or_default();
        let why = format!("{} objects failed, the first: {first}", total.failed);
        return Some((Exit::CheckFailed, why, "See the list; mend the cause and run it again."));
    }
    if let Some(Impossible { stale, why }) = plan.impossible.first() {
        let name = stale.namespace.iter().chain([&stale.name]).cloned().collect::<Vec<_>>().join("/");
        let why = format!("{} objects cannot be patched, the first: {} {name}: {why}", plan.impossible.len(), stale.resource);
        return Some((Exit::CheckFailed, why, "Mend or remove them in etcd's terms; docs/rewrite.md says how for each reason."));
    }
    if total.unchanged > 0 {
        let first = report.unchanged.first().cloned().unwrap_or_default();
        let why = format!("the API server left {} objects as they were, the first: {first}", total.unchanged);
        return Some((
            Exit::CheckFailed,
            why,
            "It does not find them stale: it has not adopted the primary, or its EncryptionConfiguration does not name them.",
        ));
    }
    None
}

fn answer(named: &Named, plan: &Plan, report: &Report, dry_run: bool) -> Answer {
    let total = report.total();
    let rows = report.resources.iter().map(|tally| {
        let counts = tally.counts;
        [
            tally.resource.clone(),
            tally.planned.to_string(),
            counts.rewritten.to_string(),
            counts.unchanged.to_string(),
            counts.gone.to_string(),
            counts.failed.to_string(),
        ]
        .to_vec()
    });
    let mut text =
        output::columns(&["RESOURCE", "STALE", if dry_run { "WOULD DO" } else { "REWRITTEN" }, "UNCHANGED", "GONE", "FAILED"], rows);
    for planned in &plan.resources {
        for note in &planned.notes {
            text.push_str(&format!("note: {}: {note}\n", planned.resource));
        }
    }
    for (what, why) in &plan.not_checked {
        text.push_str(&format!("note: {what} was not looked at: {why}\n"));
    }
    for failure in &report.failures {
        text.push_str(&format!("failed: {} {}: {}\n", failure.resource, failure.object, failure.reason));
    }
    for Impossible { stale, why } in &plan.impossible {
        let place = stale.namespace.as_deref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
        text.push_str(&format!("cannot be patched: {} {place}{}: {why}\n", stale.resource, stale.name));
    }
    let place = if named.dev { "--dev" } else { "--config FILE" };
    let next = match (dry_run, total.failed == 0 && total.unchanged == 0 && plan.impossible.is_empty()) {
        (true, _) => "nothing was changed (--dry-run)".to_owned(),
        (false, _) if report.stopped => "run it again: it goes on with what is still stale".to_owned(),
        (false, true) => format!("keywright rotate verify OLD_KEY_ID {place}"),
        (false, false) => "mend what is named above, and run it again".to_owned(),
    };
    text.push_str(&output::pairs([("next", next.clone())]));
    let resources: Vec<_> = report
        .resources
        .iter()
        .map(|tally| {
            let counts = tally.counts;
            json!({ "resource": tally.resource, "stale": tally.planned, "rewritten": counts.rewritten, "unchanged": counts.unchanged, "gone": counts.gone, "failed": counts.failed })
        })
        .collect();
    let failures: Vec<_> = report
        .failures
        .iter()
        .map(|failure| json!({ "resource": failure.resource, "object": failure.object, "reason": failure.reason.to_string() }))
        .collect();
    let impossible: Vec<_> = plan
        .impossible
        .iter()
        .map(|Impossible { stale, why }| {
            json!({ "resource": stale.resource, "namespace": stale.namespace, "name": stale.name, "reason": why.to_string() })
        })
        .collect();
    let json = json!({ "dry_run": dry_run, "stopped": report.stopped, "resources": resources, "failures": failures, "impossible": impossible, "unchanged": report.unchanged, "next": next });
    Answer { text, json }
}
