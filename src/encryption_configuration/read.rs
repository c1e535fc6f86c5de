//! From the tree to the types: every field known, every rule of the API server obeyed.

use std::rc::Rc;
use std::time::Duration;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, PAD};

use super::yaml::{Content, Named, Node, Scalar};
use super::{Block, Kms, KmsVersion, NamedKey, Pattern, Problem, Provider};
use crate::secret::SecretBytes;

/// Entries of all lists together that one file may have, those behind an alias counted each time.
const MAX_ENTRIES: usize = 20_000;
/// What Go's decoder takes: bits behind the last byte may be any.
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, PAD.with_decode_allow_trailing_bits(true));
/// Longest secret that is decoded, in characters: a key has at most 44, and lines may be broken.
const MAX_SECRET: usize = 1024;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);

type Result<T> = std::result::Result<T, (usize, Problem)>;

/// The blocks of a whole file.
pub(super) fn blocks(root: &Node<'_>) -> Result<Vec<Block>> {
    let [version, kind, resources] = fields(root, "an EncryptionConfiguration", ["apiVersion", "kind", "resources"])?;
    let words = (text(version, "apiVersion")?, text(kind, "kind")?);
    if !matches!(words, (Some("apiserver.config.k8s.io/v1"), Some("EncryptionConfiguration")) | (Some("v1"), Some("EncryptionConfig"))) {
        return Err((root.line, Problem::NotOurs));
    }
    let mut reader = Reader { entries: 0, kms_names: Vec::new(), patterns: Vec::new() };
    reader.list(root, resources, "resources")?.iter().map(|node| reader.block(node)).collect()
}

struct Reader {
    entries: usize,
    kms_names: Vec<String>,
    /// Of the blocks before.
    patterns: Vec<Pattern>,
}

impl Reader {
    /// The entries of a list that must have some.
    fn list<'n, 'a>(&mut self, parent: &Node<'_>, list: Option<&'n Node<'a>>, field: &'static str) -> Result<&'n [Rc<Node<'a>>]> {
        let Some(node) = list else { return Err((parent.line, Problem::AtLeastOne(field))) };
        let Content::List(list) = &node.content else { return Err((node.line, Problem::Kind { field, expected: "a list" })) };
        if list.is_empty() {
            return Err((node.line, Problem::AtLeastOne(field)));
        }
        self.entries += list.len();
        if self.entries > MAX_ENTRIES { Err((node.line, Problem::TooLarge)) } else { Ok(list) }
    }

    fn block(&mut self, node: &Node<'_>) -> Result<Block> {
        let [resources, providers] = fields(node, "an entry of resources", ["resources", "providers"])?;
        let mut patterns: Vec<Pattern> = Vec::new();
        for entry in self.list(node, resources, "resources")? {
            let name = text(Some(entry), "resources")?.unwrap_or_default();
            let pattern = Pattern::parse(name).map_err(|e| (entry.line, e.into()))?;
            if let Some(other) = patterns.iter().find(|other| pattern.overlaps(other)) {
                return Err((entry.line, Problem::Overlap(other.clone(), pattern)));
            }
            if let Some(by) = self.patterns.iter().find(|earlier| pattern.is_masked_by(earlier)) {
                return Err((entry.line, Problem::Masked { pattern, by: by.clone() }));
            }
            patterns.push(pattern);
        }
        self.patterns.extend(patterns.iter().cloned());
        let providers = self.list(node, providers, "providers")?.iter().map(|entry| self.provider(entry)).collect::<Result<_>>()?;
        Ok(Block { resources: patterns, providers })
    }

    fn provider(&mut self, node: &Node<'_>) -> Result<Provider> {
        if node.is_null() {
            return Err((node.line, Problem::NoProvider));
        }
        let found = fields(node, "an entry of providers", ["identity", "aescbc", "aesgcm", "secretbox", "kms"])?;
        match found {
            [Some(identity), None, None, None, None] => fields(identity, "identity", []).map(|[]| Provider::Identity),
            [None, Some(aescbc), None, None, None] => self.keys(aescbc, "aescbc", AES).map(Provider::AesCbc),
            [None, None, Some(aesgcm), None, None] => self.keys(aesgcm, "aesgcm", AES).map(Provider::AesGcm),
            [None, None, None, Some(secretbox), None] => self.keys(secretbox, "secretbox", SECRETBOX).map(Provider::Secretbox),
            [None, None, None, None, Some(kms)] => self.kms(kms).map(Provider::Kms),
            [None, None, None, None, None] => Err((node.line, Problem::NoProvider)),
            _ => Err((node.line, Problem::SeveralProviders)),
        }
    }

    fn keys(&mut self, node: &Node<'_>, kind: &'static str, lengths: Lengths) -> Result<Vec<NamedKey>> {
        let [keys] = fields(node, kind, ["keys"])?;
        self.list(node, keys, "keys")?.iter().map(|entry| key(entry, lengths)).collect()
    }

    fn kms(&mut self, node: &Node<'_>) -> Result<Kms> {
        let [version, name, endpoint, timeout, cachesize] =
            fields(node, "kms", ["apiVersion", "name", "endpoint", "timeout", "cachesize"])?;
        let wrong = |at: Option<&Node<'_>>, problem| (at.unwrap_or(node).line, problem);
        let api = match text(version, "apiVersion")?.unwrap_or_default() {
            // Without a word it is v1, which was there first.
            "" | "v1" => KmsVersion::V1,
            "v2" => KmsVersion::V2,
            _ => return Err(wrong(version, Problem::KmsVersion)),
        };
        let word = required(node, name, "name", "kms")?;
        if api == KmsVersion::V2 && word.contains(':') {
            return Err(wrong(name, Problem::KmsName));
        }
        if api == KmsVersion::V2 && self.kms_names.iter().any(|known| known == word) {
            return Err(wrong(name, Problem::KmsNameTwice));
        }
        self.kms_names.push(word.to_owned());
        let socket = required(node, endpoint, "endpoint", "kms")?;
        if !socket.split_once(':').is_some_and(|(scheme, path)| scheme.eq_ignore_ascii_case("unix") && is_url_path(path)) {
            return Err(wrong(endpoint, Problem::Endpoint));
        }
        let patience = match (timeout, text(timeout, "timeout")?) {
            (None, _) => DEFAULT_TIMEOUT,
            (Some(_), text) => {
                go_duration(text.unwrap_or_default()).filter(|d| !d.is_zero()).ok_or_else(|| wrong(timeout, Problem::Timeout))?
            }
        };
        let size = cachesize.map(|node| match &node.content {
            Content::Scalar(scalar) => scalar.number(),
            _ => None,
        });
        match (api, size) {
            (_, None) => {}
            (KmsVersion::V1, Some(Some(size))) if size != 0 => {}
            _ => return Err(wrong(cachesize, Problem::CacheSize)),
        }
        Ok(Kms { version: api, name: word.to_owned(), endpoint: socket.to_owned(), timeout: patience })
    }
}

