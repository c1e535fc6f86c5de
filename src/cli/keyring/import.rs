//! `keyring import` and `keyring verify --export`: an export comes in.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::super::advice;
use super::super::failure::{Exit, Failure};
use super::super::output::{self, Answer};
use super::super::place::{self, Named, Place};
use super::super::rotate;
use super::export::age_failure;
use super::terminal::{self, Terminal};
use crate::durable::WriteError;
use crate::entropy::OsEntropy;
use crate::export::age::{self, By};
use crate::export::{self, Export, ExportError, FollowError, Follows};
use crate::keyring::create;
use crate::keyring::history::Digest;
use crate::keyring::seal::Opener;
use crate::keyring::seen::Seen;
use crate::keyring::store::{self, ChangeError, Changing, Opened};
use crate::unseal;

/// How an export is opened, and which one it must be.
#[derive(Args)]
pub(super) struct Opening {
    /// Open the export by this age identity file
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
    place: place::Arguments,
    #[command(flatten)]
    output: output::Arguments,
    #[command(flatten)]
    opening: Opening,
    /// Open the keyring that stands there by a passphrase from the terminal
    #[arg(long)]
    ask_passphrase: bool,
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
    arguments.output.show(outcome)
}

/// `keyring verify --export FILE`: decrypts, parses and proves it, and keeps nothing.
pub(super) fn verify(file: &Path, opening: &Opening) -> Result<Answer, Failure> {
    let (export, opened) = open(file, opening, "verify the export", Exit::CheckFailed)?;
    let document = &opened.document;
    let keys = document.versions.iter().filter(|v| v.wrapped.is_some()).count();
    let checked = if opening.digest.is_some() { "the expected one" } else { "not compared: give --digest DIGEST" };
    let text = output::pairs([
        ("export", file.display().to_string()),
        ("digest", export.digest.to_string()),
        ("it is", checked.to_owned()),
        ("keyring", document.keyring.to_string()),
        ("generation", document.generation.to_string()),
        ("keys proved", keys.to_string()),
    ]);
    let text = format!("{text}\n{}", super::versions_table(document));
    let json = json!({
        "export": file, "digest": export.digest.to_string(), "digest_compared": opening.digest.is_some(),
        "keyring": document.keyring.to_string(), "generation": document.generation, "keys_proved": keys,
        "versions": super::versions_json(document),
    });
    Ok(Answer { text, json })
}

/// The keyring in the export, every key of it proved. `damaged` is how a file ends the command that is no sound export.
fn open(file: &Path, opening: &Opening, attempted: &str, damaged: Exit) -> Result<(Export, Opened), Failure> {
    let by = match (&opening.identity, &opening.passphrase_file) {
        (Some(path), _) => By::Identities(terminal::private(path, "read the identity")?),
        (None, Some(path)) => By::Passphrase(terminal::passphrase_file(path)?),
        (None, None) if opening.passphrase => By::Passphrase(terminal::ask("Passphrase of the export: ", false)?),
        (None, None) => {
            let next = "Say --identity FILE, --passphrase or --passphrase-file FILE.";
            return Err(Failure::new(Exit::Usage, attempted, "nothing was named that opens it", next));
        }
    };
    let bytes = contents(file).map_err(|e| {
        Failure::new(Exit::Usage, format!("read the export {}", file.display()), e, "Name a file that `keywright keyring export` wrote.")
    })?;
    let text = age::decrypt(&bytes, &by, Terminal).map_err(|e| {
        let failure = age_failure(&e);
        Failure { exit: if matches!(failure.exit, Exit::Configuration) { damaged } else { failure.exit }, ..failure }
    })?;
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
    Export::open(text, &OsEntropy).map_err(refuse)
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
    let place = arguments.place.resolve()?;
    let machine_bound = matches!(&place, Place::Config(config) if config.machine_bound);
    if let Place::Dev(folder) = &place
        && !arguments.dry_run
    {
        folder.create()?;
    }
    let named = place.named()?;
    let (export, theirs) = open(&arguments.file, &arguments.opening, ATTEMPTED, Exit::Configuration)?;
    // A link or anything else that stands there counts: it is looked at by who opens it.
    if named.source.path.symlink_metadata().is_ok() {
        into(arguments, &named, &export, theirs)
    } else {
        first(arguments, &named, machine_bound, &export, theirs)
    }
}

