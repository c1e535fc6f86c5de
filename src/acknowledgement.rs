//! A node's word that its running plugin has loaded and proved the keyring in a certain state, authenticated by the coordination key.
//!
//! With several nodes a version may only become primary when every one of them can unwrap what it wraps. An acknowledgement names the
//! head of the keyring's history, so it speaks of exactly one state and cannot be used for a later one.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use thiserror::Error;

use crate::key_id::KeyringId;
use crate::keyring::Keyring;
use crate::keyring::document::{Document, NodeName};
use crate::keyring::history::Digest;
use crate::secret::SecretKey;

const MAGIC: &str = "keywright-acknowledgement 1";
const DOMAIN: &[u8] = b"keywright acknowledgement 1";
/// Longest acknowledgement, in bytes.
pub const MAX_LEN: usize = 1024;

/// Why a text is no acknowledgement of this keyring as it is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AckError {
    /// Not of the form.
    #[error("it is no acknowledgement")]
    Form,
    /// Of another keyring.
    #[error("it is of keyring {0}")]
    OtherKeyring(KeyringId),
    /// Not made by a holder of this keyring, or changed.
    #[error("it is not authentic")]
    NotAuthentic,
    /// Of a node that the keyring does not know.
    #[error("it is of {0}, which is not a node of this keyring")]
    UnknownNode(NodeName),
    /// Of another state of the keyring.
    #[error("{node} acknowledged generation {generation}; the keyring is at {current}: bring the keyring there first")]
    OtherState {
        /// The node.
        node: NodeName,
        /// What it had loaded.
        generation: u64,
        /// What it would have to have.
        current: u64,
    },
}

/// What `node` acknowledges by having `keyring` loaded and every version of it proved.
pub fn write(keyring: &Keyring, node: &NodeName) -> String {
    let mut text = unsigned(keyring.id(), node, keyring.generation(), keyring.head());
    let tag = mac(keyring.coordination(), &text).finalize().into_bytes();
    // Writing to a String does not fail.
    let _ = writeln!(text, "hmac-sha256 {}", base16ct::lower::encode_string(&tag));
    text
}

/// The node that `text` speaks for, if it acknowledges `document` exactly as it is.
pub fn check(text: &str, document: &Document, coordination: &SecretKey) -> Result<NodeName, AckError> {
    let (covered, tag) = text.strip_suffix('\n').and_then(|body| body.rsplit_once('\n')).ok_or(AckError::Form)?;
    let covered = &text[..covered.len() + 1];
    let mut lines = covered.lines();
    let mut field = |name: &str| lines.next().and_then(|line| line.strip_prefix(name)).ok_or(AckError::Form);
    if !field(MAGIC)?.is_empty() {
        return Err(AckError::Form);
    }
    let keyring: KeyringId = field("keyring ")?.parse().map_err(|_| AckError::Form)?;
    let node: NodeName = field("node ")?.parse().map_err(|()| AckError::Form)?;
    let generation: u64 = field("generation ")?.parse().map_err(|_| AckError::Form)?;
    let head: Digest = field("head ")?.parse().map_err(|()| AckError::Form)?;
    if covered != unsigned(keyring, &node, generation, head) {
        return Err(AckError::Form);
    }
    if keyring != document.keyring {
        return Err(AckError::OtherKeyring(keyring));
    }
    let mut bytes = [0; 32];
    let tag = tag.strip_prefix("hmac-sha256 ").filter(|t| t.len() == 64).and_then(|t| base16ct::lower::decode(t, &mut bytes).ok());
    mac(coordination, covered).verify_slice(tag.ok_or(AckError::Form)?).map_err(|_| AckError::NotAuthentic)?;
    if !document.nodes.contains(&node) {
        return Err(AckError::UnknownNode(node));
    }
    let current = document.history.last().is_some_and(|last| last.digest == head && last.generation == generation);
    if current { Ok(node) } else { Err(AckError::OtherState { node, generation, current: document.generation }) }
}

/// Everything above the last line.
fn unsigned(keyring: KeyringId, node: &NodeName, generation: u64, head: Digest) -> String {
    format!("{MAGIC}\nkeyring {keyring}\nnode {node}\ngeneration {generation}\nhead {head}\n")
}

/// The nodes of `document` that are not among `acknowledged`. A keyring of at most one node needs no word of itself.
pub fn missing<'a>(document: &'a Document, acknowledged: &[NodeName]) -> Vec<&'a NodeName> {
    if document.nodes.len() < 2 {
        return vec![];
    }
    document.nodes.iter().filter(|node| !acknowledged.contains(node)).collect()
}

fn mac(key: &SecretKey, covered: &str) -> Hmac<Sha256> {
    let mac = Hmac::<Sha256>::new_from_slice(key.expose_secret()).expect("HMAC takes a key of any length");
    mac.chain_update(DOMAIN).chain_update(covered.as_bytes())
}
