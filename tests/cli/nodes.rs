//! Nodes with keyrings of their own, and who opens what they export.

use std::path::{Path, PathBuf};

use age::secrecy::ExposeSecret;
use keywright::entropy::OsEntropy;
use keywright::keyring::Keyring;
use keywright::keyring::seal::Opener;
use keywright::keyring::store;
use keywright::provider::pkcs11::Tokens;
use keywright::secret::SecretBytes;
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{Ran, config, folder, run, socket_table, text, write};

/// A control-plane node with a seal key of its own.
pub(crate) struct Node {
    pub(crate) dir: TempDir,
    pub(crate) config: PathBuf,
    seal: [u8; 32],
}

impl Node {
    pub(crate) fn new(seal: u8) -> Self {
        let dir = folder();
        let config = config(dir.path(), &socket_table(dir.path()));
        let key = dir.path().join("seal.key");
        std::fs::remove_file(&key).expect("remove");
        write(&key, [seal; 32], 0o400);
        Self { dir, config, seal: [seal; 32] }
    }

    pub(crate) fn with_keyring(seal: u8) -> Self {
        let node = Self::new(seal);
        assert_eq!(run(&["init", "--hold", "0s", "--config", text(&node.config)]).code, 0);
        node
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A command on this node's keyring.
    pub(crate) fn words<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [arguments, &["--config", text(&self.config)]].concat()
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        run(&self.words(arguments))
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.run(&[arguments, &["--output", "json"]].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}"))
    }

    /// Exports to `who`; the file and its digest.
    pub(crate) fn export(&self, who: &Identity, name: &str) -> (PathBuf, String) {
        let file = self.path(name);
        let answer = self.json(&["keyring", "export", "--to", &who.recipient, "--output-file", text(&file)]);
        (file, answer["digest"].as_str().expect("digest").to_owned())
    }

    pub(crate) fn import(&self, file: &Path, who: &Identity, more: &[&str]) -> Ran {
        self.run(&[&["keyring", "import", text(file), "--identity", text(&who.file)], more].concat())
    }

    pub(crate) fn file(&self) -> Vec<u8> {
        std::fs::read(self.path("keyring")).expect("read")
    }

    pub(crate) fn load(&self) -> Keyring {
        store::load(&self.path("keyring"), &Opener::KeyFile(SecretBytes::from_vec(self.seal.to_vec())), &Tokens::none(), &OsEntropy)
            .expect("loads")
    }

    pub(crate) fn versions(&self) -> Value {
        self.json(&["keyring", "list"])
    }

    pub(crate) fn key_id(&self, version: usize) -> String {
        self.versions()[version - 1]["key_id"].as_str().expect("text").to_owned()
    }

    /// Takes version 1 from retired to destroyed.
    pub(crate) fn destroy_first(&self) {
        let old = self.key_id(1);
        for step in ["verify", "disable"] {
            assert_eq!(self.run(&["rotate", step, &old, "--accept-risk", "test"]).code, 0, "{step}");
        }
        assert_eq!(self.run(&["rotate", "destroy", &old, "--yes-destroy", &old, "--accept-risk", "test"]).code, 0);
    }
}

/// Who can open exports.
pub(crate) struct Identity {
    _dir: TempDir,
    pub(crate) file: PathBuf,
    pub(crate) recipient: String,
}

impl Identity {
    pub(crate) fn new() -> Self {
        let identity = age::x25519::Identity::generate();
        Self::of(identity.to_string().expose_secret(), &identity.to_public().to_string())
    }

    pub(crate) fn of(secret: &str, recipient: &str) -> Self {
        let dir = folder();
        let file = dir.path().join("identity");
        write(&file, format!("# a test\n{secret}\n"), 0o600);
        Self { _dir: dir, file, recipient: recipient.to_owned() }
    }
}
