//! `keyring accept-restore`: an older keyring was put back on purpose.

use serde_json::json;

use super::super::advice;
use super::super::failure::{Exit, Failure};
use super::super::output::{self, Answer};
use super::super::place::Place;
use super::{Common, look};
use crate::keyring::seen::Seen;

pub(super) fn run(common: Common) -> Result<(), Failure> {
    let outcome = common.place.resolve().and_then(Place::named).and_then(|named| {
        let opened = look::read(&named, common.ask_passphrase)?;
        let failed = |e| Failure::new(Exit::Runtime, "accept the keyring", &e, advice::seen(&e));
        let seen = Seen::of(&opened.document)
            .ok_or_else(|| Failure::new(Exit::Configuration, "accept the keyring", "it has no history", "Restore it from its backup."))?;
        seen.write(&named.source.state_dir).map_err(failed)?;
        let generation = opened.document.generation;
        let text = output::pairs([
            ("accepted", format!("generation {generation}")),
            ("next", "a running plugin loads it within a second; keys that were made after it are not in it".to_owned()),
        ]);
        Ok(Answer { text, json: json!({ "accepted_generation": generation }) })
    });
    common.output.show(outcome)
}
