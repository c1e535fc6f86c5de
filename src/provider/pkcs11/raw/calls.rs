//! The calls, each with what may go wrong in its answer.

use cryptoki_sys::{self as sys, CK_ATTRIBUTE, CK_ATTRIBUTE_TYPE, CK_MECHANISM_INFO, CK_SESSION_INFO, CK_TOKEN_INFO, CK_ULONG};

use super::library::{Inside, returned};
use super::mechanism::{Cipher, Use, input, mechanism};
use super::template::{Class, Template};
use super::{Failed, Rv};
use crate::secret::SecretBytes;

/// Most slots of a module that are looked at.
const MAX_SLOTS: usize = 4096;
/// Object handles that are asked for at once.
const HANDLES: usize = 16;
/// Longest attribute that is read, in bytes.
const MAX_ATTRIBUTE: usize = 256;
/// What a module gets beyond the bytes that it should write: some want room for a block more than they use.
const SLACK: usize = 32;
/// Bytes of an HMAC-SHA-256.
const MAC_LEN: usize = 32;

/// A slot, in one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot(sys::CK_SLOT_ID);

/// A session, in one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Session(pub(super) sys::CK_SESSION_HANDLE);

/// An object, for as long as one login lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Object(sys::CK_OBJECT_HANDLE);

/// What a token says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenInfo {
    /// Without the padding behind it; none if it is not UTF-8.
    pub(crate) label: Option<String>,
    /// The same of the serial number.
    pub(crate) serial: Option<String>,
    flags: u64,
    /// Most sessions at once, if it says so.
    pub(crate) max_sessions: Option<usize>,
    /// Sessions of this program that it has open, if it says so.
    pub(crate) sessions: Option<usize>,
}

impl TokenInfo {
    fn new(info: &CK_TOKEN_INFO) -> Self {
        Self {
            label: padded(&info.label),
            serial: padded(&info.serialNumber),
            flags: info.flags,
            max_sessions: known(info.ulMaxSessionCount).filter(|max| *max != sys::CK_EFFECTIVELY_INFINITE as usize),
            sessions: known(info.ulSessionCount),
        }
    }

    fn has(&self, flag: u64) -> bool {
        self.flags & flag != 0
    }

    /// Whether keys are seen after a login only.
    pub(crate) fn wants_login(&self) -> bool {
        self.has(sys::CKF_LOGIN_REQUIRED)
    }

    /// Whether the PIN is locked.
    pub(crate) fn pin_locked(&self) -> bool {
        self.has(sys::CKF_USER_PIN_LOCKED)
    }

    /// Whether a wrong PIN was given since the last good one.
    pub(crate) fn counts_wrong(&self) -> bool {
        self.has(sys::CKF_USER_PIN_COUNT_LOW) || self.few_tries() || self.pin_locked()
    }

    /// Whether the next wrong PIN locks the token. CKF_USER_PIN_COUNT_LOW is no such word: it stands after one wrong PIN (PKCS#11 v2.40, table 11),
    /// and would keep the right one out for ever.
    pub(crate) fn few_tries(&self) -> bool {
        self.has(sys::CKF_USER_PIN_FINAL_TRY)
    }
}

/// A number that a token may decline to tell.
fn known(number: CK_ULONG) -> Option<usize> {
    if number == sys::CK_UNAVAILABLE_INFORMATION { None } else { usize::try_from(number).ok() }
}

/// Text of a fixed length, padded with spaces, or by some modules with zeros.
fn padded(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    Some(text.trim_end_matches([' ', '\0']).to_owned())
}

/// Makes one call; `Err` unless it returned CKR_OK.
macro_rules! call {
    ($inside:expr, $name:ident($($argument:expr),* $(,)?)) => {{
        let call = stringify!($name);
        let function = $inside.list().$name.ok_or(Failed::Missing { call })?;
        let _turn = $inside.turn()?;
        // SAFETY: invariants 1 to 3 by `Inside`; 4 and 5 where the arguments are made, in the function around this.
        let rv = unsafe { function($($argument),*) };
        returned(call, rv)
    }};
}

