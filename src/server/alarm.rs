//! What is wrong although every call is answered: shown in the log, as a metric and by `keywright status`, never by Status.

use std::sync::{Arc, Mutex, PoisonError};

/// One alarm, shared by who raises it and who shows it.
#[derive(Debug, Clone, Default)]
pub(super) struct Alarm(Arc<Mutex<Option<String>>>);

impl Alarm {
    /// Turns it on, with the cause.
    pub(super) fn raise(&self, cause: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause);
    }

    /// Turns it off.
    pub(super) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The cause, if it is on.
    pub(super) fn cause(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
