//! Whether an IV that a token chose may be used: one that repeats would give the key away.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// How many of the last ones are remembered.
const REMEMBERED: usize = 32;

/// The IVs that a token chose lately for one key.
pub(super) struct ChosenIvs(Mutex<VecDeque<[u8; 12]>>);

impl ChosenIvs {
    /// `known`: one that it chose before, such as its canary's; a counter that begins anew often begins there.
    pub(super) fn new(known: Option<[u8; 12]>) -> Self {
        Self(Mutex::new(known.into_iter().collect()))
    }

    /// Takes note of `iv`; an error says why it must not be used. A counter is told by bytes that stand still: in 96 random bits, no 64 repeat.
    pub(super) fn admit(&self, iv: &[u8; 12]) -> Result<(), &'static str> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if iv == &[0; 12] {
            return Err("it is zero; the token does not choose IVs");
        }
        let verdict = if last.contains(iv) {
            Err("it chose the same before")
        } else if last.iter().any(|other| other[..8] == iv[..8] || other[4..] == iv[4..]) {
            Err("it counts, and a counter that begins anew repeats")
        } else {
            Ok(())
        };
        last.push_back(*iv);
        if last.len() > REMEMBERED {
            last.pop_front();
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn iv(number: u128) -> [u8; 12] {
        let mut iv = [0; 12];
        iv.copy_from_slice(&number.to_be_bytes()[4..]);
        iv
    }

    #[test]
    fn ivs_that_are_zero_repeat_or_count_in_either_direction_are_refused() {
        let ivs = ChosenIvs::new(Some(iv(0x1111_2222_3333_4444_5555_6666)));
        assert!(ivs.admit(&[0; 12]).expect_err("zero").contains("zero"));
        assert!(ivs.admit(&iv(0x1111_2222_3333_4444_5555_6666)).expect_err("the canary's").contains("same"));
        assert!(ivs.admit(&iv(0x1111_2222_3333_4444_5555_6667)).expect_err("big endian").contains("counts"));
        assert!(ivs.admit(&iv(0x1211_2222_3333_4444_5555_6666)).expect_err("little endian").contains("counts"));
        assert_eq!(ivs.admit(&iv(0x9f3a_0b11_77d2_4c05_e1aa_3390)), Ok(()));
        assert!(ivs.admit(&iv(0x9f3a_0b11_77d2_4c05_e1aa_3390)).is_err());
    }
}
