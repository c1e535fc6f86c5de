//! How this machine reaches its tokens.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{PinSource, TokenAccess, TokenName, Tokens};
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
    pub fn of(settings: &[TokenSettings], state_dir: &Path) -> Arc<Self> {
        let access = settings.iter().map(|token| TokenAccess {
            name: token.name.clone(),
            module: token.module.clone(),
            module_config: token.module_config.clone(),
            insecure_module_owner: token.insecure_module_owner,
            pins: pins(token, state_dir),
            workers: Arc::new(Workers::of(
                token.name.clone(),
                token.sessions,
                Limits { call_timeout: token.call_timeout, away_after: token.away_after },
            )),
        });
        Arc::new(Self::new(access.collect(), Instant::now()))
    }
}

/// TEMPORARY
fn pins(token: &TokenSettings, _: &Path) -> Arc<dyn PinSource> {
    struct P(PathBuf);
    struct A(crate::secret::SecretBytes);
    impl super::Attempt for A {
        fn pin(&self) -> &crate::secret::SecretBytes {
            &self.0
        }
        fn accepted(self: Box<Self>) {}
        fn rejected(self: Box<Self>) {}
        fn undecided(self: Box<Self>) {}
    }
    impl PinSource for P {
        fn attempt(&self) -> Result<Box<dyn super::Attempt + '_>, super::TokenError> {
            let mut s = crate::secret::SecretBytes::from_vec(std::fs::read(&self.0).expect("pin"));
            s.strip_line_end();
            Ok(Box::new(A(s)))
        }
    }
    let PinFrom::File(path) = &token.pin else { panic!("temporary") };
    Arc::new(P(path.clone()))
}
