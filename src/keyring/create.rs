//! Makes new key material: a whole keyring, or one more version.

use std::time::Duration;

use super::canary::Subject;
use super::document::{Attempt, Document, Home, InToken, NodeName, StateLabel, Time, VersionRecord};
use super::history::Entry;
use super::seal::{FileKeys, Opener, SealError, Slot};
use crate::entropy::Entropy;
use crate::envelope::Algorithm;
use crate::key_id::{self, KeyId, KeyringId, Version};
use crate::provider::local::LocalKek;
use crate::provider::pkcs11::{IvFrom, KeyAt, KeySpec, ObjectId, Proof, TokenName, Tokens};
use crate::provider::{Kek, KekError};
use crate::secret::SecretKey;

const KEK_DOMAIN: &[u8] = b"keywright KEK 1";
const COORDINATION_DOMAIN: &[u8] = b"keywright coordination 1";

/// What a new keyring is to be.
pub struct First<'a> {
    /// One seal slot for each.
    pub openers: &'a [Opener],
    /// The control-plane nodes, in order, each once; may be empty.
    pub nodes: Vec<NodeName>,
    /// Least time between disable and destroy.
    pub hold: Duration,
    /// Where the KEK is made.
    pub key: NewKey,
    /// By the clock of this machine.
    pub now: Time,
}

/// Where the KEK of a new version is made, and how it wraps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewKey {
    /// Here, to be kept in the file.
    Local,
    /// In that token.
    Token {
        /// Which one.
        token: TokenName,
        /// [`Algorithm::Aes256Gcm`] or [`Algorithm::Aes256CbcHmacSha256`].
        algorithm: Algorithm,
        /// Who chooses the IVs.
        iv: IvFrom,
    },
}

impl NewKey {
    /// One of the same kind, in the same place, as that of `record`.
    pub fn like(record: &VersionRecord) -> Self {
        match record.in_token() {
            None => Self::Local,
            Some(key) => Self::Token { token: key.at.token.clone(), algorithm: record.algorithm, iv: key.iv },
        }
    }
}

/// A key that a token is to make, its ids drawn and not used before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawn {
    /// Where.
    pub key: InToken,
    /// How it is to wrap.
    pub algorithm: Algorithm,
}

impl Drawn {
    /// Draws the ids of a key for `keyring`: 16 random bytes each, for this one attempt.
    pub fn new(keyring: KeyringId, token: TokenName, algorithm: Algorithm, iv: IvFrom, entropy: &dyn Entropy) -> Result<Self, KekError> {
        let draw = || {
            let mut id: ObjectId = [0; _];
            entropy.fill(&mut id).map(|()| id)
        };
        let at = KeyAt { token, label: token_label(keyring), id: draw()? };
        let mac = (algorithm == Algorithm::Aes256CbcHmacSha256).then(draw).transpose()?;
        Ok(Self { key: InToken { at, mac, iv }, algorithm })
    }

    /// What the file says before the token is asked.
    pub fn attempts(&self, now: Time) -> Vec<Attempt> {
        let ids = [Some(self.key.at.id), self.key.mac];
        ids.into_iter().flatten().map(|id| Attempt { at: now, key: KeyAt { id, ..self.key.at.clone() } }).collect()
    }
}

/// CKA_LABEL of the keys of a keyring.
pub fn token_label(keyring: KeyringId) -> String {
    format!("keywright-{keyring}")
}

/// The text of a new keyring file with one primary version.
///
/// If its key is made in a token, the ids of that key stand nowhere until the file does: what a killed `init` leaves in the token is known by the
/// label, which names a keyring that there is not.
pub fn keyring(first: First<'_>, tokens: &Tokens, entropy: &dyn Entropy) -> Result<String, SealError> {
    let mut id = [0; 8];
    entropy.fill(&mut id).map_err(KekError::from)?;
    let id = KeyringId::from_bytes(id);
    let root = random_key(entropy)?;
    let keys = FileKeys::derive(&root, id);
    let coordination = random_key(entropy)?;
    // In this order, which the vectors of format 1 hold.
    let wrapped_coordination = keys.wrap.wrap_key(&coordination_aad(id), coordination.expose_secret(), entropy)?.concat()?;
    let slots = seal_all(first.openers, id, &root, &[], entropy)?;
    let version = match first.key {
        NewKey::Local => local_version(id, Version::FIRST, StateLabel::Primary, &keys, first.now, entropy)?,
        NewKey::Token { token, algorithm, iv } => {
            let drawn = Drawn::new(id, token, algorithm, iv, entropy)?;
            make_in_token(&drawn, tokens)?;
            token_version(id, Version::FIRST, StateLabel::Primary, &drawn, tokens, first.now, entropy)?
        }
    };
    let document = Document {
        keyring: id,
        generation: 1,
        hold: first.hold,
        nodes: first.nodes,
        coordination: wrapped_coordination,
        slots,
        versions: vec![version],
        attempts: vec![],
        history: vec![Entry::after(None, first.now, "init".parse().expect("a printable word"))],
    };
    Ok(document.write(&keys.authenticate))
}

