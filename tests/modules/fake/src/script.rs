//! The rules that the module follows, one a line. A line that begins with `#` says nothing; one that is no rule ends the process.
//!
//! `CALLS` are names without `C_`, separated by commas: `Encrypt,Decrypt`.
//!
//! | rule | what happens |
//! |---|---|
//! | `delay CALLS 500us` | they take so much longer (`us`, `ms`, `s`) |
//! | `hang CALLS` | they do not return until the rule is gone |
//! | `fail CALLS CKR_NAME [N]` | they answer that and do nothing; the first N of them, from when the script was read |
//! | `busy` | operations do not begin: CKR_DEVICE_MEMORY |
//! | `wrong CALLS [N]` | a bit of what Encrypt, Decrypt or Sign gives is another |
//! | `vague` | what does not open is CKR_GENERAL_ERROR, as with SoftHSM |
//! | `gone [SERIAL]` | the token is pulled out, with its sessions and its login |
//! | `gone-until-init [SERIAL]` | the same, and when the rule is gone it is seen again only after C_Finalize and C_Initialize |
//! | `slot N` | slots are numbered from N |
//! | `sessions N` | there are no more than N at once in a token |
//! | `reuse [N]` | C_OpenSession closes the newest session of the token unasked and gives its number again; the first N of them |
//! | `swap` | C_Initialize gives handles in the opposite order |
//! | `mixed` | a handle works as the next key of its type |
//! | `iv random`, `zero`, `repeat`, `count` | the token chooses the IV of AES-GCM and writes it where the client's was |
//! | `cant-lock` | C_Initialize does not like CKF_OS_LOCKING_OK |
//! | `pin-low`, `pin-final`, `pin-locked` | the token says so of its user PIN; it does on its own too, and locks at the third wrong one |
//! | `pin-silent` | it does not say so on its own |
//! | `no-gcm` | there is no AES-GCM |

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use cryptoki_sys::*;

use crate::Outcome;

/// How often a call that hangs looks whether it still has to.
const LOOK: Duration = Duration::from_millis(5);

const ANSWERS: [(&str, CK_RV); 25] = [
    ("CKR_ARGUMENTS_BAD", CKR_ARGUMENTS_BAD),
    ("CKR_BUFFER_TOO_SMALL", CKR_BUFFER_TOO_SMALL),
    ("CKR_CRYPTOKI_NOT_INITIALIZED", CKR_CRYPTOKI_NOT_INITIALIZED),
    ("CKR_DATA_INVALID", CKR_DATA_INVALID),
    ("CKR_DEVICE_ERROR", CKR_DEVICE_ERROR),
    ("CKR_DEVICE_MEMORY", CKR_DEVICE_MEMORY),
    ("CKR_DEVICE_REMOVED", CKR_DEVICE_REMOVED),
    ("CKR_ENCRYPTED_DATA_INVALID", CKR_ENCRYPTED_DATA_INVALID),
    ("CKR_FUNCTION_CANCELED", CKR_FUNCTION_CANCELED),
    ("CKR_FUNCTION_FAILED", CKR_FUNCTION_FAILED),
    ("CKR_GENERAL_ERROR", CKR_GENERAL_ERROR),
    ("CKR_HOST_MEMORY", CKR_HOST_MEMORY),
    ("CKR_KEY_HANDLE_INVALID", CKR_KEY_HANDLE_INVALID),
    ("CKR_MECHANISM_INVALID", CKR_MECHANISM_INVALID),
    ("CKR_OBJECT_HANDLE_INVALID", CKR_OBJECT_HANDLE_INVALID),
    ("CKR_OPERATION_ACTIVE", CKR_OPERATION_ACTIVE),
    ("CKR_PIN_EXPIRED", CKR_PIN_EXPIRED),
    ("CKR_PIN_INCORRECT", CKR_PIN_INCORRECT),
    ("CKR_PIN_LOCKED", CKR_PIN_LOCKED),
    ("CKR_SESSION_CLOSED", CKR_SESSION_CLOSED),
    ("CKR_SESSION_COUNT", CKR_SESSION_COUNT),
    ("CKR_SESSION_HANDLE_INVALID", CKR_SESSION_HANDLE_INVALID),
    ("CKR_TOKEN_NOT_PRESENT", CKR_TOKEN_NOT_PRESENT),
    ("CKR_USER_ALREADY_LOGGED_IN", CKR_USER_ALREADY_LOGGED_IN),
    ("CKR_USER_NOT_LOGGED_IN", CKR_USER_NOT_LOGGED_IN),
];

