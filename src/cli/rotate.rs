//! `keywright rotate`: one step of a rotation at a time, on the keyring file; running plugins follow by themselves.

mod adoption;
mod begin;
mod cluster;
mod exports;
mod guard;
mod hold;
mod interrupt;
mod rewrite;
mod run;
mod slots;
mod status;

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use serde_json::json;

pub(super) use slots::every_slot_is_there;

use super::failure::{Exit, Failure};
use super::output::{self, Answer};
use super::place::{self, Named};
use super::target;
use super::{advice, new_key};
use crate::entropy::OsEntropy;
use crate::hardening;
use crate::key_id::KeyId;
use crate::keyring::create::{self, NewKey};
use crate::keyring::document::{Document, StateLabel, Time, VersionRecord};
use crate::keyring::rotation::{self, Outcome, Step, StepError};
use crate::keyring::seal::Opener;
use crate::keyring::seen::Seen;
use crate::keyring::store::{ChangeError, Changing, Opened};
use crate::provider::KekError;
use crate::provider::pkcs11::{KeyAt, KeyKind, TokenName};
use crate::unseal;

/// Rotate the key-encryption key, one step at a time
#[derive(Args)]
#[command(after_help = "Each step says what it changed and what comes next; taken twice it changes nothing. In order:
begin, promote, rewrite, verify, disable, (hold), destroy; `rotate run` takes them all. verify, disable and destroy look into etcd themselves.

Examples:
  keywright rotate begin --config /etc/keywright/config.toml
  keywright rotate status --dev
  keywright rotate destroy KEY_ID --yes-destroy KEY_ID --config /etc/keywright/config.toml")]
pub(super) struct Arguments {
    #[command(subcommand)]
    step: StepCommand,
}

#[derive(Subcommand)]
enum StepCommand {
    /// Make a new version, staged: it unwraps on every node before anybody wraps with it
    Begin(Begin),
    /// Make the staged version the primary; the old primary retires in the same write
    Promote(Optional),
    /// Record why nothing needs a retired version any more
    Verify(OfVersion),
    /// Have a retired and verified version refuse to unwrap; `enable` undoes it
    Disable(OfVersion),
    /// Let a disabled version unwrap again
    Enable(OfVersion),
    /// Remove the material of a disabled version for ever, once its hold is over
    Destroy(Destroy),
    /// Have the API server write anew what is stored under another key than the primary
    Rewrite(rewrite::Arguments),
    /// All of it, from the beginning or from wherever it stands
    Run(run::Arguments),
    /// Show where the rotation stands and what comes next
    Status(status::Arguments),
}

/// What every step takes.
#[derive(Args)]
struct Common {
    #[command(flatten)]
    target: target::Arguments,
    /// Say what would be changed, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Acknowledgement of another node (a file, from `keywright keyring ack` there); once for each
    #[arg(long, value_name = "FILE")]
    ack: Vec<PathBuf>,
    /// A backup of etcd that must stay restorable: what it needs is not taken away; once for each
    #[arg(long, value_name = "SNAPSHOT")]
    backup: Vec<PathBuf>,
    #[command(flatten)]
    cluster: cluster::Arguments,
    /// Go on without evidence, or without the word of every node; logged in the keyring with your reason
    #[arg(long, value_name = "REASON")]
    accept_risk: Option<String>,
}

