//! `keyring export`: the whole keyring, encrypted to age recipients or by a passphrase.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use serde_json::json;

use super::super::advice;
use super::super::failure::{Exit, Failure};
use super::super::output::{self, Answer};
use super::super::place::Named;
use super::super::{rotate, target};
use super::terminal::{self, Terminal};
use crate::entropy::OsEntropy;
use crate::export::age::{self, AgeError, Recipients, To};
use crate::export::deliver::{Prepared, PublishError};
use crate::export::ssh::SshError;
use crate::export::{ENTRY, Export};
use crate::keyring::document::{Document, StateLabel, Time, Why};
use crate::keyring::history::Digest;
use crate::keyring::rotation;
use crate::keyring::seal::Opener;
use crate::keyring::store::{self, ChangeError, Changing};

#[derive(Args)]
#[command(
    after_help = "The digest that is printed says which export it is: keep it apart from the file; a first import asks for it. Where nothing has changed
since the last export, the same text is encrypted again and has the same digest. Without --output-file the export goes to standard
output and the rest to standard error.

Examples:
  keywright keyring export --config FILE --to age1... --to age1... --output-file keyring.age
  keywright keyring export --config FILE --to \"$(cat id_ed25519.pub)\" --output-file keyring.age
  keywright keyring export --config FILE --passphrase --output-file keyring.age
  keywright keyring export --config FILE --to age1... | ssh cp-2 'cat > keyring.age'"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    target: target::Arguments,
    /// Who can open the export: age1... (X25519 or a plugin's) or a line of an SSH .pub file; any one is enough
    #[arg(long, value_name = "RECIPIENT", num_args = 1.., required_unless_present_any = ["passphrase", "passphrase_file"])]
    to: Vec<String>,
    /// Encrypt it by a passphrase alone; asked for at the terminal
    #[arg(long, conflicts_with_all = ["to", "passphrase_file"])]
    passphrase: bool,
    /// Encrypt it by the passphrase in this file
    #[arg(long, value_name = "FILE", conflicts_with = "to")]
    passphrase_file: Option<PathBuf>,
    /// Write it there; an existing file is never touched
    #[arg(long, value_name = "FILE")]
    output_file: Option<PathBuf>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

const ATTEMPTED: &str = "export the keyring";

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    match export(&arguments) {
        Ok(done) if arguments.output_file.is_none() && !arguments.dry_run => hand_out(&arguments, &done),
        outcome => arguments.target.show(outcome.map(|done| done.answer)),
    }
}

/// What was done.
struct Done {
    answer: Answer,
    armored: Vec<u8>,
    digest: Digest,
}

fn export(arguments: &Arguments) -> Result<Done, Failure> {
    let named = arguments.target.named()?;
    // Everything that can be wrong with the request comes before the keyring is touched.
    let recipients = Recipients::parse(&arguments.to).map_err(|e| age_failure(&e))?;
    if let Some(path) = arguments.output_file.as_deref().filter(|path| path.symlink_metadata().is_ok()) {
        return Err(unwritten(path, &std::io::ErrorKind::AlreadyExists.into(), None));
    }
    let from_file = arguments.passphrase_file.as_deref().map(terminal::passphrase_file).transpose()?;
    if let Some(passphrase) = &from_file {
        age::check_passphrase(passphrase).map_err(|e| age_failure(&e))?;
    }
    let opener = arguments.target.opener(&named)?;
    let changed = |error: ChangeError| advice::changed(ATTEMPTED, &error);
    let to = match from_file {
        Some(passphrase) => To::Passphrase(passphrase),
        None if arguments.passphrase && !arguments.dry_run => {
            // Nobody chooses a passphrase for a keyring that does not load. It is not locked meanwhile: a person takes their time.
            store::read(&named.source.path, &opener, &named.source.tokens).map_err(|e| changed(e.into()))?;
            To::Passphrase(terminal::ask("New passphrase of the export: ", true)?)
        }
        None => To::Recipients(recipients),
    };
    make(&named, opener, &to, arguments.output_file.as_deref(), arguments.dry_run)
}

/// An export to `recipients` in a new file at `path`, as a part of something larger; its digest.
pub(in crate::cli) fn export_to(named: &Named, target: &target::Arguments, recipients: &[String], path: &Path) -> Result<Digest, Failure> {
    let recipients = Recipients::parse(recipients).map_err(|e| age_failure(&e))?;
    make(named, target.opener(named)?, &To::Recipients(recipients), Some(path), false).map(|done| done.digest)
}

