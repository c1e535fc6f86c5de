//! The one error of the test bed: a sentence for the person who reads the failed test.

use std::fmt;

/// What went wrong, in words; nobody decides anything by its kind.
#[derive(Debug)]
pub struct Error(String);

/// Shorthand used everywhere in the test bed.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Puts what was attempted in front of the cause.
    pub fn while_doing(what: impl fmt::Display, cause: impl fmt::Display) -> Self {
        Self(format!("{what}: {cause}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(cause: std::io::Error) -> Self {
        Self(cause.to_string())
    }
}

impl From<crate::tools::ToolsError> for Error {
    fn from(cause: crate::tools::ToolsError) -> Self {
        Self(cause.to_string())
    }
}

impl From<serde_json::Error> for Error {
    fn from(cause: serde_json::Error) -> Self {
        Self(cause.to_string())
    }
}
