//! Reads the lines of a keyring file. Every line has its place and its form; anything else is an error that names the line.

use std::iter::Peekable;
use std::str::{FromStr, SplitTerminator};
use std::time::Duration;

use super::{ADVICE, Attempt, Document, DocumentError, FORMAT, Home, InToken, LAST_LINE, MAGIC, StateLabel, Time, VersionRecord, WARNING};
use crate::envelope::Algorithm;
use crate::hex;
use crate::key_id::{KeyId, KeyringId};
use crate::keyring::canary::Canary;
use crate::keyring::history::{Digest, Entry};
use crate::keyring::seal::Slot;
use crate::provider::pkcs11::IvFrom;

/// Most slots: each passphrase among them may cost a second and a gigabyte before anything is known to be authentic.
const MAX_SLOTS: usize = 16;

/// The lines above the last one, and the 32 bytes on it.
pub(super) fn split_authentication(text: &str) -> Option<(&str, [u8; 32])> {
    let body = text.strip_suffix('\n')?;
    let start = body.rfind('\n')? + 1;
    let (covered, last) = text.split_at(start);
    Some((covered, hex::decode(last.strip_prefix(LAST_LINE)?.strip_suffix('\n')?)?))
}

pub(super) fn document(text: &str) -> Result<Document, DocumentError> {
    // The format comes first, so that a newer file is named as such instead of failing on a line it added.
    let first = text.lines().next().and_then(|line| line.strip_prefix(MAGIC)?.strip_prefix(' ')).ok_or(DocumentError::NotAKeyring)?;
    let format = match first.parse::<u32>() {
        Ok(format @ 1..=FORMAT) if format.to_string() == first => format,
        // Numbers have one form; another one is no format that any release writes.
        Ok(format) if format.to_string() != first => return Err(DocumentError::NotAKeyring),
        Ok(format) => return Err(DocumentError::Format(format)),
        Err(_) => return Err(DocumentError::NotAKeyring),
    };
    let (covered, _) = split_authentication(text).ok_or(DocumentError::NoAuthentication)?;
    // Not `lines`, which takes a carriage return for a part of the line feed, as it was taken above.
    let mut reader = Reader { lines: covered.split_terminator('\n').peekable(), number: 1 };
    let first = reader.lines.next().filter(|line| !line.ends_with('\r')).ok_or(DocumentError::NotAKeyring);
    // No line may have one. So it is looked for only where a line is wrong: most likely an editor put one behind each.
    let document = first.and_then(|_| reader.document()).map_err(|error| carriage_return(covered).unwrap_or(error))?;
    // One file has one form.
    if document.format() == format {
        return Ok(document);
    }
    Err(DocumentError::Line { line: 1, problem: "a keyring is of format 2 exactly if it names a token, else of format 1" })
}

fn carriage_return(covered: &str) -> Option<DocumentError> {
    let (before, _) = covered.split_once('\r')?;
    Some(DocumentError::Line { line: 1 + before.matches('\n').count(), problem: "has a carriage return" })
}

struct Reader<'a> {
    lines: Peekable<SplitTerminator<'a, char>>,
    /// Of the line that was taken last, counted from 1.
    number: usize,
}

/// The words of one line after the first.
struct Words<'a> {
    /// What was not taken yet; `None` behind the last word.
    rest: Option<&'a str>,
    line: usize,
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest?;
        let (word, rest) = rest.split_once(' ').map_or((rest, None), |(word, rest)| (word, Some(rest)));
        self.rest = rest;
        Some(word)
    }
}

