//! `keyring reseal`: other slots, another root key, the same keys.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;
use serde_json::json;

use super::super::failure::{Exit, Failure};
use super::super::output::{self, Answer};
use super::super::place;
use super::super::rotate::check_seen;
use super::super::target;
use super::super::{advice, new_key};
use crate::entropy::OsEntropy;
use crate::keyring::document::{Time, Why};
use crate::keyring::seal::Opener;
use crate::keyring::store::{ChangeError, Changing};
use crate::unseal::{self, Seal};

#[derive(Args)]
#[command(
    after_help = "The slots that are named are all that the keyring has afterwards: name those that are to stay too. Each is proved to open the
new file before it takes the place of the old one.

Examples:
  keywright keyring reseal --config FILE --to-key-file /etc/keywright/new.key --to-passphrase
  keywright keyring reseal --config FILE --to-credential keywright-seal --to-passphrase"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    target: target::Arguments,
    /// Open it now by this key file, in place of what the configuration says
    #[arg(long, value_name = "FILE", conflicts_with = "ask_passphrase")]
    from_key_file: Option<PathBuf>,
    /// Seal it by this key file
    #[arg(long, value_name = "FILE")]
    to_key_file: Vec<PathBuf>,
    /// Seal it by the systemd credential of this name, which the command must have
    #[arg(long, value_name = "NAME")]
    to_credential: Vec<String>,
    /// Seal it by a key in the token of this label, which the token makes unless the keyring has a slot there
    #[arg(long, value_name = "LABEL")]
    to_token: Vec<String>,
    /// Seal it by a passphrase; asked for at the terminal
    #[arg(long)]
    to_passphrase: bool,
    /// Say what would be changed, and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let outcome = reseal(&arguments);
    arguments.target.show(outcome)
}

fn reseal(arguments: &Arguments) -> Result<Answer, Failure> {
    let attempted = "seal the keyring anew";
    let named = arguments.target.named()?;
    let unsealed = |e| place::unseal_failure(&e);
    let mut openers = Vec::new();
    for path in &arguments.to_key_file {
        openers.push(unseal::key_file(path).map_err(unsealed)?);
    }
    for name in &arguments.to_credential {
        openers.push(Seal::Credential(name.clone()).opener(&named.source.tokens).map_err(unsealed)?);
    }
    for label in &arguments.to_token {
        let name = new_key::token_of_label(&named.source.tokens, Some(label))?;
        openers.push(Seal::Token(name).opener(&named.source.tokens).map_err(unsealed)?);
    }
    if arguments.to_passphrase {
        openers.push(place::ask_passphrase(true)?);
    }
    if openers.is_empty() {
        let next = "Name every slot it is to have: --to-key-file, --to-credential, --to-token, --to-passphrase.";
        return Err(Failure::new(Exit::Usage, attempted, "no slot was named", next));
    }
    let may_be_lost = |opener: &Opener| match opener {
        Opener::Credential(..) => !named.credential_is_kept,
        Opener::Token(_) => !named.token_is_kept,
        _ => false,
    };
    if openers.iter().all(may_be_lost) {
        let why = "what it is to be sealed by may be lost with this machine, and nothing else would open the keyring";
        let next =
            "Add --to-passphrase or --to-key-file FILE; or say `machine_bound = false` in [seal] if you keep the credential elsewhere too.";
        return Err(Failure::new(Exit::Refused, attempted, why, next));
    }
    let old = match &arguments.from_key_file {
        Some(path) => unseal::key_file(path).map_err(unsealed)?,
        None => arguments.target.opener(&named)?,
    };
    let changed = |e: ChangeError| advice::changed(attempted, &e);
    let mut changing = Changing::begin(&named.source.path, &old, &named.source.tokens).map_err(changed)?;
    check_seen(&named, &changing, &|| attempted.to_owned())?;
    let opened = &mut changing.opened;
    super::change_root(opened, &openers, arguments.dry_run).map_err(changed)?;
    let kinds: Vec<String> = openers.iter().map(|opener: &Opener| opener.kind().to_string()).collect();
    if !arguments.dry_run {
        let what: Why = "reseal".parse().map_err(|()| Failure::new(Exit::Unexpected, attempted, "no name", "Please report it."))?;
        changing.commit(&named.source.path, &openers, Time::of(SystemTime::now()), what, &OsEntropy).map_err(changed)?;
    }
    let result = if arguments.dry_run {
        "would be done; nothing was changed (--dry-run)"
    } else {
        "done; the root key is another one, the keys are the same"
    };
    let next = "let [seal] of the configuration name one of these, then destroy the old secret: together with an old copy of the file it opens the old keys";
    let text = output::pairs([("slots", kinds.join(", ")), ("result", result.to_owned()), ("next", next.to_owned())]);
    Ok(Answer { text, json: json!({ "slots": kinds, "changed": !arguments.dry_run, "result": result, "next": next }) })
}
