//! `keyring list`, `show`, `verify`: read, never write.

use serde_json::{Value, json};

use super::super::advice;
use super::super::failure::{Exit, Failure};
use super::super::output::{self, Answer};
use super::super::place::Named;
use super::super::target;
use super::in_token;
use crate::entropy::OsEntropy;
use crate::key_id::sha256_form;
use crate::keyring::document::Document;
use crate::keyring::seen::Seen;
use crate::keyring::store::{self, Opened};

/// Reads and authenticates the keyring.
pub(in crate::cli) fn read(target: &target::Arguments, named: &Named) -> Result<Opened, Failure> {
    let path = &named.source.path;
    store::read(path, &target.opener(named)?, &named.source.tokens)
        .map_err(|e| Failure::new(advice::load_exit(&e), format!("open the keyring {}", path.display()), &e, advice::load(&e)))
}

pub(super) fn list(target: &target::Arguments) -> Result<(), Failure> {
    let outcome = target.named().and_then(|named| {
        let opened = read(target, &named)?;
        Ok(Answer { text: versions_table(&opened.document), json: versions_json(&opened.document) })
    });
    target.show(outcome)
}

pub(super) fn show(target: &target::Arguments) -> Result<(), Failure> {
    let outcome = target.named().and_then(|named| {
        let opened = read(target, &named)?;
        Ok(shown(&named, &opened))
    });
    target.show(outcome)
}

pub(super) fn verify(target: &target::Arguments) -> Result<(), Failure> {
    let outcome = target.named().and_then(|named| {
        let opened = read(target, &named)?;
        let path = &named.source.path;
        let bad = |why: &dyn std::fmt::Display, next| Failure::new(Exit::CheckFailed, format!("verify {}", path.display()), why, next);
        let keyring = opened.check_history().and_then(|()| store::prove(&opened, &OsEntropy)).map_err(|e| bad(&e, advice::load(&e)))?;
        if let Some((key_id, error)) = keyring.away().first() {
            let why = format!("{} of {} keys were not proved; {key_id}: {error}", keyring.away().len(), keyring.versions().len());
            return Err(bad(&why, advice::token(error)));
        }
        let seen = Seen::read(&named.source.state_dir).and_then(|seen| seen.map_or(Ok(()), |seen| seen.admit(&opened.document)));
        seen.map_err(|e| bad(&e, advice::seen(&e)))?;
        let text = output::pairs([
            ("keyring", path.display().to_string()),
            ("authentic", "yes".into()),
            ("keys proved", keyring.versions().len().to_string()),
            ("generation", keyring.generation().to_string()),
        ]);
        let json = json!({
            "keyring": path, "authentic": true, "keys_proved": keyring.versions().len(), "generation": keyring.generation(),
        });
        Ok(Answer { text, json })
    });
    target.show(outcome)
}

/// One row for each version.
pub(in crate::cli) fn versions_table(document: &Document) -> String {
    let rows = document.versions.iter().map(|v| {
        let key_id = v.key_id.to_string();
        vec![v.key_id.version.to_string(), v.state.name().into(), v.changed.to_string(), sha256_form(&key_id), key_id]
    });
    output::columns(&["version", "state", "since", "as the API server shows it", "key_id"], rows)
}

/// The same as JSON.
pub(in crate::cli) fn versions_json(document: &Document) -> Value {
    let version = |v: &crate::keyring::document::VersionRecord| {
        let key_id = v.key_id.to_string();
        json!({
            "version": v.key_id.version.number(),
            "key_id_sha256": sha256_form(&key_id),
            "key_id": key_id,
            "state": v.state.name(),
            "provider": v.home.name(),
            "algorithm": v.algorithm.name(),
            "token_key": v.in_token().map(|key| key.at.to_string()),
            "iv": v.in_token().map(|key| key.iv.name()),
            "created": v.created.to_string(),
            "changed": v.changed.to_string(),
            "verified": v.verified.as_ref().map(ToString::to_string),
            "exported": v.exported.map(|digest| digest.to_string()),
        })
    };
    document.versions.iter().map(version).collect()
}

fn shown(named: &Named, opened: &Opened) -> Answer {
    let document = &opened.document;
    let in_tokens = in_token::look(named, opened);
    let slots: Vec<String> = document.slots.iter().map(|slot| slot.kind().to_string()).collect();
    let nodes: Vec<String> = document.nodes.iter().map(ToString::to_string).collect();
    let history = document.history.iter().map(|e| vec![e.generation.to_string(), e.at.to_string(), e.what.to_string()]);
    let text = format!(
        "{}\n{}\n{}{}",
        output::pairs([
            ("keyring", document.keyring.to_string()),
            ("file", named.source.path.display().to_string()),
            ("generation", document.generation.to_string()),
            ("hold", humantime::format_duration(document.hold).to_string()),
            ("nodes", if nodes.is_empty() { "one, unnamed".into() } else { nodes.join(", ") }),
            ("slots", slots.join(", ")),
        ]),
        versions_table(document),
        in_tokens.text,
        output::columns(&["generation", "at", "what"], history)
    );
    let history: Vec<Value> = document
        .history
        .iter()
        .map(|e| json!({ "generation": e.generation, "at": e.at.to_string(), "what": e.what.to_string(), "digest": e.digest.to_string() }))
        .collect();
    let json = json!({
        "keyring": document.keyring.to_string(),
        "file": named.source.path,
        "generation": document.generation,
        "hold_seconds": document.hold.as_secs(),
        "nodes": nodes,
        "slots": slots,
        "versions": versions_json(document),
        "tokens": in_tokens.json,
        "history": history,
    });
    Answer { text, json }
}
