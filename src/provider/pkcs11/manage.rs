//! What commands do with a token: look at keys, make one, destroy one. The serving process calls nothing of this.

use std::sync::Arc;

use super::connection::{Connection, Depth};
use super::find::{self, hex};
use super::raw::{Class, Failed, Flag, Object, Session, Shut, Template, Use};
use super::run::Stop;
use super::rv::Rv;
use super::session::{Borrowed, Live};
use super::{KeyAt, KeySpec, Problem, TokenError, TokenName, Tokens};
use crate::envelope::Algorithm;

/// Most keys of one label that are listed.
const MAX_LISTED: usize = 10_000;

/// What kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// CKK_AES: it encrypts.
    Cipher,
    /// CKK_GENERIC_SECRET: it authenticates.
    Mac,
}

impl KeyKind {
    const fn class(self) -> Class {
        match self {
            Self::Cipher => Class::Aes,
            Self::Mac => Class::Generic,
        }
    }
}

/// What a token says of a key. None: it does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFacts {
    /// CKA_PRIVATE: seen after a login only.
    pub private: Option<bool>,
    /// CKA_SENSITIVE: its value cannot be read.
    pub sensitive: Option<bool>,
    /// CKA_ALWAYS_SENSITIVE: nor could it ever.
    pub always_sensitive: Option<bool>,
    /// CKA_EXTRACTABLE: it can be wrapped by another key and so leave the token.
    pub extractable: Option<bool>,
    /// CKA_NEVER_EXTRACTABLE: nor could it ever.
    pub never_extractable: Option<bool>,
    /// CKA_LOCAL: made in the token. NSS says false of keys that it made.
    pub local: Option<bool>,
    /// CKA_WRAP or CKA_UNWRAP: it can carry other keys out or in.
    pub wraps: Option<bool>,
}

/// One secret key in a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// CKA_ID, of any length; empty if it has none.
    pub id: Vec<u8>,
    /// What kind; none for others than ours.
    pub kind: Option<KeyKind>,
}

impl Tokens {
    /// Refuses a token that cannot use keys of that algorithm, and make them if `makes`; [`Problem::Mechanism`] names what is missing.
    pub fn mechanisms(&self, token: &TokenName, algorithm: Algorithm, makes: bool) -> Result<(), TokenError> {
        self.reading(token, "ask what it can do", |session| lacks(session, algorithm, makes))
    }

    /// Makes the keys of `spec`, which must not be there yet: 256 bits each, never to leave the token.
    ///
    /// No object of the token may have one of the ids, of whatever kind and label ([`Problem::Exists`]): NSS would overwrite it. What was made is
    /// read back, and refused if the token did not make it as it must be; it stays there then, for nothing is deleted here.
    pub fn create_key(&self, spec: &KeySpec) -> Result<(), TokenError> {
        let at = &spec.at;
        self.mechanisms(&at.token, spec.algorithm, true)?;
        let wanted = [(Class::Aes, Some(&at.id)), (Class::Generic, spec.mac.as_ref())];
        self.writing(&at.token, "make a key", |session| {
            let number = session.session()?;
            let wanted = || wanted.iter().filter_map(|(class, id)| Some((*class, (*id)?)));
            for (_, id) in wanted() {
                if !session.inside.find(number, Template::any().id(id), 1)?.is_empty() {
                    return Err(Stop::Problem(Problem::Exists(hex(id))));
                }
            }
            for (class, id) in wanted() {
                session.inside.generate(number, class, Template::new_key(class).label(&at.label).id(id))?;
                // Looked for, not taken by the handle: so it will be found later, too.
                let key = find::one(session, class, &at.label, id)?;
                find::check(session, key, class)?;
                session.live.note_key();
            }
            Ok(())
        })
    }

    /// What the token says of the key there.
    pub fn look(&self, at: &KeyAt, kind: KeyKind) -> Result<KeyFacts, TokenError> {
        self.reading(&at.token, "look at a key", |session| {
            let key = find::one(session, kind.class(), &at.label, &at.id)?;
            let flag = |flag| session.inside.flag(session.session()?, key, flag);
            let (wrap, unwrap) = (flag(Flag::Wrap)?, flag(Flag::Unwrap)?);
            Ok(KeyFacts {
                private: flag(Flag::Private)?,
                sensitive: flag(Flag::Sensitive)?,
                always_sensitive: flag(Flag::AlwaysSensitive)?,
                extractable: flag(Flag::Extractable)?,
                never_extractable: flag(Flag::NeverExtractable)?,
                local: flag(Flag::Local)?,
                wraps: wrap.zip(unwrap).map(|(wrap, unwrap)| wrap || unwrap),
            })
        })
    }

    /// The secret keys of that label, such as those that no keyring names.
    pub fn list(&self, token: &TokenName, label: &str) -> Result<Vec<Listed>, TokenError> {
        self.reading(token, "list its keys", |session| {
            let number = session.session()?;
            let keys = session.inside.find(number, Template::secret_keys().label(label), MAX_LISTED)?;
            keys.into_iter().map(|key| listed(session, number, key)).collect()
        })
    }