/// Makes the keyring of this node.
fn first(arguments: &Arguments, named: &Named, machine_bound: bool, export: &Export, mut theirs: Opened) -> Result<Answer, Failure> {
    if machine_bound && !arguments.also_passphrase && arguments.also_key_file.is_empty() {
        return Err(Failure::new(
            Exit::Refused,
            ATTEMPTED,
            "the credential that opens the keyring may be lost with this machine, and nothing else would open it",
            "Add --also-passphrase or --also-key-file FILE; or say `machine_bound = false` in [seal] if you keep the credential elsewhere too.",
        ));
    }
    if arguments.opening.digest.is_none() {
        let question = format!("There is no keyring yet to compare with. Did `keyring export` print the digest {}?", export.digest);
        if !terminal::says_yes(&question) {
            let next = "Give what `keyring export` printed: --digest DIGEST. An age file does not say who wrote it.";
            return Err(Failure::new(Exit::Usage, ATTEMPTED, "a first import needs the digest of the export", next));
        }
    }
    let mut openers = vec![named.opener(false)?];
    openers.append(&mut also(arguments, true)?);
    theirs.keys =
        create::change_root(&mut theirs.document, &theirs.keys, &openers, &OsEntropy).map_err(|e| changed(ChangeError::Load(e.into())))?;
    if !arguments.dry_run {
        store::create_imported(&named.source.path, &theirs, &openers, &OsEntropy).map_err(changed)?;
    }
    // What the plugin of this node saw before, if it had this keyring once: a backup is older than what was lost.
    let behind = Seen::read(&named.source.state_dir).ok().flatten().is_some_and(|seen| seen.check(&theirs.document).is_err());
    let next = if behind {
        "the plugin of this node has seen a newer keyring: keywright keyring accept-restore; keys that were made since are not in this one"
    } else {
        "keywright serve; destroy what is left of the decrypted export, if there is anything"
    };
    Ok(answer(named, export, &theirs, &said(arguments, "a keyring was made"), !arguments.dry_run, next))
}

/// Brings the keyring that stands there to the state of the export.
fn into(arguments: &Arguments, named: &Named, export: &Export, theirs: Opened) -> Result<Answer, Failure> {
    let opener = named.opener(arguments.ask_passphrase)?;
    let mut changing = Changing::begin(&named.source.path, &opener).map_err(changed)?;
    rotate::check_seen(named, &changing, &|| ATTEMPTED.to_owned())?;
    store::prove(&changing.opened, &OsEntropy).map_err(|e| changed(e.into()))?;
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
    openers.append(&mut also(arguments, false)?);
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

/// The further ways to open the keyring that were named.
fn also(arguments: &Arguments, new: bool) -> Result<Vec<Opener>, Failure> {
    let mut openers = Vec::new();
    for path in &arguments.also_key_file {
        openers.push(unseal::key_file(path).map_err(|e| place::unseal_failure(&e))?);
    }
    if arguments.also_passphrase {
        openers.push(place::ask_passphrase(new)?);
    }
    Ok(openers)
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
    let exit = match &error {
        ChangeError::Write(WriteError::Exists(_) | WriteError::Busy(_)) => Exit::Refused,
        ChangeError::Write(_) => Exit::Runtime,
        ChangeError::Load(_) | ChangeError::Step(_) | ChangeError::TooLarge => Exit::Configuration,
    };
    Failure::new(exit, ATTEMPTED, &error, advice::change(&error))
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
