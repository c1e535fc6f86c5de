//! A key in a token: found by everything that names it, and looked at before it is used.

use super::raw::{Class, Failed, Flag, Inside, Object, Session, Template};
use super::run::Stop;
use super::session::Borrowed;
use super::{ObjectId, Problem};

/// More than one is too many, however many.
const TOO_MANY: usize = 16;

/// The one key of that class, type, label and id; an error if there is none, or are several.
pub(super) fn one(session: &Borrowed<'_>, class: Class, label: &str, id: &ObjectId) -> Result<Object, Stop> {
    let mut found = session.inside.find(session.session()?, Template::keys(class).label(label).id(id), TOO_MANY)?;
    let count = found.len();
    match found.pop() {
        Some(key) if count == 1 => Ok(key),
        Some(_) => Err(Stop::Problem(Problem::Duplicate { count, label: label.to_owned(), id: hex(id) })),
        None => {
            session.logged_in()?;
            Err(Stop::NoKey(Problem::NoKey { label: label.to_owned(), id: hex(id) }))
        }
    }
}

/// Refuses a key that can leave the token, or does not do what it is for.
pub(super) fn check(session: &Borrowed<'_>, key: Object, class: Class) -> Result<(), Stop> {
    let flags = Flags { inside: session.inside, session: session.session()?, key };
    if !flags.is(Flag::Sensitive)? {
        return Err(Stop::Problem(Problem::Extractable("CKA_SENSITIVE is not true")));
    }
    if flags.read(Flag::Extractable)? != Some(false) {
        return Err(Stop::Problem(Problem::Extractable("CKA_EXTRACTABLE is not false")));
    }
    // Not every token tells of the past.
    if flags.read(Flag::NeverExtractable)? == Some(false) {
        return Err(Stop::Problem(Problem::Extractable("CKA_NEVER_EXTRACTABLE is false")));
    }
    if flags.read(Flag::AlwaysSensitive)? == Some(false) {
        return Err(Stop::Problem(Problem::Extractable("CKA_ALWAYS_SENSITIVE is false")));
    }
    let (first, second, unfit) = match class {
        Class::Aes => (Flag::Encrypt, Flag::Decrypt, "CKA_ENCRYPT and CKA_DECRYPT are not both true"),
        Class::Generic => (Flag::Sign, Flag::Verify, "CKA_SIGN and CKA_VERIFY are not both true"),
    };
    if !flags.is(first)? || !flags.is(second)? {
        return Err(Stop::Problem(Problem::Unfit(unfit)));
    }
    // Not every token tells the length either.
    match session.inside.length_of(flags.session, key)? {
        None | Some(32) => Ok(()),
        Some(_) => Err(Stop::Problem(Problem::Unfit("CKA_VALUE_LEN is not 32 bytes"))),
    }
}

/// An id as it is shown.
pub(super) fn hex(id: &[u8]) -> String {
    base16ct::lower::encode_string(id)
}

struct Flags<'a> {
    inside: &'a Inside<'a>,
    session: Session,
    key: Object,
}

impl Flags<'_> {
    fn read(&self, flag: Flag) -> Result<Option<bool>, Failed> {
        self.inside.flag(self.session, self.key, flag)
    }

    fn is(&self, flag: Flag) -> Result<bool, Failed> {
        Ok(self.read(flag)? == Some(true))
    }
}
