//! The text of an export, formats 1 and 2, as the keyring is of: the lines of the keyring file without slots and authentication, keys in clear where it has them
//! wrapped.
//!
//! Reading puts every key under a throw-away root key first and then reads the lines as those of a keyring file, so that the two formats
//! have one parser and one set of rules.

use std::fmt::Write as _;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::{ExportError, MAX_TEXT, throw_away};
use crate::entropy::Entropy;
use crate::key_id::{KeyId, KeyringId};
use crate::keyring::create;
use crate::keyring::document::{Document, DocumentError, FORMAT, StateLabel, VersionRecord};
use crate::keyring::history;
use crate::keyring::seal::{Opener, Slot};
use crate::keyring::store::{LoadError, Opened};
use crate::provider::KekError;
use crate::provider::pkcs11::Tokens;
use crate::secret::{SecretBytes, SecretKey};

const MAGIC: &str = "keywright-export ";
/// The second line, for whoever decrypts it to a file.
const WARNING: &str = "# SECRET: every key of the keyring stands below in clear. Import it; do not keep it decrypted.";
/// Lines of both files above the first slot of a keyring file: this one stands in the way of equal line numbers.
const LINES_ABOVE_SLOTS: usize = 7;

/// The export of `opened`.
pub(super) fn write(opened: &Opened) -> Result<SecretBytes, KekError> {
    let document = &opened.document;
    let public = public_size(document);
    let mut out = SecretBytes::with_capacity(public);
    let mut head = format!(
        "{MAGIC}{}\n{WARNING}\nkeyring {}\ngeneration {}\nhold {}\nnodes",
        document.format_without_slots(),
        document.keyring,
        document.generation,
        document.hold.as_secs()
    );
    // Writing to a String does not fail.
    for node in &document.nodes {
        let _ = write!(head, " {node}");
    }
    head.push_str("\ncoordination ");
    out.extend(head.as_bytes());
    extend_hex(&mut out, &create::unwrap_coordination(document, &opened.keys)?);
    out.extend(b"\n");
    for version in &document.versions {
        out.extend(version_head(version).as_bytes());
        if let Some(wrapped) = version.wrapped() {
            out.extend(b" key ");
            extend_hex(&mut out, &create::unwrap_local(version, wrapped, &opened.keys)?);
        }
        out.extend(version_tail(version).as_bytes());
    }
    for attempt in &document.attempts {
        let mut line = String::new();
        attempt.write(&mut line);
        out.extend(line.as_bytes());
    }
    for entry in &document.history {
        out.extend(format!("history {} {} {} {}\n", entry.generation, entry.at, entry.digest, entry.what).as_bytes());
    }
    Ok(out)
}

/// More than enough room for the text.
fn public_size(document: &Document) -> usize {
    1024 + 64 * document.nodes.len() + 1024 * (document.versions.len() + document.attempts.len()) + 512 * document.history.len()
}

fn version_head(version: &VersionRecord) -> String {
    format!(
        "version {} {} {} {} created {} changed {} canary {}",
        version.key_id,
        version.state.name(),
        version.home.name(),
        version.algorithm.name(),
        version.created,
        version.changed,
        base16ct::lower::encode_string(version.canary.as_bytes()),
    )
}

/// What follows the key. A version that has one is in this export, whose digest cannot stand in itself; a destroyed one names the last
/// export that holds it.
fn version_tail(version: &VersionRecord) -> String {
    let mut tail = String::new();
    if let Some(key) = version.in_token() {
        key.write(&mut tail);
    }
    if let Some(digest) = version.exported.filter(|_| version.state == StateLabel::Destroyed) {
        let _ = write!(tail, " exported {digest}");
    }
    if let Some(why) = &version.verified {
        let _ = write!(tail, " verified {why}");
    }
    tail.push('\n');
    tail
}

fn extend_hex(out: &mut SecretBytes, key: &SecretKey) {
    let mut digits = Zeroizing::new([0; 2 * SecretKey::LEN]);
    base16ct::lower::encode(key.expose_secret(), &mut *digits).expect("two digits for every byte");
    out.extend(&*digits);
}

