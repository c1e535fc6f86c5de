//! A folder with a configuration, secrets and a keyring in a known state, and commands on it.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use keywright_testbed::plugin::Plugin;
use keywright_testbed::process::{Process, ending};
use keywright_testbed::scratch;
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take that takes milliseconds; the machine may be busy.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// `exit 0`, `signal 9`.
    pub(crate) fn ending(&self) -> String {
        ending(self.status)
    }

    /// Asserts that it succeeded.
    pub(crate) fn succeeds(self) -> Self {
        assert_eq!(self.ending(), "exit 0", "{self:?}");
        self
    }

    /// Asserts the exit code, that nothing was printed as if it had succeeded, and that standard error has each of `texts` and a next step.
    pub(crate) fn fails(self, code: i32, texts: &[&str]) -> Self {
        assert_eq!(self.ending(), format!("exit {code}"), "{self:?}");
        // With `--output json` a failure is printed too, as what it is.
        let told = serde_json::from_str::<serde_json::Value>(&self.out)
            .is_ok_and(|out| out["error"]["exit"] == code && out.as_object().is_some_and(|o| o.len() == 1));
        assert!(self.out.is_empty() || told, "a command that failed printed an answer: {self:?}");
        for text in texts.iter().chain(&["\n  next: "]) {
            assert!(self.err.contains(text), "{text:?} is missing in {self:?}");
        }
        self
    }
}

pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_keywright"))
}

/// The keyring, what was seen of it and an export to import, byte for byte; `None` where there is no file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Files {
    pub(crate) keyring: Option<Vec<u8>>,
    pub(crate) seen: Option<Vec<u8>>,
    pub(crate) export: Option<Vec<u8>>,
}

/// Whom exports are encrypted to. Nothing but these tests uses it.
pub(crate) const RECIPIENT: &str = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";
const IDENTITY: &str = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";

/// What can be compared of two keyrings whose keys are random: generation, versions with their states, history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) generation: u64,
    pub(crate) states: Vec<(u64, String)>,
    pub(crate) history: Vec<String>,
}

/// A folder of its own.
pub(crate) struct Ground {
    dir: TempDir,
}

impl Ground {
    /// With `files` in their places, a key file `seal.key`, another one `new.key`, a configuration for each, and an `identity` for exports.
    pub(crate) fn new(files: &Files) -> Self {
        let ground = Self { dir: scratch::folder("crash").expect("folder") };
        std::fs::create_dir(ground.path("state")).expect("mkdir");
        std::fs::set_permissions(ground.path("state"), PermissionsExt::from_mode(0o700)).expect("chmod");
        for (name, byte) in [("seal.key", 7), ("new.key", 8)] {
            ground.write(name, &[byte; 32]);
        }
        for (config, key) in [("config.toml", "seal.key"), ("config-new.toml", "new.key")] {
            let text = format!(
                "keyring = \"{0}/keyring\"\nstate_dir = \"{0}/state\"\n[seal]\nkey_file = \"{0}/{key}\"\n[socket]\npath = \"{0}/kms.sock\"\n",
                ground.dir.path().display()
            );
            ground.write(config, text.as_bytes());
        }
        ground.write("identity", IDENTITY.as_bytes());
        ground.put(files);
        ground
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file of mode 0600.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect("write");
        std::fs::set_permissions(self.path(name), PermissionsExt::from_mode(0o600)).expect("chmod");
    }

    fn put(&self, files: &Files) {
        for (name, bytes) in [("keyring", &files.keyring), ("state/seen", &files.seen), ("in.age", &files.export)] {
            if let Some(bytes) = bytes {
                self.write(name, bytes);
            }
        }
    }

    /// What stands there now.
    pub(crate) fn files(&self) -> Files {
        let read = |name| match std::fs::read(self.path(name)) {
            Ok(bytes) => Some(bytes),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => panic!("{name}: {e}"),
        };
        Files { keyring: read("keyring"), seen: read("state/seen"), export: read("in.age") }
    }

    /// The arguments of a command on this ground: `DIR` in a word is its folder.
    pub(crate) fn arguments(&self, words: &[impl AsRef<str>]) -> Vec<OsString> {
        let dir = self.dir.path().to_str().expect("text");
        words.iter().map(|word| word.as_ref().replace("DIR", dir).into()).collect()
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, words: &[impl AsRef<str>]) -> Ran {
        run(Command::new(binary()).args(self.arguments(words)))
    }

    /// Its JSON answer.
    pub(crate) fn json(&self, words: &[&str]) -> Value {
        let ran = self.run(&[words, &["--output", "json"]].concat()).succeeds();
        serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}"))
    }

    /// Proves every key in the keyring with `config`, and says what it is.
    pub(crate) fn shape(&self, config: &str) -> Shape {
        let config = format!("DIR/{config}");
        self.run(&["keyring", "verify", "--config", &config]).succeeds();
        let shown = self.json(&["keyring", "show", "--config", &config]);
        let list = |name: &str| shown[name].as_array().expect("list").clone();
        let word = |value: &Value| value.as_str().expect("text").to_owned();
        Shape {
            generation: shown["generation"].as_u64().expect("number"),
            states: list("versions").iter().map(|v| (v["version"].as_u64().expect("number"), word(&v["state"]))).collect(),
            history: list("history").iter().map(|entry| without_check(&word(&entry["what"]))).collect(),
        }
    }

    /// Starts the plugin with `config` and waits until its keys answer.
    pub(crate) fn serve(&self, config: &str) -> Plugin {
        Plugin::configured(binary(), &self.path(config), &self.path("kms.sock")).expect("the plugin starts")
    }
}

/// Runs any command to its end.
pub(crate) fn run(command: &mut Command) -> Ran {
    let mut process = Process::spawn("command", command.env_remove("CREDENTIALS_DIRECTORY")).expect("starts");
    let status = process.wait(SOON).expect("ends");
    Ran { status, out: process.out().lines().join("\n"), err: format!("{}\n", process.err().lines().join("\n")) }
}

/// `what` with the last part of a key_id, which is random, taken off.
fn without_check(what: &str) -> String {
    let word = |word: &str| match word.rsplit_once('.') {
        Some((name, _)) if word.starts_with("kw1.") => name.to_owned(),
        _ => word.to_owned(),
    };
    what.split(' ').map(word).collect::<Vec<_>>().join(" ")
}
