//! `keywright rotate status`: where the rotation stands, and what comes next.

use std::time::SystemTime;

use clap::Args;
use serde_json::json;

use super::super::failure::Failure;
use super::super::keyring::{self, read};
use super::super::output::{self, Answer};
use super::super::place::Named;
use super::super::{block_on, target};
use super::{cluster, hold};
use crate::key_id::KeyId;
use crate::keyring::document::{Document, StateLabel, Time, VersionRecord};
use crate::rotation::hold::Hold;
use crate::rotation::{self, Stage};

#[derive(Args)]
#[command(
    after_help = "Of a disabled version it asks the API servers, this node's plugin and etcd what ends its hold, and changes nothing.

Examples:
  keywright rotate status --config /etc/keywright/config.toml
  keywright rotate status --dev --endpoints http://127.0.0.1:2379 --kubeconfig admin.conf --output json"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    target: target::Arguments,
    #[command(flatten)]
    cluster: cluster::Arguments,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let outcome = arguments.target.named().and_then(|named| {
        let opened = read(&arguments.target, &named)?;
        let document = &opened.document;
        let now = Time::of(SystemTime::now());
        let next = next_step(document, now);
        let holds = holds(&arguments, &named, document)?;
        let over = holds.iter().all(|(_, hold)| hold.violated().is_none() && hold.missing().is_empty());
        let stage = stage(document, now).map(|stage| if stage == Stage::Destroy && !over { Stage::Hold } else { stage }.name());
        let rows = [("stage", stage.unwrap_or("none: nothing is under way").to_owned()), ("next", next.clone())];
        let mut text = format!("{}\n{}", keyring::versions_table(document), output::pairs(rows));
        for (key_id, hold) in &holds {
            text.push_str(&format!("\n{key_id}\n{}", hold::table(hold)));
        }
        let holds: Vec<_> =
            holds.iter().map(|(key_id, hold)| json!({ "key_id": key_id.to_string(), "conditions": hold::as_json(hold) })).collect();
        let json = json!({
            "keyring": document.keyring.to_string(),
            "generation": document.generation,
            "hold_seconds": document.hold.as_secs(),
            "holds": holds,
            "stage": stage,
            "versions": keyring::versions_json(document),
            "next": next,
        });
        Ok(Answer { text, json })
    });
    arguments.target.show(outcome)
}

/// The next stage of the rotation under way, if there is one.
fn stage(document: &Document, now: Time) -> Option<Stage> {
    let under_way = |v: &VersionRecord| matches!(v.state, StateLabel::Staged | StateLabel::Retired | StateLabel::Disabled);
    let from = rotation::away_from(document, None).ok()?;
    document.versions.iter().any(under_way).then(|| rotation::next(document, from, true, now).stage())?
}

/// How the hold of each disabled version stands.
fn holds(arguments: &Arguments, named: &Named, document: &Document) -> Result<Vec<(KeyId, Hold)>, Failure> {
    let disabled: Vec<KeyId> = document.versions.iter().filter(|v| v.state == StateLabel::Disabled).map(|v| v.key_id).collect();
    if disabled.is_empty() {
        return Ok(Vec::new());
    }
    let found = arguments.cluster.find(named);
    let cluster = found.as_ref().map_err(|failure| failure.why.as_str());
    block_on(async {
        let mut holds = Vec::new();
        for key_id in disabled {
            holds.push((key_id, hold::look(named, cluster, document, key_id).await));
        }
        Ok(holds)
    })
}

/// The most urgent thing to do.
fn next_step(document: &Document, now: Time) -> String {
    let find = |state| document.versions.iter().find(move |v| v.state == state);
    if let Some(staged) = find(StateLabel::Staged) {
        return format!("promote {} once every node has it", staged.key_id);
    }
    if let Some(disabled) = find(StateLabel::Disabled) {
        let left = disabled.hold_left(document.hold, now);
        return if left.is_zero() {
            format!("destroy {}, once all that ends its hold is met", disabled.key_id)
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
