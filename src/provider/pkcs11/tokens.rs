//! All tokens that the configuration names.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::connection::Connection;
use super::{KeySpec, Problem, TokenAccess, TokenError, TokenKek, TokenName};

/// Every token that is configured, with at most one login each; made once in a process.
pub struct Tokens {
    connections: HashMap<TokenName, Arc<Connection>>,
    now: Instant,
}

impl Tokens {
    /// Takes note of how to reach them, and reaches for none. Of two for one token the last holds; the configuration refuses that.
    pub fn new(access: Vec<TokenAccess>, now: Instant) -> Self {
        let connections = access.into_iter().map(|access| (access.name.clone(), Arc::new(Connection::new(access)))).collect();
        Self { connections, now }
    }

    /// None at all, where every key is local.
    pub fn none() -> Arc<Self> {
        Arc::new(Self::new(Vec::new(), Instant::now()))
    }

    /// The key of that name. Asks nothing of the token: the first call does, or [`TokenKek::prove`].
    pub fn kek(&self, spec: KeySpec) -> Arc<TokenKek> {
        let connection = self.connections.get(&spec.at.token).cloned();
        Arc::new(TokenKek::new(connection, spec, self.now))
    }

    /// Those that are configured.
    pub fn names(&self) -> impl Iterator<Item = &TokenName> {
        self.connections.keys()
    }

    /// Sessions that are open with that token at present.
    pub fn sessions_open(&self, token: &TokenName) -> usize {
        self.connections.get(token).map_or(0, |connection| connection.sessions_open())
    }

    /// Closes what is open and finalises the modules, for the end of a process. Waits half a second at most for calls that are in one; such a
    /// module is left as it is.
    pub fn end(&self) {
        self.connections.values().for_each(|connection| connection.end());
        self.connections.values().for_each(|connection| connection.stop_module());
    }

    pub(super) fn connection(&self, token: &TokenName, attempt: &'static str) -> Result<&Arc<Connection>, TokenError> {
        let unknown = || TokenError { token: token.clone(), attempt, problem: Problem::NotConfigured };
        self.connections.get(token).ok_or_else(unknown)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}
