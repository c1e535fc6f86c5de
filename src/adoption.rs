//! Which key each API server writes with, as far as its calls show it: seen, not slept.
//!
//! An API server asks Status; when the key_id is new to it, it asks Encrypt for a new seed, and writes with that from then on. An
//! Encrypt that was asked is not yet an answer that was accepted (it may have come too late). But a server that did not accept it asks
//! again right after its next Status; so a later Status with the same key_id, and no Encrypt after it, shows that it was. (The probe of
//! `kube-apiserver`, in `pkg/server/options/encryptionconfig/config.go`.)
//!
//! Whoever does not show it can be waited out: without a Status that names the old key_id, an API server stops writing with it after
//! three minutes. [`Callers::named`] knows when that was last.

pub mod page;
pub mod refused;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::key_id::KeyId;

/// How many key_ids that Status named are remembered; each rotation adds one.
const MAX_NAMED: usize = 64;

/// What one connection asked for and was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Calls {
    /// The key_id of the last Encrypt, when that was answered well.
    pub encrypted: Option<(KeyId, Instant)>,
    /// The key_id that Status has named since then, and when it did first.
    pub named: Option<(KeyId, Instant)>,
}

impl Calls {
    /// An Encrypt was answered with `key_id`, or with an error.
    fn encrypt(&mut self, key_id: Option<KeyId>, now: Instant) {
        *self = Self { encrypted: key_id.map(|key_id| (key_id, now)), named: None };
    }

    /// A Status was answered with `key_id`.
    fn status(&mut self, key_id: KeyId, now: Instant) {
        if self.named.is_none_or(|(before, _)| before != key_id) {
            self.named = Some((key_id, now));
        }
    }

    /// The key_id that the API server of this connection writes with, once `settle` has passed without a new Encrypt.
    ///
    /// `settle`: no less than the `timeout` of the provider in the EncryptionConfiguration.
    pub fn adopted(&self, now: Instant, settle: Duration) -> Option<KeyId> {
        let ((encrypted, _), (named, since)) = (self.encrypted?, self.named?);
        (encrypted == named && now.saturating_duration_since(since) >= settle).then_some(named)
    }
}

/// One connection to the plugin's socket.
#[derive(Debug)]
pub struct Caller {
    /// Counted from 1 since the start of the plugin.
    pub number: u64,
    /// Process at the other end, 0 if the kernel does not say.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// When it connected.
    pub since: Instant,
    ours: AtomicBool,
    calls: Mutex<Calls>,
    all: Callers,
}

impl Caller {
    /// What it has asked so far.
    pub fn calls(&self) -> Calls {
        *self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that this is a command of ours: its calls say nothing about an API server.
    pub fn is_ours(&self) {
        self.ours.store(true, Ordering::Relaxed);
    }

    /// Whether it is a command of ours.
    pub fn ours(&self) -> bool {
        self.ours.load(Ordering::Relaxed)
    }

    /// Notes an Encrypt that was answered with `key_id`, or with an error.
    pub fn encrypt(&self, key_id: Option<KeyId>, now: Instant) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).encrypt(key_id, now);
    }

    /// Notes a Status that was answered with `key_id`.
    pub fn status(&self, key_id: KeyId, now: Instant) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).status(key_id, now);
        if !self.ours() {
            self.all.name(key_id, now);
        }
    }

    /// Notes a Decrypt that was refused because the keyring of this generation has `key_id` disabled, or destroyed.
    pub fn refused(&self, key_id: KeyId, generation: u64, now: Instant) {
        if !self.ours() {
            self.all.lock().refusals.add(key_id, generation, now);
        }
    }
}

/// All connections of one plugin.
#[derive(Debug, Clone)]
pub struct Callers(Arc<Mutex<All>>);

#[derive(Debug)]
struct All {
    next: u64,
    live: Vec<Weak<Caller>>,
    named: Vec<(KeyId, Instant)>,
    started: Instant,
    /// When it all began; `started` moves when something is forgotten.
    counting: Instant,
    refusals: refused::Refusals,
}

impl Callers {
    /// None yet; the plugin started at `started`.
    pub fn new(started: Instant) -> Self {
        Self(Arc::new(Mutex::new(All {
            next: 1,
            live: Vec::new(),
            named: Vec::new(),
            started,
            counting: started,
            refusals: refused::Refusals::default(),
        })))
    }

    /// A new connection; it is forgotten when what is returned is dropped.
    pub fn connect(&self, uid: u32, pid: i32, now: Instant) -> Arc<Caller> {
        let mut all = self.lock();
        let caller = Arc::new(Caller {
            number: all.next,
            pid,
            uid,
            since: now,
            ours: AtomicBool::new(false),
            calls: Mutex::default(),
            all: self.clone(),
        });
        all.next += 1;
        // As many as connections are allowed at once.
        all.live.retain(|known| known.strong_count() > 0);
        all.live.push(Arc::downgrade(&caller));
        caller
    }