impl<'a> Reader<'a> {
    fn document(mut self) -> Result<Document, DocumentError> {
        self.comment(ADVICE)?;
        let development = self.lines.peek().is_some_and(|line| line.starts_with('#'));
        if development {
            self.comment(WARNING)?;
        }
        let keyring: KeyringId = self.field("keyring", "must be `keyring` and 16 lower-case hexadecimal digits")?;
        let generation = self.number_field("generation", "must be `generation` and a number from 1 to 9223372036854775807")?;
        if generation == 0 {
            return Err(self.problem("must be `generation` and a number from 1 to 9223372036854775807"));
        }
        let hold = self.number_field("hold", "must be `hold` and a number of seconds")?;
        let nodes = self.nodes()?;
        let coordination = self.words("coordination", "must be `coordination` and 144 lower-case hexadecimal digits")?.only_hex()?;
        let slots = self.repeated("slot", slot)?;
        if slots.is_empty() {
            return Err(self.problem("must be followed by at least one slot"));
        }
        if slots.len() > MAX_SLOTS {
            return Err(self.problem("is one slot too many: a keyring has at most 16"));
        }
        if development != slots.iter().any(Slot::is_development) {
            return Err(self.problem("a development slot and the warning about it stand in a file together"));
        }
        let mut expected = 0u32;
        let versions = self.repeated("version", |words| {
            expected = expected.checked_add(1).ok_or_else(|| words.problem("one version too many"))?;
            version(words, keyring, expected)
        })?;
        let attempts = self.repeated("attempt", attempt)?;
        let history = self.repeated("history", entry)?;
        if self.lines.next().is_some() {
            self.number += 1;
            return Err(self.problem("is not what stands at this place of a keyring"));
        }
        Ok(Document { keyring, generation, hold: Duration::from_secs(hold), nodes, coordination, slots, versions, attempts, history })
    }

    fn problem(&self, problem: &'static str) -> DocumentError {
        DocumentError::Line { line: self.number, problem }
    }

    fn next(&mut self) -> &'a str {
        self.number += 1;
        self.lines.next().unwrap_or_default()
    }

    fn comment(&mut self, text: &str) -> Result<(), DocumentError> {
        let line = self.next();
        if Some(line) == text.strip_suffix('\n') { Ok(()) } else { Err(self.problem("is not the comment that stands there")) }
    }

    /// The next line, which must begin with `name`.
    fn words(&mut self, name: &str, problem: &'static str) -> Result<Words<'a>, DocumentError> {
        let mut words = Words { rest: Some(self.next()), line: self.number };
        if words.next() == Some(name) { Ok(words) } else { Err(self.problem(problem)) }
    }

    fn field<T: FromStr>(&mut self, name: &str, problem: &'static str) -> Result<T, DocumentError> {
        let mut words = self.words(name, problem)?;
        let value = words.parsed(problem)?;
        words.end(problem)?;
        Ok(value)
    }

    fn number_field(&mut self, name: &str, problem: &'static str) -> Result<u64, DocumentError> {
        let mut words = self.words(name, problem)?;
        let value = words.number(problem)?;
        words.end(problem)?;
        Ok(value)
    }

    fn nodes<T: FromStr + Ord>(&mut self) -> Result<Vec<T>, DocumentError> {
        let problem = "must be `nodes` and the names of the nodes in order, each once";
        let words = self.words("nodes", problem)?;
        let nodes = words.map(|word| word.parse().map_err(|_| self.problem(problem))).collect::<Result<Vec<T>, _>>()?;
        if nodes.is_sorted_by(|a, b| a < b) { Ok(nodes) } else { Err(self.problem(problem)) }
    }

    /// All lines that begin with `name`, here.
    fn repeated<T>(&mut self, name: &str, mut read: impl FnMut(Words<'a>) -> Result<T, DocumentError>) -> Result<Vec<T>, DocumentError> {
        let mut found = Vec::new();
        while let Some(rest) = self.lines.peek().and_then(|line| line.strip_prefix(name)?.strip_prefix(' ')) {
            self.next();
            found.push(read(Words { rest: Some(rest), line: self.number })?);
        }
        Ok(found)
    }
}

impl<'a> Words<'a> {
    fn problem(&self, problem: &'static str) -> DocumentError {
        DocumentError::Line { line: self.line, problem }
    }

    /// The next word; nothing is the word behind the last one, and no word may be empty.
    fn word(&mut self) -> &'a str {
        self.next().unwrap_or_default()
    }

    /// The next word, if it has `len` bytes: a large keyring has most of its bytes in such words, and nobody looks for their ends.
    ///
    /// What comes back may have spaces in it, unlike a [`word`](Self::word); whoever parses it refuses them.
    fn of_length(&mut self, len: usize) -> Option<&'a str> {
        let (word, behind) = self.rest?.split_at_checked(len)?;
        self.rest = if behind.is_empty() { None } else { Some(behind.strip_prefix(' ')?) };
        Some(word)
    }

    /// A value of that many bytes, whose parser refuses spaces.
    fn parsed_of_length<T: FromStr>(&mut self, len: usize, problem: &'static str) -> Result<T, DocumentError> {
        self.of_length(len).and_then(|word| word.parse().ok()).ok_or_else(|| self.problem(problem))
    }

    fn time(&mut self, problem: &'static str) -> Result<Time, DocumentError> {
        self.parsed_of_length(Time::LEN, problem)
    }

    fn digest(&mut self, problem: &'static str) -> Result<Digest, DocumentError> {
        self.parsed_of_length(Digest::TEXT_LEN, problem)
    }

    fn parsed<T: FromStr>(&mut self, problem: &'static str) -> Result<T, DocumentError> {
        self.word().parse().map_err(|_| self.problem(problem))
    }

    /// A decimal number up to 2^63 - 1 in its one form.
    fn number(&mut self, problem: &'static str) -> Result<u64, DocumentError> {
        let value = decimal::<i64>(self.word()).and_then(|n| u64::try_from(n).ok());
        value.ok_or_else(|| self.problem(problem))
    }

    fn hex<const N: usize>(&mut self, problem: &'static str) -> Result<[u8; N], DocumentError> {
        self.of_length(2 * N).and_then(hex::decode).ok_or_else(|| self.problem(problem))
    }

    fn only_hex<const N: usize>(mut self) -> Result<[u8; N], DocumentError> {
        let bytes = self.hex("has another number of lower-case hexadecimal digits than it must")?;
        self.end("has a word too many")?;
        Ok(bytes)
    }

    /// The next word must be `word`.
    fn literally(&mut self, word: &str, problem: &'static str) -> Result<(), DocumentError> {
        if self.of_length(word.len()) == Some(word) { Ok(()) } else { Err(self.problem(problem)) }
    }

    /// The rest of the line as one value of several words.
    fn rest<T: FromStr>(self, problem: &'static str) -> Result<T, DocumentError> {
        self.rest.unwrap_or_default().parse().map_err(|_| self.problem(problem))
    }

    fn end(self, problem: &'static str) -> Result<(), DocumentError> {
        if self.rest.is_none() { Ok(()) } else { Err(self.problem(problem)) }
    }
}

