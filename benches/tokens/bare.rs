//! The other side of the comparison: threads that do nothing but C_DecryptInit and C_Decrypt, in a process of their own.
//!
//! It is this program, started again with [`WORD`]. A line with a number on its standard input is a round of so many calls; the line that it
//! answers with is how long they took, in nanoseconds. Written against the functions of the module alone: what is measured is not its own measure.

#![expect(unsafe_code, reason = "calls a module past the provider, for that is what the provider is compared with")]

use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::mem::ManuallyDrop;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::ptr::null_mut;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_C_INITIALIZE_ARGS, CK_FUNCTION_LIST, CK_GCM_PARAMS, CK_MECHANISM, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE,
    CK_SLOT_ID, CK_TOKEN_INFO, CK_TRUE, CK_ULONG, CKA_CLASS, CKA_KEY_TYPE, CKF_OS_LOCKING_OK, CKF_SERIAL_SESSION, CKK_AES, CKM_AES_GCM,
    CKO_SECRET_KEY, CKR_OK, CKU_USER,
};
use keywright_testbed::tokens::Token;

use crate::{IN_FLIGHT, Result};

/// First argument of the process; module, serial number and PIN come behind it.
pub(crate) const WORD: &str = "bare";
/// Ciphertexts, each another.
const DISTINCT: usize = 4_000;
/// As long as the plugin's for a key of this shape, to ten bytes or so.
const AAD: [u8; 128] = [9; 128];
const PLAINTEXT: [u8; 32] = [7; 32];
const SEALED: usize = PLAINTEXT.len() + 16;
const SLOTS: usize = 64;

