//! What happened to a keyring, one entry for each generation, chained: the digest of the last one stands for all before it.
//!
//! Two keyrings with the same digest at the same generation have the same past; so an export shows whether it continues ours.

use std::fmt;
use std::str::FromStr;

use sha2::Sha256;

use super::document::{Time, Why};
use crate::hex;

const DOMAIN: &[u8] = b"keywright history 1";

/// SHA-256, written as 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Length of its text, in bytes.
    pub(super) const TEXT_LEN: usize = 64;
    /// Before the first entry.
    const NONE: Self = Self([0; 32]);

    /// SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base16ct::lower::encode_string(&self.0))
    }
}

impl FromStr for Digest {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        hex::decode(text).map(Self).ok_or(())
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The generation that it made.
    pub generation: u64,
    /// When, by the clock of the machine.
    pub at: Time,
    /// What, such as `promote 2`.
    pub what: Why,
    /// Over this entry and the digest of the one before.
    pub digest: Digest,
}

impl Entry {
    /// The entry after `last`.
    pub fn after(last: Option<&Self>, at: Time, what: Why) -> Self {
        let generation = last.map_or(1, |last| last.generation + 1);
        Self { generation, digest: Self::digest_after(last, generation, at, &what), at, what }
    }

    fn digest_after(last: Option<&Self>, generation: u64, at: Time, what: &Why) -> Digest {
        use sha2::Digest as _;
        let digest = Sha256::new()
            .chain_update(DOMAIN)
            .chain_update(last.map_or(Digest::NONE, |last| last.digest).0)
            .chain_update(generation.to_be_bytes())
            .chain_update(at.as_str())
            .chain_update(what.as_str())
            .finalize();
        Digest(digest.into())
    }
}

/// Whether `history` is a chain from generation 1 to `generation`.
pub fn is_chain(history: &[Entry], generation: u64) -> bool {
    let mut last: Option<&Entry> = None;
    for entry in history {
        let expected = last.map_or(Some(1), |last| last.generation.checked_add(1));
        let follows =
            expected == Some(entry.generation) && Entry::digest_after(last, entry.generation, entry.at, &entry.what) == entry.digest;
        if !follows {
            return false;
        }
        last = Some(entry);
    }
    last.is_some_and(|last| last.generation == generation)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(text: &str) -> Why {
        text.parse().expect("valid")
    }

    fn chain() -> Vec<Entry> {
        let at = "2026-01-02T03:04:05Z".parse().expect("valid");
        let first = Entry::after(None, at, why("init"));
        let second = Entry::after(Some(&first), at, why("begin 2"));
        vec![first, second]
    }

    #[test]
    fn a_chain_is_one_only_as_it_was_made() {
        let good = chain();
        assert!(is_chain(&good, 2));
        assert!(!is_chain(&good, 1) && !is_chain(&good, 3) && !is_chain(&[], 0));
        assert!(!is_chain(&good[1..], 2), "without its beginning");
        let mut other = good.clone();
        other[0].what = why("init again");
        assert!(!is_chain(&other, 2));
        let mut forged = good;
        forged[1].digest = Digest::of(b"");
        assert!(!is_chain(&forged, 2));
    }
}
