//! JSON and YAML of a [`Value`], written twice: once to count the bytes, once into a buffer of that size, which never moves and so leaves no
//! copy behind.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::object::Value;
use crate::secret::SecretBytes;

/// The value as JSON, indented as `kubectl` does it, with a line feed at its end.
pub(super) fn json(value: &Value<'_>) -> SecretBytes {
    written(|out| {
        write_json(value, 0, out);
        out(b"\n");
    })
}

/// The value as YAML.
pub(super) fn yaml(value: &Value<'_>) -> SecretBytes {
    written(|out| write_yaml(value, 0, out))
}

/// Takes the next bytes of a text.
type Out<'o> = dyn FnMut(&[u8]) + 'o;

fn written(write: impl Fn(&mut Out<'_>)) -> SecretBytes {
    let mut length = 0usize;
    write(&mut |bytes| length = length.saturating_add(bytes.len()));
    let mut text = SecretBytes::with_capacity(length);
    write(&mut |bytes| text.extend(bytes));
    text
}

fn write_json(value: &Value<'_>, depth: usize, out: &mut Out<'_>) {
    match value {
        Value::List(list) => {
            out(b"[\n");
            for (at, value) in list.iter().enumerate() {
                separate(at, depth, out);
                write_json(value, depth + 1, out);
            }
            end(b"]", depth, out);
        }
        Value::Map(map) => {
            out(b"{\n");
            for (at, (name, value)) in map.iter().enumerate() {
                separate(at, depth, out);
                quoted(name, out);
                out(b": ");
                write_json(value, depth + 1, out);
            }
            end(b"}", depth, out);
        }
        scalar => write_scalar(scalar, out),
    }
}

fn separate(at: usize, depth: usize, out: &mut Out<'_>) {
    if at > 0 {
        out(b",\n");
    }
    indent(4 * (depth + 1), out);
}

fn end(bracket: &[u8], depth: usize, out: &mut Out<'_>) {
    out(b"\n");
    indent(4 * depth, out);
    out(bracket);
}

fn write_yaml(value: &Value<'_>, depth: usize, out: &mut Out<'_>) {
    match value {
        Value::Map(map) => write_yaml_map(map, depth, false, out),
        Value::List(list) => {
            for value in list {
                indent(2 * depth, out);
                out(b"- ");
                match value {
                    // The first field stands behind the dash.
                    Value::Map(map) => write_yaml_map(map, depth + 1, true, out),
                    other => {
                        write_scalar(other, out);
                        out(b"\n");
                    }
                }
            }
        }
        scalar => {
            write_scalar(scalar, out);
            out(b"\n");
        }
    }
}

fn write_yaml_map(map: &BTreeMap<&str, Value<'_>>, depth: usize, behind_dash: bool, out: &mut Out<'_>) {
    for (at, (name, value)) in map.iter().enumerate() {
        if at > 0 || !behind_dash {
            indent(2 * depth, out);
        }
        if is_plain(name) {
            out(name.as_bytes())
        } else {
            quoted(name, out)
        }
        match value {
            // A map or list with nothing in it is never shown, so there is always a line below.
            Value::Map(_) | Value::List(_) => {
                out(b":\n");
                write_yaml(value, if matches!(value, Value::Map(_)) { depth + 1 } else { depth }, out);
            }
            Value::Text(text) if is_block(text) => {
                out(if text.ends_with('\n') { b": |\n" } else { b": |-\n" });
                for line in text.lines() {
                    // An empty line is empty.
                    if !line.is_empty() {
                        indent(2 * (depth + 1), out);
                        out(line.as_bytes());
                    }
                    out(b"\n");
                }
            }
            scalar => {
                out(b": ");
                write_scalar(scalar, out);
                out(b"\n");
            }
        }
    }
}

fn write_scalar(value: &Value<'_>, out: &mut Out<'_>) {
    match value {
        Value::Text(text) => quoted(text, out),
        Value::Bytes(bytes) => {
            out(b"\"");
            // Whole groups of three, so that no padding stands in the middle; the digits are wiped like the bytes.
            for part in bytes.chunks(3 * 256) {
                let mut digits = Zeroizing::new([0; 4 * 256]);
                let length = STANDARD.encode_slice(part, digits.as_mut_slice()).expect("four digits for each three bytes");
                out(digits.get(..length).expect("no more than was there"));
            }
            out(b"\"");
        }
        Value::Number(number) => out(number.to_string().as_bytes()),
        Value::Truth(true) => out(b"true"),
        Value::Truth(false) => out(b"false"),
        Value::List(_) => out(b"[]"),
        Value::Map(_) => out(b"{}"),
    }
}

/// A text in double quotes, in a form that JSON and YAML read alike.
fn quoted(text: &str, out: &mut Out<'_>) {
    out(b"\"");
    let mut rest = text;
    while let Some(at) = rest.find(is_special) {
        let (plain, special) = rest.split_at(at);
        out(plain.as_bytes());
        let mut chars = special.chars();
        match chars.next() {
            Some('"') => out(b"\\\""),
            Some('\\') => out(b"\\\\"),
            Some('\n') => out(b"\\n"),
            Some('\t') => out(b"\\t"),
            Some('\r') => out(b"\\r"),
            // All of them are of the plane that four digits name.
            Some(other) => out(format!("\\u{:04x}", u32::from(other)).as_bytes()),
            None => {}
        }
        rest = chars.as_str();
    }
    out(rest.as_bytes());
    out(b"\"");
}

/// What does not stand as it is in quotes: quotes, backslashes, control characters, and what YAML takes for a line break or a byte-order mark.
fn is_special(c: char) -> bool {
    c.is_control() || matches!(c, '"' | '\\' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// Whether a name needs no quotes in YAML, whoever reads it: words, and none that means something else.
fn is_plain(name: &str) -> bool {
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
        && !WORDS.iter().any(|word| name.eq_ignore_ascii_case(word))
}

/// Whether a text of several lines reads back unchanged from a YAML block: printable, no spaces at either side of a line, at most one line feed
/// at the end.
fn is_block(text: &str) -> bool {
    let odd = |line: &str| line.ends_with([' ', '\t']) || line.contains(|c| !matches!(c, '"' | '\\' | '\t') && is_special(c));
    let body = text.strip_suffix('\n').unwrap_or(text);
    body.contains('\n') && !body.starts_with([' ', '\t', '\n']) && !body.ends_with('\n') && !body.split('\n').any(odd)
}

fn indent(spaces: usize, out: &mut Out<'_>) {
    for _ in 0..spaces {
        out(b" ");
    }
}
