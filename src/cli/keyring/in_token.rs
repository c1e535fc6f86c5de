//! What `keyring show` says of keys in tokens: where each is, what the token says of it, and which keys belong to no version.

use serde_json::{Value, json};

use super::super::output::{self, Answer};
use super::super::place::Named;
use crate::keyring::create;
use crate::keyring::document::StateLabel;
use crate::keyring::seal;
use crate::keyring::store::Opened;
use crate::provider::pkcs11::latch::{self, Latched};
use crate::provider::pkcs11::{KeyAt, KeyFacts, KeyKind, TokenError, TokenName};

/// Asks every token that the keyring names; one that does not answer is said, and is no error. Empty for a keyring without tokens.
pub(super) fn look(named: &Named, opened: &Opened) -> Answer {
    let document = &opened.document;
    let (mut rows, mut keys) = (vec![], vec![]);
    let mut known: Vec<(KeyAt, KeyKind, String)> = vec![];
    for version in &document.versions {
        let Some(key) = version.in_token() else { continue };
        if version.state == StateLabel::Destroyed {
            continue;
        }
        let of = format!("version {}", version.key_id.version);
        known.push((key.at.clone(), KeyKind::Cipher, of.clone()));
        known.extend(key.mac.map(|id| (KeyAt { id, ..key.at.clone() }, KeyKind::Mac, format!("{of}, for HMAC"))));
    }
    known.extend(document.slots.iter().filter_map(|slot| slot.token_key()).map(|key| (key.clone(), KeyKind::Cipher, "slot".to_owned())));
    for (at, kind, what) in &known {
        let facts = opened.tokens.look(at, *kind);
        rows.push(vec![what.clone(), at.to_string(), described(&facts)]);
        keys.push(as_json(at, what, &facts));
    }
    let orphans = orphans(opened, &known);
    let mut lost = vec![];
    for (at, what) in orphans {
        rows.push(vec!["none".to_owned(), at.to_string(), what.clone()]);
        lost.push(json!({ "key": at.to_string(), "found": what }));
    }
    let mut refused = vec![];
    match latch::read(&named.source.state_dir) {
        Ok(latched) => {
            for Latched { token, since, begun } in latched {
                let then = if begun { "as far as is known; it is given once more" } else { "and not given again before it changes" };
                rows.push(vec!["PIN".to_owned(), token.uri(), format!("not taken at {since}, {then}")]);
                refused.push(json!({ "token": token.uri(), "since": since }));
            }
        }
        Err(problem) => rows.push(vec!["PIN".to_owned(), String::new(), problem.to_string()]),
    }
    let text = if rows.is_empty() {
        String::new()
    } else {
        format!("{}\n", output::columns(&["of", "key in a token", "what the token says"], rows))
    };
    Answer { text, json: json!({ "keys": keys, "of_no_version": lost, "pins_not_taken": refused }) }
}

/// Keys that an attempt which did not end may have left, and keys of our label that nothing in the keyring names. Nothing uses them, and
/// nothing deletes them.
fn orphans(opened: &Opened, known: &[(KeyAt, KeyKind, String)]) -> Vec<(KeyAt, String)> {
    let document = &opened.document;
    let mut found: Vec<(KeyAt, String)> = vec![];
    let mut tokens: Vec<&TokenName> =
        known.iter().map(|(at, ..)| &at.token).chain(document.attempts.iter().map(|a| &a.key.token)).collect();
    tokens.sort();
    tokens.dedup();
    for token in tokens {
        for label in [create::token_label(document.keyring), seal::token_label(document.keyring)] {
            // A token that does not answer is told of with its keys.
            let Ok(listed) = opened.tokens.list(token, &label) else { continue };
            let of_label = listed
                .into_iter()
                .filter_map(|key| Some(KeyAt { token: token.clone(), label: label.clone(), id: key.id.try_into().ok()? }));
            let of_nothing = of_label.filter(|at| known.iter().all(|(known, ..)| known != at));
            found.extend(of_nothing.map(|at| (at, "there, and of no version or slot".to_owned())));
        }
    }
    for attempt in &document.attempts {
        if found.iter().all(|(at, _)| *at != attempt.key) {
            found.push((attempt.key.clone(), format!("asked for at {}, and not seen", attempt.at)));
        }
    }
    found
}

fn described(facts: &Result<KeyFacts, TokenError>) -> String {
    match facts {
        Ok(facts) => {
            let said = [
                ("sensitive", facts.sensitive),
                ("always sensitive", facts.always_sensitive),
                ("extractable", facts.extractable),
                ("never extractable", facts.never_extractable),
                ("made in the token", facts.local),
                ("wraps other keys", facts.wraps),
            ];
            let said =
                said.into_iter().filter_map(|(what, value)| value.map(|value| format!("{what}: {}", if value { "yes" } else { "no" })));
            said.collect::<Vec<_>>().join(", ")
        }
        Err(error) => error.problem.to_string(),
    }
}

fn as_json(at: &KeyAt, of: &str, facts: &Result<KeyFacts, TokenError>) -> Value {
    match facts {
        Ok(facts) => json!({
            "of": of, "key": at.to_string(), "extractable": facts.extractable, "sensitive": facts.sensitive,
            "never_extractable": facts.never_extractable, "always_sensitive": facts.always_sensitive, "made_in_token": facts.local,
        }),
        Err(error) => json!({ "of": of, "key": at.to_string(), "error": error.to_string() }),
    }
}
