//! A KEK in a token.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::classify::{Fault, fault, means_closed};
use super::connection::Connection;
use super::iv::ChosenIvs;
use super::raw::{Cipher, Class, Failed, Object, Use};
use super::run::{Futile, Job, Stop};
use super::rv::Rv;
use super::session::Borrowed;
use super::{IvFrom, KeySpec, Problem, TokenError, find};
use crate::entropy::{Entropy, OsEntropy};
use crate::envelope::Algorithm;
use crate::provider::waits::{LastGood, Limits, Waits, Workers};
use crate::provider::{Kek, KekError, Wrapped};
use crate::secret::SecretBytes;

/// A KEK that stays in its token; only its name is here, and where it was found last.
///
/// It is found, looked at and made to open its canary anew in every login before it does anything else.
pub struct TokenKek {
    /// None where the configuration has no such token.
    connection: Option<Arc<Connection>>,
    spec: KeySpec,
    waits: Waits,
    found: Mutex<Option<Found>>,
    ivs: ChosenIvs,
    futile: Futile,
}

/// Handles, which mean something in one login only.
#[derive(Clone, Copy)]
struct Found {
    login: u64,
    key: Object,
    mac: Option<Object>,
}

impl TokenKek {
    pub(super) fn new(connection: Option<Arc<Connection>>, spec: KeySpec, now: Instant) -> Self {
        let workers = connection.as_ref().map(|connection| Arc::clone(connection.workers()));
        let workers = workers.unwrap_or_else(|| Arc::new(Workers::of(spec.at.token.clone(), 1, Limits::default())));
        let known = spec.proof.as_ref().and_then(|proof| proof.nonce.as_slice().try_into().ok());
        Self {
            connection,
            spec,
            waits: Waits { workers, last_good: LastGood::new(now) },
            found: Mutex::new(None),
            ivs: ChosenIvs::new(known),
            futile: Futile::default(),
        }
    }

    /// Which key, and how it is used.
    pub fn spec(&self) -> &KeySpec {
        &self.spec
    }

    /// Asks the token, in any case, whether the key is there and the one that it must be. Blocks.
    ///
    /// Errors: [`Problem::WrongKey`] if it does not open its canary; else what [`TokenError`] says.
    pub fn prove(&self) -> Result<(), KekError> {
        self.run("prove the key", false, &mut |session| self.prove_in(session))
    }

    fn run<T>(
        &self,
        attempt: &'static str,
        opens: bool,
        work: &mut dyn FnMut(&mut Borrowed<'_>) -> Result<T, Stop>,
    ) -> Result<T, KekError> {
        let Some(connection) = &self.connection else {
            let token = self.spec.at.token.clone();
            return Err(TokenError { token, attempt, problem: Problem::NotConfigured }.into());
        };
        let canary = &mut |session: &mut Borrowed<'_>| self.prove_in(session);
        let value = connection.run(Job { attempt, opens, futile: &self.futile, work, canary })?;
        self.waits.last_good.note(Instant::now());
        Ok(value)
    }

    fn prove_in(&self, session: &mut Borrowed<'_>) -> Result<(), Stop> {
        let (found, proved) = self.find(session)?;
        if proved { Ok(()) } else { self.open_proof(session, found) }
    }

    /// The handles in this login; the flag says that the canary was opened just now.
    fn find(&self, session: &mut Borrowed<'_>) -> Result<(Found, bool), Stop> {
        let login = session.live.number;
        let known = *self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.filter(|found| found.login == login) {
            return Ok((found, false));
        }
        let key = find::one(session, Class::Aes, &self.spec.at.label, &self.spec.at.id)?;
        find::check(session, key, Class::Aes)?;
        let mac = match &self.spec.mac {
            Some(id) => {
                let mac = find::one(session, Class::Generic, &self.spec.at.label, id)?;
                find::check(session, mac, Class::Generic)?;
                Some(mac)
            }
            None => None,
        };
        let found = Found { login, key, mac };
        self.open_proof(session, found)?;
        session.live.note_key();
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        Ok((found, true))
    }

    /// Opens the canary; where there is none yet, one is made and opened.
    fn open_proof(&self, session: &mut Borrowed<'_>, found: Found) -> Result<(), Stop> {
        let Some(proof) = &self.spec.proof else { return self.round_trip(session, found) };
        let open = |session: &mut Borrowed<'_>| match self.open(session, found, &proof.aad, &proof.nonce, &proof.sealed) {
            Ok(opened) if opened.expose_secret() == proof.plaintext => Ok(()),
            Ok(_) | Err(Stop::Authentication) => Err(Stop::Problem(Problem::WrongKey)),
            Err(other) => Err(other),
        };
        match open(session) {
            Err(Stop::Failed(failed)) if means_closed(failed) => {}
            other => return other,
        }
        // A wrong key is CKR_GENERAL_ERROR to SoftHSM. What the key opens of its own making shows that the token is well.
        session.renew()?;
        self.round_trip(session, found)?;
        match open(session) {
            Err(Stop::Failed(again)) if means_closed(again) => Err(Stop::Problem(Problem::WrongKey)),
            other => other,
        }
    }

