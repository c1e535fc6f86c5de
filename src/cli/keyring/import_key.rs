//! `keyring import-key`: a key that a token has already becomes the staged version.

use std::time::SystemTime;

use clap::Args;
use serde_json::json;

use super::super::failure::{Exit, Failure};
use super::super::new_key;
use super::super::output::{self, Answer};
use super::super::rotate::check_seen;
use super::super::{advice, target};
use crate::entropy::OsEntropy;
use crate::keyring::create::{self, Drawn, NewKey};
use crate::keyring::document::{InToken, Time, Why};
use crate::keyring::rotation::{self, Outcome, StepError};
use crate::keyring::store::Changing;
use crate::provider::KekError;
use crate::provider::pkcs11::{KeyAt, KeyKind, ObjectId};

/// The command's own words of the task.
const ATTEMPTED: &str = "take a key of the token into the keyring";

#[derive(Args)]
#[command(
    after_help = "The key must be an AES-256 key of the token, sensitive and not extractable, that encrypts and decrypts, alone with its label and id. It becomes the
staged version, as `rotate begin` makes one; `rotate promote` goes on from there. Keys that nobody else uses are best: what else wraps with it
counts against the same limit of wraps.

Examples:
  keywright keyring import-key --config FILE --token kms --key-label kek-2027 --id 00112233445566778899aabbccddeeff"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    target: target::Arguments,
    #[command(flatten)]
    new_key: new_key::Arguments,
    /// CKA_LABEL of the key
    #[arg(long, value_name = "LABEL")]
    key_label: String,
    /// CKA_ID of the key: 16 bytes as hexadecimal digits
    #[arg(long, value_name = "HEX", value_parser = parse_id)]
    id: ObjectId,
    /// CKA_ID of the HMAC key of the same label, with --algorithm aes-256-cbc-hmac-sha-256
    #[arg(long, value_name = "HEX", value_parser = parse_id)]
    mac_id: Option<ObjectId>,
}

fn parse_id(text: &str) -> Result<ObjectId, String> {
    let mut id = [0; 16];
    match base16ct::mixed::decode(text, &mut id).map(<[u8]>::len) {
        Ok(16) => Ok(id),
        _ => Err("an id has 16 bytes, written as 32 hexadecimal digits".to_owned()),
    }
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let outcome = take(&arguments);
    arguments.target.show(outcome)
}

fn take(arguments: &Arguments) -> Result<Answer, Failure> {
    let named = arguments.target.named()?;
    let opener = arguments.target.opener(&named)?;
    let path = &named.source.path;
    let mut changing = Changing::begin(path, &opener, &named.source.tokens).map_err(|e| advice::changed(ATTEMPTED, &e))?;
    check_seen(&named, &changing, &|| ATTEMPTED.to_owned())?;
    let document = &mut changing.opened.document;
    let NewKey::Token { token, algorithm, iv } = arguments.new_key.resolve_in_token(&named.source.tokens)? else {
        return Err(Failure::new(Exit::Usage, ATTEMPTED, "a local key has no name to take it by", "Leave out `--provider local`."));
    };
    let at = KeyAt { token, label: arguments.key_label.clone(), id: arguments.id };
    let ids = [Some(at.id), arguments.mac_id];
    let used = |other: &KeyAt| other.token == at.token && ids.contains(&Some(other.id));
    let of_version = document.versions.iter().find(|version| {
        version.in_token().is_some_and(|key| used(&key.at) || key.mac.is_some_and(|id| used(&KeyAt { id, ..key.at.clone() })))
    });
    let of_slot = document.slots.iter().filter_map(|slot| slot.token_key()).any(used);
    if of_version.is_some() || of_slot {
        let whose = of_version.map_or_else(|| "a slot of this keyring".to_owned(), |version| version.key_id.to_string());
        return Err(Failure::new(Exit::Refused, ATTEMPTED, format!("it is the key of {whose} already"), "Nothing was changed."));
    }
    // What is ours is known by its label: another keyring would lose its key when this one destroys it.
    if at.label.starts_with("keywright-") && at.label != create::token_label(document.keyring) {
        let next = "Have the token make a key, or import one with a label of its own. Nothing was changed.";
        return Err(Failure::new(Exit::Refused, ATTEMPTED, "its label says that it is another keyring's, or of a slot", next));
    }
    if let Some(staged) = rotation::staged(document) {
        let why = format!("{} is staged", staged.key_id);
        return Err(Failure::new(
            Exit::Refused,
            ATTEMPTED,
            why,
            "Promote that first; there is one staged version at a time. Nothing was changed.",
        ));
    }
    let drawn = Drawn { key: InToken { at: at.clone(), mac: arguments.mac_id, iv }, algorithm };
    let refused = |error: StepError| advice::refused(ATTEMPTED, &error);
    let tokens = changing.opened.tokens.clone();
    // Looked at by name first, for what is wrong with it is said better before it is used.
    tokens.look(&at, KeyKind::Cipher).map_err(|e| refused(KekError::from(e).into()))?;
    let now = Time::of(SystemTime::now());
    let outcome = rotation::begin_in_token(document, &drawn, &tokens, now, &OsEntropy).map_err(refused)?;
    let (Outcome::Changed(key_id) | Outcome::Unchanged(key_id)) = outcome;
    let what: Why = format!("begin {key_id}")
        .parse()
        .map_err(|()| Failure::new(Exit::Unexpected, ATTEMPTED, "the step has no name", "Please report it."))?;
    changing.commit(path, &[opener], now, what, &OsEntropy).map_err(|e| advice::changed(ATTEMPTED, &e))?;
    let next = "let every node have it, then: keywright rotate promote --config FILE";
    let text = output::pairs([("key_id", key_id.to_string()), ("key", at.to_string()), ("result", "staged".into()), ("next", next.into())]);
    Ok(Answer { text, json: json!({ "key_id": key_id.to_string(), "key": at.to_string(), "changed": true, "next": next }) })
}
