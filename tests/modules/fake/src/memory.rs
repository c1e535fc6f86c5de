//! The client's memory.

use cryptoki_sys::*;

use crate::Outcome;

/// The client's bytes; none when the pointer is null.
///
/// # Safety
///
/// `bytes` is null, or `len` bytes can be read there until the call returns.
pub(crate) unsafe fn bytes<'a>(bytes: *const CK_BYTE, len: CK_ULONG) -> &'a [u8] {
    if bytes.is_null() {
        return &[];
    }
    // SAFETY: by this function's own condition.
    unsafe { std::slice::from_raw_parts(bytes, len.try_into().expect("as wide as usize")) }
}

/// The client's template.
///
/// # Safety
///
/// As for [`bytes`], and each attribute's value likewise.
pub(crate) unsafe fn template(attributes: *const CK_ATTRIBUTE, count: CK_ULONG) -> Vec<(CK_ATTRIBUTE_TYPE, Vec<u8>)> {
    if attributes.is_null() {
        return Vec::new();
    }
    // SAFETY: by this function's own condition.
    let list = unsafe { std::slice::from_raw_parts(attributes, count.try_into().expect("as wide as usize")) };
    // SAFETY: the same.
    list.iter().map(|one| (one.type_, unsafe { bytes(one.pValue.cast(), one.ulValueLen) }.to_vec())).collect()
}

/// Writes one value.
///
/// # Safety
///
/// `to` is null or a value can be written there.
pub(crate) unsafe fn put<T>(to: *mut T, value: T) -> Outcome {
    if to.is_null() {
        return Err(CKR_ARGUMENTS_BAD);
    }
    // SAFETY: by this function's own condition.
    unsafe { to.write(value) };
    Ok(())
}

/// Writes a list the way of PKCS#11: the length alone where there is no buffer, and CKR_BUFFER_TOO_SMALL for one that is too short. True when the
/// list itself was written.
///
/// # Safety
///
/// `to` is null or has room for `*len` of them; `len` is null or can be read and written.
pub(crate) unsafe fn put_all<T: Copy>(list: &[T], to: *mut T, len: *mut CK_ULONG) -> Outcome<bool> {
    if len.is_null() {
        return Err(CKR_ARGUMENTS_BAD);
    }
    let needed = CK_ULONG::try_from(list.len()).expect("as wide as usize");
    // SAFETY: by this function's own condition.
    let room = unsafe { len.replace(needed) };
    if to.is_null() {
        return Ok(false);
    }
    if room < needed {
        return Err(CKR_BUFFER_TOO_SMALL);
    }
    // SAFETY: by this function's own condition, and there is room.
    unsafe { to.copy_from_nonoverlapping(list.as_ptr(), list.len()) };
    Ok(true)
}

/// Text with spaces behind, as wide as its field.
pub(crate) fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    field.iter_mut().zip(text.bytes()).for_each(|(to, byte)| *to = byte);
    field
}