fn make(named: &Named, opener: Opener, to: &To, output_file: Option<&Path>, dry_run: bool) -> Result<Done, Failure> {
    let changed = |error: ChangeError| advice::changed(ATTEMPTED, &error);
    let broken = |error| Failure::new(Exit::Configuration, ATTEMPTED, error, "Restore the keyring file from its backup.");
    let mut changing = Changing::begin(&named.source.path, &opener, &named.source.tokens).map_err(changed)?;
    rotate::check_seen(named, &changing, &|| ATTEMPTED.to_owned())?;
    let opened = &mut changing.opened;
    let mut export = Export::of(opened).map_err(broken)?;
    let recorded = export.is_recorded_in(&opened.document);
    if !recorded {
        // The export tells of itself: what it holds is the keyring as it stands after this command.
        let now = Time::of(SystemTime::now());
        let what: Why = ENTRY.parse().map_err(|()| Failure::new(Exit::Unexpected, ATTEMPTED, "no name", "Please report it."))?;
        rotation::record(&mut opened.document, now, what).map_err(|e| changed(e.into()))?;
        export = Export::of(opened).map_err(broken)?;
        export.record_in(&mut opened.document);
    }
    let (digest, generation) = (export.digest, opened.document.generation);
    let held: Vec<String> = opened.document.versions.iter().filter(|v| v.wrapped().is_some()).map(|v| v.key_id.to_string()).collect();
    let in_tokens = keys_in_tokens(&opened.document);
    let done = |armored, result: &str, changed| {
        let next = "keep the digest apart from the file; try it: keywright keyring verify --export FILE --digest DIGEST";
        let mut rows = vec![("generation", generation.to_string()), ("keys", held.len().to_string()), ("result", result.to_owned())];
        let mut json = json!({
            "generation": generation, "key_ids": held, "key_ids_in_tokens": in_tokens, "changed": changed, "result": result, "next": next,
        });
        rows.splice(2..2, not_in_it(&in_tokens));
        if !dry_run {
            rows.insert(0, ("digest", digest.to_string()));
            json["digest"] = digest.to_string().into();
        }
        if let Some(path) = output_file {
            rows.insert(0, ("file", path.display().to_string()));
            json["file"] = path.display().to_string().into();
        }
        rows.push(("next", next.to_owned()));
        Done { answer: Answer { text: output::pairs(rows), json }, armored, digest }
    };
    if dry_run {
        return Ok(done(vec![], "would be done; nothing was changed (--dry-run)", false));
    }
    let armored = age::encrypt(&export.text, to, Terminal::Plugin).map_err(|e| age_failure(&e))?;
    let prepared = output_file.map(|path| Prepared::write(path, &armored).map_err(|e| unwritten(path, &e, None))).transpose()?;
    if !recorded {
        changing.adopt(&named.source.path, &[opener], &OsEntropy).map_err(changed)?;
    }
    if let (Some(prepared), Some(path)) = (prepared, output_file) {
        prepared.publish().map_err(|e| unpublished(path, e, digest))?;
    }
    let result =
        if recorded { "exported again; nothing has changed since the last export" } else { "exported, and recorded in the keyring" };
    Ok(done(armored, result, !recorded))
}

/// The versions whose keys are in tokens, and so in no export.
pub(super) fn keys_in_tokens(document: &Document) -> Vec<String> {
    let in_tokens = document.versions.iter().filter(|v| v.in_token().is_some() && v.state != StateLabel::Destroyed);
    in_tokens.map(|v| v.key_id.to_string()).collect()
}

/// A row about them, if there are some.
pub(super) fn not_in_it(in_tokens: &[String]) -> Option<(&'static str, String)> {
    let text = format!("{}, of which no key is in it: the HSM's own backup is their only one", in_tokens.len());
    (!in_tokens.is_empty()).then_some(("versions in tokens", text))
}

