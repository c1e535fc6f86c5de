//! The steps of a rotation: plain decisions on a document. Nothing here reads a clock, a file or a socket.
//!
//! Each step is idempotent: where it has been taken already it changes nothing and says so. A step that is refused changes nothing.

use std::time::Duration;

use thiserror::Error;

use super::create::{self, Drawn};
use super::document::{Document, Home, StateLabel, Time, VersionRecord, Why};
use super::history::Entry;
use super::seal::FileKeys;
use crate::entropy::Entropy;
use crate::key_id::{KeyId, KeyringId, Version};
use crate::provider::KekError;
use crate::provider::pkcs11::Tokens;

/// A step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Make a new version, staged.
    Begin,
    /// Make the staged version the primary; the primary retires.
    Promote,
    /// Record why nothing needs a retired version any more.
    Verify,
    /// Refuse a retired version; can be undone.
    Disable,
    /// Let a disabled version unwrap again.
    Enable,
    /// Remove the material of a disabled version; cannot be undone.
    Destroy,
}

impl Step {
    /// All steps, in the order of a rotation.
    pub const ALL: [Self; 6] = [Self::Begin, Self::Promote, Self::Verify, Self::Disable, Self::Enable, Self::Destroy];

    /// The word of the command line and of the history.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Promote => "promote",
            Self::Verify => "verify",
            Self::Disable => "disable",
            Self::Enable => "enable",
            Self::Destroy => "destroy",
        }
    }

    /// Whether it takes away what something may still need, so that it wants evidence.
    pub const fn needs_evidence(self) -> bool {
        matches!(self, Self::Verify | Self::Disable | Self::Destroy)
    }

    /// Whether every node must have the version before it is safe.
    pub const fn needs_every_node(self) -> bool {
        matches!(self, Self::Promote | Self::Disable | Self::Destroy)
    }
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The document is another one now; the version that the step was about.
    Changed(KeyId),
    /// It had been done before.
    Unchanged(KeyId),
}

