//! `rotate begin` for a key in a token: its ids are in the keyring, durably, before the token is asked to make it.

use super::super::advice;
use super::super::failure::{Exit, Failure};
use crate::entropy::OsEntropy;
use crate::envelope::Algorithm;
use crate::keyring::create::{self, Drawn};
use crate::keyring::document::{Time, Why};
use crate::keyring::rotation::{self, Outcome, StepError};
use crate::keyring::seal::Opener;
use crate::keyring::store::Changing;
use crate::provider::KekError;
use crate::provider::pkcs11::{IvFrom, TokenName};

/// What the new key is to be, and where the keyring is.
pub(super) struct InToken<'a> {
    pub(super) path: &'a std::path::Path,
    pub(super) openers: &'a [Opener],
    pub(super) token: TokenName,
    pub(super) algorithm: Algorithm,
    pub(super) iv: IvFrom,
    pub(super) now: Time,
}

impl InToken<'_> {
    /// Makes the key and stages its version in `changing`, which is not committed yet.
    ///
    /// Killed or failed in between, it leaves the attempt in the keyring, and perhaps a key in the token; the next attempt has other ids.
    pub(super) fn begin(self, changing: &mut Changing) -> Result<Outcome, Failure> {
        let attempted = || format!("begin: make a key in token {}", self.token);
        let document = &mut changing.opened.document;
        if let Some(staged) = rotation::staged(document) {
            return Ok(Outcome::Unchanged(staged.key_id));
        }
        let failed = |error: KekError| advice::refused(attempted(), &StepError::from(error));
        // A token that cannot do it, or cannot be had, is left alone, and no attempt is on record for it.
        changing.opened.tokens.mechanisms(&self.token, self.algorithm, true).map_err(|e| failed(e.into()))?;
        let drawn = Drawn::new(document.keyring, self.token.clone(), self.algorithm, self.iv, &OsEntropy).map_err(failed)?;
        document.attempts.extend(drawn.attempts(self.now));
        let what: Why = "attempt to make a key in a token"
            .parse()
            .map_err(|()| Failure::new(Exit::Unexpected, attempted(), "the step has no name", "Please report it."))?;
        changing.commit_first(self.path, self.openers, self.now, what, &OsEntropy).map_err(|e| advice::changed(attempted(), &e))?;
        let tokens = changing.opened.tokens.clone();
        create::make_in_token(&drawn, &tokens).map_err(failed)?;
        rotation::begin_in_token(&mut changing.opened.document, &drawn, &tokens, self.now, &OsEntropy)
            .map_err(|error| advice::refused(attempted(), &error))
    }
}
