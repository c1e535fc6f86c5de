//! A whole rotation: what comes next, decided from the keyring alone, so that a run can be killed anywhere and begun again.
//!
//! There is no file that says how far a rotation has come. What is true stands in the keyring (states, records of evidence, exports) and in
//! etcd (which objects name which key); both are read again at every step.

pub mod hold;

use std::time::Duration;

use thiserror::Error;

use crate::key_id::KeyId;
use crate::keyring::document::{Document, StateLabel, Time, VersionRecord};

/// What a rotation does, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Make a new version.
    Begin,
    /// Take a backup that holds it.
    Export,
    /// Have it wrap.
    Promote,
    /// See that every API server writes with it.
    Adoption,
    /// Have the API server rewrite what is stored under the old ones.
    Rewrite,
    /// Record that nothing needs them.
    Verify,
    /// Have them refuse.
    Disable,
    /// Wait.
    Hold,
    /// Remove their material.
    Destroy,
}

impl Stage {
    /// All, in order.
    pub const ALL: [Self; 9] =
        [Self::Begin, Self::Export, Self::Promote, Self::Adoption, Self::Rewrite, Self::Verify, Self::Disable, Self::Hold, Self::Destroy];

    /// The word of the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Export => "export",
            Self::Promote => "promote",
            Self::Adoption => "adoption",
            Self::Rewrite => "rewrite",
            Self::Verify => "verify",
            Self::Disable => "disable",
            Self::Hold => "hold",
            Self::Destroy => "destroy",
        }
    }
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Make a new version.
    Begin,
    /// This version is in no export yet.
    Export(KeyId),
    /// This version is staged.
    Promote(KeyId),
    /// See that the primary is adopted, rewrite what names these, and record on each that nothing needs it.
    Verify(Vec<KeyId>),
    /// These are verified.
    Disable(Vec<KeyId>),
    /// These are disabled, and the hold of one of them lasts this much longer by the clock of this machine.
    Hold(Vec<KeyId>, Duration),
    /// The hold of these is over.
    Destroy(Vec<KeyId>),
    /// Only the primary is left.
    Done,
}

impl Next {
    /// Where in the order that is; nothing once all is done.
    pub fn stage(&self) -> Option<Stage> {
        match self {
            Self::Begin => Some(Stage::Begin),
            Self::Export(_) => Some(Stage::Export),
            Self::Promote(_) => Some(Stage::Promote),
            Self::Verify(_) => Some(Stage::Adoption),
            Self::Disable(_) => Some(Stage::Disable),
            Self::Hold(..) => Some(Stage::Hold),
            Self::Destroy(_) => Some(Stage::Destroy),
            Self::Done => None,
        }
    }
}

/// Why a rotation cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RunError {
    /// `--from` names nothing of this keyring.
    #[error("{0} is not a version of this keyring")]
    Unknown(KeyId),
    /// A keyring that loads always has one.
    #[error("the keyring has no primary")]
    NoPrimary,
    /// `--from` names a version that never was primary.
    #[error("{0} is staged: a rotation leads away from a primary")]
    Staged(KeyId),
}

/// The version that a rotation leads away from: `named`, or the primary if nothing is under way.
///
/// Saying it makes a run repeatable: once that version is destroyed, another run of it has nothing to do, where one without a name would begin
/// the next rotation.
pub fn away_from(document: &Document, named: Option<KeyId>) -> Result<KeyId, RunError> {
    if let Some(named) = named {
        let version = document.versions.iter().find(|v| v.key_id == named).ok_or(RunError::Unknown(named))?;
        return if version.state == StateLabel::Staged { Err(RunError::Staged(named)) } else { Ok(named) };
    }
    // The newest that was primary and still is there: of a rotation under way, the one it began with.
    let old = document.versions.iter().rev().find(|v| matches!(v.state, StateLabel::Retired | StateLabel::Disabled));
    let primary = document.versions.iter().find(|v| v.state == StateLabel::Primary);
    old.or(primary).map(|v| v.key_id).ok_or(RunError::NoPrimary)
}