/// The process; killed when it is dropped.
pub(crate) struct Bare {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Bare {
    /// Starts it with the one key that is in `token`.
    pub(crate) fn start(token: &Token) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        // The PIN of a token that the benchmark made for itself: no secret.
        command.arg(WORD).arg(token.hsm().module()).args([token.serial(), token.pin()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (ask, answers) = (child.stdin.take().ok_or("no pipe")?, child.stdout.take().ok_or("no pipe")?);
        Ok(Self { child, ask, answers: BufReader::new(answers) })
    }

    /// A round of so many calls, [`IN_FLIGHT`] at a time.
    pub(crate) fn decrypt(&mut self, calls: usize) -> Result<Duration> {
        writeln!(self.ask, "{calls}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let nanoseconds = line.trim().parse().map_err(|_| format!("the bare threads answered {line:?}"))?;
        Ok(Duration::from_nanos(nanoseconds))
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // Both fail only for a child that is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the process does.
pub(crate) fn serve(arguments: &[String]) -> Result<()> {
    let [module, serial, pin] = arguments else { return Err("the bare threads want a module, a serial number and a PIN".into()) };
    let list = load(module)?;
    let slot = slot(&list, serial)?;
    let sessions: Vec<CK_SESSION_HANDLE> = (0..IN_FLIGHT).map(|_| open(&list, slot)).collect::<Result<_>>()?;
    let first = *sessions.first().ok_or("no session")?;
    // SAFETY: the PIN outlives the call.
    done("C_Login", unsafe { list.C_Login.ok_or("no C_Login")?(first, CKU_USER, pin.as_ptr().cast_mut(), pin.len() as CK_ULONG) })?;
    let key = key(&list, first)?;
    let made: Vec<([u8; 12], Vec<u8>)> = (0..DISTINCT)
        .map(|number| {
            let mut iv = [0xFF; 12];
            iv[4..].copy_from_slice(&(number as u64).to_be_bytes());
            Ok((iv, encrypt(&list, first, key, &iv)?))
        })
        .collect::<Result<_>>()?;
    for line in stdin().lines() {
        let calls: usize = line?.trim().parse()?;
        let (next, begin) = (AtomicUsize::new(0), Barrier::new(sessions.len() + 1));
        let time = std::thread::scope(|scope| {
            let threads: Vec<_> = sessions
                .iter()
                .map(|session| {
                    let (list, made, next, begin) = (&list, &made, &next, &begin);
                    scope.spawn(move || {
                        begin.wait();
                        loop {
                            let number = next.fetch_add(1, Ordering::Relaxed);
                            if number >= calls {
                                return Result::Ok(());
                            }
                            let (iv, sealed) = &made[number % made.len()];
                            decrypt(list, *session, key, iv, sealed)?;
                        }
                    })
                })
                .collect();
            begin.wait();
            let start = Instant::now();
            for thread in threads {
                thread.join().map_err(|_| "a bare thread panicked")??;
            }
            Result::Ok(start.elapsed())
        })?;
        let mut out = stdout();
        writeln!(out, "{}", time.as_nanos())?;
        out.flush()?;
    }
    Ok(())
}

fn done(call: &str, rv: CK_RV) -> Result<()> {
    if rv == CKR_OK { Ok(()) } else { Err(format!("{call}: {rv:#x}").into()) }
}

fn load(module: &str) -> Result<CK_FUNCTION_LIST> {
    // SAFETY: a module of the tests, never unloaded.
    let library = ManuallyDrop::new(unsafe { cryptoki_sys::Pkcs11::new(module) }?);
    let mut list = null_mut();
    // SAFETY: `list` may be written to; what it points to afterwards is there for as long as the module.
    let list = unsafe {
        done("C_GetFunctionList", library.C_GetFunctionList(&raw mut list))?;
        *list
    };
    let mut how = CK_C_INITIALIZE_ARGS { flags: CKF_OS_LOCKING_OK, ..Default::default() };
    // SAFETY: `how` outlives the call.
    done("C_Initialize", unsafe { list.C_Initialize.ok_or("no C_Initialize")?((&raw mut how).cast()) })?;
    Ok(list)
}

fn slot(list: &CK_FUNCTION_LIST, serial: &str) -> Result<CK_SLOT_ID> {
    let (mut slots, mut count) = ([0; SLOTS], SLOTS as CK_ULONG);
    // SAFETY: room for as many as it is told.
    done("C_GetSlotList", unsafe { list.C_GetSlotList.ok_or("no C_GetSlotList")?(CK_TRUE, slots.as_mut_ptr(), &raw mut count) })?;
    for slot in slots.into_iter().take(usize::try_from(count)?) {
        let mut info = CK_TOKEN_INFO::default();
        // SAFETY: `info` outlives the call.
        done("C_GetTokenInfo", unsafe { list.C_GetTokenInfo.ok_or("no C_GetTokenInfo")?(slot, &raw mut info) })?;
        if String::from_utf8_lossy(&info.serialNumber).trim_end() == serial {
            return Ok(slot);
        }
    }
    Err(format!("no slot has the token {serial}").into())
}

fn open(list: &CK_FUNCTION_LIST, slot: CK_SLOT_ID) -> Result<CK_SESSION_HANDLE> {
    let mut session = 0;
    let open = list.C_OpenSession.ok_or("no C_OpenSession")?;
    // SAFETY: `session` outlives the call.
    done("C_OpenSession", unsafe { open(slot, CKF_SERIAL_SESSION, null_mut(), None, &raw mut session) })?;
    Ok(session)
}

/// The AES key that is there; the benchmark's tokens have one.
fn key(list: &CK_FUNCTION_LIST, session: CK_SESSION_HANDLE) -> Result<CK_OBJECT_HANDLE> {
    let (mut class, mut kind) = (CKO_SECRET_KEY, CKK_AES);
    let attribute =
        |type_, value: *mut CK_ULONG| CK_ATTRIBUTE { type_, pValue: value.cast(), ulValueLen: size_of::<CK_ULONG>() as CK_ULONG };
    let mut like = [attribute(CKA_CLASS, &raw mut class), attribute(CKA_KEY_TYPE, &raw mut kind)];
    let (mut found, mut count) = ([0; 2], 0);
    // SAFETY: all that is pointed to outlives the calls; there is room for two.
    unsafe {
        let begin = list.C_FindObjectsInit.ok_or("no C_FindObjectsInit")?;
        done("C_FindObjectsInit", begin(session, like.as_mut_ptr(), like.len() as CK_ULONG))?;
        done("C_FindObjects", list.C_FindObjects.ok_or("no C_FindObjects")?(session, found.as_mut_ptr(), 2, &raw mut count))?;
        done("C_FindObjectsFinal", list.C_FindObjectsFinal.ok_or("no C_FindObjectsFinal")?(session))?;
    }
    if count == 1 { Ok(found[0]) } else { Err(format!("{count} AES keys are in the token, not one").into()) }
}

/// Calls `f` with the mechanism; what it points to lives until `f` returns.
fn with_gcm<R>(iv: &[u8; 12], f: impl FnOnce(*mut CK_MECHANISM) -> R) -> R {
    let (mut iv, mut aad) = (*iv, AAD);
    let mut params = CK_GCM_PARAMS {
        pIv: iv.as_mut_ptr(),
        ulIvLen: 12,
        ulIvBits: 96,
        pAAD: aad.as_mut_ptr(),
        ulAADLen: aad.len() as CK_ULONG,
        ulTagBits: 128,
    };
    let len = size_of_val(&params) as CK_ULONG;
    let mut how = CK_MECHANISM { mechanism: CKM_AES_GCM, pParameter: (&raw mut params).cast(), ulParameterLen: len };
    f(&raw mut how)
}

fn encrypt(list: &CK_FUNCTION_LIST, session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE, iv: &[u8; 12]) -> Result<Vec<u8>> {
    let mut plaintext = PLAINTEXT;
    let mut out = vec![0; SEALED + 32];
    let mut len = out.len() as CK_ULONG;
    with_gcm(iv, |how| {
        // SAFETY: all that is pointed to outlives the calls; lengths are those of the buffers.
        unsafe {
            done("C_EncryptInit", list.C_EncryptInit.ok_or("no C_EncryptInit")?(session, how, key))?;
            let encrypt = list.C_Encrypt.ok_or("no C_Encrypt")?;
            done("C_Encrypt", encrypt(session, plaintext.as_mut_ptr(), plaintext.len() as CK_ULONG, out.as_mut_ptr(), &raw mut len))
        }
    })?;
    out.truncate(usize::try_from(len)?);
    Ok(out)
}

/// The one call that is measured.
fn decrypt(list: &CK_FUNCTION_LIST, session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE, iv: &[u8; 12], sealed: &[u8]) -> Result<()> {
    let mut out = [0; SEALED + 32];
    let mut len = out.len() as CK_ULONG;
    with_gcm(iv, |how| {
        // SAFETY: all that is pointed to outlives the calls; lengths are those of the buffers. The module only reads `sealed`.
        unsafe {
            done("C_DecryptInit", list.C_DecryptInit.ok_or("no C_DecryptInit")?(session, how, key))?;
            let decrypt = list.C_Decrypt.ok_or("no C_Decrypt")?;
            done("C_Decrypt", decrypt(session, sealed.as_ptr().cast_mut(), sealed.len() as CK_ULONG, out.as_mut_ptr(), &raw mut len))
        }
    })?;
    if out.get(..usize::try_from(len)?) == Some(&PLAINTEXT) { Ok(()) } else { Err("a bare thread got another plaintext".into()) }
}
