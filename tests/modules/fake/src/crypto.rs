//! Encrypting, decrypting, signing, verifying: each is begun by one function and done by the next.

use aes::Aes256;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit};
use cryptoki_sys::*;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::memory::{bytes, put_all};
use crate::module::Module;
use crate::script::{Iv, Script};
use crate::{Outcome, functions};

/// Bytes of an IV of AES-GCM.
const GCM_IV: usize = 12;

/// What was begun in a session.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    what: What,
    key: Vec<u8>,
    how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Encrypt,
    Decrypt,
    Sign,
    Verify,
}

#[derive(Debug, Clone)]
enum How {
    Gcm { iv: [u8; GCM_IV], aad: Vec<u8> },
    Cbc { iv: [u8; 16] },
    Hmac,
}

functions! {
    fn C_EncryptInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE) |script, module|
        // SAFETY: the client's, by the standard; so below.
        unsafe { begin(script, module, session, mechanism, key, What::Encrypt) }

    fn C_DecryptInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE) |script, module|
        unsafe { begin(script, module, session, mechanism, key, What::Decrypt) }

    fn C_SignInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE) |script, module|
        unsafe { begin(script, module, session, mechanism, key, What::Sign) }

    fn C_VerifyInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE) |script, module|
        unsafe { begin(script, module, session, mechanism, key, What::Verify) }

    fn C_Encrypt(session: CK_SESSION_HANDLE, data: *mut CK_BYTE, len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG) |script, module|
        unsafe { finish(script, module, session, bytes(data, len), out, out_len, What::Encrypt) }

    fn C_Decrypt(session: CK_SESSION_HANDLE, data: *mut CK_BYTE, len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG) |script, module|
        unsafe { finish(script, module, session, bytes(data, len), out, out_len, What::Decrypt) }

    fn C_Sign(session: CK_SESSION_HANDLE, data: *mut CK_BYTE, len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG) |script, module|
        unsafe { finish(script, module, session, bytes(data, len), out, out_len, What::Sign) }

    fn C_Verify(session: CK_SESSION_HANDLE, data: *mut CK_BYTE, len: CK_ULONG, mac: *mut CK_BYTE, mac_len: CK_ULONG) |script, module| {
        let operation = current(module, session, What::Verify)?;
        module.session(session)?.operation = None;
        let (data, mac) = unsafe { (bytes(data, len), bytes(mac, mac_len)) };
        if mac.len() != 32 {
            return Err(CKR_SIGNATURE_LEN_RANGE);
        }
        hmac(&operation.key, data).verify_slice(mac).map_err(|_| CKR_SIGNATURE_INVALID)
    }
}

/// # Safety
///
/// The mechanism and its parameters are null or what the standard says.
unsafe fn begin(
    script: &Script,
    module: &mut Module,
    session: CK_SESSION_HANDLE,
    mechanism: *const CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
    what: What,
) -> Outcome {
    let serial = module.session(session)?.serial.clone();
    if script.busy {
        return Err(CKR_DEVICE_MEMORY);
    }
    if module.session(session)?.operation.is_some() {
        return Err(CKR_OPERATION_ACTIVE);
    }
    // SAFETY: by this function's own condition; so below.
    let mechanism = unsafe { mechanism.as_ref() }.ok_or(CKR_ARGUMENTS_BAD)?;
    let key = module.working_key(script, &serial, key).ok_or(CKR_KEY_HANDLE_INVALID)?;
    let may = match what {
        What::Encrypt => CKA_ENCRYPT,
        What::Decrypt => CKA_DECRYPT,
        What::Sign => CKA_SIGN,
        What::Verify => CKA_VERIFY,
    };
    if !key.is(may) {
        return Err(CKR_KEY_FUNCTION_NOT_PERMITTED);
    }
    let key = key.secret().to_vec();
    let how = match (what, mechanism.mechanism) {
        (What::Encrypt | What::Decrypt, CKM_AES_GCM) if !script.no_gcm => unsafe { gcm(script, module, mechanism, what)? },
        (What::Encrypt | What::Decrypt, CKM_AES_CBC_PAD) => {
            let iv = unsafe { bytes(mechanism.pParameter.cast(), mechanism.ulParameterLen) };
            How::Cbc { iv: iv.try_into().map_err(|_| CKR_MECHANISM_PARAM_INVALID)? }
        }
        (What::Sign | What::Verify, CKM_SHA256_HMAC) => How::Hmac,
        _ => return Err(CKR_MECHANISM_INVALID),
    };
    if !matches!(how, How::Hmac) && key.len() != 32 {
        return Err(CKR_KEY_TYPE_INCONSISTENT);
    }
    module.session(session)?.operation = Some(Operation { what, key, how });
    Ok(())
}