/// Who chose the IV, when the token did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Iv {
    Random,
    Zero,
    Repeat,
    Count,
}

#[derive(Debug, Default)]
pub(crate) struct Script {
    delays: Vec<(Names, Duration)>,
    hangs: Vec<Names>,
    fails: Vec<(Names, CK_RV, Times)>,
    wrongs: Vec<(Names, Times)>,
    reuse: Option<Times>,
    gone: Vec<Option<String>>,
    gone_until_init: Vec<Option<String>>,
    pub(crate) vague: bool,
    pub(crate) busy: bool,
    pub(crate) swap: bool,
    pub(crate) mixed: bool,
    pub(crate) cant_lock: bool,
    pub(crate) no_gcm: bool,
    pub(crate) pin_silent: bool,
    /// CKF_USER_PIN_
    pub(crate) pin_flags: CK_FLAGS,
    pub(crate) first_slot: CK_SLOT_ID,
    /// 0: as many as you like.
    pub(crate) sessions: CK_ULONG,
    pub(crate) iv: Option<Iv>,
}

#[derive(Debug)]
struct Names(Vec<String>);

impl Names {
    fn have(&self, name: &str) -> bool {
        self.0.iter().any(|one| Some(one.as_str()) == name.strip_prefix("C_"))
    }
}

/// How often a rule still applies.
#[derive(Debug)]
struct Times(AtomicU32);

