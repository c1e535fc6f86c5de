//! `keywright init`: makes the first keyring.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;

use super::failure::{Exit, Failure};
use super::place::{self, Place};
use super::{advice, new_key, print};
use crate::durable::WriteError;
use crate::entropy::OsEntropy;
use crate::hardening;
use crate::keyring::create::First;
use crate::keyring::document::{NodeName, Time};
use crate::keyring::seen::Seen;
use crate::keyring::store::{self, ChangeError};
use crate::unseal;

/// Make a first keyring; an existing one is never touched
#[derive(Args)]
#[command(after_help = "A credential may be lost with its machine (TPM, host key), so a keyring that it opens needs a second way in:
--also-passphrase or --also-key-file. Say `machine_bound = false` in [seal] if it is not bound to the machine.

Examples:
  keywright init --config /etc/keywright/config.toml --also-passphrase
  keywright init --config /etc/keywright/config.toml --nodes cp-1,cp-2,cp-3 --also-key-file /media/safe/recovery.key")]
pub(super) struct Arguments {
    #[command(flatten)]
    place: place::Arguments,
    /// The control-plane nodes that will have this keyring
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = parse_node)]
    nodes: Vec<NodeName>,
    /// Least time between disabling a version and destroying it
    #[arg(long, value_name = "DURATION", default_value = "7days", value_parser = humantime::parse_duration)]
    hold: Duration,
    #[command(flatten)]
    new_key: new_key::Arguments,
    /// Open it by a passphrase too; asked for at the terminal
    #[arg(long)]
    also_passphrase: bool,
    /// Open it by this key file too
    #[arg(long, value_name = "FILE")]
    also_key_file: Option<PathBuf>,
}

fn parse_node(text: &str) -> Result<NodeName, String> {
    let form = "a node's name has 1 to 63 lower-case letters, digits, `-` and `.`, the first and the last a letter or digit";
    text.parse().map_err(|()| form.to_owned())
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let Place::Config(config) = arguments.place.resolve()? else {
        let next = "Say `--config FILE`; a development keyring is made by `keywright serve --dev`.";
        return Err(Failure::new(Exit::Usage, "make a keyring", "no configuration was named", next));
    };
    hardening::apply().map_err(|e| Failure::new(Exit::Unexpected, "forbid core dumps", e, "This is not foreseen; please report it."))?;
    let failed = |error: ChangeError| advice::changed(format!("make the keyring {}", config.keyring.display()), &error);
    // Before a passphrase is thought up for nothing. It is asked again under the lock.
    if config.keyring.symlink_metadata().is_ok() {
        return Err(failed(WriteError::Exists(config.keyring.clone()).into()));
    }
    if config.machine_bound && !arguments.also_passphrase && arguments.also_key_file.is_none() {
        return Err(Failure::new(
            Exit::Refused,
            format!("make the keyring {}", config.keyring.display()),
            "the credential that opens it may be lost with this machine, and nothing else would open it",
            "Add --also-passphrase or --also-key-file FILE; or say `machine_bound = false` in [seal] if you keep the credential elsewhere too.",
        ));
    }
    let mut nodes = arguments.nodes;
    nodes.sort();
    nodes.dedup();
    let source = config.source(Some(place::ask_pin));
    let mut openers = vec![place::opener(&source)?];
    if arguments.also_passphrase {
        openers.push(place::ask_passphrase(true)?);
    }
    if let Some(path) = &arguments.also_key_file {
        openers.push(unseal::key_file(path).map_err(|e| place::unseal_failure(&e))?);
    }
    let key = arguments.new_key.resolve(&source.tokens, None)?;
    let first = First { openers: &openers, nodes, hold: arguments.hold, key, now: Time::of(SystemTime::now()) };
    let keyring = store::create(&config.keyring, first, &source.tokens, &OsEntropy).map_err(failed)?;
    // Whatever the plugin of this node has seen, it was another keyring.
    let seen = matches!(Seen::read(&source.state_dir), Ok(Some(_)));
    let accept = if seen { "The plugin here has seen another keyring: `keywright keyring accept-restore`. " } else { "" };
    print(&format!(
        "made     {}\nkey_id   {}\nnext     {accept}Back it up with `keywright keyring export`, and what opens it elsewhere; then: keywright serve --config FILE\n",
        config.keyring.display(),
        keyring.primary()
    ));
    Ok(())
}
