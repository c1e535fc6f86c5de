//! What opens each slot of a keyring whose root key is about to change.

use super::super::failure::{Exit, Failure};
use crate::keyring::seal::{Opener, SlotKind};
use crate::keyring::store::Opened;

/// Another root key is sealed for every slot, so what opens each must be at hand.
pub(in crate::cli) fn every_slot_is_there(opened: &Opened, openers: &[Opener]) -> Result<(), Failure> {
    let attempted = "change the root key";
    let document = &opened.document;
    let mut used = vec![false; openers.len()];
    for slot in &document.slots {
        // By trying, not by kind: a mistyped passphrase or another key file would take the place of the slot unnoticed.
        let opens = |opener: &Opener| opener.open(std::slice::from_ref(slot), document.keyring).is_ok();
        match openers.iter().position(opens) {
            Some(at) => used[at] = true,
            None => return Err(slot_not_opened(attempted, &slot.kind(), openers)),
        }
    }
    let Some(unused) = used.iter().zip(openers).find(|(used, _)| !**used) else { return Ok(()) };
    let why = format!("what was given for a {} slot opens none that is not open already", unused.1.kind());
    Err(Failure::new(Exit::Usage, attempted, why, "Leave it out; `keywright keyring reseal` makes new slots. Nothing was changed."))
}

fn slot_not_opened(attempted: &str, kind: &SlotKind, openers: &[Opener]) -> Failure {
    if openers.iter().any(|opener| opener.kind() == *kind) {
        let why = format!("what was given does not open the keyring's {kind} slot");
        return Failure::new(Exit::Configuration, attempted, why, "Give what it was made with; nothing was changed.");
    }
    let next = match kind {
        SlotKind::KeyFile => "Name its key file with --also-key-file FILE.".to_owned(),
        SlotKind::Passphrase => "Say --also-passphrase.".to_owned(),
        SlotKind::Credential(name) => format!("Run the command in a unit with LoadCredential={name}:... ."),
        SlotKind::Token(token) => format!("Name token {token} in [seal], and in a [[token]] table."),
        SlotKind::InsecureDevelopment => "Say --dev.".to_owned(),
    };
    Failure::new(Exit::Usage, attempted, format!("what opens the {kind} slot is not at hand"), next)
}