impl Times {
    fn take(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

impl Script {
    fn read(text: &str) -> Self {
        let mut script = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            script.add(line).unwrap_or_else(|| panic!("the fake PKCS#11 module does not know the rule `{line}`"));
        }
        script
    }

    fn add(&mut self, line: &str) -> Option<()> {
        let words: Vec<_> = line.split_whitespace().collect();
        match *words.as_slice() {
            ["delay", calls, time] => self.delays.push((names(calls), duration(time)?)),
            ["hang", calls] => self.hangs.push(names(calls)),
            ["fail", calls, answer] => self.fails.push((names(calls), code(answer)?, times("")?)),
            ["fail", calls, answer, n] => self.fails.push((names(calls), code(answer)?, times(n)?)),
            ["wrong", calls] => self.wrongs.push((names(calls), times("")?)),
            ["wrong", calls, n] => self.wrongs.push((names(calls), times(n)?)),
            ["busy"] => self.busy = true,
            ["vague"] => self.vague = true,
            ["gone"] => self.gone.push(None),
            ["gone", serial] => self.gone.push(Some(serial.to_owned())),
            ["gone-until-init"] => self.gone_until_init.push(None),
            ["gone-until-init", serial] => self.gone_until_init.push(Some(serial.to_owned())),
            ["slot", n] => self.first_slot = n.parse().ok()?,
            ["sessions", n] => self.sessions = n.parse().ok()?,
            ["reuse"] => self.reuse = Some(times("")?),
            ["reuse", n] => self.reuse = Some(times(n)?),
            ["swap"] => self.swap = true,
            ["mixed"] => self.mixed = true,
            ["iv", "random"] => self.iv = Some(Iv::Random),
            ["iv", "zero"] => self.iv = Some(Iv::Zero),
            ["iv", "repeat"] => self.iv = Some(Iv::Repeat),
            ["iv", "count"] => self.iv = Some(Iv::Count),
            ["cant-lock"] => self.cant_lock = true,
            ["pin-low"] => self.pin_flags |= CKF_USER_PIN_COUNT_LOW,
            ["pin-final"] => self.pin_flags |= CKF_USER_PIN_FINAL_TRY,
            ["pin-locked"] => self.pin_flags |= CKF_USER_PIN_LOCKED,
            ["pin-silent"] => self.pin_silent = true,
            ["no-gcm"] => self.no_gcm = true,
            _ => return None,
        }
        Some(())
    }

    /// Whether the token of this serial number is pulled out; the second time, until it is seen again after C_Initialize.
    pub(crate) fn gone(&self, serial: &str) -> (bool, bool) {
        let named = |rules: &[Option<String>]| rules.iter().any(|rule| rule.as_deref().is_none_or(|named| named == serial));
        let until_init = named(&self.gone_until_init);
        (named(&self.gone) || until_init, until_init)
    }

    /// Whether the number of an open session is to be given again.
    pub(crate) fn reuses(&self) -> bool {
        self.reuse.as_ref().is_some_and(Times::take)
    }

    /// Flips a bit of what the function `name` gives, if it is to.
    pub(crate) fn spoil(&self, name: &str, output: &mut [u8]) {
        if let (Some(byte), true) = (output.first_mut(), self.wrongs.iter().any(|(names, times)| names.have(name) && times.take())) {
            *byte ^= 1;
        }
    }
}

fn names(calls: &str) -> Names {
    Names(calls.split(',').map(str::to_owned).collect())
}

fn times(n: &str) -> Option<Times> {
    Some(Times(AtomicU32::new(if n.is_empty() { u32::MAX } else { n.parse().ok()? })))
}

fn code(name: &str) -> Option<CK_RV> {
    ANSWERS.iter().find(|(known, _)| *known == name).map(|(_, code)| *code)
}

fn duration(text: &str) -> Option<Duration> {
    let split = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(split);
    let number = number.parse().ok()?;
    Some(match unit {
        "us" => Duration::from_micros(number),
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        _ => return None,
    })
}

/// Waits as the script has it for the function `name`, or answers for it; else gives the script.
pub(crate) fn obey(name: &str) -> Outcome<Arc<Script>> {
    let mut script = now();
    let delays = script.delays.iter().filter(|(names, _)| names.have(name));
    thread::sleep(delays.map(|(_, time)| *time).sum());
    while script.hangs.iter().any(|names| names.have(name)) {
        thread::sleep(LOOK);
        script = now();
    }
    match script.fails.iter().find(|(names, _, times)| names.have(name) && times.take()) {
        Some((_, answer, _)) => Err(*answer),
        None => Ok(script),
    }
}

/// The script as it stands, read again if it is another than before.
fn now() -> Arc<Script> {
    static KNOWN: Mutex<Option<(Stamp, Arc<Script>)>> = Mutex::new(None);
    let Some(file) = folder().map(|folder| folder.join("script")) else { return Arc::default() };
    let mut known = KNOWN.lock().expect("a panic ends the process");
    let stamp = Stamp::of(&file);
    if let Some((_, script)) = known.as_ref().filter(|(old, _)| *old == stamp) {
        return Arc::clone(script);
    }
    let script = Arc::new(Script::read(&fs::read_to_string(file).unwrap_or_default()));
    *known = Some((stamp, Arc::clone(&script)));
    script
}

/// Tells a file from an older one at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp(Option<(u64, u64, i64, i64)>);

impl Stamp {
    /// Of the file at `path`, which need not be there.
    pub(crate) fn of(path: &Path) -> Self {
        Self(fs::metadata(path).ok().map(|data| (data.ino(), data.len(), data.mtime(), data.mtime_nsec())))
    }
}

/// What FAKE_PKCS11 named when the module was first called.
pub(crate) fn folder() -> Option<&'static PathBuf> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOLDER.get_or_init(|| std::env::var_os("FAKE_PKCS11").map(PathBuf::from)).as_ref()
}
