//! `keywright scan`: what is encrypted with which key, read from etcd itself.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use serde_json::{Value, json};

use super::advice;
use super::cluster::{self, EtcdArguments, Found};
use super::failure::{Exit, Failure};
use super::output::{self, Answer};
use super::place::{Named, Place};
use super::progress::Bar;
use super::target;
use crate::config::cluster::Cluster;
use crate::encryption_configuration::Pattern;
use crate::entropy::OsEntropy;
use crate::etcd::key::Prefix;
use crate::etcd::live::Options;
use crate::etcd::snapshot::Snapshot;
use crate::hardening;
use crate::keyring::Keyring;
use crate::keyring::document::Time;
use crate::scan::findings::{Finding, Findings};
use crate::scan::report::{Report, Witness};
use crate::scan::run::{self, Integrity, Job, ScanError};
use crate::scan::tally::{FIRST, Settings};
use crate::scan::writers::Writers;

/// Count what is stored in etcd by resource, provider and key
#[derive(Args)]
#[command(
    after_help = "Reads every key of etcd at one revision, or of a snapshot, and no secret: key_ids stand in clear. With --config or --dev the report
names the keyring's primary and may serve as evidence (--report); without, it is just a count. Ends with 0, with 4 if an expectation
fails, with 7 if not everything could be read.

Examples:
  keywright scan --config /etc/keywright/config.toml --expect-primary
  keywright scan --endpoints https://127.0.0.1:2379 --cacert ca.crt --cert c.crt --key c.key --require-no-plaintext
  keywright scan --snapshot backup.db --resources secrets,configmaps --output json"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    target: target::Arguments,
    #[command(flatten)]
    etcd: EtcdArguments,
    /// Read this snapshot (of `etcdctl snapshot save`, or a copied `db`) in place of a live etcd
    #[arg(long, value_name = "FILE", conflicts_with_all = ["endpoints", "manifest"])]
    snapshot: Option<PathBuf>,
    /// What must be encrypted, as the EncryptionConfiguration names it [default: what it says; secrets, if there is none]
    #[arg(long, value_name = "RESOURCE", value_delimiter = ',', value_parser = Pattern::parse)]
    resources: Vec<Pattern>,
    /// Fail (4) if anything that must be encrypted is not under the keyring's primary, by the provider that writes now
    #[arg(long)]
    expect_primary: bool,
    /// Fail (4) if anything that must be encrypted is in plaintext
    #[arg(long)]
    require_no_plaintext: bool,
    /// Write the report, authenticated by the keyring, to a new file: evidence for a later step
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// How many etcd keys to name of each kind of value
    #[arg(long, value_name = "NUMBER", default_value_t = FIRST)]
    first: usize,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    hardening::apply().map_err(|e| Failure::new(Exit::Unexpected, "forbid core dumps", e, "This is not foreseen; please report it."))?;
    let scanned = scan(&arguments);
    let failed = scanned.as_ref().ok().and_then(|scanned| scanned.objection(&arguments));
    arguments.target.show(scanned.map(|scanned| scanned.answer()))?;
    failed.map_or(Ok(()), Err)
}

/// What was found, judged.
struct Scanned {
    reports: Vec<(Report, Findings)>,
    remarks: Vec<String>,
}

