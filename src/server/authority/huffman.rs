//! The Huffman code of HPACK (RFC 7541 Appendix B), as far as it is needed to see where one symbol ends and the next begins.
//!
//! The code is canonical: within one length the codes are consecutive numbers, and the longer ones follow on from the shorter. So the
//! number of symbols of each length tells where every symbol ends, and only the codes of the three characters of interest are spelled out.

/// `%`, 6 bits long like the other two: this is what keeps the length of a patched string.
const PERCENT: u8 = 0b01_0101;
/// `/`
const SLASH: u8 = 0b01_1000;
/// `-`, which replaces both.
const HYPHEN: u8 = 0b01_0110;
/// Bits of these three codes.
const BITS: u8 = 6;

/// Length in bits of the longest code.
const LONGEST: usize = 30;

/// How many symbols have a code of that many bits, EOS included.
const SYMBOLS: [(usize, u32); 21] = [
    (5, 10),
    (6, 26),
    (7, 32),
    (8, 6),
    (10, 5),
    (11, 3),
    (12, 2),
    (13, 6),
    (14, 2),
    (15, 3),
    (19, 3),
    (20, 8),
    (21, 13),
    (22, 26),
    (23, 29),
    (24, 12),
    (25, 4),
    (26, 15),
    (27, 19),
    (28, 29),
    (30, 4),
];

/// For every length: a prefix of that many bits is a whole symbol exactly if it is, as a number, below this.
const ENDS: [u32; LONGEST + 1] = ends();

const fn ends() -> [u32; LONGEST + 1] {
    let mut ends = [0; LONGEST + 1];
    let (mut bits, mut row) = (1, 0);
    while bits <= LONGEST {
        // Everything below the end of the shorter length is used up; what is left doubles with the bit that is added.
        ends[bits] = ends[bits - 1] * 2;
        if row < SYMBOLS.len() && SYMBOLS[row].0 == bits {
            ends[bits] += SYMBOLS[row].1;
            row += 1;
        }
        bits += 1;
    }
    ends
}

/// The bits of the current symbol that were seen so far. Never more than [`LONGEST`]: the code is complete, so that every path ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Symbol {
    code: u32,
    bits: u8,
}

impl Symbol {
    /// Before its first bit.
    pub(super) const NEW: Self = Self { code: 0, bits: 0 };

    /// Whether the next bit begins a symbol.
    pub(super) fn is_new(self) -> bool {
        self.bits == 0
    }

    /// Adds the next bit. With the last bit of a `%` or `/`: which of the symbol's [`BITS`] bits to flip to make it a `-`.
    pub(super) fn push(&mut self, bit: bool) -> Option<u8> {
        let (code, bits) = (self.code << 1 | u32::from(bit), self.bits + 1);
        if code >= ENDS[usize::from(bits)] {
            *self = Self { code, bits };
            return None;
        }
        *self = Self::NEW;
        if bits != BITS { None } else { [PERCENT, SLASH].into_iter().find(|old| u32::from(*old) == code).map(|old| old ^ HYPHEN) }
    }

    /// Whether the bits so far may yet turn out to be a `%` or `/`, so that they may yet have to change.
    pub(super) fn may_be_patched(self) -> bool {
        self.bits > 0 && self.bits < BITS && [PERCENT, SLASH].into_iter().any(|old| u32::from(old >> (BITS - self.bits)) == self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use httlib_hpack::Encoder;

    /// `text` in the code of an implementation that is not ours, without the length in front.
    fn encode(text: &[u8]) -> Vec<u8> {
        let mut block = Vec::new();
        Encoder::default().encode_indexed_name(1, text.to_vec(), Encoder::HUFFMAN_VALUE, &mut block).expect("encodes");
        assert!(text.len() <= 16, "the length must fit into one byte");
        block.split_off(2)
    }

    fn bits(bytes: &[u8]) -> impl Iterator<Item = bool> + '_ {
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |n| byte >> n & 1 == 1))
    }

    #[test]
    fn every_symbol_ends_where_appendix_b_says_and_only_two_are_flipped() {
        for byte in 0..=u8::MAX {
            // Eight times the same symbol has as many bytes as the symbol has bits.
            let eight = encode(&[byte; 8]);
            let mut symbol = Symbol::NEW;
            for (n, bit) in bits(&eight).enumerate() {
                let flips = symbol.push(bit);
                let ended = (n + 1).is_multiple_of(eight.len());
                assert_eq!(symbol.is_new(), ended, "byte {byte:#04x}, bit {n}");
                let expected = match byte {
                    b'%' if ended => Some(0b00_0011),
                    b'/' if ended => Some(0b00_1110),
                    _ => None,
                };
                assert_eq!(flips, expected, "byte {byte:#04x}, bit {n}");
            }
        }
    }

    #[test]
    fn the_code_is_complete() {
        assert_eq!(SYMBOLS.iter().map(|(_, n)| n).sum::<u32>(), 257);
        assert_eq!(ENDS[LONGEST], 1 << LONGEST);
    }

    #[test]
    fn flipping_turns_both_characters_into_a_hyphen() {
        for byte in [b'%', b'/'] {
            let mut symbol = Symbol::NEW;
            let flips = bits(&encode(&[byte])).take(6).filter_map(|bit| symbol.push(bit)).next().expect("ends with the sixth bit");
            assert_eq!(encode(&[byte])[0] ^ flips << 2, encode(b"-")[0]);
        }
    }

    #[test]
    fn a_prefix_is_held_exactly_while_it_can_become_one_of_the_two() {
        for byte in 0..=u8::MAX {
            let code = encode(&[byte; 8]);
            let mut symbol = Symbol::NEW;
            let mut so_far = 0u8;
            for (n, bit) in bits(&code).take(5).enumerate() {
                symbol.push(bit);
                so_far = so_far << 1 | u8::from(bit);
                let wanted = !symbol.is_new() && [PERCENT, SLASH].iter().any(|old| old >> (5 - n) == so_far);
                assert_eq!(symbol.may_be_patched(), wanted, "byte {byte:#04x} after {} bits", n + 1);
            }
        }
    }
}
