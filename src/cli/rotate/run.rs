//! `keywright rotate run`: the whole rotation, from what stands in the keyring and in etcd; killed anywhere, it goes on from there.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::super::failure::{Exit, Failure};
use super::super::keyring::{self, read};
use super::super::output::{self, Answer};
use super::super::place::Named;
use super::super::{block_on, new_key, note, place, target};
use super::cluster::{self, Cluster};
use super::rewrite::{self, Pace};
use super::{Request, Risk, hold, take};
use crate::hardening;
use crate::key_id::KeyId;
use crate::keyring::document::{Document, StateLabel, Time};
use crate::keyring::rotation::Step;
use crate::keyring::seal::Opener;
use crate::keyring::store::Opened;
use crate::rotation::{self, Next, Stage};
use crate::unseal;

/// How often what is stored is rewritten and counted again before a run gives up: each time only what was written back meanwhile is left.
const PASSES: usize = 5;
/// Between two looks at what ends a hold.
const PAUSE: Duration = Duration::from_secs(2);

#[derive(Args)]
#[command(
    after_help = "Stages, in order: begin, export, promote, adoption, rewrite, verify, disable, hold, destroy. Nothing says how far it has come but the keyring
and etcd: killed at any moment and started again with the same --from, it goes on, and does nothing once that version is destroyed.
Without --from it continues a rotation that is under way, or begins one.

Examples:
  keywright rotate run --config FILE --to age1... --export-file backup.age --until disable
  keywright rotate run --config FILE --from KEY_ID --no-backup \"the HSM's own backup\" --yes
  keywright rotate run --dev --endpoints http://127.0.0.1:2379 --kubeconfig admin.conf --no-backup trial --yes"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    target: target::Arguments,
    #[command(flatten)]
    cluster: cluster::Arguments,
    #[command(flatten)]
    pace: Pace,
    #[command(flatten)]
    new_key: new_key::Arguments,
    /// The version to rotate away from [default: of the rotation under way, else the primary]
    #[arg(long, value_name = "KEY_ID")]
    from: Option<KeyId>,
    /// Stop after this stage
    #[arg(long, value_name = "STAGE", value_enum)]
    until: Option<Until>,
    /// Age recipient of the backup that holds the new version (with --export-file); once for each
    #[arg(long, value_name = "AGE_RECIPIENT", requires = "export_file")]
    to: Vec<String>,
    /// Where the backup is written: a new file
    #[arg(long, value_name = "FILE", requires = "to")]
    export_file: Option<PathBuf>,
    /// Go on without a backup of the new version, for this reason
    #[arg(long, value_name = "REASON", conflicts_with = "to")]
    no_backup: Option<String>,
    /// Wait for the end of the hold, however long, in place of ending there
    #[arg(long)]
    wait_hold: bool,
    /// Acknowledgement of another node (a file, from `keywright keyring ack` there); once for each
    #[arg(long, value_name = "FILE")]
    ack: Vec<PathBuf>,
    /// A backup of etcd that must stay restorable: what it needs is not taken away
    #[arg(long, value_name = "SNAPSHOT")]
    backup: Vec<PathBuf>,
    /// Further key files that open the keyring: the root key changes at the end, so every slot is sealed anew
    #[arg(long, value_name = "FILE")]
    also_key_file: Vec<PathBuf>,
    /// Ask for the passphrase that opens the keyring too
    #[arg(long)]
    also_passphrase: bool,
    /// Do not ask: neither whether to begin, nor before the old version is destroyed
    #[arg(long)]
    yes: bool,
    /// Show the plan and do nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Until {
    Begin,
    Export,
    Promote,
    Adoption,
    Rewrite,
    Verify,
    Disable,
    Hold,
    Destroy,
}

impl Until {
    const fn stage(self) -> Stage {
        match self {
            Self::Begin => Stage::Begin,
            Self::Export => Stage::Export,
            Self::Promote => Stage::Promote,
            Self::Adoption => Stage::Adoption,
            Self::Rewrite => Stage::Rewrite,
            Self::Verify => Stage::Verify,
            Self::Disable => Stage::Disable,
            Self::Hold => Stage::Hold,
            Self::Destroy => Stage::Destroy,
        }
    }
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    hardening::apply().map_err(|e| Failure::new(Exit::Unexpected, "forbid core dumps", e, "This is not foreseen; please report it."))?;
    let outcome = attempt(&arguments);
    arguments.target.show(outcome)
}

fn now() -> Time {
    Time::of(SystemTime::now())
}