    /// Wraps something public and opens it again.
    fn round_trip(&self, session: &mut Borrowed<'_>, found: Found) -> Result<(), Stop> {
        const AAD: &[u8] = b"keywright: does this key work?";
        // No part of any answer, so nothing that a test would want to repeat.
        let wrapped = self.seal(session, found, AAD, &[0; 32], &OsEntropy)?;
        let opened = self.open(session, found, AAD, &wrapped.nonce, &wrapped.sealed)?;
        if opened.expose_secret() == [0; 32] {
            Ok(())
        } else {
            Err(Stop::Problem(Problem::Odd { call: "C_Decrypt", what: "what it opened is not what was sealed" }))
        }
    }

    fn seal(&self, session: &Borrowed<'_>, found: Found, aad: &[u8], plaintext: &[u8], entropy: &dyn Entropy) -> Result<Wrapped, Stop> {
        let (inside, number) = (session.inside, session.session()?);
        let expected = self.spec.algorithm.sealed_len(plaintext.len());
        match (self.spec.algorithm, self.spec.iv) {
            (Algorithm::Aes256Gcm, from) => {
                let mut iv = [0; 12];
                if from == IvFrom::Host {
                    entropy.fill(&mut iv).map_err(Stop::Entropy)?;
                }
                let chosen = iv;
                let sealed = inside
                    .encrypt(number, found.key, &mut Cipher::Gcm { iv: &mut iv, aad }, plaintext, expected)
                    .map_err(|e| meaning(e, Use::Gcm))?;
                if from == IvFrom::Host && iv != chosen {
                    return Err(Stop::Problem(Problem::Iv("it took another one than it was given")));
                }
                if from == IvFrom::Token {
                    self.ivs.admit(&iv).map_err(|why| Stop::Problem(Problem::Iv(why)))?;
                }
                Ok(Wrapped { nonce: iv.to_vec(), sealed })
            }
            (Algorithm::Aes256CbcHmacSha256, IvFrom::Host) => {
                let mac = self.mac(found)?;
                let mut iv = [0; 16];
                entropy.fill(&mut iv).map_err(Stop::Entropy)?;
                let ciphertext_len = expected - self.spec.algorithm.tag_len();
                let mut sealed = inside
                    .encrypt(number, found.key, &mut Cipher::CbcPad { iv: &mut iv }, plaintext, ciphertext_len)
                    .map_err(|e| meaning(e, Use::CbcPad))?;
                let tag = inside.sign(number, mac, &authenticated(aad, &iv, &sealed)?).map_err(|e| meaning(e, Use::Hmac))?;
                sealed.extend_from_slice(&tag);
                Ok(Wrapped { nonce: iv.to_vec(), sealed })
            }
            (Algorithm::Aes256CbcHmacSha256, IvFrom::Token) => Err(Stop::Problem(Problem::Iv("of AES-CBC it chooses none"))),
            (Algorithm::Xaes256Gcm, _) => Err(Stop::Problem(NOT_FOR_TOKENS)),
        }
    }

