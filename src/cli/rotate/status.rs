//! `keywright rotate status`: where the rotation stands, and what comes next.

use std::time::SystemTime;

use clap::Args;
use serde_json::json;

use super::super::failure::Failure;
use super::super::keyring::{self, read};
use super::super::output::{self, Answer};
use super::super::target;
use crate::keyring::document::{Document, StateLabel, Time};

#[derive(Args)]
#[command(after_help = "Example:
  keywright rotate status --dev --output json")]
pub(super) struct Arguments {
    #[command(flatten)]
    target: target::Arguments,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let outcome = arguments.target.named().and_then(|named| {
        let opened = read(&arguments.target, &named)?;
        let document = &opened.document;
        let next = next_step(document, Time::of(SystemTime::now()));
        let text = format!("{}\n{}", keyring::versions_table(document), output::pairs([("next", next.clone())]));
        let json = json!({
            "keyring": document.keyring.to_string(),
            "generation": document.generation,
            "hold_seconds": document.hold.as_secs(),
            "versions": keyring::versions_json(document),
            "next": next,
        });
        Ok(Answer { text, json })
    });
    arguments.target.show(outcome)
}

/// The most urgent thing to do.
fn next_step(document: &Document, now: Time) -> String {
    let find = |state| document.versions.iter().find(move |v| v.state == state);
    if let Some(staged) = find(StateLabel::Staged) {
        return format!("promote {} once every node has it", staged.key_id);
    }
    if let Some(disabled) = find(StateLabel::Disabled) {
        let left = document.hold.saturating_sub(now.since(disabled.changed));
        return if left.is_zero() {
            format!("destroy {}: its hold is over", disabled.key_id)
        } else {
            format!("wait {} until {} may be destroyed", humantime::format_duration(left), disabled.key_id)
        };
    }
    match find(StateLabel::Retired) {
        Some(retired) if retired.verified.is_some() => format!("disable {}", retired.key_id),
        Some(retired) => format!("rewrite what is stored under {}, then verify it", retired.key_id),
        None => "nothing is under way; `rotate begin` starts a rotation".into(),
    }
}