/// A slot for each opener over `root`.
///
/// `old`: the slots of the same keyring so far, whose keys in tokens are used again.
pub fn seal_all(openers: &[Opener], id: KeyringId, root: &SecretKey, old: &[Slot], entropy: &dyn Entropy) -> Result<Vec<Slot>, SealError> {
    openers.iter().map(|opener| Slot::seal(opener, id, root, old, entropy)).collect()
}

/// A new local version in `state`, its KEK wrapped under the root key of the keyring.
pub fn local_version(
    keyring: KeyringId,
    version: Version,
    state: StateLabel,
    keys: &FileKeys,
    now: Time,
    entropy: &dyn Entropy,
) -> Result<VersionRecord, KekError> {
    let subject = Subject { keyring, version, algorithm: Algorithm::Xaes256Gcm };
    let key = random_key(entropy)?;
    let canary = subject.wrap(&LocalKek::new(&key), entropy)?;
    let key_id = KeyId { keyring, version, check: subject.check(canary.as_bytes()) };
    Ok(VersionRecord {
        key_id,
        state,
        home: Home::Local(Some(keys.wrap.wrap_key(KekAad::of(&key_id.text()).as_bytes(), key.expose_secret(), entropy)?.concat()?)),
        algorithm: subject.algorithm,
        created: now,
        changed: now,
        canary,
        verified: None,
        exported: None,
    })
}

/// Has the token make the key or keys that were drawn.
pub fn make_in_token(drawn: &Drawn, tokens: &Tokens) -> Result<(), KekError> {
    Ok(tokens.create_key(&key_spec(&drawn.key, drawn.algorithm, None))?)
}

/// A new version in `state` whose key is in a token already; it wraps its canary.
pub fn token_version(
    keyring: KeyringId,
    version: Version,
    state: StateLabel,
    drawn: &Drawn,
    tokens: &Tokens,
    now: Time,
    entropy: &dyn Entropy,
) -> Result<VersionRecord, KekError> {
    let subject = Subject { keyring, version, algorithm: drawn.algorithm };
    let canary = subject.wrap(tokens.kek(key_spec(&drawn.key, drawn.algorithm, None)).as_ref(), entropy)?;
    Ok(VersionRecord {
        key_id: KeyId { keyring, version, check: subject.check(canary.as_bytes()) },
        state,
        home: Home::Token(Box::new(drawn.key.clone())),
        algorithm: drawn.algorithm,
        created: now,
        changed: now,
        canary,
        verified: None,
        exported: None,
    })
}

/// What the provider must know of a key in a token.
pub fn key_spec(key: &InToken, algorithm: Algorithm, proof: Option<Proof>) -> KeySpec {
    KeySpec { at: key.at.clone(), mac: key.mac, algorithm, iv: key.iv, proof }
}

/// The key of `record`; [`KekError::Authentication`] if it was not wrapped under this root key for this key_id.
pub fn unwrap_local(record: &VersionRecord, wrapped: &[u8; 72], keys: &FileKeys) -> Result<SecretKey, KekError> {
    unwrap_named(&record.key_id.text(), wrapped, keys)
}

/// The same, where the text of the key_id is at hand already.
pub(super) fn unwrap_named(key_id: &key_id::Text, wrapped: &[u8; 72], keys: &FileKeys) -> Result<SecretKey, KekError> {
    unwrap(KekAad::of(key_id).as_bytes(), wrapped, keys)
}

/// The coordination key of `document`.
pub fn unwrap_coordination(document: &Document, keys: &FileKeys) -> Result<SecretKey, KekError> {
    unwrap(&coordination_aad(document.keyring), &document.coordination, keys)
}

/// Wraps every key of `document` under another root key, and seals that for `openers`. Ids and material stay as they are.
pub fn change_root(document: &mut Document, keys: &FileKeys, openers: &[Opener], entropy: &dyn Entropy) -> Result<FileKeys, SealError> {
    let root = random_key(entropy)?;
    let new = FileKeys::derive(&root, document.keyring);
    rewrap(document, keys, &new, entropy)?;
    document.slots = seal_all(openers, document.keyring, &root, &document.slots, entropy)?;
    Ok(new)
}

/// Wraps every key of `document` under the root key that gave `new`. Ids, material and slots stay as they are.
pub fn rewrap(document: &mut Document, old: &FileKeys, new: &FileKeys, entropy: &dyn Entropy) -> Result<(), KekError> {
    let coordination = unwrap_coordination(document, old)?;
    document.coordination = wrap_coordination(document.keyring, &coordination, new, entropy)?;
    for record in &mut document.versions {
        if let Some(wrapped) = record.wrapped() {
            let key = unwrap_local(record, wrapped, old)?;
            record.home = Home::Local(Some(wrap_local(&record.key_id, &key, new, entropy)?));
        }
    }
    Ok(())
}

/// The key of the version `key_id`, wrapped as it stands in a keyring file.
pub fn wrap_local(key_id: &KeyId, key: &SecretKey, keys: &FileKeys, entropy: &dyn Entropy) -> Result<[u8; 72], KekError> {
    keys.wrap.wrap_key(KekAad::of(&key_id.text()).as_bytes(), key.expose_secret(), entropy)?.concat()
}

