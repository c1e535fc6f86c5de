//! A machine with tokens: a configuration that names them, PIN files, and the built binary run on it.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use keywright::client::admin;
use keywright::config::admin_path;
use keywright::protocol::v2::key_management_service_client::KeyManagementServiceClient;
use keywright::protocol::v2::{DecryptRequest, EncryptRequest, StatusRequest};
use keywright_testbed::plugin::Plugin;
use keywright_testbed::process::Process;
use keywright_testbed::ran::Ran;
use keywright_testbed::tokens::{Object, Token};
use keywright_testbed::{scratch, wait};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// How long anything may take that takes milliseconds; the machine may be busy.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// Goes on without a look into etcd, of which there is none here.
pub(crate) const RISK: [&str; 2] = ["--accept-risk", "a test"];

pub(crate) fn folder() -> TempDir {
    scratch::folder("tokens").expect("folder")
}

pub(crate) fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_keywright")
}

/// Writes a file of this mode.
pub(crate) fn write(path: &Path, bytes: impl AsRef<[u8]>, mode: u32) {
    std::fs::write(path, bytes).expect("write");
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("chmod");
}

/// A keyring of local keys, which every place opens, for each has the same seal key.
pub(crate) fn local_keyring() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let place = Place::new(&[]);
        place.init(&[]);
        place.text()
    });
    &TEXT
}

/// What is in the tokens, in an order of its own.
pub(crate) fn objects(tokens: &[&Token]) -> Vec<Vec<Object>> {
    let of = |token: &&Token| {
        let mut objects = token.objects().expect("lists its objects");
        objects.sort_by(|a, b| (&a.kind, &a.label, &a.id).cmp(&(&b.kind, &b.label, &b.id)));
        objects
    };
    tokens.iter().map(of).collect()
}

pub(crate) fn ids(token: &Token) -> Vec<String> {
    let mut ids: Vec<String> = token.objects().expect("lists its objects").into_iter().map(|object| object.id).collect();
    ids.sort();
    ids
}

/// The table of a token, whose PIN is in a file of `dir`.
pub(crate) fn table(dir: &Path, token: &Token) -> String {
    let pin = dir.join(format!("pin-{}", token.serial()));
    write(&pin, token.pin(), 0o600);
    let module = token.hsm().module();
    let insecure = if module.starts_with("/usr") { "" } else { "insecure_module_owner = true\n" };
    format!(
        "[[token]]\nuri = \"{}\"\nmodule = \"{}\"\npin_file = \"{}\"\naway_after = \"2s\"\n{insecure}",
        token.uri(),
        module.display(),
        pin.display()
    )
}

/// A folder with a configuration and, after `init`, a keyring.
pub(crate) struct Place {
    dir: TempDir,
    env: Vec<(String, OsString)>,
}

impl Place {
    /// One that has these tokens and a key file for a seal; no keyring yet.
    pub(crate) fn new(tokens: &[&Token]) -> Self {
        Self::sealed(tokens, "key_file = \"DIR/seal.key\"")
    }

    /// The same with another seal; `DIR` is its folder.
    pub(crate) fn sealed(tokens: &[&Token], seal: &str) -> Self {
        let dir = folder();
        for name in ["keys", "state"] {
            std::fs::create_dir(dir.path().join(name)).expect("mkdir");
            std::fs::set_permissions(dir.path().join(name), PermissionsExt::from_mode(0o700)).expect("chmod");
        }
        write(&dir.path().join("seal.key"), [7; 32], 0o600);
        let env = tokens.iter().filter_map(|token| token.hsm().env()).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let place = Self { dir, env };
        place.configure(seal, &tokens.iter().map(|token| table(place.dir(), token)).collect::<String>());
        place
    }

    /// A keyring whose first key is in the token of `label`.
    pub(crate) fn made(tokens: &[&Token], label: &str, more: &[&str]) -> Self {
        let place = Self::new(tokens);
        place.init(&[&["--provider", "pkcs11", "--token", label], more].concat());
        place
    }

    /// Writes its configuration anew.
    pub(crate) fn configure(&self, seal: &str, tables: &str) {
        let text = format!(
            "keyring = \"DIR/keys/keyring\"\nstate_dir = \"DIR/state\"\n[socket]\npath = \"DIR/kms.sock\"\n[seal]\n{seal}\n{tables}"
        );
        write(&self.config(), text.replace("DIR", self.dir().to_str().expect("text")), 0o644);
    }