fn scan(arguments: &Arguments) -> Result<Scanned, Failure> {
    let named = match arguments.target.place.resolve()? {
        Place::Unnamed => None,
        place => Some(place.named()?),
    };
    let keyring = named.as_ref().map(|named| open(arguments, named)).transpose()?;
    let needs_keyring = [("--expect-primary", arguments.expect_primary), ("--report", arguments.report.is_some())];
    if let Some((option, _)) = needs_keyring.into_iter().find(|(_, asked)| *asked && keyring.is_none()) {
        let next = "Name the keyring: --config FILE, or --dev.";
        return Err(Failure::new(Exit::Usage, "scan", format!("{option} needs a keyring"), next));
    }
    let unknown = Cluster::default();
    let cluster = named.as_ref().map_or(&unknown, |named| &named.cluster);
    let mut remarks = Vec::new();
    let (reports, found) = match &arguments.snapshot {
        Some(path) => {
            let job = job(arguments, keyring.as_ref(), arguments.etcd.prefix(), None);
            let (report, integrity) = read_snapshot(path, &job)?;
            remarks.extend(integrity.objection().map(|why| format!("a guard does not take this file as evidence: {why}")));
            (vec![report], None)
        }
        None => {
            let found = arguments.etcd.find(cluster)?;
            let mut reports = Vec::new();
            for store in &found.stores {
                let job = job(arguments, keyring.as_ref(), &store.prefix, Some(&found));
                reports.push(read_live(store.clone(), &job)?);
            }
            (reports, Some(found))
        }
    };
    let expected = expected(arguments, found.as_ref(), &mut remarks);
    if let (Some(path), Some(keyring)) = (&arguments.report, &keyring) {
        write_reports(path, &reports, keyring)?;
    }
    let primary = keyring.as_ref().map(Keyring::primary_name);
    let writers = found.as_ref().and_then(|found| found.configuration.as_ref()).map(Writers::of).unwrap_or_default();
    let judge = |report: Report| {
        let findings =
            Findings::of(&report.counts, primary, |resource| expected.iter().any(|p| resource.is_meant_by(p)), &writers, arguments.first);
        (report, findings)
    };
    Ok(Scanned { reports: reports.into_iter().map(judge).collect(), remarks })
}

fn open(arguments: &Arguments, named: &Named) -> Result<Keyring, Failure> {
    let opened = super::keyring::read(&arguments.target, named)?;
    opened
        .prove()
        .map_err(|e| Failure::new(Exit::Configuration, format!("open the keyring {}", named.source.path.display()), &e, advice::load(&e)))
}

fn job(arguments: &Arguments, keyring: Option<&Keyring>, prefix: &str, found: Option<&Found>) -> Job {
    let settings = Settings {
        prefix: Prefix::new(prefix),
        names: found.map(Found::names).unwrap_or_default(),
        primary: keyring.map(|keyring| keyring.primary_name().to_owned()),
        first: arguments.first,
    };
    Job { settings, witness: keyring.map(Witness::of) }
}

pub(super) fn now() -> Time {
    Time::of(SystemTime::now())
}

fn read_live(store: Options, job: &Job) -> Result<Report, Failure> {
    let bar = Bar::new("scan", "values");
    super::block_on(async {
        let mut etcd = cluster::connect(store).await?;
        let scanned = run::live(&mut etcd, job, &now, || (), |(), _| {}, |progress| bar.at(progress.read, progress.total)).await;
        scanned.map(|(report, ())| report).map_err(|e| failure(&e))
    })
}

/// A scan that did not come to its end.
pub(super) fn failure(error: &ScanError) -> Failure {
    let (exit, next) = match error {
        ScanError::Incomplete(e) => (Exit::Incomplete, advice::etcd(&e.why)),
        ScanError::Etcd(e) => (Exit::Runtime, advice::etcd(e)),
        ScanError::Snapshot(_) => (Exit::Incomplete, "Save the snapshot again, with `etcdctl snapshot save`; nothing was counted.".into()),
    };
    Failure::new(exit, "scan etcd", error, next)
}

/// What is in a snapshot, and how far the file vouches for itself.
pub(super) fn read_snapshot(path: &Path, job: &Job) -> Result<(Report, Integrity), Failure> {
    let attempted = || format!("read the snapshot {}", path.display());
    let next = "Name a file that `etcdctl snapshot save` wrote, or a copy of a member's `db`.";
    let snapshot = Snapshot::open(path).map_err(|e| Failure::new(Exit::Configuration, attempted(), e, next))?;
    let bar = Bar::new("scan", "pages");
    run::snapshot(&snapshot, job, &now, &OsEntropy, &mut |read, all| bar.at(read, all))
        .map_err(|e| Failure { attempted: attempted(), ..failure(&e) })
}

/// What must be encrypted.
fn expected(arguments: &Arguments, found: Option<&Found>, remarks: &mut Vec<String>) -> Vec<Pattern> {
    if !arguments.resources.is_empty() {
        return arguments.resources.clone();
    }
    found.and_then(Found::patterns).unwrap_or_else(|| {
        remarks.push("no EncryptionConfiguration was named, so that only secrets are expected to be encrypted; see --encryption-config and --resources".into());
        vec![Pattern::Resource { name: "secrets".into(), group: String::new() }]
    })
}