    /// The connections there are, oldest first.
    pub fn live(&self) -> Vec<Arc<Caller>> {
        self.lock().live.iter().filter_map(Weak::upgrade).collect()
    }

    /// Each key_id that a Status of a foreign caller was answered with, and when it was last; the one named last comes last.
    pub fn named(&self) -> Vec<(KeyId, Instant)> {
        self.lock().named.clone()
    }

    /// Since when all this is known.
    pub fn started(&self) -> Instant {
        self.lock().started
    }

    /// What was refused since the start.
    pub fn refused(&self, now: Instant) -> refused::Page {
        let all = self.lock();
        all.refusals.page(all.counting, now)
    }

    fn name(&self, key_id: KeyId, now: Instant) {
        let mut all = self.lock();
        all.named.retain(|(known, _)| *known != key_id);
        if all.named.len() == MAX_NAMED {
            // What is forgotten was named before all of the others: `started` moves there, for less is known from now on.
            let (_, at) = all.named.remove(0);
            all.started = all.started.max(at);
        }
        all.named.push((key_id, now));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLE: Duration = Duration::from_secs(3);

    fn key_id(version: u32) -> KeyId {
        format!("kw1.0101010101010101.{version}.00000000000000000000000000000000").parse().expect("valid")
    }

    /// The time `seconds` after some beginning.
    fn at(seconds: u64) -> Instant {
        static BEGINNING: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *BEGINNING.get_or_init(Instant::now) + Duration::from_secs(seconds)
    }

    #[test]
    fn an_api_server_has_adopted_a_key_when_a_later_status_brings_no_new_encrypt() {
        let mut calls = Calls::default();
        calls.status(key_id(2), at(0));
        assert_eq!(calls.adopted(at(100), SETTLE), None, "it has not asked for a seed");
        calls.encrypt(Some(key_id(2)), at(100));
        assert_eq!(calls.adopted(at(200), SETTLE), None, "an Encrypt that was asked is not yet an answer that was accepted");
        calls.status(key_id(2), at(200));
        assert_eq!(calls.adopted(at(202), SETTLE), None, "a new Encrypt may be on its way");
        assert_eq!(calls.adopted(at(203), SETTLE), Some(key_id(2)));
        calls.status(key_id(2), at(204));
        assert_eq!(calls.adopted(at(204), SETTLE), Some(key_id(2)), "asking more often takes nothing back");
    }

    #[test]
    fn an_encrypt_after_the_status_shows_that_the_one_before_was_not_accepted() {
        let mut calls = Calls::default();
        calls.encrypt(Some(key_id(2)), at(0));
        calls.status(key_id(2), at(10));
        calls.encrypt(Some(key_id(2)), at(11));
        assert_eq!(calls.adopted(at(100), SETTLE), None);
        calls.status(key_id(2), at(100));
        calls.encrypt(None, at(101));
        assert_eq!(calls.adopted(at(200), SETTLE), None, "nor does one that failed");
    }

    #[test]
    fn a_new_primary_is_not_adopted_by_naming_it() {
        let mut calls = Calls::default();
        calls.encrypt(Some(key_id(1)), at(0));
        calls.status(key_id(1), at(1));
        assert_eq!(calls.adopted(at(50), SETTLE), Some(key_id(1)));
        calls.status(key_id(2), at(60));
        assert_eq!(calls.adopted(at(100), SETTLE), None, "between two keys it may write with either");
    }

    #[test]
    fn a_connection_is_known_while_it_lives_and_ours_never_names_a_key() {
        let callers = Callers::new(at(0));
        let [first, second] = [callers.connect(0, 7, at(1)), callers.connect(0, 8, at(2))];
        second.is_ours();
        first.status(key_id(1), at(3));
        second.status(key_id(2), at(4));
        first.status(key_id(1), at(5));
        assert_eq!(callers.named(), [(key_id(1), at(5))]);
        assert_eq!(callers.live().iter().map(|caller| (caller.number, caller.pid)).collect::<Vec<_>>(), [(1, 7), (2, 8)]);
        drop(first);
        assert_eq!(callers.live().len(), 1);
        assert_eq!(callers.connect(0, 9, at(6)).number, 3, "a number is used once");
    }

    #[test]
    fn what_is_forgotten_counts_as_unknown() {
        let callers = Callers::new(at(0));
        let caller = callers.connect(0, 7, at(0));
        for version in 1..=MAX_NAMED as u32 + 1 {
            caller.status(key_id(version), at(u64::from(version)));
        }
        assert_eq!((callers.named().len(), callers.started()), (MAX_NAMED, at(1)));
    }
}