/// Takes the parameters, or chooses the IV and writes it into them: here, for the standard leaves them to the client when this call is over.
///
/// # Safety
///
/// As for [`begin`].
unsafe fn gcm(script: &Script, module: &mut Module, mechanism: &CK_MECHANISM, what: What) -> Outcome<How> {
    if mechanism.ulParameterLen != CK_ULONG::try_from(size_of::<CK_GCM_PARAMS>()).expect("as wide as usize") {
        return Err(CKR_MECHANISM_PARAM_INVALID);
    }
    // SAFETY: by this function's own condition; so below.
    let parameters = unsafe { mechanism.pParameter.cast::<CK_GCM_PARAMS>().as_ref() }.ok_or(CKR_MECHANISM_PARAM_INVALID)?;
    let CK_GCM_PARAMS { pIv, ulIvLen, pAAD, ulAADLen, ulTagBits, .. } = *parameters;
    let given = unsafe { bytes(pIv, ulIvLen) }.try_into();
    let mut iv: [u8; GCM_IV] = given.map_err(|_| CKR_MECHANISM_PARAM_INVALID)?;
    if ulTagBits != 128 {
        return Err(CKR_MECHANISM_PARAM_INVALID);
    }
    if let (What::Encrypt, Some(choice)) = (what, script.iv) {
        iv = chosen_iv(choice, module);
        unsafe { pIv.copy_from_nonoverlapping(iv.as_ptr(), iv.len()) };
    }
    Ok(How::Gcm { iv, aad: unsafe { bytes(pAAD, ulAADLen) }.to_vec() })
}

fn chosen_iv(choice: Iv, module: &mut Module) -> [u8; GCM_IV] {
    let mut iv = [0; GCM_IV];
    match choice {
        Iv::Random => getrandom::fill(&mut iv).expect("the kernel has random bytes"),
        Iv::Zero => {}
        Iv::Repeat => iv = *b"again, again",
        Iv::Count => {
            module.ivs += 1;
            let (_, last) = iv.split_at_mut(4);
            last.copy_from_slice(&module.ivs.to_be_bytes());
        }
    }
    iv
}

fn current(module: &mut Module, session: CK_SESSION_HANDLE, what: What) -> Outcome<Operation> {
    let operation = module.session(session)?.operation.clone();
    operation.filter(|operation| operation.what == what).ok_or(CKR_OPERATION_NOT_INITIALIZED)
}

/// # Safety
///
/// As for [`put_all`].
unsafe fn finish(
    script: &Script,
    module: &mut Module,
    session: CK_SESSION_HANDLE,
    data: &[u8],
    out: *mut CK_BYTE,
    out_len: *mut CK_ULONG,
    what: What,
) -> Outcome {
    let operation = current(module, session, what)?;
    let computed = compute(&operation, data).map_err(|error| if script.vague { CKR_GENERAL_ERROR } else { error });
    // SAFETY: by this function's own condition.
    let written = computed.and_then(|mut output| {
        if !out.is_null() {
            script.spoil(what.name(), &mut output);
        }
        unsafe { put_all(&output, out, out_len) }
    });
    // Over, but for a client that only asked how long or had too little room.
    if !matches!(written, Ok(false) | Err(CKR_BUFFER_TOO_SMALL)) {
        module.session(session)?.operation = None;
    }
    written.map(drop)
}

impl What {
    fn name(self) -> &'static str {
        match self {
            Self::Encrypt => "C_Encrypt",
            Self::Decrypt => "C_Decrypt",
            Self::Sign => "C_Sign",
            Self::Verify => "C_Verify",
        }
    }
}

fn compute(operation: &Operation, data: &[u8]) -> Outcome<Vec<u8>> {
    let key: &[u8] = &operation.key;
    match &operation.how {
        How::Hmac => Ok(hmac(key, data).finalize().into_bytes().to_vec()),
        How::Gcm { iv, aad } => {
            let cipher = Aes256Gcm::new_from_slice(key).expect("its length was seen");
            let payload = Payload { msg: data, aad };
            match operation.what {
                What::Encrypt => cipher.encrypt(iv.into(), payload).map_err(|_| CKR_DATA_LEN_RANGE),
                _ if data.len() < 16 => Err(CKR_ENCRYPTED_DATA_LEN_RANGE),
                _ => cipher.decrypt(iv.into(), payload).map_err(|_| CKR_ENCRYPTED_DATA_INVALID),
            }
        }
        How::Cbc { iv } if operation.what == What::Encrypt => {
            let cipher = cbc::Encryptor::<Aes256>::new_from_slices(key, iv).expect("their lengths were seen");
            Ok(cipher.encrypt_padded_vec::<Pkcs7>(data))
        }
        How::Cbc { iv } => {
            let cipher = cbc::Decryptor::<Aes256>::new_from_slices(key, iv).expect("their lengths were seen");
            cipher.decrypt_padded_vec::<Pkcs7>(data).map_err(|_| CKR_ENCRYPTED_DATA_INVALID)
        }
    }
}

fn hmac(key: &[u8], data: &[u8]) -> Hmac<Sha256> {
    let mut hmac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("any length will do");
    hmac.update(data);
    hmac
}
