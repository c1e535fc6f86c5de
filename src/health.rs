//! Which of the keys in tokens are away, since when and why: found by a background probe, shown on the second socket, logged once when it changes.
//!
//! The primary counts as away exactly when Status says so: a while after it was last seen to work. Another version does as soon as a probe of it
//! fails, for nobody else may ask for it for a long time.

pub mod page;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::key_id::KeyId;
use crate::keyring::{KeyVersion, Keyring};
use crate::provider::KekError;
use crate::provider::pkcs11::Turn;
use crate::provider::waits::Waits;

/// How often a version that is not primary is probed when nobody asks for it.
const OTHERS: Duration = Duration::from_secs(60);
/// How long a key that was never asked may stay unasked before that is worth a line.
const UNASKED: Duration = Duration::from_secs(10);

/// How long `version` may be unasked before it is probed; none if its calls do not wait.
///
/// The primary three times in the time after which it counts as away, so that one lost probe changes nothing.
pub fn interval(keyring: &Keyring, version: &KeyVersion) -> Option<Duration> {
    let waits = version.waits()?;
    Some(if version.key_id() == keyring.primary() { waits.workers.limits().away_after / 3 } else { OTHERS })
}

/// What is known of the keys that wait; shared by who finds it and who shows it.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<HashMap<KeyId, Known>>>);

struct Known {
    /// Since when it is looked at.
    looked: Instant,
    /// The last failed probe, if nothing has worked since.
    failed: Option<Failed>,
    /// Since when it is away.
    away: Option<Instant>,
}

struct Failed {
    at: Instant,
    cause: String,
    /// The PIN is to blame.
    pin: bool,
}

/// A key went away or came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The version.
    pub key_id: KeyId,
    /// Where it is.
    pub token: String,
    /// What happened.
    pub to: To,
}

/// What happened to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// It is away, and why.
    Away(String),
    /// It works again, after so long.
    Back(Duration),
}

impl Health {
    /// A probe of `key_id` failed at `now`.
    pub fn failed(&self, key_id: KeyId, error: &KekError, now: Instant) {
        let pin = matches!(error, KekError::Token(error) if error.problem.turn() == Turn::Pin);
        self.note(key_id, Failed { at: now, cause: error.to_string(), pin });
    }

    /// A probe of `key_id` did not come back by `now`.
    pub fn silent(&self, key_id: KeyId, cause: &str, now: Instant) {
        self.note(key_id, Failed { at: now, cause: cause.to_owned(), pin: false });
    }

    fn note(&self, key_id: KeyId, failed: Failed) {
        let looked = failed.at;
        self.lock().entry(key_id).or_insert(Known { looked, failed: None, away: None }).failed = Some(failed);
    }

    /// Looks at every key of `keyring` that waits, and returns what has changed since the last look.
    pub fn look(&self, keyring: &Keyring, now: Instant) -> Vec<Change> {
        let mut known = self.lock();
        known.retain(|key_id, _| keyring.find(key_id).is_ok());
        let mut changes = Vec::new();
        for (version, waits) in keyring.waiting() {
            let key_id = *version.key_id();
            let known = known.entry(key_id).or_insert(Known { looked: now, failed: None, away: None });
            if let Some(to) = known.look(waits, key_id == *keyring.primary(), now) {
                changes.push(Change { key_id, token: waits.workers.token(), to });
            }
        }
        changes
    }

    /// Since when `key_id` is away, and why; none if it is not.
    fn away(&self, key_id: &KeyId) -> Option<(Instant, String)> {
        let known = self.lock();
        let known = known.get(key_id)?;
        Some((known.away?, known.cause()))
    }

