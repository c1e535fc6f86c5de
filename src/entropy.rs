//! Randomness as an argument, so that vectors are reproducible and a failing generator can be tested.

use thiserror::Error;

/// The generator gave no bytes.
#[derive(Debug, Error)]
#[error("random generator failed: {0}")]
pub struct EntropyError(pub String);

/// A source of unpredictable bytes.
pub trait Entropy: Send + Sync {
    /// Fills `out` whole, or fails and leaves it unspecified.
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError>;
}

/// The kernel's generator, asked once for every nonce.
///
/// Nothing is pooled: a pool would be duplicated by a fork or by a restored snapshot of a virtual machine, and nonces would repeat.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        getrandom::fill(out).map_err(|e| EntropyError(e.to_string()))
    }
}

/// Reproducible bytes for tests: SHA-256 of a counter.
#[cfg(test)]
#[derive(Default)]
pub(crate) struct Counted(std::sync::atomic::AtomicU64);

#[cfg(test)]
impl Entropy for Counted {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        use sha2::Digest;
        for chunk in out.chunks_mut(32) {
            let count = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            chunk.copy_from_slice(&sha2::Sha256::digest(count.to_be_bytes())[..chunk.len()]);
        }
        Ok(())
    }
}