fn slot(mut words: Words<'_>) -> Result<Slot, DocumentError> {
    let line = words.line;
    Slot::read(|| words.next()).ok_or(DocumentError::Line { line, problem: "is no slot that this release knows" })
}

fn version(mut words: Words<'_>, keyring: KeyringId, number: u32) -> Result<VersionRecord, DocumentError> {
    let key_id: KeyId = words.parsed("its second word is no key_id")?;
    if key_id.keyring != keyring {
        return Err(words.problem("its key_id is another keyring's"));
    }
    if key_id.version.number() != number {
        return Err(words.problem("versions stand in order, from 1, without gaps"));
    }
    let state = StateLabel::from_name(words.word()).ok_or_else(|| words.problem("its third word is no state"))?;
    let local = match words.word() {
        "local" => true,
        "pkcs11" => false,
        _ => return Err(words.problem("its provider is not one that this release knows (local, pkcs11)")),
    };
    let algorithm = Algorithm::from_name(words.word()).filter(|algorithm| local == (*algorithm == Algorithm::Xaes256Gcm));
    let algorithm = algorithm.ok_or_else(|| {
        words.problem("its algorithm is not one that its provider has (local: xaes-256-gcm; pkcs11: aes-256-gcm, aes-256-cbc-hmac-sha-256)")
    })?;
    words.literally("created", "its sixth word must be `created`")?;
    let created = words.time("`created` is no time of the form 2026-01-02T03:04:05Z")?;
    words.literally("changed", "its eighth word must be `changed`")?;
    let changed = words.time("`changed` is no time of the form 2026-01-02T03:04:05Z")?;
    words.literally("canary", "its tenth word must be `canary`")?;
    let canary = canary(&mut words, algorithm)?;
    let mut next = words.next();
    let home = if local {
        let wrapped = match next {
            Some("wrapped") => Some(words.hex("`wrapped` must have 144 lower-case hexadecimal digits")?),
            _ => None,
        };
        if wrapped.is_some() == (state == StateLabel::Destroyed) {
            return Err(words.problem("`wrapped` stands there exactly when the version is not destroyed"));
        }
        if wrapped.is_some() {
            next = words.next();
        }
        Home::Local(wrapped)
    } else {
        let (key, behind) = in_token(&mut words, next, algorithm)?;
        next = behind;
        Home::Token(Box::new(key))
    };
    let mut record = VersionRecord { key_id, state, home, algorithm, created, changed, canary, verified: None, exported: None };
    if next == Some("exported") {
        record.exported = Some(words.digest("`exported` must have 64 lower-case hexadecimal digits")?);
        next = words.next();
    }
    match next {
        None => Ok(record),
        Some("verified") if !matches!(state, StateLabel::Staged | StateLabel::Primary) => {
            record.verified = Some(words.rest("`verified` must be followed by a reason in printable characters")?);
            Ok(record)
        }
        Some(_) => Err(words.problem("has a word that does not belong there")),
    }
}