#[derive(Args)]
struct Begin {
    #[command(flatten)]
    new_key: new_key::Arguments,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct Optional {
    /// The version [default: the staged one]
    key_id: Option<KeyId>,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct OfVersion {
    /// The version
    key_id: KeyId,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct Destroy {
    /// The version
    key_id: KeyId,
    /// The same key_id again, for scripts; without it you are asked to type it
    #[arg(long, value_name = "KEY_ID")]
    yes_destroy: Option<KeyId>,
    /// Further key files that open the keyring: the root key changes, so every slot is sealed anew
    #[arg(long, value_name = "FILE")]
    also_key_file: Vec<PathBuf>,
    /// Ask for the passphrase that opens the keyring too
    #[arg(long)]
    also_passphrase: bool,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    hardening::apply().map_err(|e| Failure::new(Exit::Unexpected, "forbid core dumps", e, "This is not foreseen; please report it."))?;
    let mut new_key = new_key::Arguments::default();
    let (step, key_id, destroy, common) = match arguments.step {
        StepCommand::Status(arguments) => return status::run(arguments),
        StepCommand::Rewrite(arguments) => return rewrite::run(arguments),
        StepCommand::Run(arguments) => return run::run(arguments),
        StepCommand::Begin(b) => {
            new_key = b.new_key;
            (Step::Begin, None, None, b.common)
        }
        StepCommand::Promote(o) => (Step::Promote, o.key_id, None, o.common),
        StepCommand::Verify(n) => (Step::Verify, Some(n.key_id), None, n.common),
        StepCommand::Disable(n) => (Step::Disable, Some(n.key_id), None, n.common),
        StepCommand::Enable(n) => (Step::Enable, Some(n.key_id), None, n.common),
        StepCommand::Destroy(d) => (Step::Destroy, Some(d.key_id), Some((d.yes_destroy, d.also_key_file, d.also_passphrase)), d.common),
    };
    let named = common.target.named()?;
    let mut openers = vec![common.target.opener(&named)?];
    if let Some((typed, key_files, passphrase)) = destroy {
        if !common.dry_run {
            confirm(key_id, typed)?;
        }
        for path in &key_files {
            openers.push(unseal::key_file(path).map_err(|e| place::unseal_failure(&e))?);
        }
        if passphrase {
            openers.push(place::ask_passphrase(false)?);
        }
    }
    let reason = common.accept_risk.as_deref();
    // Where the cluster is matters only to the steps that look into it.
    let found = if step.needs_evidence() && reason.is_none() { Some(common.cluster.find(&named)) } else { None };
    let cluster = match &found {
        Some(found) => found.as_ref().map_err(|failure| format!("no scan of etcd was made, for it was not found: {}", failure.why)),
        None => Err("no scan of etcd was made".to_owned()),
    };
    let risk = Risk { reason, acks: &common.ack, cluster, backups: &common.backup };
    let request = Request { step, new_key: &new_key, key_id, dry_run: common.dry_run, risk };
    let outcome = take(&named, &openers, &request);
    common.target.show(outcome)
}

/// One step, as it was asked for.
struct Request<'a> {
    step: Step,
    /// Where the key of a new version is made.
    new_key: &'a new_key::Arguments,
    key_id: Option<KeyId>,
    dry_run: bool,
    risk: Risk<'a>,
}

/// What stands against the risk of a step, or the reason to take it.
struct Risk<'a> {
    /// Why to go on without evidence.
    reason: Option<&'a str>,
    /// Acknowledgements of other nodes.
    acks: &'a [PathBuf],
    /// Where to look for evidence; or why not.
    cluster: Result<&'a cluster::Cluster<'a>, String>,
    /// Snapshots that must stay restorable.
    backups: &'a [PathBuf],
}

fn take(named: &Named, openers: &[Opener], request: &Request<'_>) -> Result<Answer, Failure> {
    let step = request.step;
    let attempted = || match &request.key_id {
        Some(key_id) => format!("{} {key_id}", step.name()),
        None => format!("{} a version of {}", step.name(), named.source.path.display()),
    };
    let changed = |error: ChangeError| advice::changed(attempted(), &error);
    let refused = |error: StepError| advice::refused(attempted(), &error);
    let now = Time::of(SystemTime::now());
    let mut changing = Changing::begin(&named.source.path, &openers[0], &named.source.tokens).map_err(changed)?;
    check_seen(named, &changing, &attempted)?;

    let opened = &mut changing.opened;
    let about = request.key_id.or_else(|| rotation::staged(&opened.document).map(|v| v.key_id));
    // Whether there is anything to do comes first: what is done already needs no evidence.
    let guard::Grounds { why, hold, warning } = match about {
        Some(about) if !is_done(opened, step, about) => guard::check(named, opened, request, about)?,
        _ => guard::Grounds::default(),
    };
    let new = match step {
        Step::Begin => {
            let primary = opened.document.versions.iter().find(|v| v.state == StateLabel::Primary);
            Some(request.new_key.resolve(&opened.tokens, primary)?)
        }
        _ => None,
    };
    let document = &mut opened.document;
    let outcome = match (step, request.key_id) {
        (Step::Begin, _) => match new {
            Some(NewKey::Token { token, .. }) if request.dry_run && rotation::staged(document).is_none() => {
                return Ok(would_begin(&token));
            }
            Some(NewKey::Token { token, algorithm, iv }) => {
                let begin = begin::InToken { path: &named.source.path, openers, token, algorithm, iv, now };
                Ok(begin.begin(&mut changing)?)
            }
            _ => rotation::begin(document, &opened.keys, now, &OsEntropy),
        },
        (Step::Promote, key_id) => rotation::promote(document, key_id, now),
        (Step::Verify, Some(key_id)) => match &why {
            Some(why) => rotation::verify(document, key_id, why.clone()),
            None => Ok(Outcome::Unchanged(key_id)),
        },
        (Step::Disable, Some(key_id)) => rotation::disable(document, key_id, now),
        (Step::Enable, Some(key_id)) => rotation::enable(document, key_id, now),
        (Step::Destroy, Some(key_id)) => rotation::destroy(document, key_id, now),
        (_, None) => Err(StepError::NothingStaged),
    };
    let key_id = match outcome.map_err(refused)? {
        Outcome::Unchanged(key_id) => {
            return Ok(answer(named, &changing.opened.document, step, key_id, "nothing was changed: that was done before", false));
        }
        Outcome::Changed(key_id) => key_id,
    };
    let opened = &mut changing.opened;
    if step == Step::Destroy {
        every_slot_is_there(opened, openers)?;
        opened.keys = create::change_root(&mut opened.document, &opened.keys, openers, &OsEntropy)
            .map_err(|e| changed(ChangeError::Load(e.into())))?;
    }
    if request.dry_run {
        let mut answer = answer(named, &opened.document, step, key_id, "would be done; nothing was changed (--dry-run)", false);
        if step == Step::Begin {
            // Its key was made for this run alone: the name will be another one.
            answer.text = answer.text.replace(&key_id.to_string(), "made when it is done");
            answer.json["key_id"] = serde_json::Value::Null;
        }
        return Ok(answer);
    }
    let words = match &why {
        Some(why) => format!("{} {} {why}", step.name(), key_id.version),
        // The whole key_id, check included: so the head of the history commits to the keys, and two nodes that begin apart are told apart.
        None if step == Step::Begin => format!("{} {key_id}", step.name()),
        None => format!("{} {}", step.name(), key_id.version),
    };
    let what = crate::keyring::document::Why::from_person(&words)
        .ok_or_else(|| Failure::new(Exit::Unexpected, attempted(), "the step has no name", "Please report it."))?;
    // A key in a token is in no export, ever: the backup of the HSM is its backup.
    let in_no_export = step == Step::Promote
        && changing.opened.document.versions.iter().any(|v| v.key_id == key_id && v.exported.is_none() && v.in_token().is_none());
    let mut answer = answer(named, &changing.opened.document, step, key_id, "done", true);
    for entry in hold {
        rotation::record(&mut changing.opened.document, now, entry).map_err(refused)?;
    }
    if step == Step::Destroy {
        // Last, when nothing else can refuse. Should the write below fail, the next destroy finds no key and goes on.
        if !destroy_in_token(&changing.opened, key_id, &attempted)? {
            let warning =
                "the token had no such key, so nothing was destroyed in it: that was done before, or the key has another name there by now";
            warn(&mut answer, warning);
        }
    }
    changing.commit(&named.source.path, openers, now, what, &OsEntropy).map_err(changed)?;
    if in_no_export {
        let warning =
            format!("{key_id} is in no export: if this file is lost, so is all that it wraps. Make one now: keywright keyring export");
        warn(&mut answer, &warning);
    }
    if let Some(warning) = warning {
        warn(&mut answer, &warning);
    }
    Ok(answer)
}

/// What a token would be asked for.
fn would_begin(token: &TokenName) -> Answer {
    let result = format!("would make a key in token {token}; nothing was changed (--dry-run)");
    let json = json!({ "step": "begin", "key_id": null, "changed": false, "result": result });
    Answer { text: output::pairs([("step", "begin".to_owned()), ("result", result)]), json }
}

/// Has the token destroy the key of a version that is being destroyed; whether it had it. One that is gone already was destroyed by a command that did not come to
/// its end.
fn destroy_in_token(opened: &Opened, key_id: KeyId, attempted: &dyn Fn() -> String) -> Result<bool, Failure> {
    let version = opened.document.versions.iter().find(|v| v.key_id == key_id);
    let Some(key) = version.and_then(VersionRecord::in_token) else { return Ok(true) };
    let mut there = true;
    let mac = key.mac.map(|id| (KeyAt { id, ..key.at.clone() }, KeyKind::Mac));
    for (at, kind) in [(key.at.clone(), KeyKind::Cipher)].into_iter().chain(mac) {
        match opened.tokens.destroy_key(&at, kind) {
            Err(error) if error.is_no_key() => there = false,
            outcome => outcome.map_err(|e| advice::refused(attempted(), &StepError::from(KekError::from(e))))?,
        }
    }
    Ok(there)
}

fn warn(answer: &mut Answer, warning: &str) {
    answer.text.push_str(&format!("WARNING: {warning}\n"));
    answer.json["warning"] = warning.into();
}

fn is_done(opened: &Opened, step: Step, key_id: KeyId) -> bool {
    use crate::keyring::document::StateLabel::{Destroyed, Disabled, Primary, Retired};
    let version = opened.document.versions.iter().find(|v| v.key_id == key_id);
    version.is_some_and(|version| match step {
        Step::Begin => false,
        Step::Promote => version.state == Primary,
        Step::Verify => version.state == Retired && version.verified.is_some(),
        Step::Disable => version.state == Disabled,
        Step::Enable => version.state == Retired,
        Step::Destroy => version.state == Destroyed,
    })
}

/// A command must not build on a keyring that its plugin would refuse.
pub(super) fn check_seen(named: &Named, changing: &Changing, attempted: &dyn Fn() -> String) -> Result<(), Failure> {
    let seen = Seen::read(&named.source.state_dir).and_then(|seen| seen.map_or(Ok(()), |seen| seen.admit(&changing.opened.document)));
    seen.map_err(|e| Failure::new(Exit::Configuration, attempted(), &e, advice::seen(&e)))
}

/// Whether a person wants the plan.
fn confirm_plan() -> Result<(), Failure> {
    use std::io::IsTerminal;
    let refuse = |why: &str| Err(Failure::new(Exit::Usage, "begin", why, "Say --yes to go on without being asked; nothing was changed."));
    if !std::io::stdin().is_terminal() {
        return refuse("it was not confirmed");
    }
    super::note("Go on? [yes/no] ");
    let mut line = String::new();
    match std::io::stdin().read_line(&mut line) {
        Ok(_) if line.trim() == "yes" => Ok(()),
        _ => refuse("it was not confirmed"),
    }
}

/// The full key_id, typed once more by a person or given by a script.
fn confirm(key_id: Option<KeyId>, typed: Option<KeyId>) -> Result<(), Failure> {
    use std::io::{IsTerminal, Write};
    let attempted = "destroy a version";
    let typed = match typed {
        Some(typed) => typed.to_string(),
        None if std::io::stdin().is_terminal() => {
            let mut line = String::new();
            let _ = write!(std::io::stderr(), "Nothing can undo this. Type the full key_id of the version to destroy: ");
            std::io::stdin().read_line(&mut line).map_err(|e| Failure::new(Exit::Usage, attempted, e, "Give --yes-destroy KEY_ID."))?;
            line.trim().to_owned()
        }
        None => {
            let next = "Give the same key_id once more: --yes-destroy KEY_ID.";
            return Err(Failure::new(Exit::Usage, attempted, "it was not confirmed", next));
        }
    };
    if key_id.is_some_and(|key_id| key_id.to_string() == typed) {
        return Ok(());
    }
    Err(Failure::new(Exit::Usage, attempted, "what was typed is not the key_id of that version", "Nothing was changed; begin anew."))
}

fn answer(named: &Named, document: &Document, step: Step, key_id: KeyId, said: &str, changed: bool) -> Answer {
    let place = if named.dev { "--dev" } else { "--config FILE" };
    let next = match step {
        Step::Begin => format!("bring it to every node (keywright keyring export), then: keywright rotate promote {place}"),
        Step::Promote => {
            "API servers write with it within two polls; rewrite what is stored, then: keywright rotate verify OLD_KEY_ID".into()
        }
        Step::Verify => format!("keywright rotate disable {key_id} {place}"),
        Step::Disable => {
            format!(
                "restart every API server once, wait out the hold (`rotate status` shows it), then: keywright rotate destroy {key_id} {place}; until then `rotate enable` undoes it"
            )
        }
        Step::Enable => "see what still needed it before you disable it again".into(),
        Step::Destroy => "exports and backups made before still hold the material: destroy those too".into(),
    };
    let mut rows = vec![("step", step.name().to_owned()), ("key_id", key_id.to_string()), ("result", said.to_owned())];
    let mut json = json!({ "step": step.name(), "key_id": key_id.to_string(), "changed": changed, "result": said, "next": next });
    if step == Step::Destroy {
        let exports = exports::holding(document, key_id);
        rows.extend(exports::lines(&exports).into_iter().map(|line| ("still held by", line)));
        json["exports"] = exports::as_json(&exports);
    }
    rows.push(("next", next));
    Answer { text: output::pairs(rows), json }
}