/// Lengths that a key may have, in bytes, and how they are called.
type Lengths = (&'static [usize], &'static str);
const AES: Lengths = (&[16, 24, 32], "16, 24 or 32");
const SECRETBOX: Lengths = (&[32], "32");

fn key(node: &Node<'_>, (lengths, expected): Lengths) -> Result<NamedKey> {
    let [name, secret] = fields(node, "a key", ["name", "secret"])?;
    let name = required(node, name, "name", "a key")?.to_owned();
    let line = secret.unwrap_or(node).line;
    let secret = decode(required(node, secret, "secret", "a key")?).ok_or((line, Problem::NotBase64))?;
    if !lengths.contains(&secret.len()) {
        return Err((line, Problem::KeyLength { found: secret.len(), expected }));
    }
    Ok(NamedKey { name, secret })
}

/// The bytes of a secret. Go's decoder skips line breaks, which a block of YAML ends with.
fn decode(text: &str) -> Option<SecretBytes> {
    if text.len() > MAX_SECRET {
        return None;
    }
    let mut digits = SecretBytes::with_capacity(text.len());
    for line in text.split(['\r', '\n']) {
        digits.extend(line.as_bytes());
    }
    let mut bytes = zeroize::Zeroizing::new([0; MAX_SECRET]);
    let length = BASE64.decode_slice(digits.expose_secret(), bytes.as_mut_slice()).ok()?;
    let mut secret = SecretBytes::with_capacity(length);
    secret.extend(bytes.get(..length)?);
    Some(secret)
}

/// The fields `known`, in that order; one that is null is none, as in Go.
fn fields<'n, 'a, const N: usize>(node: &'n Node<'a>, place: &'static str, known: [&'static str; N]) -> Result<[Option<&'n Node<'a>>; N]> {
    let Content::Fields(found) = &node.content else {
        return Err((node.line, Problem::Kind { field: place, expected: "fields with values" }));
    };
    let mut values = [None; N];
    for Named { line, name, value } in found {
        match known.iter().zip(&mut values).find(|(known, _)| *known == name) {
            Some((_, place)) => *place = Some(value.as_ref()).filter(|value| !value.is_null()),
            None => return Err((*line, unknown_field(name, place, &known))),
        }
    }
    Ok(values)
}

/// A short word is quoted; anything else could be a key in the place of a name.
fn unknown_field(name: &str, place: &'static str, known: &[&'static str]) -> Problem {
    let word = name.len() <= 20 && name.chars().all(|c| c.is_ascii_alphabetic());
    let nearest = known.iter().copied().map(|k| (strsim::damerau_levenshtein(k, name), k)).filter(|(distance, _)| *distance <= 3).min();
    Problem::UnknownField { field: word.then(|| name.to_owned()), place, nearest: nearest.filter(|_| word).map(|(_, k)| k) }
}

/// The text of a field; an empty one is as good as none, as in Go.
fn text<'n>(node: Option<&'n Node<'_>>, field: &'static str) -> Result<Option<&'n str>> {
    let Some(node) = node else { return Ok(None) };
    match &node.content {
        Content::Scalar(scalar) if scalar.is_text() => Ok(Some(Scalar::expose_secret(scalar)).filter(|text| !text.is_empty())),
        _ => Err((node.line, Problem::Kind { field, expected: "a text (numbers and words such as `yes` need quotes)" })),
    }
}

fn required<'n>(parent: &Node<'_>, node: Option<&'n Node<'_>>, field: &'static str, place: &'static str) -> Result<&'n str> {
    let line = node.map_or(parent.line, |node| node.line);
    text(node, field)?.ok_or((line, Problem::Missing { field, place }))
}

/// Whether every `%` begins an escape.
fn is_url_path(path: &str) -> bool {
    path.split('%').skip(1).all(|rest| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2)
}

/// A duration as Go writes it: numbers with units, such as `1m30s` or `2.5s`. None if it is not one, negative, or beyond Go's range.
fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let unit = rest.get(number..)?.find(|c: char| c.is_ascii_digit() || c == '.').map_or(rest.len(), |length| number + length);
        let seconds = match rest.get(number..unit)? {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let count: f64 = rest.get(..number)?.parse().ok()?;
        total = total.checked_add(Duration::try_from_secs_f64(count * seconds).ok()?)?;
        rest = rest.get(unit..)?;
    }
    (total.as_nanos() <= i64::MAX as u128).then_some(total)
}
