//! Logging in: a PIN is given only where it cannot lock the token, and a refused one never twice.

use super::raw::{Failed, Inside, Session, TokenInfo};
use super::rv::Rv;
use super::{Problem, TokenError};
use crate::secret::SecretBytes;

/// Where the PIN of a token comes from, and what remembers that it was refused.
pub trait PinSource: Send + Sync {
    /// The PIN, to be tried once; an error if it was refused before, or cannot be had.
    ///
    /// `counts_wrong`: the token says that a wrong one was given since the last right one. Then this one is not given either if a try of it did not come
    /// to its end.
    fn attempt(&self, counts_wrong: bool) -> Result<Box<dyn Attempt + '_>, TokenError>;
}

/// One try of a PIN. Dropped without a word on how it ended, as by a crash inside the module, the same PIN is given once more, and not a third time.
pub trait Attempt {
    /// The PIN.
    fn pin(&self) -> &SecretBytes;

    /// The token took it.
    fn accepted(self: Box<Self>);

    /// The token refused it: it must not be tried again.
    fn rejected(self: Box<Self>);

    /// The token failed for another reason and said nothing of the PIN.
    fn undecided(self: Box<Self>);
}

/// Why nobody is logged in.
pub(super) enum LoginError {
    /// A call failed, the token's state forbids a try, or it refused the PIN.
    Problem(Problem),
    /// There is no PIN to try.
    Pin(TokenError),
}

impl From<Failed> for LoginError {
    fn from(failed: Failed) -> Self {
        Self::Problem(failed.into())
    }
}

/// Logs in by the session `anchor`, unless the process is logged in already.
///
/// `again`: what the token says of itself afterwards.
pub(super) fn log_in(
    inside: &Inside<'_>,
    anchor: Session,
    info: &TokenInfo,
    pins: &dyn PinSource,
    again: &dyn Fn() -> Option<TokenInfo>,
) -> Result<(), LoginError> {
    if !info.wants_login() || inside.is_logged_in(anchor)? {
        return Ok(());
    }
    if info.pin_locked() {
        return Err(LoginError::Problem(Problem::PinLocked));
    }
    if info.few_tries() {
        return Err(LoginError::Problem(Problem::PinTriesLow));
    }
    let attempt = pins.attempt(info.counts_wrong()).map_err(LoginError::Pin)?;
    match inside.login(anchor, attempt.pin()) {
        Ok(()) => {
            attempt.accepted();
            Ok(())
        }
        Err(failed) => {
            let problem = match failed.rv() {
                // Somebody of this process came before us; that says nothing of this PIN.
                Some(Rv::USER_ALREADY_LOGGED_IN) => {
                    attempt.undecided();
                    return Ok(());
                }
                Some(Rv::PIN_INCORRECT | Rv::PIN_INVALID | Rv::PIN_LEN_RANGE) => Problem::PinRejected,
                // Nothing was said of this PIN, and nothing is counted any more.
                Some(Rv::PIN_LOCKED) => {
                    attempt.undecided();
                    return Err(LoginError::Problem(Problem::PinLocked));
                }
                Some(Rv::PIN_EXPIRED | Rv::USER_PIN_NOT_INITIALIZED) => {
                    attempt.undecided();
                    return Err(LoginError::Problem(Problem::PinExpired));
                }
                // A token that fails otherwise said nothing of the PIN, unless it counts a wrong one now.
                _ if !info.counts_wrong() && again().is_some_and(|info| info.counts_wrong()) => Problem::PinRejected,
                _ => {
                    attempt.undecided();
                    return Err(failed.into());
                }
            };
            attempt.rejected();
            Err(LoginError::Problem(problem))
        }
    }
}
