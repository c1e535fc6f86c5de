//! How a command fails: what was attempted, on what, why, and what to do next.

use std::fmt;
use std::process::ExitCode;

/// Exit codes, the same for every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    Unexpected = 1,
    Usage = 2,
    Configuration = 3,
    #[cfg_attr(not(feature = "operator"), expect(dead_code, reason = "only operators' commands check"))]
    CheckFailed = 4,
    Runtime = 5,
    Refused = 6,
    Incomplete = 7,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    /// As in "cannot <attempted>".
    pub(super) attempted: String,
    pub(super) why: String,
    /// A whole sentence.
    pub(super) next: String,
}

impl Failure {
    pub(super) fn new(exit: Exit, attempted: impl Into<String>, why: impl fmt::Display, next: impl Into<String>) -> Self {
        Self { exit, attempted: attempted.into(), why: why.to_string(), next: next.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "keywright: cannot {}: {}", self.attempted, self.why)?;
        if self.next.is_empty() { Ok(()) } else { writeln!(f, "  next: {}", self.next) }
    }
}
