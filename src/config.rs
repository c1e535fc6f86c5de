//! The configuration file: strict TOML to validated settings. An unknown key is an error that names its line and the nearest valid one.

pub mod cluster;
mod token;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;
use toml::Spanned;

use cluster::{Cluster, RawKubernetes, RawStore};
use token::RawToken;

use crate::keyring::document::NodeName;
use crate::keyring::seal::is_credential_name;
use crate::provider::pkcs11::{Ask, TokenSettings, Tokens};
use crate::server::{Settings, SocketError, SocketSettings, check_socket_path};
use crate::source::Source;
use crate::unseal::Seal;

/// Where a plugin of the packaged unit listens.
pub const DEFAULT_SOCKET: &str = "/run/keywright/kms.sock";
/// Where the plugin of the packaged unit keeps its state.
pub const DEFAULT_STATE: &str = "/var/lib/keywright";
/// Largest configuration file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Why a configuration is not valid.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not a configuration of a plausible size.
    #[error("{0} has more than 1 MiB: it is no configuration of Keywright")]
    TooLarge(PathBuf),
    /// A key that does not exist.
    #[error("{}:{line}: unknown key `{key}`{}", path.display(), nearest.as_deref().map(|n| format!("; did you mean `{n}`?")).unwrap_or_default())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The key as it stands there.
        key: String,
        /// The valid one that is spelled most like it.
        nearest: Option<String>,
    },
    /// Not TOML, a value of the wrong type, or a key that is missing.
    #[error("{}:{line}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What the parser said.
        message: String,
    },
    /// A value out of its range.
    #[error("{}:{line}: `{key}` {problem}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The key with its table.
        key: &'static str,
        /// What is wrong with its value.
        problem: String,
    },
}

/// A validated configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The keyring file.
    pub keyring: PathBuf,
    /// What opens it.
    pub seal: Seal,
    /// Whether that is lost with the machine.
    pub machine_bound: bool,
    /// Where the plugin remembers what it has seen.
    pub state_dir: PathBuf,
    /// How to serve.
    pub serve: Settings,
    /// The cluster that it is for.
    pub cluster: Cluster,
    /// The tokens that its keys may be in.
    pub tokens: Vec<TokenSettings>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    keyring: Spanned<PathBuf>,
    state_dir: Option<Spanned<PathBuf>>,
    node: Option<Spanned<String>>,
    seal: Spanned<RawSeal>,
    #[serde(default)]
    socket: RawSocket,
    #[serde(default)]
    kms: RawKms,
    #[serde(default)]
    limits: RawLimits,
    #[serde(default)]
    token: Vec<RawToken>,
    #[serde(default)]
    etcd: Vec<RawStore>,
    #[serde(default)]
    kubernetes: RawKubernetes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSeal {
    credential: Option<Spanned<String>>,
    key_file: Option<Spanned<PathBuf>>,
    passphrase_credential: Option<Spanned<String>>,
    token: Option<Spanned<String>>,
    machine_bound: Option<Spanned<bool>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawSocket {
    path: Option<Spanned<PathBuf>>,
    mode: Option<Spanned<String>>,
    gid: Option<u32>,
    allow_uids: Option<Spanned<Vec<u32>>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawKms {
    #[serde(default)]
    v1: bool,
    #[serde(default)]
    legacy_clients: bool,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    connections: Option<Spanned<usize>>,
    drain: Option<Spanned<String>>,
}

/// Reads and validates the configuration at `path`.
pub fn read(path: &Path) -> Result<Config, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(failed)?.len() > MAX_FILE {
        return Err(ConfigError::TooLarge(path.to_owned()));
    }
    parse(path, &std::fs::read_to_string(path).map_err(failed)?)
}

/// Validates `text`, which was read from `path`.
pub fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
    let raw: Raw = toml::from_str(text).map_err(|error| syntax_error(path, text, &error))?;
    let at = Place { path, text };
    let keyring = at.absolute("keyring", raw.keyring)?;
    let tokens = at.tokens(raw.token)?;
    let (seal, machine_bound) = at.seal(raw.seal, &tokens)?;
    let state_dir = raw.state_dir.map_or_else(|| Ok(PathBuf::from(DEFAULT_STATE)), |dir| at.absolute("state_dir", dir))?;
    let socket = at.socket(raw.socket)?;
    let (max_connections, drain) = at.limits(raw.limits)?;
    let node = at.node(raw.node)?;
    let serve = Settings {
        admin_path: admin_path(&socket.path),
        node,
        socket,
        v1: raw.kms.v1,
        legacy_clients: raw.kms.legacy_clients,
        max_connections,
        drain,
    };
    let cluster = at.cluster(raw.etcd, raw.kubernetes)?;
    Ok(Config { keyring, seal, machine_bound, state_dir, serve, cluster, tokens })
}

