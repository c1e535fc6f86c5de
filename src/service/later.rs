//! Calls of keys that wait: the answer comes later, or its time runs out.

#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::join::{Ask, outcome};
use super::refusal::Refusal;
use super::{Method, Record, Service, code};
use crate::adoption::Caller;
use crate::envelope::Purpose;
use crate::keyring::Keyring;
use crate::log::Log;
use crate::provider::waits::{Outcome, Waits, Workers};
use crate::secret::SecretBytes;

/// The outcome of a call, once it is known; dropped, nobody waits for it any more.
pub type Later = Pin<Box<dyn Future<Output = Result<SecretBytes, Refusal>> + Send>>;

/// What a call waits for.
pub(super) struct Wait {
    /// Whom it waits for; not kept longer than their keys.
    workers: std::sync::Weak<Workers>,
    limit: Duration,
    answer: Later,
}

/// How far a call came at once.
pub(super) enum Step {
    Done(SecretBytes),
    Wait(Box<Wait>),
}

impl Step {
    fn wait(waits: &Waits, answer: impl Future<Output = Result<SecretBytes, Refusal>> + Send + 'static) -> Self {
        let (workers, limit) = (Arc::downgrade(&waits.workers), waits.workers.limits().call_timeout);
        Self::Wait(Box::new(Wait { workers, limit, answer: Box::pin(answer) }))
    }
}

impl Service {
    /// Has `plaintext` wrapped under the primary of `keyring`, which `waits`; `encode` makes the answer of the envelope.
    pub(super) fn wrap_later(
        &self,
        keyring: &Arc<Keyring>,
        waits: &Waits,
        purpose: Purpose,
        plaintext: SecretBytes,
        encode: impl FnOnce(Vec<u8>) -> Result<SecretBytes, Refusal> + Send + 'static,
    ) -> Step {
        let (answered, answer) = oneshot::channel();
        let (keyring, entropy, workers) = (keyring.clone(), self.entropy.clone(), Arc::downgrade(&waits.workers));
        let wraps = self.wraps.clone();
        let interest = waits.workers.submit(move || {
            if let Some(wraps) = wraps {
                wraps.count(*keyring.primary());
            }
            let wrapped = keyring.wrap(purpose, plaintext.expose_secret(), entropy.as_ref()).map_err(Refusal::from);
            if let Some(workers) = workers.upgrade() {
                workers.count(outcome(&wrapped));
            }
            // Nobody may be left who waits for it.
            let _ = answered.send(wrapped);
        });
        Step::wait(waits, async move {
            let _interest = interest;
            // Closed unused: it panicked, or there is no thread; the log has it.
            encode(answer.await.map_err(|_| Refusal::Ours)??)
        })
    }

    /// Has what `ask` says unwrapped by a key that `waits`, for everybody who asks it at this time; `encode` makes the answer of the plaintext.
    pub(super) fn unwrap_later(
        &self,
        ask: Ask,
        waits: &Waits,
        start: Instant,
        encode: fn(SecretBytes) -> Result<SecretBytes, Refusal>,
    ) -> Step {
        let flight = self.joins.join(ask, waits, start);
        Step::wait(waits, async move { encode(flight.answer().await?) })
    }

    /// Waits for the outcome of a call and notes it, at most as long as the caller waits (`limit`).
    pub(super) fn later(&self, caller: &Arc<Caller>, method: Method, record: Record, wait: Wait, limit: Option<Duration>) -> Later {
        let Wait { workers, limit: ours, answer } = wait;
        let limit = limit.map_or(ours, |limit| limit.min(ours));
        let deadline = record.start.checked_add(limit).map(tokio::time::Instant::from_std);
        let mut open = Open { log: self.log.clone(), caller: caller.clone(), method, record: Some(record) };
        Box::pin(async move {
            let outcome = match deadline {
                Some(deadline) => tokio::time::timeout_at(deadline, answer).await,
                None => Ok(answer.await),
            };
            let outcome = outcome.unwrap_or_else(|_| {
                if let Some(workers) = workers.upgrade() {
                    workers.count(Outcome::Late);
                    let limit = humantime::format_duration(limit);
                    tracing::error!(token = workers.token(), "no answer of the token within {limit}");
                }
                Err(Refusal::TokenAway)
            });
            open.close(&outcome);
            outcome
        })
    }
}

/// A call whose outcome is not known yet.
struct Open {
    log: Log,
    caller: Arc<Caller>,
    method: Method,
    /// Until it is noted.
    record: Option<Record>,
}

impl Open {
    fn close(&mut self, outcome: &Result<SecretBytes, Refusal>) {
        if let Some(record) = self.record.take() {
            let now = Instant::now();
            record.adoption(&self.caller, self.method, outcome.is_ok(), now);
            record.log(&self.log, self.method, code(outcome), now);
        }
    }
}

impl Drop for Open {
    /// The caller went away: an Encrypt that it does not hear of is none that it accepted.
    fn drop(&mut self) {
        if let Some(record) = self.record.take() {
            let now = Instant::now();
            record.adoption(&self.caller, self.method, false, now);
            record.log(&self.log, self.method, "Canceled", now);
        }
    }
}
