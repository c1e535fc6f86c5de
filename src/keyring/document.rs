//! The keyring file as text: what stands in it, how it is written and authenticated. No keys are used here but the authenticating one.
//!
//! Format 1, see `docs/formats.md` section 4. One line per thing, words separated by one space, readable by a person; the last line
//! authenticates every byte above it. [`parse`](Document::parse) accepts exactly what [`write`](Document::write) makes.

pub(super) mod parse;
mod words;

use std::fmt::Write as _;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use thiserror::Error;

use crate::envelope::Algorithm;
use crate::key_id::{KeyId, KeyringId};
use crate::keyring::history::{Digest, Entry};
use crate::keyring::seal::Slot;
use crate::secret::SecretKey;

pub use words::{NodeName, StateLabel, Time, Why};

/// The one format there is.
pub const FORMAT: u32 = 1;
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
        "keyring format {0} is not one that this release reads (it reads format {FORMAT}); use the release that wrote it or a newer one"
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderLabel {
    /// Wrapped in this file.
    Local,
}

impl ProviderLabel {
    /// The word for it in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
        }
    }
}

/// One version as it stands in the file.
#[derive(Debug, Clone)]
pub struct VersionRecord {
    /// Its name.
    pub key_id: KeyId,
    /// Its state.
    pub state: StateLabel,
    /// Where its KEK lives.
    pub provider: ProviderLabel,
    /// How it wraps.
    pub algorithm: Algorithm,
    /// When it was made; for people, and for the hold.
    pub created: Time,
    /// When its state last changed.
    pub changed: Time,
    /// Nonce, ciphertext and tag over the fixed plaintext.
    pub canary: [u8; 72],
    /// The KEK wrapped under the root key; absent exactly once destroyed.
    pub wrapped: Option<[u8; 72]>,
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

    /// Everything above the last line.
    fn body(&self) -> String {
        let mut out = String::with_capacity(1024 + 640 * self.versions.len() + 160 * self.history.len());
        // Writing to a String does not fail.
        let _ = writeln!(out, "{MAGIC} {FORMAT}");
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
        for entry in &self.history {
            let _ = writeln!(out, "history {} {} {} {}", entry.generation, entry.at, entry.digest, entry.what);
        }
        out
    }
}

impl VersionRecord {
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
            self.provider.name(),
            self.algorithm.name(),
            self.created,
            self.changed,
        );
        push_hex(out, &self.canary);
        if let Some(wrapped) = &self.wrapped {
            out.push_str(" wrapped ");
            push_hex(out, wrapped);
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
