//! Where a plugin has its keyring, and where the KEK in it is.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use keywright_testbed::plugin::Plugin;
use keywright_testbed::ran::Ran;
use keywright_testbed::scratch;
use keywright_testbed::tokens::{Hsm, Token};
use tempfile::TempDir;

use crate::stack::{KEYWRIGHT, LONG, bytes};

/// Where a KEK is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyIn {
    /// The keyring file.
    Local,
    /// A token of SoftHSM 2.
    SoftHsm,
}

/// A folder with a keyring, for one plugin and for commands.
pub(crate) enum Home {
    /// As `serve --dev` makes it.
    Dev(TempDir),
    /// As `init` makes it.
    Configured(Configured),
}

impl Home {
    /// A new keyring with its KEK there.
    pub(crate) fn new(key: KeyIn) -> Self {
        match key {
            KeyIn::Local => Self::local(),
            KeyIn::SoftHsm => Self::Configured(Configured::with(key, "")),
        }
    }

    /// A development keyring, which the first plugin makes.
    pub(crate) fn local() -> Self {
        Self::Dev(scratch::folder("keywright").expect("a private folder"))
    }

    /// Another node: the same keyring, sealed as here; a token is the same too. This one must outlive it.
    pub(crate) fn copy(&self) -> Self {
        let dir = scratch::folder("node").expect("a private folder");
        private(&dir.path().join("keyring"), &std::fs::read(self.folder().join("keyring")).expect("the keyring is read"));
        match self {
            Self::Dev(_) => Self::Dev(dir),
            Self::Configured(first) => Self::Configured(first.copy(dir)),
        }
    }

    /// Where its first KEK is.
    pub(crate) fn key(&self) -> KeyIn {
        match self {
            Self::Dev(_) => KeyIn::Local,
            Self::Configured(configured) => configured.key,
        }
    }

    /// For whatever a test leaves there.
    pub(crate) fn folder(&self) -> &Path {
        match self {
            Self::Dev(dir) => dir.path(),
            Self::Configured(configured) => configured.dir.path(),
        }
    }

    /// Where its plugin listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder().join("kms.sock")
    }

    /// The options that name its keyring.
    pub(crate) fn options(&self) -> Vec<String> {
        match self {
            Self::Dev(dir) => vec!["--dev".to_owned(), "--dir".to_owned(), dir.path().display().to_string()],
            Self::Configured(configured) => vec!["--config".to_owned(), configured.config.display().to_string()],
        }
    }

    /// A command on its keyring.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(KEYWRIGHT);
        command.args(words).args(self.options());
        if let Self::Configured(configured) = self {
            command.envs(configured.variables());
        }
        command
    }

    /// Runs one to its end.
    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        Ran::within(&mut self.command(words), LONG).expect("it ends by itself")
    }

    /// Starts its plugin, and waits until its keys answer.
    pub(crate) fn serve(&self) -> Plugin {
        match self {
            Self::Dev(dir) => Plugin::dev(Path::new(KEYWRIGHT), dir.path()).expect("the plugin starts"),
            Self::Configured(configured) => configured.serve(),
        }
    }
}

/// A file with a configuration for `serve --config`, its seal key and a first keyring made by `init`; see [`Configured`].
pub(crate) struct Configured {
    pub(crate) config: PathBuf,
    pub(crate) socket: PathBuf,
    key: KeyIn,
    /// What the module of its tokens wants to find in the environment.
    environment: Vec<(&'static str, OsString)>,
    seal: PathBuf,
    tables: String,
    dir: TempDir,
}

impl Configured {
    /// A local KEK. `tables` is added to the file, for example `[kms]` with its keys.
    pub(crate) fn new(tables: &str) -> Self {
        Self::with(KeyIn::Local, tables)
    }

    /// The same with the KEK there: in the only token that there is.
    pub(crate) fn with(key: KeyIn, tables: &str) -> Self {
        match key {
            KeyIn::Local => Self::made(folder(), key, Vec::new(), tables, &[]),
            KeyIn::SoftHsm => {
                let (dir, hsm, token) = softhsm();
                let tables = format!("{tables}{}", table(&token, hsm.module(), dir.path()));
                Self::made(dir, key, environment(&hsm), &tables, &["--provider", "pkcs11"])
            }
        }
    }