/// The coordination key of `keyring`, wrapped as it stands in a keyring file.
pub fn wrap_coordination(keyring: KeyringId, key: &SecretKey, keys: &FileKeys, entropy: &dyn Entropy) -> Result<[u8; 72], KekError> {
    keys.wrap.wrap_key(&coordination_aad(keyring), key.expose_secret(), entropy)?.concat()
}

fn unwrap(aad: &[u8], wrapped: &[u8; 72], keys: &FileKeys) -> Result<SecretKey, KekError> {
    let (nonce, sealed) = wrapped.split_at(24);
    keys.wrap.unwrap_secret_key(aad, nonce, sealed)
}

/// Domain and key_id; a large keyring makes thousands at every load, so it is made without an allocation.
struct KekAad {
    bytes: [u8; KEK_DOMAIN.len() + key_id::MAX_LEN],
    len: usize,
}

impl KekAad {
    fn of(key_id: &key_id::Text) -> Self {
        let parts = [KEK_DOMAIN, key_id.as_str().as_bytes()];
        let mut aad = Self { bytes: [0; _], len: 0 };
        for part in parts {
            aad.bytes[aad.len..aad.len + part.len()].copy_from_slice(part);
            aad.len += part.len();
        }
        aad
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

fn coordination_aad(keyring: KeyringId) -> Vec<u8> {
    [COORDINATION_DOMAIN, keyring.as_bytes()].concat()
}

fn random_key(entropy: &dyn Entropy) -> Result<SecretKey, KekError> {
    SecretKey::try_fill(|out| entropy.fill(out)).map_err(KekError::from)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::entropy::{Counted, OsEntropy};
    use std::path::Path;

    fn now() -> Time {
        "2027-01-15T08:00:00Z".parse().expect("valid")
    }

    /// A keyring of versions in `states`, every byte of it reproducible.
    fn document(states: &[StateLabel]) -> (Document, FileKeys) {
        let entropy = Counted::default();
        let id = KeyringId::from_bytes(*b"sample-1");
        let root = random_key(&entropy).expect("key");
        let keys = FileKeys::derive(&root, id);
        let coordination = random_key(&entropy).expect("key");
        let coordination = keys.wrap.wrap_key(&coordination_aad(id), coordination.expose_secret(), &entropy).expect("wraps");
        let versions = states.iter().zip(1..).map(|(state, number)| {
            let number = Version::new(number).expect("not zero");
            let mut record = local_version(id, number, *state, &keys, now(), &entropy).expect("version");
            if *state == StateLabel::Destroyed {
                record.home = Home::Local(None);
            }
            record
        });
        let document = Document {
            keyring: id,
            generation: 1,
            hold: Duration::ZERO,
            nodes: vec![],
            coordination: coordination.concat().expect("72 bytes"),
            slots: seal_all(&[Opener::InsecureDevelopment], id, &root, &[], &entropy).expect("slot"),
            versions: versions.collect(),
            attempts: vec![],
            history: vec![Entry::after(None, now(), "init".parse().expect("valid"))],
        };
        (document, keys)
    }

    /// Version 1 in `state`, version 2 the primary unless that is version 1.
    pub(crate) fn document_with(state: StateLabel) -> (Document, FileKeys) {
        let second = if state == StateLabel::Primary { StateLabel::Retired } else { StateLabel::Primary };
        document(&[state, second])
    }

    fn two_versions() -> String {
        let (document, keys) = document(&[StateLabel::Retired, StateLabel::Primary]);
        document.write(&keys.authenticate)
    }

    #[test]
    fn the_sample_keyring_is_byte_for_byte_what_this_release_writes() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("keys/insecure-format-1/two-versions.keyring");
        if std::env::var_os("KEYWRIGHT_WRITE_SAMPLES").is_some() {
            std::fs::write(&path, two_versions()).expect("write");
        }
        assert_eq!(std::fs::read_to_string(&path).expect("read"), two_versions());
    }

    #[test]
    fn another_root_key_keeps_ids_and_material_and_the_old_slot_opens_nothing_new() {
        let (mut document, keys) = document(&[StateLabel::Retired, StateLabel::Destroyed, StateLabel::Primary]);
        let material = |document: &Document, keys: &FileKeys| -> Vec<_> {
            let keys = document.versions.iter().map(|v| {
                let key = v.wrapped().map(|w| unwrap_local(v, w, keys).expect("opens"));
                (v.key_id, key.map(|k| *k.expose_secret()))
            });
            keys.collect()
        };
        let before = material(&document, &keys);
        let new = change_root(&mut document, &keys, &[Opener::InsecureDevelopment], &OsEntropy).expect("changes");
        assert_eq!(material(&document, &new), before);
        let first = &document.versions[0];
        assert!(unwrap_local(first, first.wrapped().expect("there"), &keys).is_err(), "the old root key");
        let text = document.write(&new.authenticate);
        assert!(Document::authenticate(&text, &keys.authenticate).is_err());
        assert!(Document::authenticate(&text, &new.authenticate).is_ok());
    }
}
