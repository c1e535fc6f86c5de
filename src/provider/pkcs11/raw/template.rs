//! Lists of attributes that describe an object: what to look for, or what to make.

use cryptoki_sys::{self as sys, CK_ATTRIBUTE, CK_ATTRIBUTE_TYPE, CK_ULONG};

/// What kind of secret key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    /// CKO_SECRET_KEY, CKK_AES.
    Aes,
    /// CKO_SECRET_KEY, CKK_GENERIC_SECRET: for HMAC.
    Generic,
}

/// Attributes with the memory that holds their values.
pub(crate) struct Template {
    values: Vec<(CK_ATTRIBUTE_TYPE, Value)>,
}

enum Value {
    Bool(u8),
    Number(CK_ULONG),
    Bytes(Vec<u8>),
}

impl Template {
    /// Everything there is.
    pub(crate) fn any() -> Self {
        Self { values: Vec::new() }
    }

    /// Every secret key in the token.
    pub(crate) fn secret_keys() -> Self {
        Self::any().number(sys::CKA_CLASS, sys::CKO_SECRET_KEY).flag(sys::CKA_TOKEN, true)
    }

    /// Every key of that class and type in the token.
    pub(crate) fn keys(class: Class) -> Self {
        let key_type = match class {
            Class::Aes => sys::CKK_AES,
            Class::Generic => sys::CKK_GENERIC_SECRET,
        };
        Self::secret_keys().number(sys::CKA_KEY_TYPE, key_type)
    }

    /// A key to be made: 256 bits, in the token, private, sensitive, never extractable, and for the named use only.
    pub(crate) fn new_key(class: Class) -> Self {
        let (cipher, mac) = (class == Class::Aes, class == Class::Generic);
        Self::keys(class)
            .number(sys::CKA_VALUE_LEN, 32)
            .flag(sys::CKA_PRIVATE, true)
            .flag(sys::CKA_SENSITIVE, true)
            .flag(sys::CKA_EXTRACTABLE, false)
            .flag(sys::CKA_MODIFIABLE, true)
            .flag(sys::CKA_ENCRYPT, cipher)
            .flag(sys::CKA_DECRYPT, cipher)
            .flag(sys::CKA_SIGN, mac)
            .flag(sys::CKA_VERIFY, mac)
            // A key that both unwraps and decrypts can export others.
            .flag(sys::CKA_WRAP, false)
            .flag(sys::CKA_UNWRAP, false)
    }

    /// With that CKA_LABEL.
    pub(crate) fn label(self, label: &str) -> Self {
        self.with(sys::CKA_LABEL, Value::Bytes(label.as_bytes().to_vec()))
    }

    /// With that CKA_ID.
    pub(crate) fn id(self, id: &[u8]) -> Self {
        self.with(sys::CKA_ID, Value::Bytes(id.to_vec()))
    }

    fn flag(self, attribute: CK_ATTRIBUTE_TYPE, on: bool) -> Self {
        self.with(attribute, Value::Bool(u8::from(on)))
    }

    fn number(self, attribute: CK_ATTRIBUTE_TYPE, number: CK_ULONG) -> Self {
        self.with(attribute, Value::Number(number))
    }

    fn with(mut self, attribute: CK_ATTRIBUTE_TYPE, value: Value) -> Self {
        self.values.push((attribute, value));
        self
    }

    /// Calls `f` with the attributes and their number; they live until it returns.
    pub(super) fn with_attributes<R>(&mut self, f: impl FnOnce(*mut CK_ATTRIBUTE, CK_ULONG) -> R) -> R {
        let mut attributes: Vec<CK_ATTRIBUTE> = self.values.iter_mut().map(|(attribute, value)| value.attribute(*attribute)).collect();
        f(attributes.as_mut_ptr(), attributes.len() as CK_ULONG)
    }
}

impl Value {
    fn attribute(&mut self, type_: CK_ATTRIBUTE_TYPE) -> CK_ATTRIBUTE {
        let (value, len) = match self {
            Self::Bool(flag) => ((&raw mut *flag).cast(), size_of::<u8>()),
            Self::Number(number) => ((&raw mut *number).cast(), size_of::<CK_ULONG>()),
            Self::Bytes(bytes) => (bytes.as_mut_ptr().cast(), bytes.len()),
        };
        CK_ATTRIBUTE { type_, pValue: value, ulValueLen: len as CK_ULONG }
    }
}