/// What comes next on the way from `from` to a keyring whose primary is newer and has no older version beside it.
///
/// `backup`: whether the new version must be in an export before it wraps.
pub fn next(document: &Document, from: KeyId, backup: bool, now: Time) -> Next {
    let staged = document.versions.iter().find(|v| v.state == StateLabel::Staged);
    let is_primary = document.versions.iter().any(|v| v.key_id == from && v.state == StateLabel::Primary);
    match staged {
        Some(staged) if backup && staged.exported.is_none() => return Next::Export(staged.key_id),
        Some(staged) => return Next::Promote(staged.key_id),
        None if is_primary => return Next::Begin,
        None => {}
    }
    let old =
        |wanted: &dyn Fn(&VersionRecord) -> bool| document.versions.iter().filter(|v| wanted(v)).map(|v| v.key_id).collect::<Vec<_>>();
    let unverified = old(&|v| v.state == StateLabel::Retired && v.verified.is_none());
    if !unverified.is_empty() {
        return Next::Verify(unverified);
    }
    let retired = old(&|v| v.state == StateLabel::Retired);
    if !retired.is_empty() {
        return Next::Disable(retired);
    }
    let disabled = |v: &&VersionRecord| v.state == StateLabel::Disabled;
    match document.versions.iter().filter(disabled).map(|v| v.hold_left(document.hold, now)).max() {
        None => Next::Done,
        Some(Duration::ZERO) => Next::Destroy(old(&|v| v.state == StateLabel::Disabled)),
        Some(left) => Next::Hold(old(&|v| v.state == StateLabel::Disabled), left),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::entropy::OsEntropy;
    use crate::keyring::create::First;
    use crate::keyring::rotation;
    use crate::keyring::seal::Opener;
    use crate::keyring::store::{self, Opened};
    use crate::provider::pkcs11::Tokens;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(minute: u64) -> Time {
        Time::of(std::time::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + 60 * minute))
    }

    /// One primary version, a hold of an hour.
    fn opened() -> Opened {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o700)).expect("chmod");
        let path = dir.path().join("keyring");
        let first = First {
            openers: &[Opener::InsecureDevelopment],
            nodes: vec![],
            hold: HOUR,
            key: crate::keyring::create::NewKey::Local,
            now: at(0),
        };
        store::create(&path, first, &Tokens::none(), &OsEntropy).expect("makes");
        store::read(&path, &Opener::InsecureDevelopment, &Tokens::none()).expect("opens")
    }

    #[test]
    fn a_rotation_goes_through_its_stages_in_their_order_and_ends() {
        let Opened { mut document, keys, .. } = opened();
        let from = away_from(&document, None).expect("the primary");
        let mut passed = Vec::new();
        for minute in 0.. {
            let next = next(&document, from, true, at(minute));
            let Some(stage) = next.stage() else { break };
            if passed.last() != Some(&stage) {
                passed.push(stage);
            }
            match next {
                Next::Begin => drop(rotation::begin(&mut document, &keys, at(minute), &OsEntropy).expect("begins")),
                Next::Export(key_id) => {
                    let version = document.versions.iter_mut().find(|v| v.key_id == key_id).expect("there");
                    version.exported = Some(crate::keyring::history::Digest::of(b"an export"));
                }
                Next::Promote(key_id) => drop(rotation::promote(&mut document, Some(key_id), at(minute)).expect("promotes")),
                Next::Verify(old) => {
                    assert_eq!(old, [from]);
                    rotation::verify(&mut document, from, "a scan".parse().expect("valid")).expect("verifies");
                }
                Next::Disable(old) => drop(rotation::disable(&mut document, old[0], at(minute)).expect("disables")),
                Next::Hold(_, left) => assert!(left <= HOUR),
                Next::Destroy(old) => drop(rotation::destroy(&mut document, old[0], at(minute)).expect("destroys")),
                Next::Done => unreachable!("it has no stage"),
            }
        }
        let expected = [Stage::Begin, Stage::Export, Stage::Promote, Stage::Adoption, Stage::Disable, Stage::Hold, Stage::Destroy];
        assert_eq!(passed, expected);
        assert_eq!(away_from(&document, Some(from)), Ok(from), "a run that names what it led away from has nothing more to do");
        assert_eq!(next(&document, from, true, at(0)), Next::Done);
        let primary = away_from(&document, None).expect("the new primary");
        assert_ne!(primary, from);
        assert_eq!(next(&document, primary, true, at(0)), Next::Begin, "one without a name begins the next rotation");
    }

    #[test]
    fn without_a_backup_the_export_is_left_out_and_nothing_else() {
        let Opened { mut document, keys, .. } = opened();
        let from = away_from(&document, None).expect("the primary");
        rotation::begin(&mut document, &keys, at(0), &OsEntropy).expect("begins");
        assert!(matches!(next(&document, from, false, at(0)), Next::Promote(_)));
        assert!(matches!(next(&document, from, true, at(0)), Next::Export(_)));
    }

    #[test]
    fn a_run_leads_away_from_a_version_that_was_primary() {
        let Opened { mut document, keys, .. } = opened();
        rotation::begin(&mut document, &keys, at(0), &OsEntropy).expect("begins");
        let staged = document.versions[1].key_id;
        assert_eq!(away_from(&document, Some(staged)), Err(RunError::Staged(staged)));
        let other = KeyId { check: crate::key_id::Check::from_bytes([0; 16]), ..staged };
        assert_eq!(away_from(&document, Some(other)), Err(RunError::Unknown(other)));
    }
}
