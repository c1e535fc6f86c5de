//! `keyring ack`: this node's word for the others.

use clap::Args;
use serde_json::json;

use super::super::failure::{Exit, Failure};
use super::super::output::{self, Answer};
use super::super::place::{self, Place};
use crate::client::admin;
use crate::config;

#[derive(Args)]
#[command(after_help = "Example:
  keywright keyring ack --config /etc/keywright/config.toml > cp-2.ack")]
pub(super) struct Arguments {
    #[command(flatten)]
    place: place::Arguments,
    #[command(flatten)]
    output: output::Arguments,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let outcome = arguments.place.resolve().and_then(Place::named).and_then(|named| {
        let socket = config::admin_path(&named.socket);
        let text = admin::get(&socket, "/acknowledgement").map_err(|e| {
            let next = "The plugin of this node must run, with its name as `node` in the configuration.";
            Failure::new(Exit::Runtime, format!("ask the plugin at {}", socket.display()), e, next)
        })?;
        let json = json!({ "acknowledgement": text });
        Ok(Answer { text, json })
    });
    arguments.output.show(outcome)
}
