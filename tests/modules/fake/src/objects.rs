//! Keys as objects: made, found, read, changed, destroyed.

use std::collections::BTreeMap;

use cryptoki_sys::*;

use crate::general::{from_number, number};
use crate::memory::{put, template};
use crate::module::Module;
use crate::state::Key;
use crate::{Outcome, functions};

/// Attributes that only the token sets.
const OURS: [CK_ATTRIBUTE_TYPE; 4] = [CKA_LOCAL, CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE, CKA_KEY_GEN_MECHANISM];

type Attributes = BTreeMap<CK_ATTRIBUTE_TYPE, Vec<u8>>;

functions! {
    fn C_GenerateKey(
        session: CK_SESSION_HANDLE,
        mechanism: *mut CK_MECHANISM,
        attributes: *mut CK_ATTRIBUTE,
        count: CK_ULONG,
        key: *mut CK_OBJECT_HANDLE,
    ) |script, module| {
        // SAFETY: the client's, by the standard.
        let (mechanism, mut wanted) = unsafe { (mechanism.as_ref().ok_or(CKR_ARGUMENTS_BAD)?.mechanism, template(attributes, count)) };
        let kind = match mechanism {
            CKM_AES_KEY_GEN => CKK_AES,
            CKM_GENERIC_SECRET_KEY_GEN => CKK_GENERIC_SECRET,
            _ => return Err(CKR_MECHANISM_INVALID),
        };
        let len = wanted.iter().find(|(kind, _)| *kind == CKA_VALUE_LEN).map(|(_, len)| from_number(len)).transpose()?;
        let mut secret = vec![0; match len { Some(len @ (16 | 24 | 32)) => len.try_into().expect("it is small"), _ => return Err(CKR_KEY_SIZE_RANGE) }];
        getrandom::fill(&mut secret).expect("the kernel has random bytes");
        if !wanted.iter().any(|(kind, _)| *kind == CKA_KEY_TYPE) {
            wanted.push((CKA_KEY_TYPE, number(kind)));
        }
        if wanted.iter().any(|(kind, _)| *kind == CKA_VALUE) {
            return Err(CKR_TEMPLATE_INCONSISTENT);
        }
        let made = make(module, session, wanted, secret, Some(mechanism))?;
        // SAFETY: the client's, by the standard.
        unsafe { put(key, made) }
    }

    fn C_CreateObject(
        session: CK_SESSION_HANDLE,
        attributes: *mut CK_ATTRIBUTE,
        count: CK_ULONG,
        key: *mut CK_OBJECT_HANDLE,
    ) |script, module| {
        // SAFETY: the client's, by the standard.
        let mut wanted = unsafe { template(attributes, count) };
        let secret = wanted.iter().position(|(kind, _)| *kind == CKA_VALUE).ok_or(CKR_TEMPLATE_INCOMPLETE)?;
        let (_, secret) = wanted.remove(secret);
        let made = make(module, session, wanted, secret, None)?;
        // SAFETY: the client's, by the standard.
        unsafe { put(key, made) }
    }

    fn C_DestroyObject(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) |script, module| {
        let number = writable(module, session, key)?.number;
        module.state.change(|state| state.keys.retain(|key| key.number != number));
        Ok(())
    }

    fn C_GetAttributeValue(
        session: CK_SESSION_HANDLE,
        key: CK_OBJECT_HANDLE,
        attributes: *mut CK_ATTRIBUTE,
        count: CK_ULONG,
    ) |script, module| {
        let serial = module.session(session)?.serial.clone();
        let key = module.key(&serial, key).ok_or(CKR_OBJECT_HANDLE_INVALID)?;
        if attributes.is_null() {
            return Err(CKR_ARGUMENTS_BAD);
        }
        // SAFETY: the client's, by the standard.
        let list = unsafe { std::slice::from_raw_parts_mut(attributes, count.try_into().expect("as wide as usize")) };
        let mut outcome = Ok(());
        for attribute in list {
            // SAFETY: the same.
            if let Err(error) = unsafe { read(key, attribute) } {
                attribute.ulValueLen = CK_UNAVAILABLE_INFORMATION;
                outcome = Err(error);
            }
        }
        outcome
    }

    fn C_SetAttributeValue(
        session: CK_SESSION_HANDLE,
        key: CK_OBJECT_HANDLE,
        attributes: *mut CK_ATTRIBUTE,
        count: CK_ULONG,
    ) |script, module| {
        // SAFETY: the client's, by the standard.
        let wanted = unsafe { template(attributes, count) };
        let key = writable(module, session, key)?;
        let harder = |(kind, value): &(CK_ATTRIBUTE_TYPE, Vec<u8>)| match *kind {
            CKA_SENSITIVE => value == &[CK_TRUE],
            CKA_EXTRACTABLE => value == &[CK_FALSE],
            CKA_CLASS | CKA_KEY_TYPE | CKA_VALUE | CKA_VALUE_LEN | CKA_TOKEN | CKA_PRIVATE | CKA_MODIFIABLE => false,
            kind => !OURS.contains(&kind),
        };
        if !key.is(CKA_MODIFIABLE) {
            return Err(CKR_ACTION_PROHIBITED);
        }
        if !wanted.iter().all(harder) {
            return Err(CKR_ATTRIBUTE_READ_ONLY);
        }
        let number = key.number;
        module.state.change(|state| {
            let key = state.keys.iter_mut().find(|key| key.number == number).ok_or(CKR_OBJECT_HANDLE_INVALID)?;
            key.attributes.extend(wanted);
            Ok(())
        })
    }

    fn C_FindObjectsInit(session: CK_SESSION_HANDLE, attributes: *mut CK_ATTRIBUTE, count: CK_ULONG) |script, module| {
        let serial = module.session(session)?.serial.clone();
        if module.session(session)?.found.is_some() {
            return Err(CKR_OPERATION_ACTIVE);
        }
        // SAFETY: the client's, by the standard.
        let wanted = unsafe { template(attributes, count) };
        let fits = |key: &&Key| wanted.iter().all(|(kind, value)| *kind != CKA_VALUE && key.attributes.get(kind) == Some(value));
        let numbers: Vec<_> = module.visible(&serial).filter(fits).map(|key| key.number).collect();
        let found = numbers.into_iter().map(|number| module.handle(number)).rev().collect();
        module.session(session)?.found = Some(found);
        Ok(())
    }

    fn C_FindObjects(
        session: CK_SESSION_HANDLE,
        keys: *mut CK_OBJECT_HANDLE,
        most: CK_ULONG,
        count: *mut CK_ULONG,
    ) |script, module| {
        let found = module.session(session)?.found.as_mut().ok_or(CKR_OPERATION_NOT_INITIALIZED)?;
        let most = found.len().min(most.try_into().expect("as wide as usize"));
        if keys.is_null() || count.is_null() {
            return Err(CKR_ARGUMENTS_BAD);
        }
        for place in 0..most {
            let handle = found.pop().expect("there are so many");
            // SAFETY: the client's, by the standard, with room for `most`.
            unsafe { keys.add(place).write(handle) };
        }
        // SAFETY: the same.
        unsafe { put(count, most.try_into().expect("as wide as usize")) }
    }

    fn C_FindObjectsFinal(session: CK_SESSION_HANDLE) |script, module| {
        module.session(session)?.found.take().map(drop).ok_or(CKR_OPERATION_NOT_INITIALIZED)
    }
}