/// Why a step was not taken.
#[derive(Debug, Error)]
pub enum StepError {
    /// The keyring has no version of that name.
    #[error("{0} is not a version of this keyring")]
    Unknown(KeyId),
    /// There is no staged version.
    #[error("no version is staged")]
    NothingStaged,
    /// The version is in a state from which the step does not lead on.
    #[error("{key_id} is {}; {} needs a version that is {needed}", state.name(), step.name())]
    State {
        /// The step.
        step: Step,
        /// The version.
        key_id: KeyId,
        /// What it is.
        state: StateLabel,
        /// What it would have to be.
        needed: &'static str,
    },
    /// There is no record that nothing needs it.
    #[error("there is no record that nothing needs {0} any more")]
    NotVerified(KeyId),
    /// The hold is not over.
    #[error("{key_id} was disabled too short a time ago: {} of the hold are left", humantime::format_duration(*left))]
    Hold {
        /// The version.
        key_id: KeyId,
        /// How long it still lasts by the clock of this machine.
        left: Duration,
    },
    /// There is no number left for another version or generation.
    #[error("this keyring has no number left for another version")]
    Full,
    /// The key could not be made.
    #[error(transparent)]
    Kek(#[from] KekError),
}

/// The staged version, if there is one.
pub fn staged(document: &Document) -> Option<&VersionRecord> {
    document.versions.iter().find(|v| v.state == StateLabel::Staged)
}

/// Makes a new local version, staged: it unwraps what others wrapped, and wraps nothing yet.
pub fn begin(document: &mut Document, keys: &FileKeys, now: Time, entropy: &dyn Entropy) -> Result<Outcome, StepError> {
    stage(document, |keyring, number| create::local_version(keyring, number, StateLabel::Staged, keys, now, entropy))
}

/// The same in a token, which made the key that was `drawn` already.
pub fn begin_in_token(
    document: &mut Document,
    drawn: &Drawn,
    tokens: &Tokens,
    now: Time,
    entropy: &dyn Entropy,
) -> Result<Outcome, StepError> {
    let outcome =
        stage(document, |keyring, number| create::token_version(keyring, number, StateLabel::Staged, drawn, tokens, now, entropy))?;
    if matches!(outcome, Outcome::Changed(_)) {
        document.attempts.retain(|attempt| attempt.key != drawn.key.at && drawn.key.mac.as_ref() != Some(&attempt.key.id));
    }
    Ok(outcome)
}

/// Adds the version that `make` makes of its number, unless one is staged already.
fn stage(document: &mut Document, make: impl FnOnce(KeyringId, Version) -> Result<VersionRecord, KekError>) -> Result<Outcome, StepError> {
    if let Some(staged) = staged(document) {
        return Ok(Outcome::Unchanged(staged.key_id));
    }
    let last = document.versions.last().map_or(0, |v| v.key_id.version.number());
    let number = last.checked_add(1).and_then(Version::new).ok_or(StepError::Full)?;
    let record = make(document.keyring, number)?;
    let key_id = record.key_id;
    document.versions.push(record);
    Ok(Outcome::Changed(key_id))
}

/// Makes the staged version (or the named one, which must be it) the primary, and retires the primary in the same write.
pub fn promote(document: &mut Document, named: Option<KeyId>, now: Time) -> Result<Outcome, StepError> {
    let target = match (named, staged(document)) {
        (Some(key_id), _) => key_id,
        (None, Some(staged)) => staged.key_id,
        // Taken twice: the newest version is the primary already. The first version was never promoted.
        (None, None) => match document.versions.last() {
            Some(last) if last.state == StateLabel::Primary && last.key_id.version != Version::FIRST => {
                return Ok(Outcome::Unchanged(last.key_id));
            }
            _ => return Err(StepError::NothingStaged),
        },
    };
    match find(document, target)?.state {
        StateLabel::Staged => {}
        StateLabel::Primary => return Ok(Outcome::Unchanged(target)),
        state => return Err(StepError::State { step: Step::Promote, key_id: target, state, needed: "staged" }),
    }
    for version in &mut document.versions {
        if version.state == StateLabel::Primary {
            enter(version, StateLabel::Retired, now);
        } else if version.key_id == target {
            enter(version, StateLabel::Primary, now);
        }
    }
    Ok(Outcome::Changed(target))
}

/// Records on a retired version why nothing needs it any more.
pub fn verify(document: &mut Document, target: KeyId, why: Why) -> Result<Outcome, StepError> {
    let version = find(document, target)?;
    match version.state {
        StateLabel::Retired if version.verified.as_ref() == Some(&why) => Ok(Outcome::Unchanged(target)),
        StateLabel::Retired => {
            version.verified = Some(why);
            Ok(Outcome::Changed(target))
        }
        state => Err(StepError::State { step: Step::Verify, key_id: target, state, needed: "retired" }),
    }
}

/// Has a retired, verified version refuse to unwrap; [`enable`] takes it back.
///
/// The hold begins no earlier than the last change that is on record: a clock that was set back does not backdate it.
pub fn disable(document: &mut Document, target: KeyId, now: Time) -> Result<Outcome, StepError> {
    let now = document.history.last().map_or(now, |last| now.max(last.at));
    let version = find(document, target)?;
    match version.state {
        StateLabel::Disabled => Ok(Outcome::Unchanged(target)),
        StateLabel::Retired if version.verified.is_none() => Err(StepError::NotVerified(target)),
        StateLabel::Retired => {
            enter(version, StateLabel::Disabled, now);
            Ok(Outcome::Changed(target))
        }
        state => Err(StepError::State { step: Step::Disable, key_id: target, state, needed: "retired and verified" }),
    }
}

/// Lets a disabled version unwrap again. What was recorded about it is gone: it was evidently needed.
pub fn enable(document: &mut Document, target: KeyId, now: Time) -> Result<Outcome, StepError> {
    let version = find(document, target)?;
    match version.state {
        StateLabel::Retired => Ok(Outcome::Unchanged(target)),
        StateLabel::Disabled => {
            enter(version, StateLabel::Retired, now);
            version.verified = None;
            Ok(Outcome::Changed(target))
        }
        state => Err(StepError::State { step: Step::Enable, key_id: target, state, needed: "disabled" }),
    }
}

/// Removes the material of a disabled version whose hold is over. The record stays, so that its key_id is never used again.
///
/// The caller changes the root key in the same write, or an old copy of the file would still hold the material under the same key.
pub fn destroy(document: &mut Document, target: KeyId, now: Time) -> Result<Outcome, StepError> {
    let hold = document.hold;
    let version = find(document, target)?;
    match version.state {
        StateLabel::Destroyed => Ok(Outcome::Unchanged(target)),
        StateLabel::Disabled => {
            let left = version.hold_left(hold, now);
            if !left.is_zero() {
                return Err(StepError::Hold { key_id: target, left });
            }
            enter(version, StateLabel::Destroyed, now);
            if let Home::Local(wrapped) = &mut version.home {
                *wrapped = None;
            }
            Ok(Outcome::Changed(target))
        }
        state => Err(StepError::State { step: Step::Destroy, key_id: target, state, needed: "disabled" }),
    }
}

/// Counts the change: the next generation, and its entry in the history.
pub fn record(document: &mut Document, now: Time, what: Why) -> Result<(), StepError> {
    let entry = Entry::after(document.history.last(), now, what);
    if i64::try_from(entry.generation).is_err() {
        return Err(StepError::Full);
    }
    document.generation = entry.generation;
    document.history.push(entry);
    Ok(())
}

fn find(document: &mut Document, key_id: KeyId) -> Result<&mut VersionRecord, StepError> {
    document.versions.iter_mut().find(|v| v.key_id == key_id).ok_or(StepError::Unknown(key_id))
}

fn enter(version: &mut VersionRecord, state: StateLabel, now: Time) {
    version.state = state;
    version.changed = now;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Counted;
    use crate::keyring::create::tests::document_with;

    const LATER: &str = "2027-02-01T00:00:00Z";

    fn later() -> Time {
        LATER.parse().expect("valid")
    }

    fn why() -> Why {
        "risk accepted: test".parse().expect("valid")
    }

    /// Takes `step` on a version in `state` of a keyring whose primary is another version (or that one).
    fn try_step(step: Step, state: StateLabel, verified: bool) -> (Document, Result<Outcome, StepError>) {
        let (mut document, keys) = document_with(state);
        let key_id = document.versions[0].key_id;
        if verified {
            document.versions[0].verified = Some(why());
        }
        let outcome = match step {
            Step::Begin => begin(&mut document, &keys, later(), &Counted::default()),
            Step::Promote => promote(&mut document, Some(key_id), later()),
            Step::Verify => verify(&mut document, key_id, why()),
            Step::Disable => disable(&mut document, key_id, later()),
            Step::Enable => enable(&mut document, key_id, later()),
            Step::Destroy => destroy(&mut document, key_id, later()),
        };
        (document, outcome)
    }

    #[test]
    fn every_state_against_every_step() {
        use StateLabel::{Destroyed, Disabled, Primary, Retired, Staged};
        // The state after the step; the same state: unchanged; none: refused.
        let table = [
            (Step::Promote, [Some(Primary), Some(Primary), None, None, None]),
            (Step::Verify, [None, None, Some(Retired), None, None]),
            (Step::Disable, [None, None, Some(Disabled), Some(Disabled), None]),
            (Step::Enable, [None, None, Some(Retired), Some(Retired), None]),
            (Step::Destroy, [None, None, None, Some(Destroyed), Some(Destroyed)]),
        ];
        for (step, after) in table {
            for (state, expected) in [Staged, Primary, Retired, Disabled, Destroyed].into_iter().zip(after) {
                let (document, outcome) = try_step(step, state, state == Retired || state == Disabled);
                let version = &document.versions[0];
                match expected {
                    None => {
                        assert!(matches!(outcome, Err(StepError::State { .. })), "{} {}: {outcome:?}", step.name(), state.name());
                        assert_eq!(version.state, state);
                    }
                    Some(expected) => {
                        let outcome = outcome.unwrap_or_else(|e| panic!("{} {}: {e}", step.name(), state.name()));
                        assert_eq!(version.state, expected, "{} {}", step.name(), state.name());
                        let changed = matches!(outcome, Outcome::Changed(_));
                        assert_eq!(changed, expected != state, "{} {}", step.name(), state.name());
                    }
                }
                assert_eq!(version.wrapped().is_none(), version.state == Destroyed);
                let primaries = document.versions.iter().filter(|v| v.state == Primary).count();
                assert_eq!(primaries, 1, "{} {}", step.name(), state.name());
            }
        }
    }

    #[test]
    fn begin_stages_one_version_and_a_second_begin_changes_nothing() {
        let (mut document, keys) = document_with(StateLabel::Retired);
        let before = document.versions.len();
        let entropy = Counted::default();
        let Ok(Outcome::Changed(key_id)) = begin(&mut document, &keys, later(), &entropy) else { panic!("begins") };
        assert_eq!(key_id.version.number() as usize, before + 1);
        assert!(matches!(begin(&mut document, &keys, later(), &entropy), Ok(Outcome::Unchanged(same)) if same == key_id));
        assert_eq!(document.versions.len(), before + 1);
    }

    #[test]
    fn promote_retires_the_old_primary_in_the_same_step() {
        let (mut document, _) = document_with(StateLabel::Staged);
        let old = document.versions.iter().find(|v| v.state == StateLabel::Primary).expect("one").key_id;
        assert!(matches!(promote(&mut document, None, later()), Ok(Outcome::Changed(_))));
        let old = document.versions.iter().find(|v| v.key_id == old).expect("there");
        assert_eq!((old.state, old.changed), (StateLabel::Retired, later()));
        assert!(matches!(promote(&mut document, None, later()), Err(StepError::NothingStaged)), "the primary is not the newest here");
    }

    #[test]
    fn promote_taken_twice_changes_nothing_and_a_fresh_keyring_has_nothing_to_promote() {
        let (mut document, keys) = document_with(StateLabel::Retired);
        let Ok(Outcome::Changed(staged)) = begin(&mut document, &keys, later(), &Counted::default()) else { panic!("begins") };
        assert!(matches!(promote(&mut document, None, later()), Ok(Outcome::Changed(new)) if new == staged));
        assert!(matches!(promote(&mut document, None, later()), Ok(Outcome::Unchanged(same)) if same == staged));
        document.versions.truncate(1);
        document.versions[0].state = StateLabel::Primary;
        assert!(matches!(promote(&mut document, None, later()), Err(StepError::NothingStaged)));
    }

    #[test]
    fn disable_wants_the_record_and_enable_removes_it() {
        let (_, outcome) = try_step(Step::Disable, StateLabel::Retired, false);
        assert!(matches!(outcome, Err(StepError::NotVerified(_))));
        let (document, _) = try_step(Step::Enable, StateLabel::Disabled, true);
        assert_eq!(document.versions[0].verified, None);
    }

    #[test]
    fn destroy_waits_out_the_hold_and_a_clock_set_back_does_not_shorten_it() {
        let (mut document, _) = document_with(StateLabel::Disabled);
        document.hold = Duration::from_secs(3600);
        let target = document.versions[0].key_id;
        document.versions[0].changed = later();
        for (now, left) in [("2027-02-01T00:59:59Z", 1), ("2027-02-01T00:00:00Z", 3600), ("2026-02-01T00:00:00Z", 3600)] {
            let outcome = destroy(&mut document, target, now.parse().expect("valid"));
            assert!(matches!(outcome, Err(StepError::Hold { left: l, .. }) if l == Duration::from_secs(left)), "{now}: {outcome:?}");
        }
        let over = "2027-02-01T01:00:00Z".parse().expect("valid");
        assert!(matches!(destroy(&mut document, target, over), Ok(Outcome::Changed(_))));
    }

    #[test]
    fn a_destroyed_number_is_never_used_again() {
        let (mut document, keys) = document_with(StateLabel::Destroyed);
        let destroyed = document.versions[0].key_id;
        let _ = begin(&mut document, &keys, later(), &Counted::default()).expect("begins");
        assert!(document.versions.iter().filter(|v| v.key_id.version == destroyed.version).count() == 1);
        assert!(matches!(promote(&mut document, Some(destroyed), later()), Err(StepError::State { .. })));
    }

    #[test]
    fn each_change_is_one_more_generation_and_one_more_entry() {
        let (mut document, _) = document_with(StateLabel::Retired);
        let generation = document.generation;
        record(&mut document, later(), "begin 3".parse().expect("valid")).expect("room");
        assert_eq!(document.generation, generation + 1);
        assert!(crate::keyring::history::is_chain(&document.history, document.generation));
    }
}
