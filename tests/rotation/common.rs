//! What every file here needs: commands, a keyring to rotate, and a client of the plugin's socket.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use keywright::protocol::v2::key_management_service_client::KeyManagementServiceClient;
use keywright::protocol::v2::{DecryptRequest, EncryptRequest, StatusRequest};
use keywright_testbed::plugin::Plugin;
pub(crate) use keywright_testbed::ran::Ran;
use keywright_testbed::wait;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// How long anything may take that takes milliseconds; the machine may be busy.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_keywright"))
}

/// A private folder that goes away.
pub(crate) fn folder() -> TempDir {
    keywright_testbed::scratch::folder("rotation").expect("folder")
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// Runs the binary to its end.
pub(crate) fn run(arguments: &[&str]) -> Ran {
    Ran::of(Command::new(binary()).args(arguments).env_remove("CREDENTIALS_DIRECTORY")).expect("ends by itself")
}

/// A keyring, and how commands are told of it.
pub(crate) struct Place {
    dir: TempDir,
    names: Vec<String>,
    keyring: PathBuf,
}

impl Place {
    /// A development keyring; its plugin is started by [`Place::serve`], which makes it.
    pub(crate) fn dev() -> Self {
        let dir = folder();
        let names = ["--dev", "--dir", text(dir.path())].map(str::to_owned).to_vec();
        Self { names, keyring: dir.path().join("keyring"), dir }
    }

    /// A keyring in `DIR/keys` with a key file, made by `init`; `top` comes first in the configuration, `init` on its command line.
    pub(crate) fn configured(top: &str, init: &[&str]) -> Self {
        let place = Self::configured_without_keyring(top);
        run(&[&["init", "--config", &place.names[1]], init].concat()).succeeds();
        place
    }

    /// As [`Place::configured`], before `init`.
    pub(crate) fn configured_without_keyring(top: &str) -> Self {
        let dir = folder();
        for name in ["keys", "state"] {
            std::fs::create_dir(dir.path().join(name)).expect("mkdir");
            std::fs::set_permissions(dir.path().join(name), PermissionsExt::from_mode(0o700)).expect("chmod");
        }
        write(&dir.path().join("seal.key"), [7; 32]);
        let config = dir.path().join("config.toml");
        let d = dir.path().display();
        let tables = format!("[socket]\npath = \"{d}/kms.sock\"\n[seal]\nkey_file = \"{d}/seal.key\"\n");
        write(&config, format!("keyring = \"{d}/keys/keyring\"\nstate_dir = \"{d}/state\"\n{top}\n{tables}"));
        Self { names: vec!["--config".to_owned(), text(&config).to_owned()], keyring: dir.path().join("keys/keyring"), dir }
    }

    pub(crate) fn serve(&self) -> Plugin {
        if self.is_dev() {
            Plugin::dev(binary(), self.dir.path()).expect("the plugin starts")
        } else {
            Plugin::configured(binary(), Path::new(&self.names[1]), &self.socket()).expect("the plugin starts")
        }
    }

    pub(crate) fn is_dev(&self) -> bool {
        self.names[0] == "--dev"
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn keyring(&self) -> &Path {
        &self.keyring
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("kms.sock")
    }

    /// How a command is told of it.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Runs a command on this keyring.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        run(&[arguments, &names].concat())
    }

    /// As [`Place::run`], with `--output json`; asserts success.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.run(&[arguments, &["--output", "json"]].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.json()
    }

    /// The key_ids, oldest first.
    pub(crate) fn key_ids(&self) -> Vec<String> {
        let list = self.json(&["keyring", "list"]);
        list.as_array().expect("a list").iter().map(|v| v["key_id"].as_str().expect("text").to_owned()).collect()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.json(&["keyring", "show"])["generation"].as_u64().expect("a number")
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.keyring).expect("the keyring is there")
    }

    /// Puts other bytes in the place of the keyring in one step, as a command or a restore would.
    pub(crate) fn replace(&self, bytes: &[u8]) {
        let new = self.keyring.with_extension("put");
        write(&new, bytes);
        std::fs::rename(&new, &self.keyring).expect("rename");
    }

    /// Waits until the plugin serves what stands in the file.
    pub(crate) fn loaded(&self) {
        let generation = format!("generation {}", self.generation());
        self.state_has(&generation);
    }

    /// Waits until `/state` has this line.
    pub(crate) fn state_has(&self, line: &str) {
        wait::until(line, SOON, || {
            let state = self.admin("/state");
            if state.lines().any(|l| l == line) { Ok(()) } else { Err(state) }
        })
        .expect("it comes");
    }

    /// What the second socket answers, read as any HTTP client would.
    pub(crate) fn admin(&self, path: &str) -> String {
        let mut socket = self.socket().into_os_string();
        socket.push(".admin");
        let mut stream = std::os::unix::net::UnixStream::connect(Path::new(&socket)).expect("the second socket is there");
        stream.set_read_timeout(Some(SOON)).expect("a limit");
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").expect("it listens");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("HTTP");
        assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
        body.to_owned()
    }

    pub(crate) fn client(&self) -> Blocking {
        Blocking::connect(&self.socket())
    }
}