/// Puts a new key into the session's token.
fn make(
    module: &mut Module,
    session: CK_SESSION_HANDLE,
    wanted: Vec<(CK_ATTRIBUTE_TYPE, Vec<u8>)>,
    secret: Vec<u8>,
    generated_by: Option<CK_MECHANISM_TYPE>,
) -> Outcome<CK_OBJECT_HANDLE> {
    let (serial, flags) = module.session(session).map(|session| (session.serial.clone(), session.flags))?;
    if flags & CKF_RW_SESSION == 0 {
        return Err(CKR_SESSION_READ_ONLY);
    }
    if !module.logged_in.contains(&serial) {
        return Err(CKR_USER_NOT_LOGGED_IN);
    }
    if wanted.iter().any(|(kind, _)| OURS.contains(kind)) {
        return Err(CKR_ATTRIBUTE_READ_ONLY);
    }
    let mut key = Key { number: 0, serial, attributes: Attributes::new() };
    for (kind, value) in [(CKA_PRIVATE, true), (CKA_SENSITIVE, true), (CKA_EXTRACTABLE, false), (CKA_MODIFIABLE, true)] {
        key.set(kind, value);
    }
    for kind in [CKA_TOKEN, CKA_ENCRYPT, CKA_DECRYPT, CKA_SIGN, CKA_VERIFY, CKA_WRAP, CKA_UNWRAP] {
        key.set(kind, false);
    }
    key.attributes.extend([(CKA_CLASS, number(CKO_SECRET_KEY)), (CKA_LABEL, Vec::new()), (CKA_ID, Vec::new())]);
    key.attributes.extend(wanted);
    let len = CK_ULONG::try_from(secret.len()).expect("as wide as usize");
    key.attributes.extend([(CKA_VALUE_LEN, number(len)), (CKA_VALUE, secret)]);
    if !key.is(CKA_TOKEN) || key.attributes.get(&CKA_CLASS) != Some(&number(CKO_SECRET_KEY)) || !key.attributes.contains_key(&CKA_KEY_TYPE)
    {
        return Err(CKR_TEMPLATE_INCONSISTENT);
    }
    let generated = generated_by.is_some();
    key.set(CKA_LOCAL, generated);
    key.set(CKA_ALWAYS_SENSITIVE, generated && key.is(CKA_SENSITIVE));
    key.set(CKA_NEVER_EXTRACTABLE, generated && !key.is(CKA_EXTRACTABLE));
    key.attributes.insert(CKA_KEY_GEN_MECHANISM, number(generated_by.unwrap_or(CK_UNAVAILABLE_INFORMATION)));
    let number = module.state.change(|state| {
        // Never one that was there before, for somebody may still have its handle.
        key.number = state.keys.iter().map(|key| key.number).max().unwrap_or_default() + 1;
        let number = key.number;
        state.keys.push(key);
        number
    });
    Ok(module.handle(number))
}

fn writable(module: &mut Module, session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) -> Outcome<&Key> {
    let (serial, flags) = module.session(session).map(|session| (session.serial.clone(), session.flags))?;
    let key = module.key(&serial, key).ok_or(CKR_OBJECT_HANDLE_INVALID)?;
    if flags & CKF_RW_SESSION == 0 { Err(CKR_SESSION_READ_ONLY) } else { Ok(key) }
}

/// Answers for one attribute.
///
/// # Safety
///
/// Its value is null or has room for as many bytes as it says.
unsafe fn read(key: &Key, attribute: &mut CK_ATTRIBUTE) -> Outcome {
    let value = key.attributes.get(&attribute.type_).ok_or(CKR_ATTRIBUTE_TYPE_INVALID)?;
    if attribute.type_ == CKA_VALUE && (key.is(CKA_SENSITIVE) || !key.is(CKA_EXTRACTABLE)) {
        return Err(CKR_ATTRIBUTE_SENSITIVE);
    }
    // SAFETY: by this function's own condition.
    unsafe { crate::memory::put_all(value, attribute.pValue.cast(), &raw mut attribute.ulValueLen) }.map(drop)
}
