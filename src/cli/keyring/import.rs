//! `keyring import` and `keyring verify --export`: an export comes in.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::super::advice;
use super::super::failure::{Exit, Failure};
use super::super::output::{self, Answer};
use super::super::place::{self, Named, Place};
use super::super::{rotate, target};
use super::export::{age_failure, keys_in_tokens, not_in_it};
use super::terminal::{self, Terminal};
use crate::entropy::OsEntropy;
use crate::export::age::{self, AgeError, By, Kind};
use crate::export::{self, Export, ExportError, FollowError, Follows, ssh};
use crate::keyring::create;
use crate::keyring::history::Digest;
use crate::keyring::seal::Opener;
use crate::keyring::seen::{Seen, SeenError};
use crate::keyring::store::{self, ChangeError, Changing, Opened};
use crate::provider::pkcs11::Tokens;
use crate::unseal;

/// How an export is opened, and which one it must be.
#[derive(Args)]
pub(in crate::cli) struct Opening {
    /// Open the export by this age identity file, or SSH private key
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Open the export by its passphrase; asked for at the terminal
    #[arg(long, conflicts_with = "identity")]
    passphrase: bool,
    /// Open the export by the passphrase in this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["identity", "passphrase"])]
    passphrase_file: Option<PathBuf>,
    /// What `keyring export` printed: the export must be that one
    #[arg(long, value_name = "DIGEST", value_parser = parse_digest)]
    digest: Option<Digest>,
}

fn parse_digest(text: &str) -> Result<Digest, String> {
    text.parse().map_err(|()| "a digest has 64 lower-case hexadecimal digits".to_owned())
}

#[derive(Args)]
#[command(
    after_help = "Where no keyring stands, one is made, sealed as the configuration says; that needs the digest, for an age file does not say who wrote
it. Where one stands, the export must go on from it: same keyring, its history in the history of the export, every check value alike.
Slots and root key of this node stay as they are, unless a version was destroyed since: then the root key changes.

Examples:
  keywright keyring import keyring.age --config FILE --identity recovery.txt --digest DIGEST --also-passphrase
  ssh cp-1 keywright keyring export --config FILE --to age1... | keywright keyring import - --config FILE --identity node.txt"
)]
pub(super) struct Arguments {
    /// The export; `-` is standard input
    file: PathBuf,
    #[command(flatten)]
    target: target::Arguments,
    #[command(flatten)]
    opening: Opening,
    /// Open the keyring by a passphrase too; asked for at the terminal
    #[arg(long)]
    also_passphrase: bool,
    /// Open the keyring by this key file too
    #[arg(long, value_name = "FILE")]
    also_key_file: Vec<PathBuf>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

const ATTEMPTED: &str = "import the export";

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let outcome = import(&arguments);
    arguments.target.show(outcome)
}

/// `keyring verify --export FILE`: decrypts, parses and proves it, and keeps nothing.
pub(super) fn verify(file: &Path, opening: &Opening) -> Result<Answer, Failure> {
    let (export, opened) = open(file, opening, &Tokens::none(), "verify the export", Exit::CheckFailed)?;
    let document = &opened.document;
    let keys = document.versions.iter().filter(|v| v.wrapped().is_some()).count();
    let checked = if opening.digest.is_some() { "the expected one" } else { "not compared: give --digest DIGEST" };
    let in_tokens = keys_in_tokens(document);
    let rows = [
        ("export", file.display().to_string()),
        ("digest", export.digest.to_string()),
        ("it is", checked.to_owned()),
        ("keyring", document.keyring.to_string()),
        ("generation", document.generation.to_string()),
        ("keys proved", keys.to_string()),
    ];
    let text = output::pairs(rows.into_iter().chain(not_in_it(&in_tokens)));
    let text = format!("{text}\n{}", super::versions_table(document));
    let json = json!({
        "export": file, "digest": export.digest.to_string(), "digest_compared": opening.digest.is_some(),
        "keyring": document.keyring.to_string(), "generation": document.generation, "keys_proved": keys,
        "key_ids_in_tokens": in_tokens,
        "versions": super::versions_json(document),
    });
    Ok(Answer { text, json })
}

