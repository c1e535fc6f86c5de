//! The one table from errors to gRPC codes and texts.
//!
//! The API server puts the text into its log and its health endpoints, so it is short, stable and names nothing but the fault.
//! `docs/grpc-codes.md` shows the table.

use thiserror::Error;

use crate::keyring::{LookupError, WrapError};
use crate::protocol::Malformed;
use crate::provider::KekError;

/// The gRPC codes that are answered here, with their numbers (grpc/grpc, statuscodes.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are gRPC's own names")]
pub enum Code {
    Ok = 0,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    FailedPrecondition = 9,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
}

impl Code {
    /// Its name, as the API server shows it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::InvalidArgument => "InvalidArgument",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::NotFound => "NotFound",
            Self::FailedPrecondition => "FailedPrecondition",
            Self::OutOfRange => "OutOfRange",
            Self::Unimplemented => "Unimplemented",
            Self::Internal => "Internal",
            Self::Unavailable => "Unavailable",
            Self::DataLoss => "DataLoss",
        }
    }

    /// Its number, as it stands in the trailers.
    pub const fn number(self) -> &'static str {
        match self {
            Self::Ok => "0",
            Self::InvalidArgument => "3",
            Self::DeadlineExceeded => "4",
            Self::NotFound => "5",
            Self::FailedPrecondition => "9",
            Self::OutOfRange => "11",
            Self::Unimplemented => "12",
            Self::Internal => "13",
            Self::Unavailable => "14",
            Self::DataLoss => "15",
        }
    }
}

/// Why a call is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// No such path is served.
    #[error("no such method here")]
    NoSuchMethod,
    /// Longer than [`crate::protocol::MAX_MESSAGE`].
    #[error("message is over 65536 bytes")]
    TooLong,
    /// The message says that it is compressed.
    #[error("compressed messages are not accepted")]
    Compressed,
    /// Cut short, or more than one.
    #[error("not exactly one message")]
    NotOneMessage,
    /// The rest of the message did not arrive.
    #[error("the message did not arrive in time")]
    Late,
    /// Not the protobuf message of the method.
    #[error("not the message of this method")]
    NotTheMessage,
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
    /// The token with the key does not answer.
    #[error("the token that holds the key does not answer; the log of the plugin has the cause")]
    TokenAway,
    /// Our own failure; the log has the cause.
    #[error("internal failure; the log of the plugin has the cause")]
    Ours,
}

impl Refusal {
    /// The gRPC code.
    pub const fn code(self) -> Code {
        match self {
            Self::NoSuchMethod | Self::Compressed => Code::Unimplemented,
            Self::TooLong => Code::OutOfRange,
            Self::Late => Code::DeadlineExceeded,
            Self::NotReady | Self::TokenAway => Code::Unavailable,
            Self::Malformed(_) => Code::InvalidArgument,
            Self::Lookup(LookupError::Unknown) => Code::NotFound,
            Self::Lookup(LookupError::Disabled | LookupError::Destroyed) => Code::FailedPrecondition,
            Self::DoesNotOpen => Code::DataLoss,
            Self::NotOneMessage | Self::NotTheMessage | Self::Ours => Code::Internal,
        }
    }
}

/// An unwrap failed: the data's fault, or ours.
impl From<KekError> for Refusal {
    fn from(error: KekError) -> Self {
        match error {
            KekError::Authentication => Self::DoesNotOpen,
            KekError::Token(_) => {
                tracing::error!(cause = %error, "unwrap failed");
                Self::TokenAway
            }
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
        if matches!(error, WrapError::Kek(KekError::Token(_))) { Self::TokenAway } else { Self::Ours }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Refusal; 18] = [
        Refusal::NoSuchMethod,
        Refusal::TooLong,
        Refusal::Compressed,
        Refusal::NotOneMessage,
        Refusal::Late,
        Refusal::NotTheMessage,
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
        Refusal::TokenAway,
        Refusal::Ours,
    ];

    #[test]
    fn the_documented_table_is_the_one_in_force() {
        let documented = include_str!("../../docs/grpc-codes.md");
        for refusal in ALL {
            let row = format!("| `{}` | `{}` |", refusal.code().name(), refusal);
            assert!(documented.contains(&row), "docs/grpc-codes.md lacks the row {row}");
        }
        let rows = documented.lines().skip_while(|l| *l != "## As gRPC answers").take_while(|l| *l != "## Below gRPC");
        assert_eq!(rows.filter(|l| l.starts_with("| `")).count(), ALL.len(), "a row too many");
    }

    #[test]
    fn the_number_in_the_trailers_is_the_one_of_the_code() {
        for code in ALL.map(Refusal::code).into_iter().chain([Code::Ok]) {
            assert_eq!(code.number(), (code as u8).to_string());
        }
    }
}
