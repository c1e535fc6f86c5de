//! An opened object for a person or a program: as stored, as JSON, as YAML.
//!
//! Secrets and ConfigMaps are decoded to what the API server shows, without `managedFields`. Other built-in objects are protobuf messages
//! that only Kubernetes knows, and come raw. Custom resources are stored as JSON, which is passed through (JSON is YAML too).

mod object;
mod write;

use thiserror::Error;

use crate::recover::wire::WireError;
use crate::secret::SecretBytes;

/// In which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The stored bytes.
    Raw,
    /// JSON, as `kubectl get -o json` prints it.
    Json,
    /// YAML.
    Yaml,
}

/// Why an object is not shown in that form. The raw one always is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ShowError {
    /// A built-in object whose message is not known here.
    #[error("{kind} of {api_version} is stored as protobuf and is not decoded here; show it raw")]
    NotDecoded {
        /// Such as `apps/v1`.
        api_version: String,
        /// Such as `Deployment`.
        kind: String,
    },
    /// CBOR.
    #[error("the object is stored as CBOR, which is not decoded here; show it raw")]
    Cbor,
    /// Neither protobuf nor JSON nor CBOR.
    #[error("what was stored is no Kubernetes object; show it raw")]
    NoObject,
    /// Protobuf, and damaged.
    #[error("the protobuf of the object is damaged: {0}; show it raw")]
    Wire(#[from] WireError),
    /// A text in it that is none.
    #[error("a text in the object is not UTF-8; show it raw")]
    NotText,
    /// A time that no calendar has.
    #[error("a time in the object is out of range; show it raw")]
    Time,
    /// Begins as JSON, and is none.
    #[error("the JSON of the object is damaged at line {line}, column {column}; show it raw")]
    Json {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
}

/// `plaintext` in `form`. `revision` is the etcd revision that wrote it, which the API server shows as `resourceVersion` and does not store.
///
/// What comes back is as secret as what went in.
pub fn show(plaintext: &SecretBytes, form: Form, revision: Option<u64>) -> Result<SecretBytes, ShowError> {
    let bytes = plaintext.expose_secret();
    if form == Form::Raw {
        return Ok(copy(bytes));
    }
    if let Some(message) = bytes.strip_prefix(b"k8s\0") {
        let revision = revision.map(|r| r.to_string());
        let object = object::decode(message, revision.as_deref())?;
        return Ok(if form == Form::Json { write::json(&object) } else { write::yaml(&object) });
    }
    if bytes.starts_with(b"\xd9\xd9\xf7") {
        return Err(ShowError::Cbor);
    }
    if !bytes.starts_with(b"{") {
        return Err(ShowError::NoObject);
    }
    match serde_json::from_slice::<serde::de::IgnoredAny>(bytes) {
        Ok(_) => Ok(copy(bytes)),
        Err(error) => Err(ShowError::Json { line: error.line(), column: error.column() }),
    }
}

fn copy(bytes: &[u8]) -> SecretBytes {
    let mut copy = SecretBytes::with_capacity(bytes.len());
    copy.extend(bytes);
    copy
}

#[cfg(test)]
mod tests;