fn attempt(arguments: &Arguments) -> Result<Answer, Failure> {
    let named = arguments.target.named()?;
    let cluster = arguments.cluster.find(&named)?;
    let mut openers = vec![arguments.target.opener(&named)?];
    for path in &arguments.also_key_file {
        openers.push(unseal::key_file(path).map_err(|e| place::unseal_failure(&e))?);
    }
    if arguments.also_passphrase {
        openers.push(place::ask_passphrase(false)?);
    }
    let opened = read(&arguments.target, &named)?;
    let from = rotation::away_from(&opened.document, arguments.from)
        .map_err(|e| Failure::new(Exit::Usage, "rotate", e, "`keywright keyring list` shows the versions."))?;
    let run = Run { arguments, named: &named, cluster: &cluster, openers, from };
    let plan = run.plan(&opened.document);
    if arguments.dry_run {
        let json = json!({ "from": from.to_string(), "plan": plan.iter().map(|stage| stage.name()).collect::<Vec<_>>(), "changed": false });
        return Ok(Answer { text: run.shown(&plan), json });
    }
    if !plan.is_empty() && !arguments.yes {
        note(&run.shown(&plan));
        super::confirm_plan()?;
    }
    run.go()
}

struct Run<'a> {
    arguments: &'a Arguments,
    named: &'a Named,
    cluster: &'a Cluster<'a>,
    openers: Vec<Opener>,
    from: KeyId,
}