fn canary(words: &mut Words<'_>, algorithm: Algorithm) -> Result<Canary, DocumentError> {
    let problem = "`canary` must have two lower-case hexadecimal digits for each byte that its algorithm makes";
    if algorithm == Algorithm::Xaes256Gcm {
        return words.hex(problem).map(Canary::local);
    }
    let digits = words.of_length(2 * Canary::len(algorithm)).ok_or_else(|| words.problem(problem))?;
    let bytes = base16ct::lower::decode_vec(digits).ok();
    bytes.and_then(|bytes| Canary::new(algorithm, bytes)).ok_or_else(|| words.problem(problem))
}

/// The key of a version in a token, from the word behind the canary; with it the word behind.
fn in_token<'a>(words: &mut Words<'a>, at: Option<&'a str>, algorithm: Algorithm) -> Result<(InToken, Option<&'a str>), DocumentError> {
    if at != Some("at") {
        return Err(words.problem("its canary must be followed by `at` and where its key is"));
    }
    let at = words.parsed("`at` must be followed by a key in a token, in its one form")?;
    let mut next = words.next();
    let mut mac = None;
    if next == Some("mac") {
        mac = Some(words.hex("`mac` must have 32 lower-case hexadecimal digits")?);
        next = words.next();
    }
    if mac.is_some() != (algorithm == Algorithm::Aes256CbcHmacSha256) {
        return Err(words.problem("`mac` stands there exactly with aes-256-cbc-hmac-sha-256"));
    }
    let iv = match next {
        Some("iv") => IvFrom::from_name(words.word()),
        _ => None,
    };
    let iv = iv.ok_or_else(|| words.problem("where its key is must be followed by `iv` and `host` or `token`"))?;
    Ok((InToken { at, mac, iv }, words.next()))
}

fn attempt(mut words: Words<'_>) -> Result<Attempt, DocumentError> {
    let at = words.time("its second word is no time of the form 2026-01-02T03:04:05Z")?;
    let problem = "its third word is no key in a token, in its one form";
    let key = words.parsed(problem)?;
    words.end(problem)?;
    Ok(Attempt { at, key })
}

fn entry(mut words: Words<'_>) -> Result<Entry, DocumentError> {
    let generation = words.number("its second word is no generation")?;
    let at = words.time("its third word is no time of the form 2026-01-02T03:04:05Z")?;
    let digest = words.digest("its fourth word is no digest")?;
    let what = words.rest("it does not say what happened")?;
    Ok(Entry { generation, at, what, digest })
}

/// A number in its one form: digits alone, and no zero before others.
pub(in crate::keyring) fn decimal<T: FromStr>(word: &str) -> Option<T> {
    let one_form = word == "0" || !word.starts_with('0') && word.bytes().all(|b| b.is_ascii_digit());
    if one_form { word.parse().ok() } else { None }
}