impl Inside<'_> {
    /// Slots with a token in them.
    pub(crate) fn slots(&self) -> Result<Vec<Slot>, Failed> {
        let call = "C_GetSlotList";
        let mut count: CK_ULONG = 0;
        // Asked for the number first: only that makes a module look for tokens that came or went.
        call!(self, C_GetSlotList(sys::CK_TRUE, std::ptr::null_mut(), &raw mut count))?;
        // A token may come in between.
        let room = usize::try_from(count).unwrap_or(usize::MAX).saturating_add(16);
        if room > MAX_SLOTS {
            return Err(Failed::Odd { call, what: "it counts thousands of slots" });
        }
        let mut slots = vec![0; room];
        count = room as CK_ULONG;
        call!(self, C_GetSlotList(sys::CK_TRUE, slots.as_mut_ptr(), &raw mut count))?;
        slots.truncate(written(call, count, room)?);
        Ok(slots.into_iter().map(Slot).collect())
    }

    /// What the token in that slot says of itself.
    pub(crate) fn token(&self, slot: Slot) -> Result<TokenInfo, Failed> {
        let mut info = CK_TOKEN_INFO::default();
        call!(self, C_GetTokenInfo(slot.0, &raw mut info))?;
        Ok(TokenInfo::new(&info))
    }

    /// Whether the token in that slot can do that.
    pub(crate) fn can(&self, slot: Slot, what: Use) -> Result<bool, Failed> {
        let mut info = CK_MECHANISM_INFO::default();
        match call!(self, C_GetMechanismInfo(slot.0, what.mechanism(), &raw mut info)) {
            Ok(()) => Ok(info.flags & what.flags() == what.flags()),
            Err(Failed::Returned { rv: Rv::MECHANISM_INVALID, .. }) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Opens a session for `owner`, who closes it. The flag is false if the module gave the number of a session that was never closed: it lost
    /// its sessions and counts anew, so that who holds that number now means another session than ours.
    pub(crate) fn open(&self, slot: Slot, writes: bool, owner: u64) -> Result<(Session, bool), Failed> {
        let flags = sys::CKF_SERIAL_SESSION | if writes { sys::CKF_RW_SESSION } else { 0 };
        let mut handle = 0;
        call!(self, C_OpenSession(slot.0, flags, std::ptr::null_mut(), None, &raw mut handle))?;
        let session = Session(handle);
        Ok((session, self.opened(session, owner)))
    }

    /// Closes a session. What a module says to that changes nothing.
    pub(crate) fn close(&self, session: Session) {
        // Forgotten first: as soon as it is closed, another thread may be given its number.
        self.closed(session);
        let _ = self.close_session(session);
    }

    fn close_session(&self, session: Session) -> Result<(), Failed> {
        call!(self, C_CloseSession(session.0))
    }

    /// Whether the user is logged in, as a session sees it.
    pub(crate) fn is_logged_in(&self, session: Session) -> Result<bool, Failed> {
        let mut info = CK_SESSION_INFO::default();
        call!(self, C_GetSessionInfo(session.0, &raw mut info))?;
        Ok(matches!(info.state, sys::CKS_RO_USER_FUNCTIONS | sys::CKS_RW_USER_FUNCTIONS))
    }

    /// Logs the user in, for all sessions of this process with that token.
    pub(crate) fn login(&self, session: Session, pin: &SecretBytes) -> Result<(), Failed> {
        let pin = pin.expose_secret();
        call!(self, C_Login(session.0, sys::CKU_USER, input(pin), pin.len() as CK_ULONG))
    }

    /// Objects that match, `limit` at most.
    pub(crate) fn find(&self, session: Session, mut like: Template, limit: usize) -> Result<Vec<Object>, Failed> {
        like.with_attributes(|attributes, count| call!(self, C_FindObjectsInit(session.0, attributes, count)))?;
        let found = self.take_found(session, limit);
        let ended: Result<(), Failed> = (|| call!(self, C_FindObjectsFinal(session.0)))();
        let found = found?;
        ended?;
        Ok(found)
    }

    fn take_found(&self, session: Session, limit: usize) -> Result<Vec<Object>, Failed> {
        let mut found = Vec::new();
        while found.len() < limit {
            let mut handles = [0; HANDLES];
            let mut count: CK_ULONG = 0;
            call!(self, C_FindObjects(session.0, handles.as_mut_ptr(), HANDLES as CK_ULONG, &raw mut count))?;
            let count = written("C_FindObjects", count, HANDLES)?;
            if count == 0 {
                break;
            }
            found.extend(handles.iter().take(count).map(|handle| Object(*handle)));
        }
        found.truncate(limit);
        Ok(found)
    }

    /// The bytes of an attribute, of at most 256; none if the object has no such attribute or does not show it.
    fn attribute(&self, session: Session, object: Object, attribute: CK_ATTRIBUTE_TYPE) -> Result<Option<Vec<u8>>, Failed> {
        let call = "C_GetAttributeValue";
        // Aligned as a number is, for modules that write it as one.
        let mut value = [0 as CK_ULONG; MAX_ATTRIBUTE / size_of::<CK_ULONG>()];
        let mut wanted = CK_ATTRIBUTE { type_: attribute, pValue: value.as_mut_ptr().cast(), ulValueLen: MAX_ATTRIBUTE as CK_ULONG };
        match call!(self, C_GetAttributeValue(session.0, object.0, &raw mut wanted, 1)) {
            Ok(()) => {}
            Err(Failed::Returned { rv: Rv::ATTRIBUTE_TYPE_INVALID | Rv::ATTRIBUTE_SENSITIVE, .. }) => return Ok(None),
            Err(e) => return Err(e),
        }
        if wanted.ulValueLen == sys::CK_UNAVAILABLE_INFORMATION {
            return Ok(None);
        }
        let len = written(call, wanted.ulValueLen, MAX_ATTRIBUTE)?;
        Ok(Some(value.iter().flat_map(|word| word.to_ne_bytes()).take(len).collect()))
    }

    /// A flag of an object; none if it does not show it.
    pub(crate) fn flag(&self, session: Session, object: Object, attribute: Flag) -> Result<Option<bool>, Failed> {
        match self.attribute(session, object, attribute.number())?.as_deref() {
            None => Ok(None),
            Some([byte]) => Ok(Some(*byte != 0)),
            Some(_) => Err(Failed::Odd { call: "C_GetAttributeValue", what: "a flag is not one byte" }),
        }
    }

    /// CKA_ID; none if it has none.
    pub(crate) fn id_of(&self, session: Session, object: Object) -> Result<Option<Vec<u8>>, Failed> {
        Ok(self.attribute(session, object, sys::CKA_ID)?.filter(|id| !id.is_empty()))
    }

    /// CKA_VALUE_LEN in bytes, if it shows it.
    pub(crate) fn length_of(&self, session: Session, object: Object) -> Result<Option<u64>, Failed> {
        match self.number(session, object, sys::CKA_VALUE_LEN) {
            // So NSS says, of keys that are sensitive, whatever room it is given.
            Err(Failed::Returned { rv: Rv::BUFFER_TOO_SMALL, .. }) => Ok(None),
            other => other,
        }
    }

    /// Which kind of secret key; none for others.
    pub(crate) fn class_of(&self, session: Session, object: Object) -> Result<Option<Class>, Failed> {
        Ok(match self.number(session, object, sys::CKA_KEY_TYPE)? {
            Some(sys::CKK_AES) => Some(Class::Aes),
            Some(sys::CKK_GENERIC_SECRET) => Some(Class::Generic),
            _ => None,
        })
    }

    fn number(&self, session: Session, object: Object, attribute: CK_ATTRIBUTE_TYPE) -> Result<Option<u64>, Failed> {
        let Some(bytes) = self.attribute(session, object, attribute)? else { return Ok(None) };
        let odd = Failed::Odd { call: "C_GetAttributeValue", what: "a number has not the length of one" };
        Ok(Some(CK_ULONG::from_ne_bytes(bytes.try_into().map_err(|_| odd)?)))
    }

    /// Makes a key as the template says. Needs a session that writes.
    pub(crate) fn generate(&self, session: Session, class: Class, mut template: Template) -> Result<Object, Failed> {
        let how = match class {
            Class::Aes => Use::MakeAes,
            Class::Generic => Use::MakeSecret,
        };
        let mut how = mechanism(how.mechanism(), std::ptr::null_mut(), 0);
        let mut object = 0;
        template
            .with_attributes(|attributes, count| call!(self, C_GenerateKey(session.0, &raw mut how, attributes, count, &raw mut object)))?;
        Ok(Object(object))
    }

    /// Destroys an object. Needs a session that writes.
    pub(crate) fn destroy(&self, session: Session, object: Object) -> Result<(), Failed> {
        call!(self, C_DestroyObject(session.0, object.0))
    }

    /// Encrypts; `expected` bytes come out, or it fails.
    pub(crate) fn encrypt(
        &self,
        session: Session,
        key: Object,
        cipher: &mut Cipher<'_>,
        plaintext: &[u8],
        expected: usize,
    ) -> Result<Vec<u8>, Failed> {
        let call = "C_Encrypt";
        cipher.with(|how| {
            call!(self, C_EncryptInit(session.0, how, key.0))?;
            let mut out = vec![0; expected + SLACK];
            let mut len = out.len() as CK_ULONG;
            call!(self, C_Encrypt(session.0, input(plaintext), plaintext.len() as CK_ULONG, out.as_mut_ptr(), &raw mut len))?;
            if written(call, len, out.len())? != expected {
                return Err(Failed::Odd { call, what: "the ciphertext has another length than it must have" });
            }
            out.truncate(expected);
            Ok(out)
        })
    }

    /// Decrypts; not more bytes than `ciphertext` has come out.
    pub(crate) fn decrypt(&self, session: Session, key: Object, cipher: &mut Cipher<'_>, ciphertext: &[u8]) -> Result<SecretBytes, Failed> {
        cipher.with(|how| {
            call!(self, C_DecryptInit(session.0, how, key.0))?;
            SecretBytes::try_fill(ciphertext.len() + SLACK, |out| {
                let mut len = out.len() as CK_ULONG;
                call!(self, C_Decrypt(session.0, input(ciphertext), ciphertext.len() as CK_ULONG, out.as_mut_ptr(), &raw mut len))?;
                written("C_Decrypt", len, ciphertext.len())
            })
        })
    }

    /// HMAC-SHA-256 of a message.
    pub(crate) fn sign(&self, session: Session, key: Object, message: &[u8]) -> Result<[u8; MAC_LEN], Failed> {
        let call = "C_Sign";
        let mut how = mechanism(Use::Hmac.mechanism(), std::ptr::null_mut(), 0);
        call!(self, C_SignInit(session.0, &raw mut how, key.0))?;
        let mut out = [0; MAC_LEN + SLACK];
        let mut len = out.len() as CK_ULONG;
        call!(self, C_Sign(session.0, input(message), message.len() as CK_ULONG, out.as_mut_ptr(), &raw mut len))?;
        let len = written(call, len, out.len())?;
        out.get(..len).and_then(|mac| mac.try_into().ok()).ok_or(Failed::Odd { call, what: "the HMAC-SHA-256 has not 32 bytes" })
    }

    /// Compares an HMAC-SHA-256, in the token.
    pub(crate) fn verify(&self, session: Session, key: Object, message: &[u8], mac: &[u8]) -> Result<(), Failed> {
        let mut how = mechanism(Use::Hmac.mechanism(), std::ptr::null_mut(), 0);
        call!(self, C_VerifyInit(session.0, &raw mut how, key.0))?;
        call!(self, C_Verify(session.0, input(message), message.len() as CK_ULONG, input(mac), mac.len() as CK_ULONG))
    }
}

/// How much a module wrote, by its own word: never more than the room it had.
fn written(call: &'static str, len: CK_ULONG, room: usize) -> Result<usize, Failed> {
    usize::try_from(len)
        .ok()
        .filter(|len| *len <= room)
        .ok_or(Failed::Odd { call, what: "it says that it wrote more than there was room for" })
}

/// A flag of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flag {
    Private,
    Sensitive,
    AlwaysSensitive,
    Extractable,
    NeverExtractable,
    Local,
    Encrypt,
    Decrypt,
    Sign,
    Verify,
    Wrap,
    Unwrap,
}