    /// Lengths are looked at before the token is asked for anything.
    fn open(&self, session: &Borrowed<'_>, found: Found, aad: &[u8], nonce: &[u8], sealed: &[u8]) -> Result<SecretBytes, Stop> {
        let (inside, number) = (session.inside, session.session()?);
        match self.spec.algorithm {
            Algorithm::Aes256Gcm => {
                let mut iv: [u8; 12] = nonce.try_into().map_err(|_| Stop::Authentication)?;
                let opened =
                    inside.decrypt(number, found.key, &mut Cipher::Gcm { iv: &mut iv, aad }, sealed).map_err(|e| meaning(e, Use::Gcm))?;
                // As long as it was: its length is not the module's word to give.
                if opened.len() + self.spec.algorithm.tag_len() == sealed.len() {
                    return Ok(opened);
                }
                Err(Stop::Problem(Problem::Odd { call: "C_Decrypt", what: "a plaintext of another length" }))
            }
            Algorithm::Aes256CbcHmacSha256 => {
                let mut iv: [u8; 16] = nonce.try_into().map_err(|_| Stop::Authentication)?;
                let (ciphertext, tag) = sealed.split_last_chunk::<32>().ok_or(Stop::Authentication)?;
                let mac = self.mac(found)?;
                // Before a byte of it is decrypted: else the padding would tell of the plaintext.
                inside.verify(number, mac, &authenticated(aad, &iv, ciphertext)?, tag).map_err(|e| meaning(e, Use::Hmac))?;
                inside.decrypt(number, found.key, &mut Cipher::CbcPad { iv: &mut iv }, ciphertext).map_err(|e| meaning(e, Use::CbcPad))
            }
            Algorithm::Xaes256Gcm => Err(Stop::Problem(NOT_FOR_TOKENS)),
        }
    }

    fn mac(&self, found: Found) -> Result<Object, Stop> {
        found.mac.ok_or(Stop::Problem(Problem::Unfit("second key, which authenticates, is not named in the keyring")))
    }

    /// What can be told without the token.
    fn can_open(&self, nonce: &[u8], sealed: &[u8]) -> bool {
        let algorithm = self.spec.algorithm;
        nonce.len() == algorithm.nonce_len() && algorithm.can_seal(sealed.len())
    }
}

/// What a KeySpec never says.
const NOT_FOR_TOKENS: Problem = Problem::Unfit("algorithm is one for keys in memory");

/// What a failed operation means where that is certain: bytes that do not open, or a token that cannot do this at all.
fn meaning(failed: Failed, how: Use) -> Stop {
    match failed {
        Failed::Returned { rv: Rv::MECHANISM_INVALID, .. } => Stop::Problem(Problem::Mechanism(vec![how.name()])),
        _ if fault(failed) == Fault::Caller => Stop::Authentication,
        _ => Stop::Failed(failed),
    }
}

/// What the HMAC covers: length of the associated data (16 bits, big endian), associated data, IV (always 16 bytes), ciphertext.
fn authenticated(aad: &[u8], iv: &[u8; 16], ciphertext: &[u8]) -> Result<Vec<u8>, Stop> {
    let len = u16::try_from(aad.len()).map_err(|_| Stop::Length(aad.len()))?;
    Ok([&len.to_be_bytes(), aad, iv.as_slice(), ciphertext].concat())
}

impl Kek for TokenKek {
    fn wrap_key(&self, aad: &[u8], plaintext: &[u8], entropy: &dyn Entropy) -> Result<Wrapped, KekError> {
        self.run("wrap", false, &mut |session| {
            let (found, _) = self.find(session)?;
            self.seal(session, found, aad, plaintext, entropy)
        })
    }

    fn unwrap_key(&self, aad: &[u8], nonce: &[u8], sealed: &[u8]) -> Result<SecretBytes, KekError> {
        if !self.can_open(nonce, sealed) {
            return Err(KekError::Authentication);
        }
        self.run("unwrap", true, &mut |session| {
            let (found, _) = self.find(session)?;
            self.open(session, found, aad, nonce, sealed)
        })
    }

    fn probe(&self) -> Result<(), KekError> {
        self.prove()
    }

    fn waits(&self) -> Option<&Waits> {
        Some(&self.waits)
    }
}

impl fmt::Debug for TokenKek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKek(in {})", self.spec.at.token)
    }
}