    /// Destroys the one key of that kind, label and id, for good.
    pub fn destroy_key(&self, at: &KeyAt, kind: KeyKind) -> Result<(), TokenError> {
        self.writing(&at.token, "destroy a key", |session| {
            let key = find::one(session, kind.class(), &at.label, &at.id)?;
            session.inside.destroy(session.session()?, key)?;
            // A token that says so and keeps it would be believed otherwise.
            match find::one(session, kind.class(), &at.label, &at.id) {
                Err(Stop::NoKey(_)) => Ok(()),
                Ok(_) => Err(Stop::Problem(Problem::Odd { call: "C_DestroyObject", what: "the key is still there" })),
                Err(other) => Err(other),
            }
        })
    }

    fn reading<T>(
        &self,
        token: &TokenName,
        attempt: &'static str,
        work: impl Fn(&Borrowed<'_>) -> Result<T, Stop>,
    ) -> Result<T, TokenError> {
        let connection = self.connection(token, attempt)?;
        // A token that was lost since the last command step is found again once.
        match with(connection, None, false, &work) {
            Err((stop, Some(live))) if lost(&stop) => with(connection, Some(&live), false, &work),
            other => other,
        }
        .map_err(|(stop, _)| connection.stop(attempt, stop))
    }

    /// Never done twice: what was half done is for a person to see.
    fn writing<T>(
        &self,
        token: &TokenName,
        attempt: &'static str,
        work: impl Fn(&Borrowed<'_>) -> Result<T, Stop>,
    ) -> Result<T, TokenError> {
        let connection = self.connection(token, attempt)?;
        // So that the login is a good one.
        self.reading(token, attempt, |_| Ok(()))?;
        with(connection, None, true, &work).map_err(|(stop, _)| connection.stop(attempt, stop))
    }
}

/// Why it did not work, and in which login.
type Ended = (Error, Option<Arc<Live>>);

enum Error {
    Stop(Stop),
    Token(Box<TokenError>),
}

fn with<T>(
    connection: &Connection,
    refused: Option<&Arc<Live>>,
    writes: bool,
    work: &impl Fn(&Borrowed<'_>) -> Result<T, Stop>,
) -> Result<T, Ended> {
    let stop = |problem| Error::Stop(Stop::Problem(problem));
    let live = connection.live(refused, Depth::Login).map_err(|e| (Error::Token(Box::new(e)), None))?;
    let done = (|| {
        let module = connection.module().map_err(|e| Error::Token(Box::new(e)))?;
        let inside = match module.enter() {
            Ok(inside) if inside.epoch() == live.epoch => inside,
            Ok(_) | Err(Shut::Down) => return Err(Error::Stop(Stop::Failed(VOID))),
            Err(Shut::Hung) => return Err(stop(Problem::Hung)),
        };
        let session = if writes { live.borrow_to_write(&inside) } else { live.borrow(&inside, true) };
        let session = session.map_err(|failed| Error::Stop(failed.into()))?;
        session.logged_in().map_err(|failed| Error::Stop(failed.into()))?;
        // Closed in any case: a command does little, and leaves nothing.
        work(&session).map_err(Error::Stop)
    })();
    done.map_err(|e| (e, Some(live)))
}

/// What calls with handles of an earlier epoch would return.
const VOID: Failed = Failed::Returned { call: "C_OpenSession", rv: Rv::CRYPTOKI_NOT_INITIALIZED };

fn lost(error: &Error) -> bool {
    matches!(error, Error::Stop(Stop::Failed(_) | Stop::NoKey(_)))
}

impl Connection {
    fn stop(&self, attempt: &'static str, error: Error) -> TokenError {
        match error {
            Error::Token(error) => *error,
            Error::Stop(Stop::Failed(failed)) => self.error(attempt, failed.into()),
            Error::Stop(Stop::NoKey(problem) | Stop::Problem(problem)) => self.error(attempt, problem),
            // Nothing here opens or draws anything.
            Error::Stop(Stop::Authentication | Stop::Entropy(_) | Stop::Length(_)) => self.error(attempt, Problem::WrongKey),
        }
    }
}

fn lacks(session: &Borrowed<'_>, algorithm: Algorithm, makes: bool) -> Result<(), Stop> {
    let (uses, made): (&[Use], &[Use]) = match algorithm {
        Algorithm::Aes256CbcHmacSha256 => (&[Use::CbcPad, Use::Hmac], &[Use::MakeAes, Use::MakeSecret]),
        Algorithm::Aes256Gcm | Algorithm::Xaes256Gcm => (&[Use::Gcm], &[Use::MakeAes]),
    };
    let mut missing = Vec::new();
    for what in uses.iter().chain(made.iter().filter(|_| makes)) {
        if !session.inside.can(session.live.slot, *what)? {
            missing.push(what.name());
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(Stop::Problem(Problem::Mechanism(missing))) }
}

fn listed(session: &Borrowed<'_>, number: Session, key: Object) -> Result<Listed, Stop> {
    let kind = session.inside.class_of(number, key)?.map(|class| match class {
        Class::Aes => KeyKind::Cipher,
        Class::Generic => KeyKind::Mac,
    });
    Ok(Listed { id: session.inside.id_of(number, key)?.unwrap_or_default(), kind })
}
