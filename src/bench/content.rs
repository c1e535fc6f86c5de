//! What calls carry: seeds and uids of the shape that an API server makes, each from a number.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a seed.
const SEED: usize = 32;

/// Numbers for calls, never the same twice in a run. Content, uid and deadline of a call follow from its number.
#[derive(Debug, Clone, Default)]
pub struct Numbers(Arc<AtomicU64>);

impl Numbers {
    /// The first number is `start`: another one in each run makes other seeds.
    pub fn from(start: u64) -> Self {
        Self(Arc::new(AtomicU64::new(start)))
    }

    /// One number.
    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// 32 bytes that look random and differ from those of every other number of a run. Nothing is ever encrypted with them.
pub fn seed(number: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SEED);
    for word in 0..4_u64 {
        bytes.extend(mix(number.wrapping_mul(4).wrapping_add(word)).to_be_bytes());
    }
    bytes
}

/// As long as the uid that an API server makes for each call, and recognisable in the log of a plugin.
pub fn uid(number: u64) -> String {
    format!("keywright-bench-{number:020}")
}

/// SplitMix64: a bijection, so that different numbers stay different.
pub(super) fn mix(number: u64) -> u64 {
    let mut word = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn seeds_and_uids_have_the_api_servers_length_and_are_never_the_same_twice() {
        let numbers: Vec<u64> = (0..1_000).chain([u64::MAX - 1, u64::MAX]).collect();
        let seeds: BTreeSet<_> = numbers.iter().map(|number| seed(*number)).collect();
        let uids: BTreeSet<_> = numbers.iter().map(|number| uid(*number)).collect();
        assert!(seeds.iter().all(|seed| seed.len() == 32) && uids.iter().all(|uid| uid.len() == 36));
        assert_eq!(uids.len(), numbers.len());
        assert_eq!(seeds.len(), numbers.len());
    }
}