impl Config {
    /// Where the plugin finds its keyring.
    ///
    /// `ask`: who is asked for a PIN that the configuration does not say where to find.
    pub fn source(&self, ask: Option<Ask>) -> Source {
        Source {
            path: self.keyring.clone(),
            seal: self.seal.clone(),
            state_dir: self.state_dir.clone(),
            tokens: Tokens::of(&self.tokens, &self.state_dir, ask),
        }
    }

    /// The settings of a plugin that nothing was said about but its socket.
    pub fn default_serve(socket: PathBuf) -> Settings {
        Settings {
            admin_path: admin_path(&socket),
            node: None,
            socket: SocketSettings { path: socket, mode: 0o600, gid: None, allow_uids: default_uids() },
            v1: false,
            legacy_clients: false,
            max_connections: 64,
            drain: Duration::from_secs(10),
        }
    }
}

/// The second socket stands beside the first: `kms.sock` has `kms.sock.admin`.
pub fn admin_path(socket: &Path) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(".admin");
    path.into()
}

/// Root, as which a kube-apiserver usually runs, and ourselves.
fn default_uids() -> Vec<u32> {
    vec![0, rustix::process::geteuid().as_raw()]
}

/// The file that a value stands in.
struct Place<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Place<'_> {
    fn refuse<T, V>(&self, key: &'static str, value: &Spanned<V>, problem: impl Into<String>) -> Result<T, ConfigError> {
        let line = line_of(self.text, value.span().start);
        Err(ConfigError::Value { path: self.path.to_owned(), line, key, problem: problem.into() })
    }

    fn node(&self, node: Option<Spanned<String>>) -> Result<Option<NodeName>, ConfigError> {
        let problem = "must be a node's name: lower-case letters, digits, `-` and `.`";
        node.map(|node| node.get_ref().parse().or_else(|()| self.refuse("node", &node, problem))).transpose()
    }

    fn absolute(&self, key: &'static str, value: Spanned<PathBuf>) -> Result<PathBuf, ConfigError> {
        if value.get_ref().is_absolute() { Ok(value.into_inner()) } else { self.refuse(key, &value, "must be an absolute path") }
    }

    fn seal(&self, seal: Spanned<RawSeal>, tokens: &[TokenSettings]) -> Result<(Seal, bool), ConfigError> {
        let at = Spanned::new(seal.span(), ());
        let RawSeal { credential, key_file, passphrase_credential, token, machine_bound } = seal.into_inner();
        let name = |key, name: Spanned<String>| {
            if is_credential_name(name.get_ref()) {
                Ok(name.into_inner())
            } else {
                self.refuse(key, &name, "must be the name of a credential, not a path")
            }
        };
        let seal = match (credential, key_file, passphrase_credential, token) {
            (Some(credential), None, None, None) => Seal::Credential(name("seal.credential", credential)?),
            (None, Some(path), None, None) => Seal::KeyFile(self.absolute("seal.key_file", path)?),
            (None, None, Some(credential), None) => Seal::PassphraseCredential(name("seal.passphrase_credential", credential)?),
            (None, None, None, Some(uri)) => {
                let token = self.token_name("seal.token", &uri)?;
                if tokens.iter().all(|known| known.name != token) {
                    return self.refuse("seal.token", &uri, "names a token that has no [[token]] table");
                }
                Seal::Token(token)
            }
            _ => return self.refuse("seal", &at, "must have exactly one of `credential`, `key_file`, `passphrase_credential` and `token`"),
        };
        match (&seal, machine_bound) {
            // What LoadCredentialEncrypted= loads is usually sealed to the machine, and nobody but the operator knows.
            (Seal::Credential(_), machine_bound) => Ok((seal, machine_bound.is_none_or(Spanned::into_inner))),
            // One that cannot leave the machine is; an HSM with a backup is not.
            (Seal::Token(_), Some(value)) => Ok((seal, value.into_inner())),
            (_, None) => Ok((seal, false)),
            (_, Some(value)) => self.refuse("seal.machine_bound", &value, "is only for `seal.credential` and `seal.token`"),
        }
    }

    fn socket(&self, raw: RawSocket) -> Result<SocketSettings, ConfigError> {
        let mut settings = Config::default_serve(PathBuf::from(DEFAULT_SOCKET)).socket;
        settings.gid = raw.gid;
        if let Some(path) = raw.path {
            if path.get_ref().to_string_lossy().starts_with('@') {
                return self.refuse(
                    "socket.path",
                    &path,
                    "must not be an abstract socket: it has no owner and no mode, anybody may bind the name first",
                );
            }
            if let Err(error) = check_socket_path(path.get_ref()) {
                return self.refuse("socket.path", &path, problem_of(&error));
            }
            settings.path = path.into_inner();
        }
        if let Some(mode) = raw.mode {
            match u32::from_str_radix(mode.get_ref(), 8) {
                Ok(bits) if bits & !0o666 == 0 && bits & 0o600 == 0o600 && bits & 0o006 == 0 => settings.mode = bits,
                _ => return self.refuse("socket.mode", &mode, "must be \"0600\" or \"0660\": whoever may connect can unwrap every key"),
            }
        }
        if let Some(uids) = raw.allow_uids {
            if uids.get_ref().is_empty() {
                return self.refuse("socket.allow_uids", &uids, "must name at least one uid, or nobody can connect");
            }
            settings.allow_uids = uids.into_inner();
        }
        Ok(settings)
    }

    fn limits(&self, raw: RawLimits) -> Result<(usize, Duration), ConfigError> {
        let Settings { mut max_connections, mut drain, .. } = Config::default_serve(PathBuf::new());
        if let Some(connections) = raw.connections {
            if !(1..=4096).contains(connections.get_ref()) {
                return self.refuse("limits.connections", &connections, "must be from 1 to 4096");
            }
            max_connections = connections.into_inner();
        }
        if let Some(text) = raw.drain {
            match humantime::parse_duration(text.get_ref()) {
                Ok(duration) if duration <= Duration::from_secs(300) => drain = duration,
                _ => return self.refuse("limits.drain", &text, "must be a duration of at most five minutes, such as \"10s\""),
            }
        }
        Ok((max_connections, drain))
    }
}