/// One after the other; a file that exists is left alone.
fn write_reports(path: &Path, reports: &[Report], keyring: &Keyring) -> Result<(), Failure> {
    let failed = |e| Failure::new(Exit::Runtime, format!("write the report {}", path.display()), e, "Name a new file with --report FILE.");
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    let sealed: String = reports.iter().map(|report| report.seal(keyring.coordination())).collect();
    file.write_all(sealed.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

impl Scanned {
    fn answer(&self) -> Answer {
        let mut text = String::new();
        for (report, findings) in &self.reports {
            text.push_str(&report.text());
            text.push('\n');
            text.push_str(&findings_table(findings));
        }
        for remark in &self.remarks {
            text.push_str(&format!("note: {remark}\n"));
        }
        let stores: Vec<Value> = self
            .reports
            .iter()
            .map(
                |(report, findings)| json!({ "report": report, "evidence": report.keyring.is_some(), "findings": findings_json(findings) }),
            )
            .collect();
        Answer { text, json: json!({ "stores": stores, "remarks": self.remarks }) }
    }

    /// What was asked for and is not so.
    fn objection(&self, arguments: &Arguments) -> Option<Failure> {
        if let Some((report, _)) = self.reports.iter().find(|(report, _)| !report.is_whole()) {
            let why = format!("{} ranges were not read and {} values not counted", report.unread.len(), report.uncounted);
            return Some(Failure::new(Exit::Incomplete, "count everything", why, "See what the report says about it, and scan again."));
        }
        let fail = |attempted: &str, finding: Finding, next: &str| {
            (finding.values > 0).then(|| {
                let why = match &named(&finding)[..] {
                    "" => format!("{} values are not so", finding.values),
                    named => format!("{} values are not so: {named}", finding.values),
                };
                Failure::new(Exit::CheckFailed, attempted, why, next)
            })
        };
        let all = |of: fn(&Findings) -> &Finding| {
            let mut sum = Finding::default();
            for (_, findings) in &self.reports {
                sum.values = sum.values.saturating_add(of(findings).values);
                sum.first.extend(of(findings).first.iter().take(arguments.first.saturating_sub(sum.first.len())).cloned());
            }
            sum
        };
        let plaintext = arguments.require_no_plaintext.then(|| all(|findings| &findings.plaintext));
        let plaintext = plaintext.and_then(|finding| {
            fail("find nothing in plaintext", finding, "Have it rewritten: keywright rotate rewrite; see docs/migration.md.")
        });
        let primary = arguments.expect_primary.then(|| all(|findings| &findings.not_under_primary));
        let left_behind = arguments.expect_primary.then(|| all(|findings| &findings.left_behind));
        let next = "Have it rewritten: keywright rotate rewrite.";
        plaintext
            .or_else(|| primary.and_then(|finding| fail("find everything under the primary", finding, next)))
            .or_else(|| left_behind.and_then(|finding| fail("find everything under the provider that writes", finding, next)))
    }
}

fn findings_rows(findings: &Findings) -> [(&'static str, &'static str, &Finding); 7] {
    [
        ("not_under_primary", "not under the primary", &findings.not_under_primary),
        ("left_behind", "by a provider that is to go", &findings.left_behind),
        ("plaintext", "in plaintext", &findings.plaintext),
        ("unreadable", "damaged", &findings.unreadable),
        ("unknown", "of an unknown provider", &findings.unknown),
        ("not_served", "served by no API", &findings.not_served),
        ("outside", "outside the prefix", &findings.outside),
    ]
}

fn findings_table(findings: &Findings) -> String {
    let rows = findings_rows(findings).into_iter().filter(|(_, _, finding)| finding.values > 0);
    let rows = rows.map(|(_, name, finding)| vec![name.to_owned(), finding.values.to_string(), named(finding)]);
    output::columns(&["FINDING", "VALUES", "FIRST"], rows)
}

/// The keys that are known of it. What is under the primary was counted without names.
fn named(finding: &Finding) -> String {
    let more = !finding.first.is_empty() && finding.values > finding.first.len() as u64;
    finding.first.join(", ") + if more { ", ..." } else { "" }
}

fn findings_json(findings: &Findings) -> Value {
    findings_rows(findings)
        .into_iter()
        .map(|(name, _, finding)| (name.to_owned(), json!({ "values": finding.values, "first": finding.first })))
        .collect()
}
