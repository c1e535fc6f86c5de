//! `keyring accept-restore`: an older keyring was put back on purpose.

use serde_json::json;

use super::super::advice;
use super::super::failure::{Exit, Failure};
use super::super::output::{self, Answer};
use super::super::target;
use super::look;
use crate::durable;
use crate::keyring::seen::Seen;

pub(super) fn run(target: &target::Arguments) -> Result<(), Failure> {
    let outcome = target.named().and_then(|named| {
        let opened = look::read(target, &named)?;
        // What was seen counts as durable ever after.
        durable::settle(&named.source.path).map_err(|e| advice::changed("accept the keyring", &e.into()))?;
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
    target.show(outcome)
}