    /// Puts `new` in the place of `old` in its configuration, which has it.
    pub(crate) fn edit(&self, old: &str, new: &str) {
        let text = std::fs::read_to_string(self.config()).expect("read");
        assert!(text.contains(old), "no {old} in {text}");
        write(&self.config(), text.replace(old, new), 0o644);
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn config(&self) -> PathBuf {
        self.dir().join("config.toml")
    }

    pub(crate) fn keyring(&self) -> PathBuf {
        self.dir().join("keys/keyring")
    }

    pub(crate) fn text(&self) -> String {
        std::fs::read_to_string(self.keyring()).expect("the keyring is there")
    }

    fn words(&self, words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).chain(["--config".into(), self.config().into()]).collect()
    }

    /// A command, and what it needs to find the tokens.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(self.words(words)).envs(self.env.iter().cloned()).env_remove("CREDENTIALS_DIRECTORY");
        command
    }

    /// The same behind another program, such as strace.
    pub(crate) fn behind(&self, program: &str, before: &[&str], words: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(before).arg(binary()).args(self.words(words)).envs(self.env.iter().cloned()).env_remove("CREDENTIALS_DIRECTORY");
        command
    }

    /// Runs a command to its end.
    #[track_caller]
    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        Ran::of(&mut self.command(words)).expect("ends by itself")
    }

    /// Starts a command that will not come to its end.
    pub(crate) fn start(&self, words: &[&str]) -> Process {
        Process::spawn("command", &mut self.command(words)).expect("starts")
    }

    /// As [`Place::run`], with `--output json`; asserts success.
    #[track_caller]
    pub(crate) fn json(&self, words: &[&str]) -> Value {
        let ran = self.run(&[words, &["--output", "json"]].concat());
        assert_eq!(ran.code, 0, "{words:?}: {ran:?}");
        ran.json()
    }

    /// Makes the keyring, without a hold.
    #[track_caller]
    pub(crate) fn init(&self, words: &[&str]) {
        self.run(&[&["init", "--hold", "0s"], words].concat()).succeeds();
    }

    /// `rotate begin` and `rotate promote`; gives the new key_id.
    #[track_caller]
    pub(crate) fn rotate(&self, words: &[&str]) -> String {
        let begun = self.json(&[&["rotate", "begin"], words].concat());
        self.json(&["rotate", "promote"]);
        begun["key_id"].as_str().expect("text").to_owned()
    }

    /// `rotate verify` and `rotate disable`.
    #[track_caller]
    pub(crate) fn retire(&self, key_id: &str) {
        for step in ["verify", "disable"] {
            self.json(&[&["rotate", step, key_id], &RISK[..]].concat());
        }
    }

    /// The words of `rotate destroy`.
    pub(crate) fn destroying(key_id: &str) -> Vec<&str> {
        ["rotate", "destroy", key_id, "--yes-destroy", key_id].into_iter().chain(RISK).collect()
    }

    /// The key_ids, oldest first.
    #[track_caller]
    pub(crate) fn key_ids(&self) -> Vec<String> {
        self.column("key_id")
    }

    #[track_caller]
    pub(crate) fn column(&self, name: &str) -> Vec<String> {
        let list = self.json(&["keyring", "list"]);
        list.as_array().expect("a list").iter().map(|v| v[name].as_str().unwrap_or("-").to_owned()).collect()
    }

    /// What `keyring show` says of tokens.
    #[track_caller]
    pub(crate) fn in_tokens(&self) -> Value {
        self.json(&["keyring", "show"])["tokens"].clone()
    }

    /// The ids of keys in tokens that are of no version, as `keyring show` lists them, sorted.
    #[track_caller]
    pub(crate) fn orphans(&self) -> Vec<String> {
        let shown = self.in_tokens();
        let of = shown["of_no_version"].as_array().expect("a list");
        let mut ids: Vec<String> = of.iter().map(|key| id_in(key["key"].as_str().expect("text"))).collect();
        ids.sort();
        ids
    }

    /// Exports it under a passphrase: the words that name and open the export, for whoever imports it.
    #[track_caller]
    pub(crate) fn export(&self) -> [String; 5] {
        write(&self.dir().join("words"), "eleven lilac otters juggle quietly\n", 0o600);
        let file = |name: &str| self.dir().join(name).display().to_string();
        let (words, export) = (file("words"), file("keyring.age"));
        let made = self.json(&["keyring", "export", "--passphrase-file", &words, "--output-file", &export]);
        let digest = made["digest"].as_str().expect("text").to_owned();
        [export, "--passphrase-file".into(), words, "--digest".into(), digest]
    }

    fn socket(&self) -> PathBuf {
        self.dir().join("kms.sock")
    }

    /// Starts the plugin and waits for nothing.
    pub(crate) fn spawn(&self) -> Plugin {
        Plugin::started(&mut self.command(&["serve"]), &self.socket()).expect("starts")
    }

    /// Starts the plugin and waits until its keys answer.
    #[track_caller]
    pub(crate) fn serve(&self) -> Plugin {
        let plugin = self.spawn();
        plugin.ready().unwrap_or_else(|e| panic!("{e}: {}", plugin.log().tail(20)));
        plugin
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.socket())
    }

    /// Waits until the plugin serves the generation that stands in the file.
    pub(crate) fn loaded(&self) {
        let line = format!("generation {}", self.json(&["keyring", "show"])["generation"]);
        wait::until(&line, SOON, || {
            let state = admin::get(&admin_path(&self.socket()), "/state").map_err(|e| e.to_string())?;
            if state.lines().any(|l| l == line) { Ok(()) } else { Err(state) }
        })
        .expect("it comes");
    }
}