/// The line, counted from 1, on which byte `at` of `text` stands.
fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count()
}

fn problem_of(error: &SocketError) -> String {
    match error {
        SocketError::TooLong { .. } => format!("must have at most {} bytes, the limit of a Unix socket", crate::server::MAX_SOCKET_PATH),
        _ => "must be the absolute path of a file".into(),
    }
}

fn syntax_error(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let line = error.span().map_or(1, |span| line_of(text, span.start));
    let path = path.to_owned();
    // serde's own wording: unknown field `a`, expected one of `b`, `c`. A test holds us to it.
    let mut quoted = error.message().split('`').skip(1).step_by(2);
    if error.message().starts_with("unknown field")
        && let Some(key) = quoted.next()
    {
        let nearest = quoted.map(|valid| (strsim::damerau_levenshtein(key, valid), valid)).min();
        let nearest = nearest.filter(|(distance, valid)| *distance <= valid.len().div_ceil(2)).map(|(_, valid)| valid.to_owned());
        return ConfigError::UnknownKey { path, line, key: key.to_owned(), nearest };
    }
    ConfigError::Syntax { path, line, message: error.message().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEALED: &str = "keyring = \"/k\"\n[seal]\nkey_file = \"/s\"\n";

    fn parsed(text: &str) -> Result<Config, ConfigError> {
        parse(Path::new("c.toml"), text)
    }

    fn message(text: &str) -> String {
        parsed(text).expect_err("not valid").to_string()
    }

    #[test]
    fn what_is_not_said_has_a_safe_default() {
        let config = parsed(SEALED).expect("valid");
        assert_eq!(config.serve.socket.path, Path::new(DEFAULT_SOCKET));
        assert_eq!(config.serve.socket.mode, 0o600);
        assert!(config.serve.socket.allow_uids.contains(&0));
        assert!(!config.serve.v1 && !config.serve.legacy_clients);
        assert_eq!(config.seal, Seal::KeyFile("/s".into()));
    }

    #[test]
    fn the_documented_example_is_valid() {
        let text = include_str!("../docs/config.toml");
        let config = parsed(text).expect("valid");
        assert_eq!(config.seal, Seal::Credential("keywright-seal".into()));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_valid_one() {
        let text = format!("{SEALED}[socket]\npath = \"/run/x\"\nmdoe = \"0600\"\n");
        assert_eq!(message(&text), "c.toml:6: unknown key `mdoe`; did you mean `mode`?");
        assert_eq!(message("keyrign = \"/k\"\n"), "c.toml:1: unknown key `keyrign`; did you mean `keyring`?");
        assert_eq!(message(&format!("{SEALED}[kms]\nxyzzy = true\n")), "c.toml:5: unknown key `xyzzy`");
        assert_eq!(message("keyring = \"/k\"\n[seal]\nkeyfile = \"/s\"\n"), "c.toml:3: unknown key `keyfile`; did you mean `key_file`?");
    }

    #[test]
    fn a_value_out_of_its_range_is_named_with_its_line() {
        for (extra, start) in [
            ("[socket]\nmode = \"0666\"", "c.toml:5: `socket.mode` must be"),
            ("[socket]\nmode = \"rw\"", "c.toml:5: `socket.mode` must be"),
            ("[socket]\npath = \"@kms\"", "c.toml:5: `socket.path` must not be an abstract socket"),
            ("[socket]\npath = \"kms.sock\"", "c.toml:5: `socket.path` must be the absolute path"),
            ("[socket]\nallow_uids = []", "c.toml:5: `socket.allow_uids` must name"),
            ("[limits]\nconnections = 0", "c.toml:5: `limits.connections` must be"),
            ("[limits]\ndrain = \"1h\"", "c.toml:5: `limits.drain` must be"),
            ("[limits]\ndrain = 10", "c.toml:5: invalid type"),
        ] {
            let message = message(&format!("{SEALED}{extra}\n"));
            assert!(message.starts_with(start), "{message}");
        }
        let long = format!("{SEALED}[socket]\npath = \"/{}\"\n", "p".repeat(107));
        assert!(message(&long).contains("at most 107 bytes"));
    }

    #[test]
    fn the_seal_is_exactly_one_thing() {
        assert!(message("keyring = \"/k\"\n[seal]\n").contains("exactly one of"));
        assert!(message("keyring = \"/k\"\n[seal]\nkey_file = \"/s\"\ncredential = \"c\"\n").contains("exactly one of"));
        assert!(message("keyring = \"/k\"\n[seal]\ncredential = \"../c\"\n").contains("not a path"));
        assert!(message("keyring = \"/k\"\n").contains("missing field `seal`"));
        assert!(message("keyring = \"k\"\n[seal]\nkey_file = \"/s\"\n").contains("absolute"));
    }
}