/// Writes a file that only its owner can read.
pub(crate) fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    std::fs::write(path, bytes).expect("write");
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).expect("chmod");
}

/// What Encrypt answered, with what it was asked.
#[derive(Clone)]
pub(crate) struct Wrapped {
    pub(crate) key_id: String,
    pub(crate) ciphertext: Vec<u8>,
    pub(crate) seed: Vec<u8>,
}

/// One connection to a plugin.
#[derive(Clone)]
pub(crate) struct Client(KeyManagementServiceClient<Channel>);

impl Client {
    pub(crate) async fn connect(socket: &Path) -> Self {
        let socket = socket.to_owned();
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://localhost").timeout(SOON);
        Self(KeyManagementServiceClient::new(endpoint.connect_with_connector(connector).await.expect("connects")))
    }

    /// Speaks on a connection that was made before; there is no other one after it.
    pub(crate) async fn on(stream: std::os::unix::net::UnixStream) -> Self {
        stream.set_nonblocking(true).expect("a mode");
        let mut stream = Some(UnixStream::from_std(stream).expect("a stream"));
        let connector = tower::service_fn(move |_| {
            let stream = stream.take().ok_or_else(|| std::io::Error::other("the one connection has ended"));
            async move { stream.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://localhost").timeout(SOON);
        Self(KeyManagementServiceClient::new(endpoint.connect_with_connector(connector).await.expect("connects")))
    }

    /// The key_id that Status names; it must say that all is well.
    pub(crate) async fn status(&mut self) -> Result<String, Status> {
        let answer = self.0.status(StatusRequest {}).await?.into_inner();
        assert_eq!((answer.version.as_str(), answer.healthz.as_str()), ("v2", "ok"));
        Ok(answer.key_id)
    }

    pub(crate) async fn encrypt(&mut self, seed: &[u8]) -> Result<Wrapped, Status> {
        let answer = self.0.encrypt(EncryptRequest { plaintext: seed.to_vec(), uid: "test".into() }).await?.into_inner();
        Ok(Wrapped { key_id: answer.key_id, ciphertext: answer.ciphertext, seed: seed.to_vec() })
    }

    pub(crate) async fn decrypt(&mut self, wrapped: &Wrapped) -> Result<Vec<u8>, Status> {
        let request = DecryptRequest {
            ciphertext: wrapped.ciphertext.clone(),
            uid: "test".into(),
            key_id: wrapped.key_id.clone(),
            annotations: Default::default(),
        };
        let mut answer = self.0.decrypt(request).await?.into_inner();
        Ok(std::mem::take(&mut answer.plaintext))
    }
}

/// The same for callers that block.
pub(crate) struct Blocking {
    runtime: Runtime,
    client: Client,
}

impl Blocking {
    pub(crate) fn connect(socket: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let client = runtime.block_on(Client::connect(socket));
        Self { runtime, client }
    }

    /// Speaks on a connection that was made before.
    pub(crate) fn on(stream: std::os::unix::net::UnixStream) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let client = runtime.block_on(Client::on(stream));
        Self { runtime, client }
    }

    pub(crate) fn status(&mut self) -> String {
        self.try_status().expect("Status answers")
    }

    pub(crate) fn try_status(&mut self) -> Result<String, Status> {
        self.runtime.block_on(self.client.status())
    }

    pub(crate) fn encrypt(&mut self, seed: &[u8]) -> Wrapped {
        self.runtime.block_on(self.client.encrypt(seed)).expect("Encrypt answers")
    }

    pub(crate) fn decrypt(&mut self, wrapped: &Wrapped) -> Result<Vec<u8>, Status> {
        self.runtime.block_on(self.client.decrypt(wrapped))
    }

    /// Asserts that it opens.
    pub(crate) fn opens(&mut self, wrapped: &Wrapped) {
        assert_eq!(self.decrypt(wrapped).expect("Decrypt answers"), wrapped.seed);
    }

    /// Asserts that it is refused like this.
    pub(crate) fn refuses(&mut self, wrapped: &Wrapped, code: tonic::Code, message: &str) {
        let refused = self.decrypt(wrapped).expect_err("Decrypt refuses");
        assert_eq!((refused.code(), refused.message()), (code, message));
    }
}