impl Run<'_> {
    fn next(&self, document: &Document) -> Next {
        match rotation::next(document, self.from, self.arguments.no_backup.is_none(), now()) {
            // The record is written before the file: whoever was killed between them has no backup yet.
            Next::Promote(key_id) if self.arguments.export_file.as_ref().is_some_and(|path| !path.exists()) => Next::Export(key_id),
            next => next,
        }
    }

    /// The stages that are left, up to the last wanted one.
    fn plan(&self, document: &Document) -> Vec<Stage> {
        let Some(first) = self.next(document).stage() else { return Vec::new() };
        let wanted = |stage: &Stage| {
            *stage >= first
                && self.arguments.until.is_none_or(|until| *stage <= until.stage())
                && (*stage != Stage::Export || self.arguments.no_backup.is_none())
        };
        Stage::ALL.into_iter().filter(wanted).collect()
    }

    fn shown(&self, plan: &[Stage]) -> String {
        let stages: Vec<_> = plan.iter().map(|stage| stage.name()).collect();
        let stages = if stages.is_empty() { "nothing is left to do".to_owned() } else { stages.join(", ") };
        output::pairs([("rotate away from", self.from.to_string()), ("plan", stages)])
    }

    fn stops_before(&self, stage: Stage) -> bool {
        self.arguments.until.is_some_and(|until| stage > until.stage())
    }

    fn go(&self) -> Result<Answer, Failure> {
        let mut done = Vec::new();
        let mut waiting = String::new();
        loop {
            let opened = read(&self.arguments.target, self.named)?;
            let next = self.next(&opened.document);
            let Some(stage) = next.stage() else {
                return Ok(self.answer(&opened.document, &done, "every older version is destroyed".into()));
            };
            if self.stops_before(stage) {
                let next = format!("stopped before {}, as it was asked for; the same command without --until goes on", stage.name());
                return Ok(self.answer(&opened.document, &done, next));
            }
            match next {
                Next::Begin => self.step(Step::Begin, None, &mut done)?,
                Next::Export(key_id) => self.export(key_id, &mut done)?,
                Next::Promote(key_id) => self.step(Step::Promote, Some(key_id), &mut done)?,
                Next::Verify(old) => {
                    if let Some(stopped) = self.clear(&old, &mut done)? {
                        let opened = read(&self.arguments.target, self.named)?;
                        return Ok(self.answer(&opened.document, &done, stopped));
                    }
                }
                Next::Disable(old) => {
                    self.adopted(&opened)?;
                    old.into_iter().try_for_each(|key_id| self.step(Step::Disable, Some(key_id), &mut done))?;
                }
                Next::Hold(_, left) if self.arguments.wait_hold => {
                    note(&format!("hold: {} are left\n", humantime::format_duration(left)));
                    // The time itself is what is waited for; it is read again afterwards.
                    std::thread::sleep(left.min(Duration::from_secs(60)));
                }
                Next::Hold(_, left) => {
                    let left = humantime::format_duration(left);
                    let next =
                        format!("the hold lasts {left} longer; then: keywright rotate run --from {} (or say --wait-hold)", self.from);
                    return Ok(self.answer(&opened.document, &done, next));
                }
                Next::Destroy(old) => {
                    if let Some((missing, may_end)) = self.outstanding(&opened.document, &old)? {
                        if self.arguments.wait_hold && may_end {
                            if missing != waiting {
                                note(&format!("hold: {missing}\n"));
                                waiting = missing;
                            }
                            std::thread::sleep(PAUSE);
                            continue;
                        }
                        let next = format!(
                            "the hold is not over: {missing}; then: keywright rotate run --from {} (or say --wait-hold)",
                            self.from
                        );
                        return Ok(self.answer(&opened.document, &done, next));
                    }
                    // An API server that was restarted for the hold has to show again with which key it writes.
                    self.adopted(&opened)?;
                    for key_id in old {
                        if !self.arguments.yes {
                            super::confirm(Some(key_id), None)?;
                        }
                        self.step(Step::Destroy, Some(key_id), &mut done)?;
                    }
                }
                Next::Done => {}
            }
        }
    }

    /// What of the hold of `old` is missing, beside its time; and whether it may come. An error if something asked for one of them.
    fn outstanding(&self, document: &Document, old: &[KeyId]) -> Result<Option<(String, bool)>, Failure> {
        for key_id in old {
            let hold = block_on(async { Ok(hold::look(self.named, Ok(self.cluster), document, *key_id).await) })?;
            match hold::objection(&hold, *key_id) {
                Some(violated) if violated.exit == Exit::Refused => return Err(violated),
                Some(_) => return Ok(Some((hold.missing().join("; "), hold.may_end()))),
                None => {}
            }
        }
        Ok(None)
    }

    fn step(&self, step: Step, key_id: Option<KeyId>, done: &mut Vec<String>) -> Result<(), Failure> {
        let risk = Risk { reason: None, acks: &self.arguments.ack, cluster: Ok(self.cluster), backups: &self.arguments.backup };
        let answer = take(self.named, &self.openers, &Request { step, new_key: &self.arguments.new_key, key_id, dry_run: false, risk })?;
        let about = answer.json["key_id"].as_str().unwrap_or_default().to_owned();
        note(&format!("{}: {about}\n", step.name()));
        done.push(format!("{} {about}", step.name()));
        Ok(())
    }

    fn export(&self, key_id: KeyId, done: &mut Vec<String>) -> Result<(), Failure> {
        let Some(path) = &self.arguments.export_file else {
            let next = "Say --to AGE_RECIPIENT and --export-file FILE, or --no-backup \"REASON\" to go on without.";
            let why = format!("{key_id} is in no export yet: if the keyring were lost, so would be all that it wraps");
            return Err(Failure::new(Exit::Incomplete, "promote the new version", why, next));
        };
        let digest = keyring::export_to(self.named, &self.arguments.target, &self.arguments.to, path)?;
        note(&format!("export: {} with digest {digest}\n", path.display()));
        done.push(format!("export {digest}"));
        Ok(())
    }

    /// Waits until every API server is known to write with the primary; one that was started anew shows it only after a while.
    fn adopted(&self, opened: &Opened) -> Result<(), Failure> {
        let how = block_on(rewrite::adopted(self.cluster, opened, &self.arguments.pace))?;
        note(&format!("adoption: {how}\n"));
        Ok(())
    }

    /// Adoption, rewrite, and the record of evidence on each of `old`. Beside it why it stopped, if it was to.
    fn clear(&self, old: &[KeyId], done: &mut Vec<String>) -> Result<Option<String>, Failure> {
        let until = |stage: Stage| {
            self.stops_before(stage)
                .then(|| format!("stopped before {}, as it was asked for; the same command without --until goes on", stage.name()))
        };
        let opened = read(&self.arguments.target, self.named)?;
        self.adopted(&opened)?;
        if let Some(stopped) = until(Stage::Rewrite) {
            return Ok(Some(stopped));
        }
        let rewritten = block_on(async {
            let access = self.cluster.access().await?;
            let mut rewritten = 0;
            for _ in 0..PASSES {
                let (plan, values) = rewrite::plan(self.cluster, &opened, &access).await?;
                note(&format!("scan: {} of {values} values are stale\n", plan.objects() + plan.impossible.len()));
                let report = rewrite::patch(&access, &plan, &self.arguments.pace, false).await?;
                rewritten += report.total().rewritten;
                if let Some((exit, why, next)) = rewrite::left(&plan, &report) {
                    return Err(Failure::new(exit, "rewrite what is stale", why, next));
                }
                if plan.objects() == 0 {
                    return Ok(rewritten);
                }
            }
            let next = "Find who writes with the old key: an API server that has not adopted the primary. Then run this again.";
            Err(Failure::new(Exit::Incomplete, "rewrite what is stale", format!("after {PASSES} passes there still is something"), next))
        })?;
        if rewritten > 0 {
            note(&format!("rewrite: {rewritten} objects\n"));
            done.push(format!("rewrite {rewritten}"));
        }
        if let Some(stopped) = until(Stage::Verify) {
            return Ok(Some(stopped));
        }
        old.iter().try_for_each(|key_id| self.step(Step::Verify, Some(*key_id), done))?;
        Ok(None)
    }

    fn answer(&self, document: &Document, done: &[String], next: String) -> Answer {
        let primary = document.versions.iter().find(|v| v.state == StateLabel::Primary).map(|v| v.key_id.to_string()).unwrap_or_default();
        let from = document.versions.iter().find(|v| v.key_id == self.from).map(|v| v.state.name()).unwrap_or_default();
        let did = if done.is_empty() { "nothing: all of it was done before".to_owned() } else { done.join("; ") };
        let rows =
            [("rotate away from", format!("{} ({from})", self.from)), ("primary", primary.clone()), ("done", did), ("next", next.clone())];
        let json = json!({ "from": self.from.to_string(), "state": from, "primary": primary, "done": done, "changed": !done.is_empty(), "next": next });
        Answer { text: output::pairs(rows), json }
    }
}
