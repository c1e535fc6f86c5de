//! What a step that takes something away must show first: that nothing needs the version any more.
//!
//! One interface with two sources: a scan of etcd (`scan::evidence`), and a person who takes the risk.

use thiserror::Error;

use crate::key_id::KeyId;
use crate::keyring::document::Why;
use crate::keyring::rotation::Step;

/// Why a step is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Objection {
    /// Something needs the version: exit code 6.
    #[error("{} {key_id} is refused: {} still {}: {}", step.name(), values(*.count), names(*.count), .first.join(", "))]
    Needed {
        /// The step.
        step: Step,
        /// The version.
        key_id: KeyId,
        /// How many stored values name it.
        count: u64,
        /// Where the first of them are, as people read it: resources with their numbers, then etcd keys.
        first: Vec<String>,
    },
    /// Nobody knows whether something does: exit code 7.
    #[error("{} {key_id} needs evidence from etcd that no stored object needs it, and there is none: {missing}", step.name())]
    Lacking {
        /// The step.
        step: Step,
        /// The version.
        key_id: KeyId,
        /// What is missing.
        missing: String,
    },
}

fn values(count: u64) -> String {
    if count == 1 { "1 stored value".into() } else { format!("{count} stored values") }
}

fn names(count: u64) -> &'static str {
    if count == 1 { "names it" } else { "name it" }
}

/// A source of evidence.
pub trait Evidence {
    /// Why nothing needs `key_id`, for the record; or what stands against it.
    fn nothing_needs(&self, key_id: &KeyId, step: Step) -> Result<Why, Objection>;
}

/// No scan has been made: refuses everything.
pub struct NoScan;

impl Evidence for NoScan {
    fn nothing_needs(&self, key_id: &KeyId, step: Step) -> Result<Why, Objection> {
        Err(Objection::Lacking { step, key_id: *key_id, missing: "no scan of etcd was made".into() })
    }
}

/// A person takes the risk and says why.
pub struct AcceptedRisk(Why);

impl AcceptedRisk {
    /// `None` if the reason says nothing.
    pub fn new(reason: &str) -> Option<Self> {
        Why::from_person(&format!("risk accepted: {}", Why::from_person(reason)?)).map(Self)
    }
}

impl Evidence for AcceptedRisk {
    fn nothing_needs(&self, _: &KeyId, _: Step) -> Result<Why, Objection> {
        Ok(self.0.clone())
    }
}