/// To standard output, and the rest to standard error; all of it in one JSON object where that was asked for.
fn hand_out(arguments: &Arguments, done: &Done) -> Result<(), Failure> {
    let mut json = done.answer.json.clone();
    json["export"] = String::from_utf8_lossy(&done.armored).into_owned().into();
    let whole = format!("{json:#}\n");
    let bytes = if arguments.target.output.is_json() { whole.as_bytes() } else { &done.armored };
    let mut out = std::io::stdout().lock();
    // Unlike other output this must arrive: the keyring says by now that there is an export.
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|e| unwritten(Path::new("standard output"), &e, Some(done.digest)))?;
    if !arguments.target.output.is_json() {
        let _ = std::io::stderr().write_all(done.answer.text.as_bytes());
    }
    Ok(())
}

fn unpublished(path: &Path, error: PublishError, digest: Digest) -> Failure {
    match error {
        PublishError::NotNamed(error) => unwritten(path, &error, Some(digest)),
        PublishError::NotDurable(_) => {
            let next = format!("The export {digest} is whole. See to the disk, or copy the file to another one, before you rely on it.");
            Failure::new(Exit::Runtime, format!("sync the folder of {}", path.display()), error, next)
        }
    }
}

fn unwritten(path: &Path, error: &std::io::Error, recorded: Option<Digest>) -> Failure {
    let refused = [std::io::ErrorKind::AlreadyExists, std::io::ErrorKind::ResourceBusy].contains(&error.kind());
    let exit = if refused { Exit::Refused } else { Exit::Runtime };
    let next = match recorded {
        Some(digest) => {
            format!("The keyring records the export {digest}, and it was written nowhere: run the command again, it gives the same one.")
        }
        None => "Name a new file in a folder that can be written, with room on its disk. The keyring is as it was.".to_owned(),
    };
    Failure::new(exit, format!("write the export to {}", path.display()), error, next)
}

/// What is wrong with what was given to age, or with what age was given.
pub(super) fn age_failure(error: &AgeError) -> Failure {
    let (exit, next) = match error {
        AgeError::Recipient(_) => (
            Exit::Usage,
            "Give what `age-keygen -y` or a plugin prints: --to age1...; or a line of a .pub file: --to \"ssh-ed25519 AAAA...\".",
        ),
        AgeError::SshRecipient(SshError::NotPublic) => {
            (Exit::Usage, "Give one .pub file at a time, in quotes: --to \"$(cat id_ed25519.pub)\".")
        }
        AgeError::SshRecipient(_) => {
            (Exit::Usage, "Make a key that can: `age-keygen`, or `ssh-keygen -t ed25519`. The keyring is as it was.")
        }
        AgeError::SshIdentity(error) => ssh_identity(error),
        AgeError::NoPlugin(_) => {
            (Exit::Usage, "Install the plugin where this command finds it; it is run as the user that runs the command.")
        }
        AgeError::Passphrase => (Exit::Usage, "Choose a longer one; six random words are a good one."),
        AgeError::Encrypt(_) => (Exit::Runtime, "See what the plugin says, or try another recipient. The keyring is as it was."),
        AgeError::Identity | AgeError::WrongIdentity => {
            (Exit::Configuration, "Give the identity of one of the recipients that it was exported to: --identity FILE.")
        }
        AgeError::OtherWay(_) => {
            (Exit::Usage, "Say --identity FILE for an export to recipients, --passphrase or --passphrase-file FILE for the other kind.")
        }
        AgeError::WrongPassphrase => (Exit::Configuration, "Try again with the passphrase that was chosen at the export."),
        AgeError::NotAge(_) | AgeError::Damaged(_) => (Exit::Configuration, "Take another copy of the export. Nothing was changed."),
    };
    let attempted = match error {
        AgeError::Recipient(_) | AgeError::SshRecipient(_) | AgeError::NoPlugin(_) | AgeError::Passphrase | AgeError::Encrypt(_) => {
            "use age"
        }
        _ => "open the export",
    };
    Failure::new(exit, attempted, error, next)
}

fn ssh_identity(error: &SshError) -> (Exit, &'static str) {
    match error {
        SshError::Pem | SshError::Cipher(_) | SshError::Rounds(_) => {
            (Exit::Configuration, "Write a copy of the key in the present format: ssh-keygen -p -f COPY. Nothing was changed.")
        }
        SshError::NobodyToAsk => (Exit::Usage, "Run the command at a terminal."),
        SshError::Passphrase => {
            (Exit::Configuration, "Try again with the passphrase of the key; `ssh-keygen -y -f FILE` tells whether it is the one.")
        }
        _ => (Exit::Configuration, "Give the key of one of the recipients that it was exported to: --identity FILE."),
    }
}
