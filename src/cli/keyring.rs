//! `keywright keyring`: looks at the keyring file, seals it anew, carries it to another node and back.

mod ack;
mod export;
mod import;
mod import_key;
mod in_token;
mod look;
mod reseal;
mod restore;
mod terminal;

use clap::{Args, Subcommand};

pub(super) use export::export_to;
pub(super) use import::{Opening, open_export};
pub(super) use look::{read, versions_json, versions_table};

use super::failure::{Exit, Failure};
use super::target;
use crate::entropy::OsEntropy;
use crate::hardening;
use crate::keyring::create;
use crate::keyring::seal::Opener;
use crate::keyring::store::{ChangeError, LoadError, Opened};

/// Gives `opened` another root key, sealed for `openers`. A plan in which a token would have to make a key for that goes without.
fn change_root(opened: &mut Opened, openers: &[Opener], plan: bool) -> Result<(), ChangeError> {
    if !plan || openers.iter().all(|opener| !matches!(opener, Opener::Token(_))) {
        opened.keys = create::change_root(&mut opened.document, &opened.keys, openers, &OsEntropy).map_err(LoadError::from)?;
    }
    Ok(())
}

/// Look at the keyring, seal it anew, bring it to another node
#[derive(Args)]
#[command(after_help = "Examples:
  keywright keyring list --dev
  keywright keyring verify --config /etc/keywright/config.toml --output json")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the versions with their states and the form in which the API server shows their key_ids
    List(target::Arguments),
    /// Show everything that is public: slots, nodes, versions, history
    Show(target::Arguments),
    /// Authenticate the file and prove every key in it; or in an export
    Verify(Verify),
    /// Seal the root key for other secrets, and change it
    Reseal(reseal::Arguments),
    /// Print this node's acknowledgement of the versions that its running plugin has proved
    Ack(ack::Arguments),
    /// Write the whole keyring, encrypted with age: the backup, and how another node gets the same keys
    Export(export::Arguments),
    /// Make the keyring of an export, or bring the one that is here to its state
    Import(import::Arguments),
    /// Take a key that a token has already; it becomes the staged version
    ImportKey(import_key::Arguments),
    /// Let an older keyring serve that was put back on purpose
    AcceptRestore(target::Arguments),
}

/// What `verify` takes.
#[derive(Args)]
struct Verify {
    #[command(flatten)]
    target: target::Arguments,
    /// Verify this export in place of a keyring file; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "place")]
    export: Option<std::path::PathBuf>,
    #[command(flatten)]
    opening: import::Opening,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    hardening::apply().map_err(|e| Failure::new(Exit::Unexpected, "forbid core dumps", e, "This is not foreseen; please report it."))?;
    match arguments.command {
        Command::List(target) => look::list(&target),
        Command::Show(target) => look::show(&target),
        Command::Verify(Verify { target, export: Some(file), opening }) => target.show(import::verify(&file, &opening)),
        Command::Verify(arguments) => look::verify(&arguments.target),
        Command::Reseal(arguments) => reseal::run(arguments),
        Command::Ack(arguments) => ack::run(arguments),
        Command::Export(arguments) => export::run(arguments),
        Command::Import(arguments) => import::run(arguments),
        Command::ImportKey(arguments) => import_key::run(arguments),
        Command::AcceptRestore(target) => restore::run(&target),
    }
}
