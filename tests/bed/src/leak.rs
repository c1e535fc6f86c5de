//! Looks for secret bytes in text, in each of the forms in which programs print bytes.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Fewer bytes than this occur by chance.
const SHORTEST: usize = 8;

/// The forms of `secret` that `text` holds; empty is what a test wants.
pub fn found_in(text: &[u8], secret: &[u8]) -> Vec<&'static str> {
    assert!(secret.len() >= SHORTEST, "a search for {} bytes proves nothing", secret.len());
    let mut found: Vec<&'static str> = forms(secret).into_iter().filter(|(_, form)| contains(text, form)).map(|(name, _)| name).collect();
    found.dedup();
    found
}

fn forms(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let decimal: Vec<String> = secret.iter().map(u8::to_string).collect();
    let hex = |upper: bool, between: &str| {
        let digits: Vec<String> = secret.iter().map(|byte| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") }).collect();
        digits.join(between).into_bytes()
    };
    let mut forms = vec![
        ("as it is", secret.to_vec()),
        ("hexadecimal", hex(false, "")),
        ("hexadecimal", hex(true, "")),
        ("hexadecimal", hex(false, ":")),
        ("hexadecimal", hex(false, " ")),
        ("list of numbers", decimal.join(", ").into_bytes()),
        ("list of numbers", decimal.join(" ").into_bytes()),
        ("list of numbers", decimal.join(",").into_bytes()),
    ];
    let escaped = secret.escape_ascii().to_string().into_bytes();
    if escaped != secret {
        forms.push(("escaped", escaped)); // printable secrets look the same
    }
    // Inside a longer text base64 begins at one of three places: the bytes next to the secret change the first and last characters only.
    for before in 0..3 {
        let padded = [&vec![0u8; before][..], secret].concat();
        let (first, last) = ([0, 2, 3][before], (padded.len() * 8) / 6);
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            forms.push(("base64", engine.encode(&padded).as_bytes()[first..last].to_vec()));
        }
    }
    forms
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"\x00marker\xff\xfe?and more";

    #[test]
    fn every_printed_form_is_found() {
        let hex: String = SECRET.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found_in(format!("x={hex}").as_bytes(), SECRET), ["hexadecimal"]);
        assert_eq!(found_in(format!("plain: {SECRET:?}").as_bytes(), SECRET), ["list of numbers"]);
        assert_eq!(found_in(format!("plain: b\"{}\"", SECRET.escape_ascii()).as_bytes(), SECRET), ["escaped"]);
        assert_eq!(found_in(&[b"..", SECRET, b".."].concat(), SECRET), ["as it is"]);
    }

    #[test]
    fn base64_is_found_wherever_the_secret_begins_in_it() {
        for before in 0..4 {
            for after in 0..4 {
                let whole = [&vec![b'a'; before][..], SECRET, &vec![b'z'; after]].concat();
                assert_eq!(found_in(STANDARD_NO_PAD.encode(&whole).as_bytes(), SECRET), ["base64"], "{before} before, {after} after");
                assert_eq!(found_in(URL_SAFE_NO_PAD.encode(&whole).as_bytes(), SECRET), ["base64"], "{before} before, {after} after");
            }
        }
    }

    #[test]
    fn other_text_holds_nothing() {
        assert!(found_in(b"2026-11-25T01:02:03.123456Z INFO request op=Encrypt code=OK us=41", SECRET).is_empty());
    }
}
