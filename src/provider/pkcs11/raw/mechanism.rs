//! Parameters of mechanisms, alive for as long as a module may look at them.

use std::ffi::c_void;

use cryptoki_sys::{CK_GCM_PARAMS, CK_MECHANISM, CK_MECHANISM_TYPE, CK_ULONG, CKM_AES_CBC_PAD, CKM_AES_GCM};
use cryptoki_sys::{
    CKF_DECRYPT, CKF_ENCRYPT, CKF_GENERATE, CKF_SIGN, CKF_VERIFY, CKM_AES_KEY_GEN, CKM_GENERIC_SECRET_KEY_GEN, CKM_SHA256_HMAC,
};

/// Bits of a GCM tag; PKCS#11 lets the caller choose, and some modules take 32.
const TAG_BITS: CK_ULONG = 128;

/// How to encrypt or decrypt.
pub(crate) enum Cipher<'a> {
    /// AES-GCM with a tag of 128 bits. The module may write the IV, where it chooses it.
    Gcm {
        /// 96 bits.
        iv: &'a mut [u8; 12],
        /// Associated data.
        aad: &'a [u8],
    },
    /// AES-CBC with PKCS#7 padding.
    CbcPad {
        /// One block.
        iv: &'a mut [u8; 16],
    },
}

impl Cipher<'_> {
    /// Calls `f` with the mechanism; what it points to lives until `f` returns.
    pub(super) fn with<R>(&mut self, f: impl FnOnce(*mut CK_MECHANISM) -> R) -> R {
        match self {
            Self::Gcm { iv, aad } => {
                let mut params = CK_GCM_PARAMS {
                    pIv: iv.as_mut_ptr(),
                    ulIvLen: iv.len() as CK_ULONG,
                    ulIvBits: 8 * iv.len() as CK_ULONG,
                    pAAD: input(aad),
                    ulAADLen: aad.len() as CK_ULONG,
                    ulTagBits: TAG_BITS,
                };
                let len = size_of_val(&params);
                let mut how = mechanism(CKM_AES_GCM, (&raw mut params).cast(), len);
                f(&raw mut how)
            }
            Self::CbcPad { iv } => {
                let mut how = mechanism(CKM_AES_CBC_PAD, iv.as_mut_ptr().cast(), iv.len());
                f(&raw mut how)
            }
        }
    }
}

pub(super) fn mechanism(mechanism: CK_MECHANISM_TYPE, parameter: *mut c_void, len: usize) -> CK_MECHANISM {
    CK_MECHANISM { mechanism, pParameter: parameter, ulParameterLen: len as CK_ULONG }
}

/// A pointer that the module only reads; null for no bytes, as some modules want it.
pub(super) fn input(bytes: &[u8]) -> *mut u8 {
    if bytes.is_empty() { std::ptr::null_mut() } else { bytes.as_ptr().cast_mut() }
}

/// What a token must be able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Encrypt and decrypt with AES-GCM.
    Gcm,
    /// Encrypt and decrypt with AES-CBC and padding.
    CbcPad,
    /// Sign and verify with HMAC-SHA-256.
    Hmac,
    /// Make AES keys.
    MakeAes,
    /// Make keys of any kind.
    MakeSecret,
}

impl Use {
    /// PKCS#11's number.
    pub(super) const fn mechanism(self) -> CK_MECHANISM_TYPE {
        match self {
            Self::Gcm => CKM_AES_GCM,
            Self::CbcPad => CKM_AES_CBC_PAD,
            Self::Hmac => CKM_SHA256_HMAC,
            Self::MakeAes => CKM_AES_KEY_GEN,
            Self::MakeSecret => CKM_GENERIC_SECRET_KEY_GEN,
        }
    }

    /// What CK_MECHANISM_INFO must say.
    pub(super) const fn flags(self) -> u64 {
        match self {
            Self::Gcm | Self::CbcPad => CKF_ENCRYPT | CKF_DECRYPT,
            Self::Hmac => CKF_SIGN | CKF_VERIFY,
            Self::MakeAes | Self::MakeSecret => CKF_GENERATE,
        }
    }

    /// PKCS#11's name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Gcm => "CKM_AES_GCM",
            Self::CbcPad => "CKM_AES_CBC_PAD",
            Self::Hmac => "CKM_SHA256_HMAC",
            Self::MakeAes => "CKM_AES_KEY_GEN",
            Self::MakeSecret => "CKM_GENERIC_SECRET_KEY_GEN",
        }
    }
}
