//! Tokens of the test bed as the provider reaches them, and a PIN that remembers how often it was tried.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use keywright::entropy::OsEntropy;
use keywright::envelope::Algorithm;
use keywright::provider::pkcs11::{
    Attempt, IvFrom, KeyAt, KeySpec, ObjectId, PinSource, Problem, Proof, TokenAccess, TokenError, TokenKek, TokenName, Tokens, Turn,
};
use keywright::provider::waits::{Limits, Workers};
use keywright::provider::{Kek, KekError};
use keywright::secret::SecretBytes;
use keywright_testbed::tokens::Token;

pub(crate) const LABEL: &str = "kek";
pub(crate) const PROOF_AAD: &[u8] = b"canary";
pub(crate) const PROOF: &[u8; 32] = b"thirty-two bytes, fixed, public.";
/// Sessions of a token that are used at once.
pub(crate) const SESSIONS: usize = 8;

/// A PIN, latched when it is refused, as a real source is.
pub(crate) struct Pin {
    pin: Mutex<String>,
    refused: Mutex<Option<String>>,
    pub(crate) tries: AtomicUsize,
}

impl Pin {
    pub(crate) fn new(pin: &str) -> Arc<Self> {
        Arc::new(Self { pin: Mutex::new(pin.to_owned()), refused: Mutex::new(None), tries: AtomicUsize::new(0) })
    }

    pub(crate) fn set(&self, pin: &str) {
        pin.clone_into(&mut self.pin.lock().expect("no panic"));
    }
}

impl PinSource for Pin {
    fn attempt(&self, _: bool) -> Result<Box<dyn Attempt + '_>, TokenError> {
        let pin = self.pin.lock().expect("no panic").clone();
        if self.refused.lock().expect("no panic").as_ref() == Some(&pin) {
            let token = TokenName { label: "latched".to_owned(), serial: String::new() };
            return Err(TokenError { token, attempt: "log in", problem: Problem::PinRejected });
        }
        self.tries.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(Try { source: self, secret: SecretBytes::from_vec(pin.clone().into_bytes()), pin }))
    }
}

struct Try<'a> {
    source: &'a Pin,
    pin: String,
    secret: SecretBytes,
}

impl Attempt for Try<'_> {
    fn pin(&self) -> &SecretBytes {
        &self.secret
    }

    fn accepted(self: Box<Self>) {}

    fn rejected(self: Box<Self>) {
        *self.source.refused.lock().expect("no panic") = Some(self.pin);
    }

    fn undecided(self: Box<Self>) {}
}

pub(crate) fn name(token: &Token) -> TokenName {
    TokenName { label: token.label().to_owned(), serial: token.serial().to_owned() }
}

pub(crate) fn access(token: &Token, pins: &Arc<Pin>) -> TokenAccess {
    TokenAccess {
        name: name(token),
        module: token.hsm().module().to_owned(),
        module_config: token.hsm().module_config(),
        insecure_module_owner: true,
        pins: Arc::clone(pins) as Arc<dyn PinSource>,
        workers: Arc::new(Workers::of(name(token), SESSIONS, Limits::default())),
    }
}

/// The provider with these tokens, each with its right PIN.
pub(crate) fn provider(tokens: &[&Token]) -> Tokens {
    Tokens::new(tokens.iter().map(|token| access(token, &Pin::new(token.pin()))).collect(), Instant::now())
}

pub(crate) fn id(number: u8) -> ObjectId {
    [number; 16]
}

/// A key without a canary.
pub(crate) fn spec(token: &Token, number: u8, algorithm: Algorithm) -> KeySpec {
    KeySpec {
        at: KeyAt { token: name(token), label: LABEL.to_owned(), id: id(number) },
        mac: (algorithm == Algorithm::Aes256CbcHmacSha256).then(|| id(number ^ 0x80)),
        algorithm,
        iv: IvFrom::Host,
        proof: None,
    }
}

pub(crate) fn gcm(token: &Token, number: u8) -> KeySpec {
    spec(token, number, Algorithm::Aes256Gcm)
}

/// The same key with a canary that it made.
pub(crate) fn proved(tokens: &Tokens, spec: &KeySpec) -> KeySpec {
    let canary = tokens.kek(spec.clone()).wrap_key(PROOF_AAD, PROOF, &OsEntropy).expect("makes a canary");
    KeySpec { proof: Some(Proof { aad: PROOF_AAD.to_vec(), nonce: canary.nonce, sealed: canary.sealed, plaintext: PROOF }), ..spec.clone() }
}

/// Makes the key in its token and gives it its canary.
pub(crate) fn made(tokens: &Tokens, spec: &KeySpec) -> (Arc<TokenKek>, KeySpec) {
    tokens.create_key(spec).expect("makes the key");
    let spec = proved(tokens, spec);
    (tokens.kek(spec.clone()), spec)
}

pub(crate) fn problem<T>(done: Result<T, KekError>) -> Problem {
    match done {
        Err(KekError::Token(error)) => error.problem,
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("it worked"),
    }
}

pub(crate) fn round_trip(kek: &TokenKek) -> Result<(), KekError> {
    let wrapped = kek.wrap_key(b"aad", &[7; 32], &OsEntropy)?;
    let opened = kek.unwrap_key(b"aad", &wrapped.nonce, &wrapped.sealed)?;
    assert_eq!(opened.expose_secret(), [7; 32]);
    Ok(())
}

/// Calls again until it works: a recovery that failed is not tried anew within a second.
pub(crate) fn within<T>(mut call: impl FnMut() -> Result<T, KekError>) -> T {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        match call() {
            Ok(value) => return value,
            Err(KekError::Token(error)) if Instant::now() < end => {
                assert_eq!(error.problem.turn(), Turn::Wait, "{error}");
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) => panic!("{error}"),
        }
    }
}
