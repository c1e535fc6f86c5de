//! The keyring file as text: what stands in it, how it is written and authenticated. No keys are used here but the authenticating one.
//!
//! Formats 1 and 2, see `docs/formats.md` section 4. One line per thing, words separated by one space, readable by a person; the last line
//! authenticates every byte above it. [`parse`](Document::parse) accepts exactly what [`write`](Document::write) makes.

pub(super) mod parse;
#[cfg(test)]
mod tests;
mod words;

use std::fmt::Write as _;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use thiserror::Error;

use crate::envelope::Algorithm;
use crate::key_id::{KeyId, KeyringId};
use crate::keyring::canary::Canary;
use crate::keyring::history::{Digest, Entry};
use crate::keyring::seal::Slot;
use crate::provider::pkcs11::{IvFrom, KeyAt, ObjectId};
use crate::secret::SecretKey;

pub use words::{NodeName, StateLabel, Time, Why};

/// The newest format. A keyring that names no token is written as format 1, so that every release reads it.
pub const FORMAT: u32 = 2;
/// First word of the file.
const MAGIC: &str = "keywright-keyring";
/// First word of the line that ends the file.
const LAST_LINE: &str = "hmac-sha256 ";
/// The second line, for whoever opens the file.
const ADVICE: &str = "# Read it, copy it, but do not edit it: the last line authenticates every byte above it.\n";
/// The third line of a development keyring.
const WARNING: &str =
    "# INSECURE: a development keyring. Its root key stands below in clear: whoever reads this file has every key in it.\n";

/// Why a file is not a keyring.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DocumentError {
    /// It does not begin like one.
    #[error("the file is not a keyring: it does not begin with `{MAGIC}`")]
    NotAKeyring,
    /// A format number that this release does not know.
    #[error(
        "keyring format {0} is not one that this release reads (it reads formats 1 and {FORMAT}); use the release that wrote it or a newer one"
    )]
    Format(u32),
    /// A line is not what must stand there.
    #[error("line {line}: {problem}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it. Never a byte of the line itself, which may be secret.
        problem: &'static str,
    },
    /// The file does not end with its authentication line.
    #[error("the file does not end with its authentication line: it is torn, or was edited")]
    NoAuthentication,
    /// The authentication does not match.
    #[error("the file is not authentic: a byte of it was changed after Keywright wrote it, or its root key is another keyring's")]
    NotAuthentic,
}

/// Where the KEK of a version lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home {
    /// Wrapped in this file under the root key; absent exactly once destroyed.
    Local(Option<[u8; 72]>),
    /// In a token; the name stays when the key is destroyed.
    Token(Box<InToken>),
}

impl Home {
    /// The word for it in the file.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Local(_) => "local",
            Self::Token(_) => "pkcs11",
        }
    }
}

/// A key in a token, as the file names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InToken {
    /// The key that encrypts.
    pub at: KeyAt,
    /// Id of the key that authenticates, beside it in the same token; exactly with [`Algorithm::Aes256CbcHmacSha256`].
    pub mac: Option<ObjectId>,
    /// Who chooses the IVs.
    pub iv: IvFrom,
}

/// An id that a token was, or is just now, asked to make a key under. It stays here if that did not end: a key of that id may be in the token, and
/// is never used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// When it was drawn.
    pub at: Time,
    /// The key.
    pub key: KeyAt,
}

/// One version as it stands in the file.
#[derive(Debug, Clone)]
pub struct VersionRecord {
    /// Its name.
    pub key_id: KeyId,
    /// Its state.
    pub state: StateLabel,
    /// Where its KEK lives.
    pub home: Home,
    /// How it wraps: with [`Algorithm::Xaes256Gcm`] exactly if it is local.
    pub algorithm: Algorithm,
    /// When it was made; for people, and for the hold.
    pub created: Time,
    /// When its state last changed.
    pub changed: Time,
    /// Nonce, ciphertext and tag over the fixed plaintext.
    pub canary: Canary,
    /// Why it is believed that nothing needs it any more; only for a version that is no longer primary.
    pub verified: Option<Why>,
    /// Digest of the last export that holds its material.
    pub exported: Option<Digest>,
}

/// A keyring file taken apart, with its authenticity not yet known: see [`Document::authenticate`].
pub struct Document {
    /// Names the keyring.
    pub keyring: KeyringId,
    /// Grows by one with every change; 1 to 2^63 - 1.
    pub generation: u64,
    /// Least time between disable and destroy, in whole seconds.
    pub hold: Duration,
    /// The control-plane nodes that must acknowledge a version; none means one node whose own keyring this is.
    pub nodes: Vec<NodeName>,
    /// The coordination key wrapped under the root key: nonce, ciphertext and tag.
    pub coordination: [u8; 72],
    /// The ways to the root key, at least one.
    pub slots: Vec<Slot>,
    /// All versions, oldest first.
    pub versions: Vec<VersionRecord>,
    /// Ids under which keys may be in tokens that no version has, oldest first.
    pub attempts: Vec<Attempt>,
    /// What happened, one entry for each generation.
    pub history: Vec<Entry>,
}

