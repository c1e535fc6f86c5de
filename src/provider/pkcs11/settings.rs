//! How this machine reaches its tokens.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::latch::Latch;
use super::pin::{Ask, Pins};
use super::{TokenAccess, TokenName, Tokens};
use crate::entropy::OsEntropy;
use crate::provider::waits::{Limits, Workers};

/// Where the PIN of a token comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinFrom {
    /// A systemd credential of that name.
    Credential(String),
    /// A file that only its owner can read.
    File(PathBuf),
    /// A person at the terminal.
    Prompt,
}

/// How this machine reaches a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSettings {
    /// Which one.
    pub name: TokenName,
    /// The library that speaks with it.
    pub module: PathBuf,
    /// Where its PIN comes from.
    pub pin: PinFrom,
    /// Most calls in it at once, 1 to 256; so many threads and sessions.
    pub sessions: usize,
    /// What a call waits for it before it is answered.
    pub call_timeout: Duration,
    /// How long after a key was last seen to work it counts as away.
    pub away_after: Duration,
    /// Accept a module that others than root could have written.
    pub insecure_module_owner: bool,
    /// What the module wants to hear at C_Initialize.
    pub module_config: Option<String>,
}

impl TokenSettings {
    /// Unless something else is said.
    pub const SESSIONS: usize = 8;
    /// Unless something else is said; an API server waits 3 s unless told otherwise.
    pub const CALL_TIMEOUT: Duration = Duration::from_secs(2);
    /// Unless something else is said.
    pub const AWAY_AFTER: Duration = Duration::from_secs(30);
}

impl Tokens {
    /// Every token of `settings`, none of them asked for anything yet.
    ///
    /// `ask`: who is asked for a PIN that is nowhere; nobody, where a service starts.
    pub fn of(settings: &[TokenSettings], state_dir: &Path, ask: Option<Ask>) -> Arc<Self> {
        let access = settings.iter().map(|token| TokenAccess {
            name: token.name.clone(),
            module: token.module.clone(),
            module_config: token.module_config.clone(),
            insecure_module_owner: token.insecure_module_owner,
            pins: Arc::new(Pins::new(
                token.name.clone(),
                token.pin.clone(),
                ask,
                Latch::new(state_dir, &token.name),
                Box::new(OsEntropy),
                SystemTime::now,
            )),
            workers: Arc::new(Workers::of(
                token.name.clone(),
                token.sessions,
                Limits { call_timeout: token.call_timeout, away_after: token.away_after },
            )),
        });
        Arc::new(Self::new(access.collect(), Instant::now()))
    }
}
