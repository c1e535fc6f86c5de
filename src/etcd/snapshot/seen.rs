//! Which keys were seen, in at most 40 bytes for each, however many there are.
//!
//! A key is kept as a keyed hash of 128 bits. Who writes keys does not know the key of the hash, so two keys share a hash only by chance: with
//! ten million keys that chance is below 2^-80.
//!
//! The hashes lie in tables of one size. A table that is full is split in two by the next bit of its hashes, so the set grows a table at a time:
//! a set that doubles, as the standard library's does, holds old and new memory for a moment, and needs 58 bytes for a key then.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::entropy::{Entropy, EntropyError};

/// Slots of a table, of 16 bytes each.
const SLOTS: usize = 4096;
/// Hashes in a full table: 13/16, beyond which searches get long.
const FULL: usize = SLOTS / 16 * 13;

/// A set of keys that only grows.
pub(super) struct Seen {
    hasher: SipHasher13,
    tables: Vec<Table>,
    /// By the first `depth` bits of a hash: the place of its table in `tables`.
    directory: Vec<u32>,
    depth: u32,
}

struct Table {
    /// 0 is an empty slot.
    slots: Box<[u128]>,
    used: usize,
    /// All its hashes agree in that many first bits.
    depth: u32,
}

impl Seen {
    /// An empty set, whose hashes are keyed by 16 bytes of `entropy`.
    pub(super) fn new(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let mut key = [0; 16];
        entropy.fill(&mut key)?;
        Ok(Self { hasher: SipHasher13::new_with_key(&key), tables: vec![Table::new(0)], directory: vec![0], depth: 0 })
    }

    /// Adds `key`; false if it was there.
    pub(super) fn insert(&mut self, key: &[u8]) -> bool {
        let mut hasher = self.hasher;
        hasher.write(key);
        self.insert_hash(hasher.finish128().as_u128())
    }

    fn insert_hash(&mut self, hash: u128) -> bool {
        let hash = hash.max(1);
        loop {
            let at = self.directory[first_bits(hash, self.depth)] as usize;
            let table = &mut self.tables[at];
            if table.contains(hash) {
                return false;
            }
            if table.used < FULL {
                table.insert(hash);
                return true;
            }
            self.split(at);
        }
    }

    /// Moves the hashes of a full table whose next bit is 1 to a new one.
    ///
    /// The directory doubles about as often as the tables do: that thousands of hashes agree in further bits does not happen.
    fn split(&mut self, at: usize) {
        let depth = self.tables[at].depth + 1;
        if depth > self.depth {
            self.directory = self.directory.iter().flat_map(|place| [*place; 2]).collect();
            self.depth = depth;
        }
        let (mut zeros, mut ones) = (Table::new(depth), Table::new(depth));
        for hash in self.tables[at].slots.iter().copied().filter(|hash| *hash != 0) {
            if first_bits(hash, depth).is_multiple_of(2) { zeros.insert(hash) } else { ones.insert(hash) }
        }
        self.tables[at] = zeros;
        let new = self.tables.len() as u32;
        let bit = self.depth - depth;
        for (prefix, place) in self.directory.iter_mut().enumerate() {
            if *place as usize == at && (prefix >> bit) % 2 == 1 {
                *place = new;
            }
        }
        self.tables.push(ones);
    }
}

/// The number that the first `count` bits are.
fn first_bits(hash: u128, count: u32) -> usize {
    hash.checked_shr(u128::BITS - count).unwrap_or_default() as usize
}

impl Table {
    fn new(depth: u32) -> Self {
        Self { slots: vec![0; SLOTS].into_boxed_slice(), used: 0, depth }
    }

    /// The slot of `hash`, or the empty one where it belongs.
    fn slot(&self, hash: u128) -> usize {
        // The last bits choose the slot: the first are alike in this table.
        let mut at = hash as usize % SLOTS;
        while self.slots[at] != hash && self.slots[at] != 0 {
            at = (at + 1) % SLOTS;
        }
        at
    }

    fn contains(&self, hash: u128) -> bool {
        self.slots[self.slot(hash)] == hash
    }

    fn insert(&mut self, hash: u128) {
        let at = self.slot(hash);
        self.slots[at] = hash;
        self.used += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Counted;

    #[test]
    fn a_key_is_new_once_through_every_split() {
        let mut seen = Seen::new(&Counted::default()).expect("reproducible bytes");
        for round in 0..2 {
            for key in 0..100_000_u32 {
                assert_eq!(seen.insert(&key.to_be_bytes()), round == 0, "key {key}");
            }
        }
        assert!(seen.depth >= 5, "it grew: {}", seen.depth);
    }

    #[test]
    fn memory_for_a_key_stays_below_48_bytes() {
        let mut seen = Seen::new(&Counted::default()).expect("reproducible bytes");
        for count in 1..=200_000_usize {
            seen.insert(&count.to_be_bytes());
            let bytes = seen.tables.len() * SLOTS * 16 + seen.directory.len() * 4;
            assert!(count < 10_000 || bytes <= 48 * count, "{bytes} bytes for {count} keys");
        }
    }

    #[test]
    fn tables_that_split_long_after_others_keep_their_hashes() {
        let mut seen = Seen::new(&Counted::default()).expect("reproducible bytes");
        // The tables for hashes that begin with zeros split many times before any other does: no generator gives these, and it must hold.
        let mixed = |at: u128| at.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let hashes = (0..20_000).map(|at| mixed(at) >> 4).chain((20_000..40_000).map(mixed));
        for hash in hashes.clone() {
            assert!(seen.insert_hash(hash), "{hash:x}");
        }
        for hash in hashes {
            assert!(!seen.insert_hash(hash), "{hash:x}");
        }
    }
}