/// The keyring in an export, for a command that only reads.
pub(in crate::cli) fn open_export(file: &Path, opening: &Opening, tokens: &Arc<Tokens>) -> Result<Opened, Failure> {
    open(file, opening, tokens, "open the export", Exit::CheckFailed).map(|(_, opened)| opened)
}

/// The keyring in the export, every key of it proved. `damaged` is how a file ends the command that is no sound export.
fn open(file: &Path, opening: &Opening, tokens: &Arc<Tokens>, attempted: &str, damaged: Exit) -> Result<(Export, Opened), Failure> {
    let by_passphrase = opening.passphrase || opening.passphrase_file.is_some();
    if opening.identity.is_none() && !by_passphrase {
        let next = "Say --identity FILE, --passphrase or --passphrase-file FILE.";
        return Err(Failure::new(Exit::Usage, attempted, "nothing was named that opens it", next));
    }
    // Nobody types a passphrase for a file that is no export, or that it does not open.
    let bytes = contents(file).map_err(|e| {
        Failure::new(Exit::Usage, format!("read the export {}", file.display()), e, "Name a file that `keywright keyring export` wrote.")
    })?;
    let unopened = |e: AgeError| {
        let failure = age_failure(&e);
        Failure { exit: if matches!(failure.exit, Exit::Configuration) { damaged } else { failure.exit }, ..failure }
    };
    let wanted = if by_passphrase { Kind::Passphrase } else { Kind::Recipients };
    Kind::of(&bytes).and_then(|kind| kind.expect(wanted)).map_err(unopened)?;
    let (by, terminal) = match (&opening.identity, &opening.passphrase_file) {
        (Some(path), _) => {
            let content = terminal::private(path, "read the identity")?;
            let terminal = if ssh::is_private_key(&content) { Terminal::SshKey } else { Terminal::Plugin };
            (By::Identities(content), terminal)
        }
        (None, Some(path)) => (By::Passphrase(terminal::passphrase_file(path)?), Terminal::Plugin),
        (None, None) => (By::Passphrase(terminal::ask("Passphrase of the export: ", false)?), Terminal::Plugin),
    };
    let text = age::decrypt(&bytes, &by, terminal).map_err(unopened)?;
    let refuse = |error: ExportError| {
        let (exit, next) = match &error {
            ExportError::Digest { .. } => (Exit::Refused, "Compare with what the export printed. Do not import what nobody can vouch for."),
            ExportError::Format(_) => (damaged, "Install the release that wrote it, or a newer one; nothing was changed."),
            _ => (damaged, "Take another copy of the export. Nothing was changed."),
        };
        Failure::new(exit, attempted, &error, next)
    };
    let digest = Digest::of(text.expose_secret());
    // Before anything in it is looked at.
    if let Some(expected) = opening.digest.filter(|expected| *expected != digest) {
        return Err(refuse(ExportError::Digest { expected, found: digest }));
    }
    Export::open(text, tokens, &OsEntropy).map_err(refuse)
}

