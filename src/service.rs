//! Status, Encrypt and Decrypt: one snapshot of the keyring answers one request.
//!
//! What a request may do wrong is decided in [`crate::protocol`]; what it gets told is decided in [`refusal`]. Nothing here waits.

mod kms_v1;
mod kms_v2;
pub mod refusal;
mod route;

pub use route::Routes;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Instant, SystemTime};

use crate::entropy::Entropy;
use crate::key_id::KeyId;
use crate::keyring::{Keyring, LookupError};
use crate::log::{Log, Request};
use refusal::Refusal;

/// The keyring that answers now; none until one was loaded and its primary proved.
#[derive(Clone, Default)]
pub struct Snapshots(Arc<RwLock<Option<Arc<Keyring>>>>);

impl Snapshots {
    /// The snapshot for one whole request.
    pub fn current(&self) -> Option<Arc<Keyring>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts `keyring` in the place of the last one, for every request that begins from now on.
    pub fn publish(&self, keyring: Keyring) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(keyring));
    }
}

/// What every call needs.
pub struct Service {
    snapshots: Snapshots,
    entropy: Box<dyn Entropy>,
    log: Log,
}

/// What is said of a call in the log, filled in as it becomes known.
struct Record<'a> {
    operation: &'static str,
    api: &'static str,
    uid: &'a str,
    key_id: String,
}

impl Service {
    /// Answers from `snapshots`; nonces come from `entropy`, a line for every call goes to `log`.
    pub fn new(snapshots: Snapshots, entropy: Box<dyn Entropy>, log: Log) -> Self {
        Self { snapshots, entropy, log }
    }

    fn snapshot(&self) -> Result<Arc<Keyring>, Refusal> {
        self.snapshots.current().ok_or(Refusal::NotReady)
    }

    /// Runs one call, turns its outcome into an answer and logs it. A panic costs this one call.
    fn answer<T>(&self, mut record: Record<'_>, act: impl FnOnce(&mut Record<'_>) -> Result<T, Refusal>) -> Result<T, tonic::Status> {
        let start = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| act(&mut record))).unwrap_or_else(|_| {
            tracing::error!(op = record.operation, "a call panicked: a defect of Keywright, please report it");
            Err(Refusal::Ours)
        });
        self.log.request(&Request {
            at: SystemTime::now(),
            operation: record.operation,
            api: record.api,
            uid: record.uid,
            key_id: &record.key_id,
            code: outcome.as_ref().err().map_or("OK", |refusal| refusal.code_name()),
            took: start.elapsed(),
        });
        outcome.map_err(tonic::Status::from)
    }
}

/// Parses a key_id that somebody sent. A malformed one names no key of ours, as an unknown one does.
fn parse_key_id(text: &str) -> Result<KeyId, Refusal> {
    text.parse().map_err(|_| Refusal::from(LookupError::Unknown))
}