    /// With the KEK in a token of SoftHSM 2, and OpenSC's module in between, which writes down every call into the file `calls` of its folder.
    /// `more` is added to the token's table.
    pub(crate) fn in_watched_token(more: &str) -> (Self, Token) {
        let (dir, hsm, token) = softhsm();
        // SoftHSM's own is in a folder beside it.
        let spy = hsm.module().parent().and_then(Path::parent).expect("a folder").join("pkcs11-spy.so");
        assert!(spy.is_file(), "{} is missing: install opensc-pkcs11", spy.display());
        let tables = format!("{}{more}", table(&token, &spy, dir.path()));
        let mut environment = environment(&hsm);
        environment.push(("PKCS11SPY", hsm.module().into()));
        environment.push(("PKCS11SPY_OUTPUT", dir.path().join("calls").into()));
        (Self::made(dir, KeyIn::SoftHsm, environment, &tables, &["--provider", "pkcs11"]), token)
    }

    /// With a local KEK, and with two tokens of SoftHSM 2 that it may move to. A disabled version need not be held for any time.
    pub(crate) fn beside_tokens(labels: [&str; 2]) -> (Self, [Token; 2]) {
        let dir = folder();
        let hsm = Hsm::softhsm(dir.path()).expect("the module");
        let tokens = labels.map(|label| hsm.token(label, &format!("pin-of-{label}")).expect("a token"));
        let tables: String = tokens.iter().map(|token| table(token, hsm.module(), dir.path())).collect();
        (Self::made(dir, KeyIn::Local, environment(&hsm), &tables, &["--hold", "0s"]), tokens)
    }

    fn made(dir: TempDir, key: KeyIn, environment: Vec<(&'static str, OsString)>, tables: &str, init: &[&str]) -> Self {
        let seal = dir.path().join("seal.key");
        private(&seal, &bytes(64, 1));
        let made = Self::written(dir, key, environment, seal, tables.to_owned());
        let mut command = Command::new(KEYWRIGHT);
        command.arg("init").arg("--config").arg(&made.config).args(init).envs(made.variables());
        Ran::of(&mut command).expect("it ends by itself").succeeds();
        made
    }

    fn written(dir: TempDir, key: KeyIn, environment: Vec<(&'static str, OsString)>, seal: PathBuf, tables: String) -> Self {
        let (config, socket, keyring) = (dir.path().join("config.toml"), dir.path().join("kms.sock"), dir.path().join("keyring"));
        let text = format!(
            "keyring = {keyring:?}\nstate_dir = {:?}\n[socket]\npath = {socket:?}\n[seal]\nkey_file = {seal:?}\n{tables}",
            dir.path(),
        );
        std::fs::write(&config, text).expect("the configuration can be written");
        Self { config, socket, key, environment, seal, tables, dir }
    }

    fn copy(&self, dir: TempDir) -> Self {
        Self::written(dir, self.key, self.environment.clone(), self.seal.clone(), self.tables.clone())
    }

    fn variables(&self) -> impl Iterator<Item = (&str, &OsString)> {
        self.environment.iter().map(|(name, value)| (*name, value))
    }

    /// Serves it.
    pub(crate) fn serve(&self) -> Plugin {
        let mut command = Command::new(KEYWRIGHT);
        command.arg("serve").arg("--config").arg(&self.config).envs(self.variables());
        let plugin = Plugin::started(&mut command, &self.socket).expect("the plugin starts");
        plugin.ready().expect("its keys answer");
        plugin
    }
}

/// A folder with SoftHSM 2 and one token.
fn softhsm() -> (TempDir, Hsm, Token) {
    let dir = folder();
    let hsm = Hsm::softhsm(dir.path()).expect("the module");
    let token = hsm.token("kek", "1234").expect("a token");
    (dir, hsm, token)
}

fn environment(hsm: &Hsm) -> Vec<(&'static str, OsString)> {
    hsm.env().map(|(name, value)| (name, value.to_owned())).into_iter().collect()
}

/// The table of a token, whose PIN is in a file of `dir`.
fn table(token: &Token, module: &Path, dir: &Path) -> String {
    let pin = dir.join(format!("pin-{}", token.label()));
    private(&pin, token.pin().as_bytes());
    format!("[[token]]\nuri = {:?}\nmodule = {:?}\npin_file = {pin:?}\n", token.uri(), module)
}

fn folder() -> TempDir {
    scratch::folder("keywright").expect("a private folder")
}

pub(crate) fn private(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("it can be written");
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("its mode can be set");
}