fn contents(file: &Path) -> std::io::Result<Vec<u8>> {
    let source: Box<dyn Read> =
        if file == Path::new("-") { Box::new(std::io::stdin().lock()) } else { Box::new(std::fs::File::open(file)?) };
    let mut bytes = Vec::new();
    source.take(age::MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > age::MAX_FILE {
        return Err(std::io::Error::other(format!("it has more than {} bytes", age::MAX_FILE)));
    }
    Ok(bytes)
}

fn import(arguments: &Arguments) -> Result<Answer, Failure> {
    let place = arguments.target.place.resolve()?;
    let machine_bound = matches!(&place, Place::Config(config) if config.machine_bound);
    if let Place::Dev(folder) = &place
        && !arguments.dry_run
    {
        folder.create()?;
    }
    let named = place.named()?;
    // A link or anything else that stands there counts: it is looked at by who opens it.
    let is_there = named.source.path.symlink_metadata().is_ok();
    if !is_there {
        check_first(arguments, machine_bound)?;
    }
    // What is missing here is told before anything is asked: key files, but no passphrase yet.
    if !arguments.target.ask_passphrase {
        arguments.target.opener(&named)?;
    }
    let key_files = arguments.also_key_file.iter().map(|path| unseal::key_file(path).map_err(|e| place::unseal_failure(&e)));
    let also = key_files.collect::<Result<Vec<_>, _>>()?;
    let (export, theirs) = open(&arguments.file, &arguments.opening, &named.source.tokens, ATTEMPTED, Exit::Configuration)?;
    if is_there { into(arguments, &named, &export, theirs, also) } else { first(arguments, &named, &export, theirs, also) }
}

/// What can be wrong with a first import before its export is opened.
fn check_first(arguments: &Arguments, machine_bound: bool) -> Result<(), Failure> {
    if machine_bound && !arguments.also_passphrase && arguments.also_key_file.is_empty() {
        return Err(Failure::new(
            Exit::Refused,
            ATTEMPTED,
            "the credential that opens the keyring may be lost with this machine, and nothing else would open it",
            "Add --also-passphrase or --also-key-file FILE; or say `machine_bound = false` in [seal] if you keep the credential elsewhere too.",
        ));
    }
    if arguments.opening.digest.is_none() && !terminal::somebody_is_there() { Err(no_digest()) } else { Ok(()) }
}

fn no_digest() -> Failure {
    let next = "Give what `keyring export` printed: --digest DIGEST. An age file does not say who wrote it.";
    Failure::new(Exit::Usage, ATTEMPTED, "a first import needs the digest of the export", next)
}

/// Makes the keyring of this node.
fn first(arguments: &Arguments, named: &Named, export: &Export, mut theirs: Opened, also: Vec<Opener>) -> Result<Answer, Failure> {
    if arguments.opening.digest.is_none() {
        let question = format!("There is no keyring yet to compare with. Did `keyring export` print the digest {}?", export.digest);
        if !terminal::says_yes(&question) {
            return Err(no_digest());
        }
    }
    let mut openers = vec![named.opener(false)?];
    openers.extend(also);
    openers.extend(passphrase(arguments, true)?);
    super::change_root(&mut theirs, &openers, arguments.dry_run).map_err(changed)?;
    if !arguments.dry_run {
        store::create_imported(&named.source.path, &theirs, &openers, &OsEntropy).map_err(changed)?;
    }
    // What the plugin of this node saw before, if it had this keyring once: a backup is older than what was lost.
    let seen = Seen::read(&named.source.state_dir).ok().flatten();
    let next = match seen.and_then(|seen| seen.admit(&theirs.document).err()) {
        Some(SeenError::OtherKeyring { .. }) => {
            "the plugin of this node has seen another keyring: keywright keyring accept-restore, if this one is to take its place"
        }
        Some(_) => {
            "the plugin of this node has seen a newer keyring: keywright keyring accept-restore; keys that were made since are not in this one"
        }
        None => "keywright serve; destroy what is left of the decrypted export, if there is anything",
    };
    Ok(answer(named, export, &theirs, &said(arguments, "a keyring was made"), !arguments.dry_run, next))
}

/// Brings the keyring that stands there to the state of the export.
fn into(arguments: &Arguments, named: &Named, export: &Export, theirs: Opened, also: Vec<Opener>) -> Result<Answer, Failure> {
    let opener = arguments.target.opener(named)?;
    let mut changing = Changing::begin(&named.source.path, &opener, &named.source.tokens).map_err(changed)?;
    rotate::check_seen(named, &changing, &|| ATTEMPTED.to_owned())?;
    // Not its primary: this may be how a node gets away from a token that is dead. What comes in is proved before it is written.
    changing.opened.prove().map_err(|e| changed(e.into()))?;
    let destroys = match export::follows(&theirs, &changing.opened).map_err(|e| refused(&e))? {
        Follows::Same => {
            return Ok(answer(
                named,
                export,
                &changing.opened,
                "nothing was changed: the keyring is in this state already",
                false,
                "nothing",
            ));
        }
        Follows::Later { destroys } => destroys,
    };
    let mut openers = vec![opener];
    openers.extend(also);
    openers.extend(passphrase(arguments, false)?);
    let opened = &mut changing.opened;
    let broken = |error| Failure::new(Exit::Configuration, ATTEMPTED, error, "Restore the keyring file from its backup.");
    export::carry_over(theirs, opened, &OsEntropy).map_err(broken)?;
    if destroys {
        // Or an old copy of the file would still hold what was destroyed under the same root key.
        rotate::every_slot_is_there(opened, &openers)?;
        opened.keys = create::change_root(&mut opened.document, &opened.keys, &openers, &OsEntropy)
            .map_err(|e| changed(ChangeError::Load(e.into())))?;
    } else {
        openers.truncate(1);
    }
    let next = "a running plugin loads it within a second; with several nodes: keywright keyring ack";
    let result = said(arguments, "the keyring went on to the state of the export");
    let answer = answer(named, export, opened, &result, !arguments.dry_run, next);
    if !arguments.dry_run {
        changing.adopt(&named.source.path, &openers, &OsEntropy).map_err(changed)?;
    }
    Ok(answer)
}

/// The passphrase that is to open the keyring too, if there is one.
fn passphrase(arguments: &Arguments, new: bool) -> Result<Option<Opener>, Failure> {
    arguments.also_passphrase.then(|| place::ask_passphrase(new)).transpose()
}

/// What was done, or would be.
fn said(arguments: &Arguments, result: &str) -> String {
    if arguments.dry_run { format!("would be done: {result}; nothing was changed (--dry-run)") } else { result.to_owned() }
}

fn answer(named: &Named, export: &Export, opened: &Opened, result: &str, changed: bool, next: &str) -> Answer {
    let document = &opened.document;
    let primary = document.versions.iter().find(|v| v.state == crate::keyring::document::StateLabel::Primary);
    let key_id = primary.map(|v| v.key_id.to_string()).unwrap_or_default();
    let mut rows = vec![
        ("keyring", named.source.path.display().to_string()),
        ("digest", export.digest.to_string()),
        ("generation", document.generation.to_string()),
        ("key_id", key_id.clone()),
        ("result", result.to_owned()),
    ];
    if named.dev {
        rows.push(("WARNING", "INSECURE: the root key of a development keyring stands in its file in clear".to_owned()));
    }
    rows.push(("next", next.to_owned()));
    let json = json!({
        "keyring": named.source.path, "digest": export.digest.to_string(), "generation": document.generation, "key_id": key_id,
        "insecure_development": named.dev,
        "changed": changed, "result": result, "next": next,
    });
    Answer { text: output::pairs(rows), json }
}

fn changed(error: ChangeError) -> Failure {
    advice::changed(ATTEMPTED, &error)
}

fn refused(error: &FollowError) -> Failure {
    let next = match error {
        FollowError::OtherKeyring { .. } => "Check which keyring the configuration names, and which one was exported.",
        FollowError::Older { .. } => {
            "Export it anew where it was changed last. An older state is only put back by hand: keywright keyring accept-restore."
        }
        FollowError::Diverged(_) | FollowError::Differs(_) => {
            "One of the two was changed apart from the other: find out which is right before anything else. Nothing was changed."
        }
        FollowError::Resurrects(_) => "Export it anew where the version was destroyed.",
    };
    Failure::new(Exit::Refused, ATTEMPTED, error, next)
}
