//! Why a token did not do what it was asked for.

use thiserror::Error;

use super::TokenName;

/// A call that did not work.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("token {token}: {attempt}: {problem}")]
pub struct TokenError {
    /// Which token was meant.
    pub token: TokenName,
    /// What was attempted, such as `find the key`.
    pub attempt: &'static str,
    /// Why it did not work.
    pub problem: Problem,
}

/// Why it did not work.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Problem {
    /// The configuration has no such token.
    #[error("the configuration has no [[token]] with this label and serial number")]
    NotConfigured,
}
