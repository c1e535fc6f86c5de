//! `keywright init`: makes the first keyring.

use std::time::SystemTime;

use clap::Args;

use super::failure::{Exit, Failure};
use super::place::{self, Place};
use super::{advice, print};
use crate::durable::CreateError;
use crate::entropy::OsEntropy;
use crate::hardening;
use crate::keyring::store::{self, InitError};

/// Make a first keyring; an existing one is never touched
#[derive(Args)]
#[command(after_help = "Example:
  head -c 32 /dev/urandom > /etc/keywright/seal.key && chmod 0400 /etc/keywright/seal.key
  keywright init --config /etc/keywright/config.toml")]
pub(super) struct Arguments {
    #[command(flatten)]
    place: place::Arguments,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let Place::Config(config) = arguments.place.resolve()? else {
        let next = "Say `--config FILE`; a development keyring is made by `keywright serve --dev`.";
        return Err(Failure::new(Exit::Usage, "make a keyring", "no configuration was named", next));
    };
    hardening::apply().map_err(|e| Failure::new(Exit::Unexpected, "forbid core dumps", e, "This is not foreseen; please report it."))?;
    let opener = place::opener(&config.seal)?;
    let keyring = store::create(&config.keyring, &opener, SystemTime::now(), &OsEntropy).map_err(|error| {
        let exit = match error {
            InitError::Create(CreateError::Exists(_) | CreateError::Busy(_)) => Exit::Refused,
            InitError::Create(_) | InitError::Load(_) => Exit::Configuration,
        };
        Failure::new(exit, format!("make the keyring {}", config.keyring.display()), &error, advice::init(&error))
    })?;
    print(&format!(
        "made     {}\nkey_id   {}\nnext     Back the keyring up together with what opens it, each in its own place; then: keywright serve --config FILE\n",
        config.keyring.display(),
        keyring.primary()
    ));
    Ok(())
}
