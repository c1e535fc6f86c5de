//! The one table from our errors to gRPC codes and texts.
//!
//! The API server puts the text into its log and its health endpoints, so it is short, stable and names nothing but the fault.
//! `docs/grpc-codes.md` shows the table, with what the gRPC stack refuses by itself before our code runs.

use thiserror::Error;
use tonic::{Code, Status};

use crate::keyring::{LookupError, WrapError};
use crate::protocol::Malformed;
use crate::provider::KekError;

/// Why a call is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// No keyring is loaded and proved yet.
    #[error("keyring is not ready yet")]
    NotReady,
    /// The request is out of the limits.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The key_id names nothing that may unwrap here.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// What was sent does not open under the key that its key_id names; which byte is wrong is nobody's business.
    #[error("ciphertext does not open")]
    DoesNotOpen,
    /// Our own failure; the log has the cause.
    #[error("internal failure; the log of the plugin has the cause")]
    Ours,
}

impl Refusal {
    /// The gRPC code.
    pub const fn code(self) -> Code {
        match self {
            Self::NotReady => Code::Unavailable,
            Self::Malformed(_) => Code::InvalidArgument,
            Self::Lookup(LookupError::Unknown) => Code::NotFound,
            Self::Lookup(LookupError::Disabled | LookupError::Destroyed) => Code::FailedPrecondition,
            Self::DoesNotOpen => Code::DataLoss,
            Self::Ours => Code::Internal,
        }
    }

    /// Its name, as the API server shows it.
    pub const fn code_name(self) -> &'static str {
        match self {
            Self::NotReady => "Unavailable",
            Self::Malformed(_) => "InvalidArgument",
            Self::Lookup(LookupError::Unknown) => "NotFound",
            Self::Lookup(LookupError::Disabled | LookupError::Destroyed) => "FailedPrecondition",
            Self::DoesNotOpen => "DataLoss",
            Self::Ours => "Internal",
        }
    }
}

/// The answer to a path of no service of ours; unknown methods of ours get the same code from the generated code.
pub(super) fn unknown_service() -> Status {
    Status::unimplemented("no such service here")
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), refusal.to_string())
    }
}

/// An unwrap failed: the data's fault, or ours.
impl From<KekError> for Refusal {
    fn from(error: KekError) -> Self {
        match error {
            KekError::Authentication => Self::DoesNotOpen,
            KekError::Entropy(_) | KekError::Cipher(_) => {
                tracing::error!(cause = %error, "unwrap failed");
                Self::Ours
            }
        }
    }
}

/// A wrap failed: never the caller's fault.
impl From<WrapError> for Refusal {
    fn from(error: WrapError) -> Self {
        tracing::error!(cause = %error, "wrap failed");
        Self::Ours
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Refusal; 11] = [
        Refusal::NotReady,
        Refusal::Malformed(Malformed::Plaintext),
        Refusal::Malformed(Malformed::Ciphertext),
        Refusal::Malformed(Malformed::KeyId),
        Refusal::Malformed(Malformed::Annotations),
        Refusal::Malformed(Malformed::Version),
        Refusal::Lookup(LookupError::Unknown),
        Refusal::Lookup(LookupError::Disabled),
        Refusal::Lookup(LookupError::Destroyed),
        Refusal::DoesNotOpen,
        Refusal::Ours,
    ];

    #[test]
    fn the_documented_table_is_the_one_in_force() {
        let documented = include_str!("../../docs/grpc-codes.md");
        for refusal in ALL {
            let row = format!("| `{}` | `{}` |", refusal.code_name(), refusal);
            assert!(documented.contains(&row), "docs/grpc-codes.md lacks the row {row}");
            assert_eq!(format!("{:?}", refusal.code()), refusal.code_name());
        }
        let rows = documented.lines().skip_while(|l| *l != "## From our own code").take_while(|l| *l != "## From the gRPC stack");
        assert_eq!(rows.filter(|l| l.starts_with("| `")).count(), ALL.len(), "a row too many");
    }
}
