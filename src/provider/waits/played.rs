//! A key in a token that a test plays: its calls wait until they are let go.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{LastGood, Limits, Waits, Workers};
use crate::entropy::Entropy;
use crate::envelope::{Algorithm, Envelope, Header};
use crate::key_id::KeyId;
use crate::provider::pkcs11::{Problem, TokenError, TokenName};
use crate::provider::{Kek, KekError, Wrapped};
use crate::secret::SecretBytes;

/// A plaintext that makes the call panic.
pub(crate) const PANICS: &[u8] = b"panics";

/// How the calls of a token are answered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plays {
    /// Not at all.
    Hangs,
    /// Well.
    Works,
    /// The token is away.
    Away,
    /// A call that hangs is in the way.
    Blocked,
}

/// A token that a test plays.
pub(crate) struct Token {
    pub(crate) workers: Arc<Workers>,
    plays: Arc<(Mutex<Plays>, Condvar)>,
    enter: UnboundedSender<Vec<u8>>,
    /// What each call that is inside was given: plaintext of a wrap, sealed bytes of an unwrap, nothing for a probe.
    pub(crate) entered: UnboundedReceiver<Vec<u8>>,
}

/// A key in it. Wrapping puts 16 zero bytes behind the plaintext.
pub(crate) struct Key {
    waits: Waits,
    plays: Arc<(Mutex<Plays>, Condvar)>,
    enter: UnboundedSender<Vec<u8>>,
}

pub(crate) fn name() -> TokenName {
    TokenName { label: "played".into(), serial: "1".into() }
}

pub(crate) fn error() -> TokenError {
    TokenError { token: name(), attempt: "find the key", problem: Problem::NotConfigured }
}

impl Token {
    pub(crate) fn new(threads: usize, limits: Limits, plays: Plays) -> Self {
        let (enter, entered) = unbounded_channel();
        let workers = Arc::new(Workers::of(name(), threads, limits));
        Self { workers, plays: Arc::new((Mutex::new(plays), Condvar::new())), enter, entered }
    }

    /// A key that was never seen to work.
    pub(crate) fn key(&self) -> Arc<Key> {
        let waits = Waits { workers: self.workers.clone(), last_good: LastGood::new(Instant::now()) };
        Arc::new(Key { waits, plays: self.plays.clone(), enter: self.enter.clone() })
    }

    /// How every call is answered from now on, those inside among them.
    pub(crate) fn play(&self, plays: Plays) {
        *self.plays.0.lock().unwrap_or_else(PoisonError::into_inner) = plays;
        self.plays.1.notify_all();
    }
}

impl Key {
    fn inside(&self, given: &[u8]) -> Result<(), KekError> {
        // The test may have ended.
        let _ = self.enter.send(given.to_vec());
        let (plays, changed) = &*self.plays;
        let plays = plays.lock().unwrap_or_else(PoisonError::into_inner);
        let plays = changed.wait_while(plays, |plays| *plays == Plays::Hangs).unwrap_or_else(PoisonError::into_inner);
        match *plays {
            Plays::Away => Err(error().into()),
            Plays::Blocked => Err(TokenError { problem: Problem::Hung, ..error() }.into()),
            _ => {
                self.waits.last_good.note(Instant::now());
                Ok(())
            }
        }
    }
}

impl Kek for Key {
    fn wrap_key(&self, _: &[u8], plaintext: &[u8], _: &dyn Entropy) -> Result<Wrapped, KekError> {
        self.inside(plaintext)?;
        assert_ne!(plaintext, PANICS, "as the test wants it");
        Ok(Wrapped { nonce: vec![0; 12], sealed: [plaintext, &[0; 16]].concat() })
    }

    fn unwrap_key(&self, _: &[u8], _: &[u8], sealed: &[u8]) -> Result<SecretBytes, KekError> {
        self.inside(sealed)?;
        let (plaintext, tag) = sealed.split_last_chunk::<16>().ok_or(KekError::Authentication)?;
        assert_ne!(plaintext, PANICS, "as the test wants it");
        if *tag == [0; 16] { Ok(SecretBytes::from_vec(plaintext.to_vec())) } else { Err(KekError::Authentication) }
    }

    fn waits(&self) -> Option<&Waits> {
        Some(&self.waits)
    }

    fn probe(&self) -> Result<(), KekError> {
        self.inside(&[])
    }
}

/// What version `key_id` would have made of `plaintext`.
pub(crate) fn envelope(key_id: KeyId, plaintext: &[u8]) -> Vec<u8> {
    let header = Header { algorithm: Algorithm::Aes256Gcm, key_id };
    Envelope { header, nonce: &[0; 12], sealed: &[plaintext, &[0; 16]].concat() }.write()
}
