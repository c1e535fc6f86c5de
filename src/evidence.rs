//! What a step that takes something away must show first: that nothing needs the version any more.
//!
//! One interface. Today its only source is a person who takes the risk; a scan of etcd will be another.

use thiserror::Error;

use crate::key_id::KeyId;
use crate::keyring::document::Why;
use crate::keyring::rotation::Step;

/// Evidence is missing: exit code 7.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{} {key_id} needs evidence from etcd that no stored object needs it, and there is none: {missing}", step.name())]
pub struct Lacking {
    /// The step.
    pub step: Step,
    /// The version.
    pub key_id: KeyId,
    /// What is missing.
    pub missing: String,
}

/// A source of evidence.
pub trait Evidence {
    /// Why nothing needs `key_id`, for the record; or what is missing.
    fn nothing_needs(&self, key_id: &KeyId, step: Step) -> Result<Why, Lacking>;
}

/// No scan has been made: refuses everything.
pub struct NoScan;

impl Evidence for NoScan {
    fn nothing_needs(&self, key_id: &KeyId, step: Step) -> Result<Why, Lacking> {
        Err(Lacking { step, key_id: *key_id, missing: "no scan of etcd was made".into() })
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
    fn nothing_needs(&self, _: &KeyId, _: Step) -> Result<Why, Lacking> {
        Ok(self.0.clone())
    }
}