impl Flag {
    const fn number(self) -> CK_ATTRIBUTE_TYPE {
        match self {
            Self::Private => sys::CKA_PRIVATE,
            Self::Sensitive => sys::CKA_SENSITIVE,
            Self::AlwaysSensitive => sys::CKA_ALWAYS_SENSITIVE,
            Self::Extractable => sys::CKA_EXTRACTABLE,
            Self::NeverExtractable => sys::CKA_NEVER_EXTRACTABLE,
            Self::Local => sys::CKA_LOCAL,
            Self::Encrypt => sys::CKA_ENCRYPT,
            Self::Decrypt => sys::CKA_DECRYPT,
            Self::Sign => sys::CKA_SIGN,
            Self::Verify => sys::CKA_VERIFY,
            Self::Wrap => sys::CKA_WRAP,
            Self::Unwrap => sys::CKA_UNWRAP,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_not_believed_to_have_written_beyond_its_room() {
        assert_eq!(written("C_Encrypt", 48, 48), Ok(48));
        for len in [49, CK_ULONG::MAX, CK_ULONG::MAX - 1] {
            assert!(matches!(written("C_Encrypt", len, 48), Err(Failed::Odd { call: "C_Encrypt", .. })), "{len}");
        }
    }

    #[test]
    fn what_a_token_says_of_itself_is_read_without_its_padding_and_never_guessed() {
        let mut info = CK_TOKEN_INFO { ulMaxSessionCount: 4, ulSessionCount: sys::CK_UNAVAILABLE_INFORMATION, ..Default::default() };
        info.label = [b' '; 32];
        info.label[..3].copy_from_slice(b"a b");
        info.serialNumber = [0; 16];
        info.serialNumber[..2].copy_from_slice(b"17");
        info.flags = sys::CKF_USER_PIN_COUNT_LOW;
        assert!(!TokenInfo::new(&info).few_tries());
        info.flags |= sys::CKF_USER_PIN_FINAL_TRY;
        let read = TokenInfo::new(&info);
        assert_eq!((read.label.as_deref(), read.serial.as_deref()), (Some("a b"), Some("17")));
        assert_eq!((read.max_sessions, read.sessions), (Some(4), None));
        assert!(read.few_tries() && !read.pin_locked() && !read.wants_login());
        info.label[3] = 0xff;
        info.ulMaxSessionCount = sys::CK_EFFECTIVELY_INFINITE;
        let read = TokenInfo::new(&info);
        assert_eq!((read.label, read.max_sessions), (None, None));
    }
}
