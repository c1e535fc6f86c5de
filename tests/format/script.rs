//! Randomness that a test dictates.

use std::sync::Mutex;

use keywright::entropy::{Entropy, EntropyError};

/// Hands out the given bytes in order, each once, and fails when they are used up.
pub(crate) struct Script(Mutex<Vec<u8>>);

impl Script {
    /// The bytes in the order in which they will be asked for.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self(Mutex::new(bytes.to_vec()))
    }

    /// True when every byte was asked for.
    #[allow(dead_code, reason = "shared by two test binaries, of which one dictates a single nonce at a time")]
    pub(crate) fn is_used_up(&self) -> bool {
        self.0.lock().expect("no test panics while it holds this").is_empty()
    }
}

impl Entropy for Script {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        let mut rest = self.0.lock().expect("no test panics while it holds this");
        if rest.len() < out.len() {
            return Err(EntropyError(format!("the script has {} bytes left, {} are asked", rest.len(), out.len())));
        }
        out.copy_from_slice(&rest[..out.len()]);
        rest.drain(..out.len());
        Ok(())
    }
}
