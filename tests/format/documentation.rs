//! `docs/formats.md` and the vectors say the same.

use std::fs;
use std::path::Path;

use crate::vectors::{Canaries, Envelopes, load};

fn documentation() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/formats.md")).expect("docs/formats.md")
}

/// The bytes of the fenced block ` ```hexdump <name> `: lines of offset, bytes and, behind a bar, what they are.
fn hexdump(text: &str, name: &str) -> Vec<u8> {
    let start = format!("```hexdump {name}\n");
    let (_, rest) = text.split_once(&start).unwrap_or_else(|| panic!("docs/formats.md has no block {name}"));
    let (block, after) = rest.split_once("```").expect("the block ends");
    assert!(!after.contains(&start), "two blocks are named {name}");
    let mut bytes = Vec::new();
    for line in block.lines() {
        let (left, _) = line.split_once('|').unwrap_or_else(|| panic!("{name}: no bar in the line {line}"));
        let mut words = left.split_whitespace();
        let offset = words.next().and_then(|word| usize::from_str_radix(word, 16).ok()).expect("an offset");
        assert_eq!(offset, bytes.len(), "{name}: the offset of the line {line}");
        bytes.extend(words.map(|word| u8::from_str_radix(word, 16).unwrap_or_else(|error| panic!("{name}: {word}: {error}"))));
    }
    bytes
}

#[test]
fn the_worked_example_is_the_first_vector() {
    let text = documentation();
    let example = &load::<Envelopes>("envelope-1.json").valid[0];
    assert!(example.name.starts_with("worked example"), "{}", example.name);
    assert_eq!(hexdump(&text, "key"), example.kek.0);
    assert_eq!(hexdump(&text, "seed"), example.plaintext.0);
    assert_eq!(hexdump(&text, "associated-data"), example.associated_data.0);
    assert_eq!(hexdump(&text, "envelope"), example.envelope.0);
    assert!(text.contains(&format!("`{}`", example.key_id)), "the key_id of the worked example");
}

#[test]
fn the_canary_of_the_worked_example_is_the_first_vector() {
    let text = documentation();
    let vectors: Canaries = load("canary-1.json");
    let example = &vectors.valid[0];
    assert_eq!(hexdump(&text, "canary-associated-data"), example.associated_data.0);
    assert_eq!(hexdump(&text, "canary"), example.canary.0);
    let plaintext = String::from_utf8(vectors.plaintext.0).expect("the canary's plaintext is a text");
    assert!(text.contains(&format!("`{plaintext}`")), "the plaintext of the canary");
}

#[test]
fn every_vector_file_is_named_in_the_documentation() {
    let text = documentation();
    for (name, _) in crate::FROZEN {
        assert!(text.contains(&format!("tests/vectors/{name}")), "{name}");
    }
}