impl Document {
    /// Parses `text` strictly. Nothing in it is authentic yet.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        parse::document(text)
    }

    /// Whether `text`, from which this document was parsed, is what the holder of `key` wrote.
    pub fn authenticate(text: &str, key: &SecretKey) -> Result<(), DocumentError> {
        let (covered, tag) = parse::split_authentication(text).ok_or(DocumentError::NoAuthentication)?;
        mac(key, covered).verify_slice(&tag).map_err(|_| DocumentError::NotAuthentic)
    }

    /// The text of the file, authenticated under `key`.
    pub fn write(&self, key: &SecretKey) -> String {
        let mut out = self.body();
        let tag = mac(key, &out).finalize().into_bytes();
        out.push_str(LAST_LINE);
        push_hex(&mut out, &tag);
        out.push('\n');
        out
    }

    /// The number of the format that it is written in: 2 if it names a token, else 1.
    pub fn format(&self) -> u32 {
        let slot = self.slots.iter().any(|slot| slot.token_key().is_some());
        if slot { 2 } else { self.format_without_slots() }
    }

    /// The same for an export, which has the versions and no slot.
    pub fn format_without_slots(&self) -> u32 {
        let tokens = self.versions.iter().any(|version| version.in_token().is_some()) || !self.attempts.is_empty();
        if tokens { 2 } else { 1 }
    }

    /// Everything above the last line.
    fn body(&self) -> String {
        let mut out = String::with_capacity(1024 + 640 * self.versions.len() + 160 * self.history.len());
        // Writing to a String does not fail.
        let _ = writeln!(out, "{MAGIC} {}", self.format());
        out.push_str(ADVICE);
        if self.slots.iter().any(Slot::is_development) {
            out.push_str(WARNING);
        }
        let _ = writeln!(out, "keyring {}\ngeneration {}\nhold {}", self.keyring, self.generation, self.hold.as_secs());
        out.push_str("nodes");
        for node in &self.nodes {
            let _ = write!(out, " {node}");
        }
        out.push_str("\ncoordination ");
        push_hex(&mut out, &self.coordination);
        out.push('\n');
        for slot in &self.slots {
            slot.write(&mut out);
        }
        for version in &self.versions {
            version.write(&mut out);
        }
        for attempt in &self.attempts {
            attempt.write(&mut out);
        }
        for entry in &self.history {
            let _ = writeln!(out, "history {} {} {} {}", entry.generation, entry.at, entry.digest, entry.what);
        }
        out
    }
}

impl Attempt {
    /// Appends the line of the file.
    pub(crate) fn write(&self, out: &mut String) {
        let _ = writeln!(out, "attempt {} {}", self.at, self.key);
    }
}

impl InToken {
    /// Appends the words of the file, each behind a space.
    pub(crate) fn write(&self, out: &mut String) {
        let _ = write!(out, " at {}", self.at);
        if let Some(mac) = &self.mac {
            out.push_str(" mac ");
            push_hex(out, mac);
        }
        let _ = write!(out, " iv {}", self.iv.name());
    }
}

impl VersionRecord {
    /// The KEK wrapped under the root key, where it is in the file.
    pub fn wrapped(&self) -> Option<&[u8; 72]> {
        match &self.home {
            Home::Local(wrapped) => wrapped.as_ref(),
            Home::Token(_) => None,
        }
    }

    /// Where in a token its key is, or was until it was destroyed.
    pub fn in_token(&self) -> Option<&InToken> {
        match &self.home {
            Home::Local(_) => None,
            Home::Token(key) => Some(key),
        }
    }

    /// How much of `hold` is left at `now`; it began when the version entered its state.
    ///
    /// A clock that was set back makes the time since then short or none, and the hold longer: never the other way round by us.
    pub fn hold_left(&self, hold: Duration, now: Time) -> Duration {
        hold.saturating_sub(now.since(self.changed))
    }

    fn write(&self, out: &mut String) {
        let _ = write!(
            out,
            "version {} {} {} {} created {} changed {} canary ",
            self.key_id,
            self.state.name(),
            self.home.name(),
            self.algorithm.name(),
            self.created,
            self.changed,
        );
        push_hex(out, self.canary.as_bytes());
        match &self.home {
            Home::Local(None) => {}
            Home::Local(Some(wrapped)) => {
                out.push_str(" wrapped ");
                push_hex(out, wrapped);
            }
            Home::Token(key) => key.write(out),
        }
        if let Some(digest) = &self.exported {
            let _ = write!(out, " exported {digest}");
        }
        if let Some(why) = &self.verified {
            let _ = write!(out, " verified {why}");
        }
        out.push('\n');
    }
}

/// Appends `bytes` as lower-case hexadecimal digits.
pub(super) fn push_hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)] as char);
        out.push(DIGITS[usize::from(byte & 15)] as char);
    }
}

fn mac(key: &SecretKey, covered: &str) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(key.expose_secret()).expect("HMAC takes a key of any length").chain_update(covered.as_bytes())
}
