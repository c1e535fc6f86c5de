//! Hexadecimal digits, sixteen at a time: a large keyring has half a million of them, all read at every load.
//!
//! They may be those of a wrapped key. So no branch and no look-up depends on a digit; only whether the whole is right does.

/// Digits that are decoded together; a group this wide fits the vector registers of every processor we run on.
const GROUP: usize = 16;
/// Set in the value of what is no digit.
const WRONG: u8 = 0x80;

/// The bytes that `text` writes in exactly `2 * N` lower-case digits; `None` for anything else.
///
/// `N` is a multiple of 8, or it does not compile.
pub(crate) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    const { assert!(N.is_multiple_of(GROUP / 2), "digits are decoded in groups of 16") };
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    let (groups, _) = text.as_bytes().as_chunks::<GROUP>();
    let (outs, _) = bytes.as_chunks_mut::<{ GROUP / 2 }>();
    let mut seen = 0;
    for (out, group) in outs.iter_mut().zip(groups) {
        let values = group.map(value);
        for (byte, [high, low]) in out.iter_mut().zip(values.as_chunks::<2>().0) {
            *byte = high << 4 | low;
            seen |= high | low;
        }
    }
    (seen & WRONG == 0).then_some(bytes)
}

/// 0 to 15, or [`WRONG`].
fn value(digit: u8) -> u8 {
    let (number, letter) = (digit.wrapping_sub(b'0'), digit.wrapping_sub(b'a'));
    let is_number = u8::from(number < 10).wrapping_neg();
    let is_letter = u8::from(letter < 6).wrapping_neg();
    number & is_number | letter.wrapping_add(10) & is_letter | WRONG & !(is_number | is_letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_read_from_its_two_lower_case_digits_and_from_nothing_else() {
        for at in 0..16 {
            for byte in 0..=u8::MAX {
                let mut bytes = [0x5a; 16];
                bytes[at] = byte;
                let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!(decode(&text), Some(bytes), "{byte:#04x} at {at}");
            }
        }
    }

    #[test]
    fn a_character_that_is_no_digit_is_refused_at_every_place() {
        for at in 0..32 {
            for byte in 0..0x80u8 {
                let mut digits = *b"0123456789abcdef0123456789abcdef";
                digits[at] = byte;
                let text = std::str::from_utf8(&digits).expect("ASCII");
                let is_digit = byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
                assert_eq!(decode::<16>(text).is_some(), is_digit, "{byte:#04x} at {at}");
            }
        }
    }

    #[test]
    fn another_length_is_refused() {
        for len in [0, 1, 2, 14, 15, 17, 18, 32] {
            assert_eq!(decode::<8>(&"0".repeat(len)), None, "{len} digits");
        }
        assert_eq!(decode::<8>("\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}"), None, "no ASCII");
    }
}