/// The id of a key in hexadecimal, from its name `pkcs11:...;id=%01%02...`.
pub(crate) fn id_in(key: &str) -> String {
    key.rsplit_once(";id=").expect("a name of a key has its id").1.replace('%', "").to_ascii_lowercase()
}

/// The bytes of an id that is written in hexadecimal.
pub(crate) fn bytes_of(id: &str) -> Vec<u8> {
    (0..id.len() / 2).map(|at| u8::from_str_radix(&id[2 * at..2 * at + 2], 16).expect("hexadecimal")).collect()
}

/// What Encrypt answered.
pub(crate) struct Wrapped {
    pub(crate) key_id: String,
    pub(crate) ciphertext: Vec<u8>,
}

pub(crate) const SEED: &[u8] = b"a seed of thirty-two bytes, fixed";

/// One connection to a plugin.
pub(crate) struct Client {
    runtime: Runtime,
    client: KeyManagementServiceClient<Channel>,
}

impl Client {
    fn connect(socket: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let socket = socket.to_owned();
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://localhost").timeout(SOON);
        let channel = runtime.block_on(endpoint.connect_with_connector(connector)).expect("connects");
        Self { runtime, client: KeyManagementServiceClient::new(channel) }
    }

    /// The key_id that Status names.
    pub(crate) fn status(&mut self) -> Result<String, Status> {
        self.runtime.block_on(self.client.status(StatusRequest {})).map(|answer| answer.into_inner().key_id)
    }

    pub(crate) fn encrypt(&mut self) -> Wrapped {
        let request = EncryptRequest { plaintext: SEED.to_vec(), uid: "test".into() };
        let answer = self.runtime.block_on(self.client.encrypt(request)).expect("Encrypt answers").into_inner();
        Wrapped { key_id: answer.key_id, ciphertext: answer.ciphertext }
    }

    pub(crate) fn decrypt(&mut self, wrapped: &Wrapped) -> Result<(), Status> {
        let request = DecryptRequest {
            ciphertext: wrapped.ciphertext.clone(),
            uid: "test".into(),
            key_id: wrapped.key_id.clone(),
            annotations: Default::default(),
        };
        let answer = self.runtime.block_on(self.client.decrypt(request))?.into_inner();
        assert_eq!(answer.plaintext, SEED);
        Ok(())
    }

    /// Asserts that each opens.
    #[track_caller]
    pub(crate) fn opens(&mut self, wrapped: &[&Wrapped]) {
        wrapped.iter().for_each(|wrapped| self.decrypt(wrapped).expect("opens"));
    }
}