/// The keyring of `text` under a throw-away root key; no key in it is proved yet.
pub(super) fn read(text: &SecretBytes, tokens: &Arc<Tokens>, entropy: &dyn Entropy) -> Result<Opened, ExportError> {
    let bytes = text.expose_secret();
    if bytes.len() > MAX_TEXT || !bytes.is_ascii() {
        return Err(ExportError::NotAnExport);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| ExportError::NotAnExport)?;
    let first = text.lines().next().and_then(|line| line.strip_prefix(MAGIC)).ok_or(ExportError::NotAnExport)?;
    let format = match first.parse::<u32>() {
        Ok(format @ 1..=FORMAT) if format.to_string() == first => format,
        Ok(format) => return Err(ExportError::Format(format)),
        Err(_) => return Err(ExportError::NotAnExport),
    };
    let bad = |line, problem| ExportError::Line { line, problem };
    let keyring: KeyringId = text
        .lines()
        .nth(2)
        .and_then(|line| line.strip_prefix("keyring ")?.parse().ok())
        .ok_or(bad(3, "must be `keyring` and 16 lower-case hexadecimal digits"))?;
    let (root, keys) = throw_away(keyring, entropy)?;
    let seal = Opener::KeyFile(SecretBytes::from_vec(root.expose_secret().to_vec()));
    let slot = Slot::seal(&seal, keyring, &root, &[], entropy)?;

    // From here on no key stands in what is built: each is wrapped as it is met.
    let mut built = Document { slots: vec![slot], ..empty(keyring) }.write(&keys.authenticate);
    let end = 1 + built.find("\nkeyring ").expect("a keyring file names its keyring");
    let slot_line = built.lines().find(|line| line.starts_with("slot ")).expect("it has one slot").to_owned();
    let last_line = built.lines().last().expect("it has lines").to_owned();
    built.truncate(end);
    let begins = built.find('\n').expect("a keyring file has lines");
    // The format is the last word of the first line, and has one digit.
    built.replace_range(begins - 1..begins, &format.to_string());
    if text.lines().nth(1) != Some(WARNING) {
        return Err(bad(2, "is not the comment that stands there"));
    }
    for (line, number) in text.lines().zip(1..).skip(2) {
        match line.split_once(' ') {
            Some(("coordination", digits)) => {
                let key = key(digits).ok_or(bad(number, "must be `coordination` and 64 lower-case hexadecimal digits"))?;
                let wrapped = create::wrap_coordination(keyring, &key, &keys, entropy)?;
                let _ = writeln!(built, "coordination {}\n{slot_line}", base16ct::lower::encode_string(&wrapped));
            }
            Some(("version", _)) if key_of(line).is_some() => {
                let (head, rest) = key_of(line).ok_or(bad(number, "is no version"))?;
                let problem = "`key` must have 64 lower-case hexadecimal digits";
                let (digits, rest) = rest.split_at_checked(2 * SecretKey::LEN).ok_or(bad(number, problem))?;
                let key_id: KeyId =
                    line.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or(bad(number, "its second word is no key_id"))?;
                let key = key(digits).ok_or(bad(number, problem))?;
                let wrapped = create::wrap_local(&key_id, &key, &keys, entropy)?;
                let _ = writeln!(built, "{head} wrapped {}{rest}", base16ct::lower::encode_string(&wrapped));
            }
            _ => {
                built.push_str(line);
                built.push('\n');
            }
        }
    }
    let _ = writeln!(built, "{last_line}");
    let document = Document::parse(&built).map_err(|error| match error {
        // The slot line stands only in what was built.
        DocumentError::Line { line, problem } if line > LINES_ABOVE_SLOTS => bad(line - 1, problem),
        other => other.into(),
    })?;
    if !history::is_chain(&document.history, document.generation) {
        return Err(LoadError::History.into());
    }
    Ok(Opened { document, keys, tokens: tokens.clone() })
}

/// A keyring file without anything in it, for the lines that every one has.
fn empty(keyring: KeyringId) -> Document {
    Document {
        keyring,
        generation: 1,
        hold: std::time::Duration::ZERO,
        nodes: vec![],
        coordination: [0; 72],
        slots: vec![],
        versions: vec![],
        attempts: vec![],
        history: vec![],
    }
}

/// A version's line up to the word `key`, and behind it; `None` where that is not the twelfth word.
fn key_of(line: &str) -> Option<(&str, &str)> {
    let (at, _) = line.match_indices(' ').nth(10)?;
    let (head, rest) = line.split_at(at);
    Some((head, rest.strip_prefix(" key ")?))
}

fn key(digits: &str) -> Option<SecretKey> {
    if digits.len() != 2 * SecretKey::LEN {
        return None;
    }
    SecretKey::try_fill(|out| base16ct::lower::decode(digits, out).map(|_| ())).ok()
}