    /// Whether the last probe of `key_id` failed for the PIN, which is not tried again before it changes.
    fn pin_refused(&self, key_id: &KeyId) -> bool {
        self.lock().get(key_id).and_then(|known| known.failed.as_ref()).is_some_and(|failed| failed.pin)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<KeyId, Known>> {
        // Nothing of ours panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn look(&mut self, waits: &Waits, primary: bool, now: Instant) -> Option<To> {
        let good = waits.last_good.age(now);
        let since_failure = self.failed.as_ref().map(|failed| now.saturating_duration_since(failed.at));
        if good.zip(since_failure).is_some_and(|(good, failure)| good < failure) {
            self.failed = None;
        }
        let late = if primary {
            waits.is_away(now)
        } else {
            let limit = OTHERS + waits.workers.limits().away_after;
            self.failed.is_some() || good.is_none_or(|age| age > limit)
        };
        let unasked = good.is_none() && self.failed.is_none() && now.saturating_duration_since(self.looked) < UNASKED;
        match self.away {
            None if late && !unasked => {
                self.away = good.and_then(|age| now.checked_sub(age)).or(Some(self.looked));
                Some(To::Away(self.cause()))
            }
            Some(since) if !late => {
                self.away = None;
                Some(To::Back(now.saturating_duration_since(since)))
            }
            _ => None,
        }
    }

    fn cause(&self) -> String {
        self.failed.as_ref().map_or_else(|| "its calls do not come back".into(), |failed| failed.cause.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Kek;
    use crate::provider::waits::Limits;
    use crate::provider::waits::played::{Key, Plays, Token, error};

    /// A primary that was seen to work at `start`, another that never was.
    fn keyring() -> (Keyring, [Arc<Key>; 2]) {
        let token = Token::new(1, Limits::default(), Plays::Works);
        let [other, primary] = [token.key(), token.key()];
        (Keyring::played(vec![other.clone(), primary.clone()]), [other, primary])
    }

    fn good(key: &Key, at: Instant) {
        key.waits().expect("waits").last_good.note(at);
    }

    #[test]
    fn a_primary_that_goes_away_and_comes_back_is_told_once_each_with_cause_and_time() {
        let (keyring, [other, primary]) = keyring();
        let start = Instant::now() + Duration::from_secs(1);
        let at = |seconds| start + Duration::from_secs(seconds);
        let health = Health::default();
        good(&primary, at(0));
        good(&other, at(0));
        assert_eq!(health.look(&keyring, at(0)), []);
        health.failed(*keyring.primary(), &error().into(), at(10));
        assert_eq!(health.look(&keyring, at(30)), [], "Status is still answered");
        let changes = health.look(&keyring, at(31));
        let cause = error().to_string();
        let change = |to| Change { key_id: *keyring.primary(), token: crate::provider::waits::played::name().to_string(), to };
        assert_eq!(changes, [change(To::Away(cause.clone()))]);
        health.failed(*keyring.primary(), &error().into(), at(40));
        assert_eq!(health.look(&keyring, at(41)), [], "told once");
        assert_eq!(health.away(keyring.primary()), Some((at(0), cause)));
        good(&primary, at(50));
        assert_eq!(health.look(&keyring, at(50)), [change(To::Back(Duration::from_secs(50)))]);
        assert_eq!((health.away(keyring.primary()), health.look(&keyring, at(51))), (None, vec![]));
        let changes = health.look(&keyring, at(81));
        assert_eq!(changes, [change(To::Away("its calls do not come back".into()))], "the old cause is over");
    }

    #[test]
    fn another_version_is_away_once_a_probe_of_it_fails_or_none_comes_back() {
        let (keyring, [other, primary]) = keyring();
        let start = Instant::now() + Duration::from_secs(1);
        let at = |seconds| start + Duration::from_secs(seconds);
        let key_id = *keyring.versions()[0].key_id();
        let health = Health::default();
        let to = |now| {
            good(&primary, now);
            health.look(&keyring, now).into_iter().map(|change| (change.key_id, change.to)).collect::<Vec<_>>()
        };
        assert_eq!(to(at(0)), [], "it was not asked yet");
        health.failed(key_id, &error().into(), at(1));
        assert_eq!(to(at(1)), [(key_id, To::Away(error().to_string()))]);
        good(&other, at(4));
        assert_eq!(to(at(5)), [(key_id, To::Back(Duration::from_secs(5)))]);
        assert_eq!(to(at(94)), []);
        assert_eq!(to(at(95)), [(key_id, To::Away("its calls do not come back".into()))], "after a minute and the time that is set");
    }

    #[test]
    fn a_version_that_was_never_asked_is_told_after_a_while_and_what_a_keyring_lacks_is_forgotten() {
        let (keyring, [_, primary]) = keyring();
        let start = Instant::now() + Duration::from_secs(1);
        let health = Health::default();
        good(&primary, start);
        assert_eq!(health.look(&keyring, start), []);
        assert_eq!(health.look(&keyring, start + UNASKED).len(), 1);
        assert_eq!(health.lock().len(), 2);
        health.look(&Keyring::played(vec![primary]), start + UNASKED);
        assert_eq!(health.lock().len(), 1);
    }

    #[test]
    fn the_primary_is_probed_three_times_before_it_counts_as_away_and_the_others_every_minute() {
        let (keyring, _) = keyring();
        let intervals: Vec<_> = keyring.versions().iter().map(|version| interval(&keyring, version)).collect();
        assert_eq!(intervals, [Some(Duration::from_secs(60)), Some(Duration::from_secs(10))]);
    }
}
