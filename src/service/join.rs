//! Identical Decrypts in flight become one call of the token, for an API server that starts asks for the same seed from all sides at once.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use tokio::sync::watch;

use super::refusal::Refusal;
use crate::envelope::{Envelope, Purpose};
use crate::keyring::Keyring;
use crate::provider::waits::{Interest, Outcome, Waits};
use crate::secret::SecretBytes;

/// What is asked: two that are equal have one answer.
pub(super) struct Ask {
    /// The snapshot of the request.
    pub(super) keyring: Arc<Keyring>,
    pub(super) purpose: Purpose,
    /// An envelope, whose header is that of the version that the request names.
    pub(super) ciphertext: Vec<u8>,
}

impl Ask {
    fn open(&self) -> Result<SecretBytes, Refusal> {
        let envelope = Envelope::parse(&self.ciphertext).map_err(|_| Refusal::DoesNotOpen)?;
        Ok(self.keyring.find(&envelope.header.key_id)?.unwrap(self.purpose, &envelope)?)
    }
}

impl PartialEq for Ask {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.keyring, &other.keyring) && self.purpose == other.purpose && self.ciphertext == other.ciphertext
    }
}

impl Eq for Ask {}

impl Hash for Ask {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.ciphertext.hash(state);
    }
}

/// The token calls that are in flight.
#[derive(Default)]
pub(super) struct Joins(Mutex<HashMap<Arc<Ask>, Weak<Flight>>>);

/// One token call, for everybody who asks the same; given up when the last of them drops it.
pub(super) struct Flight {
    begun: Instant,
    ask: Arc<Ask>,
    joins: Arc<Joins>,
    answer: watch::Receiver<Option<Result<SecretBytes, Refusal>>>,
    _interest: Interest,
}

impl Joins {
    /// The call that answers `ask`, by a key that `waits`: one in flight, or a new one that begins at `now`.
    ///
    /// One that has taken longer than a call may is left to those who wait for it: who asks again must not hang on the same call.
    pub(super) fn join(self: &Arc<Self>, ask: Ask, waits: &Waits, now: Instant) -> Arc<Flight> {
        let limit = waits.workers.limits().call_timeout;
        // Declared before the lock, for it may be the last one to hold its flight, which locks when it is dropped.
        let known;
        let mut flights = self.lock();
        known = flights.get(&ask).and_then(Weak::upgrade);
        if let Some(known) = &known
            && now.saturating_duration_since(known.begun) < limit
        {
            return known.clone();
        }
        let ask = Arc::new(ask);
        let (answered, answer) = watch::channel(None);
        let interest = waits.workers.submit({
            let (ask, workers) = (ask.clone(), Arc::downgrade(&waits.workers));
            move || {
                let opened = ask.open();
                if let Some(workers) = workers.upgrade() {
                    workers.count(outcome(&opened));
                }
                // Nobody may be left who waits for it.
                let _ = answered.send(Some(opened));
            }
        });
        let flight = Arc::new(Flight { begun: now, ask: ask.clone(), joins: self.clone(), answer, _interest: interest });
        // The old key, if there is one, is equal; what it names is another flight.
        flights.insert(ask, Arc::downgrade(&flight));
        flight
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<Ask>, Weak<Flight>>> {
        // Nothing of ours panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As what a call of the token counts.
pub(super) fn outcome<T>(result: &Result<T, Refusal>) -> Outcome {
    match result {
        Ok(_) => Outcome::Ok,
        Err(Refusal::DoesNotOpen) => Outcome::Refused,
        Err(Refusal::TokenAway) => Outcome::Failed,
        Err(_) => Outcome::Ours,
    }
}

impl Flight {
    /// What it came to: a copy for each who asks.
    pub(super) async fn answer(&self) -> Result<SecretBytes, Refusal> {
        match self.answer.clone().wait_for(Option::is_some).await.as_deref() {
            Ok(Some(Ok(plaintext))) => Ok(SecretBytes::from_vec(plaintext.expose_secret().to_vec())),
            Ok(Some(Err(refusal))) => Err(*refusal),
            // It panicked, or there is no thread; the log has it.
            Ok(None) | Err(_) => Err(Refusal::Ours),
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut flights = self.joins.lock();
        // Another one may stand there by now.
        if flights.get(&self.ask).is_some_and(|known| known.strong_count() == 0) {
            flights.remove(&self.ask);
        }
    }
}
