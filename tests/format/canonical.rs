//! Section 4 of `docs/formats.md`: a keyring file has one form. What the parser accepts is exactly what the writer makes.

use std::ops::RangeInclusive;

use keywright::keyring::document::Document;
use keywright::secret::SecretKey;
use proptest::prelude::*;

use crate::vectors::{Keyrings, KeyringsInTokens, load, text};

/// Bytes that a keyring could be written with in another way, or that end something.
const TELLING: &[u8] = b" \n\r\t\0+-.019AaZ~\x7f";

/// Files that load, of every kind of slot and line.
fn valid() -> Vec<String> {
    let vectors: Keyrings = load("keyring-1.json");
    let mut texts: Vec<_> = vectors.first.iter().map(|vector| text(&vector.lines)).collect();
    texts.push(text(&vectors.every_state.lines));
    texts
}

/// The same with keys, slots and attempts in tokens.
fn valid_in_tokens() -> Vec<String> {
    let vectors: KeyringsInTokens = load("keyring-2.json");
    let more = vectors.more.iter().map(|vector| text(&vector.lines));
    more.chain([text(&vectors.every_state.lines)]).collect()
}

/// Everything above the last line.
fn above_the_last_line(text: &str) -> &str {
    let end = text.strip_suffix('\n').and_then(|body| body.rfind('\n')).expect("at least two lines");
    &text[..=end]
}

/// Whether `text` is accepted; panics if it is, and is not what is written then.
fn accepted(text: &str) -> bool {
    let Ok(document) = Document::parse(text) else { return false };
    let key = SecretKey::from_slice(&[7; 32]).expect("32 bytes");
    let written = document.write(&key);
    assert_eq!(above_the_last_line(&written), above_the_last_line(text), "accepted, and written in another way");
    assert_eq!(written.len(), text.len(), "the last line has another length");
    assert_eq!(Document::authenticate(&written, &key), Ok(()));
    true
}

fn edited(text: &str, at: usize, cut: usize, put: &[u8]) -> Option<String> {
    let bytes = text.as_bytes();
    String::from_utf8([&bytes[..at], put, &bytes[(at + cut).min(bytes.len())..]].concat()).ok()
}

#[test]
fn what_every_vector_is_parsed_to_is_written_as_that_vector() {
    for text in valid().iter().chain(&valid_in_tokens()) {
        assert!(accepted(text));
    }
    let (vectors, in_tokens): (Keyrings, KeyringsInTokens) = (load("keyring-1.json"), load("keyring-2.json"));
    let invalid = vectors.invalid.iter().map(|vector| (&vector.defect, &vector.error, &vector.lines));
    for (defect, error, lines) in invalid.chain(in_tokens.invalid.iter().map(|vector| (&vector.defect, &vector.error, &vector.lines))) {
        // A vector that fails later than in the parser is accepted by it, and only then.
        let later = !matches!(error.as_str(), "Line" | "NoAuthentication" | "NotAKeyring" | "Format");
        assert_eq!(accepted(&text(lines)), later, "{defect}");
    }
    let sample = include_str!("../../keys/insecure-format-1/two-versions.keyring");
    assert!(accepted(sample));
}

/// Where the lines stand that no other keyring has: a slot, a version with two keys, an attempt.
fn lines_of_tokens(text: &str) -> Vec<RangeInclusive<usize>> {
    let mut begin = 0;
    let mut found = Vec::new();
    for line in text.split_inclusive('\n') {
        let new = line.starts_with("slot pkcs11 ") || line.starts_with("attempt ") || line.contains(" primary pkcs11 ");
        found.extend(new.then_some(begin..=begin + line.len()));
        begin += line.len();
    }
    assert_eq!(found.len(), 4);
    found
}

#[test]
fn no_byte_can_be_put_in_or_exchanged_or_taken_out_so_that_another_text_says_the_same() {
    let (mut edits, mut accepted_edits) = (0, 0);
    // The development keyring, the one with every other kind of slot, and what only one in tokens has: every kind of line stands in one of them.
    let in_tokens = valid_in_tokens().pop().map(|text| (lines_of_tokens(&text), text));
    for (places, text) in valid().into_iter().rev().take(2).map(|text| (vec![0..=text.len()], text)).chain(in_tokens) {
        // Within a long run of digits one place is as good as another: every 16th is tried, and its ends are.
        let within = |at: usize| text.as_bytes().get(at.saturating_sub(4)..at + 4).is_some_and(|run| run.iter().all(u8::is_ascii_hexdigit));
        for at in places.into_iter().flatten().filter(|at| at % 16 == 0 || !within(*at)) {
            let mut attempt = |cut: usize, put: &[u8]| {
                if let Some(other) = edited(&text, at, cut, put).filter(|other| *other != text) {
                    edits += 1;
                    accepted_edits += u32::from(accepted(&other));
                }
            };
            attempt(1, b"");
            for byte in TELLING {
                attempt(0, &[*byte]);
                attempt(1, &[*byte]);
            }
        }
    }
    // Another digit of a canary is another canary: it parses, and is not authentic.
    assert!(accepted_edits > 100 && accepted_edits < edits / 2, "{accepted_edits} of {edits}");
}

#[test]
fn lines_in_another_order_are_refused_or_are_another_keyring() {
    for text in valid().into_iter().chain(valid_in_tokens()) {
        let lines: Vec<_> = text.lines().collect();
        for a in 0..lines.len() {
            for b in a + 1..lines.len() {
                let mut other = lines.clone();
                other.swap(a, b);
                let slots_or_history = |at: usize| ["slot ", "attempt ", "history "].iter().position(|name| lines[at].starts_with(name));
                // Two slots or attempts may stand in either order, and a history is only looked at once it is authentic.
                let free = slots_or_history(a).is_some() && slots_or_history(a) == slots_or_history(b);
                let other: String = other.iter().map(|line| format!("{line}\n")).collect();
                assert_eq!(accepted(&other), free, "lines {} and {}", a + 1, b + 1);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_edits_are_refused_or_written_as_they_were_read(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..4usize, prop::collection::vec(any::<u8>(), 0..3)), 1..3),
    ) {
        let texts = [valid(), valid_in_tokens()].concat();
        let mut text = which.get(&texts).clone();
        for (at, cut, put) in &edits {
            if let Some(other) = edited(&text, at.index(text.len() + 1), *cut, put) {
                text = other;
            }
        }
        accepted(&text);
    }
}
