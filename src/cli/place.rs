//! Which keyring a command is about: `--dev [--dir DIR]` or `--config FILE`, the same for every command.

use std::path::PathBuf;

use clap::Args;

use super::advice;
use super::failure::{Exit, Failure};
use super::prompt::Asking;
#[cfg(feature = "operator")]
use crate::config::cluster::Cluster;
use crate::config::{self, Config};
use crate::keyring::seal::{MIN_PASSPHRASE, Opener, SealError};
use crate::keyring::store::LoadError;
use crate::provider::pkcs11::{TokenName, Tokens};
use crate::secret::SecretBytes;
use crate::source::Source;
use crate::unseal::{Seal, UnsealError};

/// Names in a development folder.
const DEV_KEYRING: &str = "keyring";
const DEV_SOCKET: &str = "kms.sock";
const DEV_STATE: &str = "state";

/// Names a keyring.
#[derive(Args)]
#[group(id = "place", multiple = true)]
pub(super) struct Arguments {
    /// Use the insecure development keyring in DIR
    #[arg(long, conflicts_with = "config")]
    dev: bool,
    /// Folder of the development keyring [default: $XDG_STATE_HOME/keywright/dev, or the same below ~/.local/state]
    #[arg(long, value_name = "DIR", requires = "dev")]
    dir: Option<PathBuf>,
    /// Use the keyring that this configuration file names
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Names a running plugin.
#[cfg(feature = "operator")]
#[derive(Args)]
pub(super) struct PluginArguments {
    #[command(flatten)]
    place: Arguments,
    /// The socket to ask, in place of the one that --dev or --config names [default: /run/keywright/kms.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

#[cfg(feature = "operator")]
impl PluginArguments {
    /// Where it listens.
    pub(super) fn socket(&self) -> Result<PathBuf, Failure> {
        let named = match self.place.resolve()? {
            Place::Dev(folder) => folder.socket(),
            Place::Config(config) => config.serve.socket.path,
            Place::Unnamed => config::DEFAULT_SOCKET.into(),
        };
        Ok(self.socket.clone().unwrap_or(named))
    }
}

/// What a command was told.
pub(super) enum Place {
    Dev(DevFolder),
    Config(Box<Config>),
    /// Neither was said.
    Unnamed,
}

/// A folder with a development keyring.
pub(super) struct DevFolder(PathBuf);

impl Arguments {
    pub(super) fn resolve(&self) -> Result<Place, Failure> {
        if self.dev {
            let dir = self.dir.clone().map_or_else(default_dev_folder, Ok)?;
            let dir = std::path::absolute(&dir)
                .map_err(|e| Failure::new(Exit::Usage, format!("use the folder {}", dir.display()), e, "Name a folder with --dir."))?;
            return Ok(Place::Dev(DevFolder(dir)));
        }
        match &self.config {
            Some(path) => {
                let config = config::read(path).map_err(|e| {
                    let next = "`docs/config.toml` shows every key; nothing was started.";
                    Failure::new(Exit::Configuration, "read the configuration", e, next)
                })?;
                Ok(Place::Config(Box::new(config)))
            }
            None => Ok(Place::Unnamed),
        }
    }
}

impl DevFolder {
    pub(super) fn keyring(&self) -> PathBuf {
        self.0.join(DEV_KEYRING)
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.0.join(DEV_SOCKET)
    }

    fn state(&self) -> PathBuf {
        self.0.join(DEV_STATE)
    }

    pub(super) fn source(&self) -> Source {
        Source { path: self.keyring(), seal: Seal::InsecureDevelopment, state_dir: self.state(), tokens: Tokens::none() }
    }

    /// Makes the folder, closed to others, if it is not there.
    pub(super) fn create(&self) -> Result<(), Failure> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(self.state()).map_err(|e| {
            let attempted = format!("make the development folder {}", self.0.display());
            Failure::new(Exit::Configuration, attempted, e, "Name a folder that can be made with --dir DIR.")
        })
    }
}

fn default_dev_folder() -> Result<PathBuf, Failure> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("keywright/dev")).ok_or_else(|| {
        Failure::new(Exit::Usage, "find the development folder", "neither XDG_STATE_HOME nor HOME is set", "Name it with --dir DIR.")
    })
}

/// Reads what opens a keyring.
pub(super) fn opener(source: &Source) -> Result<Opener, Failure> {
    source.seal.opener(&source.tokens).map_err(|e| unseal_failure(&e))
}

pub(super) fn unseal_failure(error: &UnsealError) -> Failure {
    Failure::new(Exit::Configuration, "read what opens the keyring", error, advice::unseal(error))
}

/// Asks the person at the terminal for a passphrase of the keyring; twice if it is a new one, which must be long enough.
pub(super) fn ask_passphrase(new: bool) -> Result<Opener, Failure> {
    let asking = Asking {
        attempted: "ask for the passphrase",
        instead: "Run the command at a terminal, or give the passphrase as a credential (`seal.passphrase_credential`).",
    };
    let passphrase = if new { asking.twice("New passphrase: ", long_enough) } else { asking.once("Passphrase: ") };
    passphrase.map(Opener::Passphrase)
}

/// Asks the person at the terminal for the PIN of a token.
pub(super) fn ask_pin(token: &TokenName) -> Result<SecretBytes, String> {
    let asking = Asking { attempted: "ask for the PIN", instead: "Set `pin_credential` or `pin_file`, or run the command at a terminal." };
    asking.once(&format!("PIN of token {token}: ")).map_err(|failure| format!("{} ({})", failure.why, failure.next))
}

fn long_enough(passphrase: &SecretBytes) -> Result<(), Failure> {
    if passphrase.len() >= MIN_PASSPHRASE {
        return Ok(());
    }
    let error = LoadError::Seal(SealError::ShortPassphrase(passphrase.len()));
    Err(Failure::new(Exit::Usage, "take the passphrase", &error, advice::load(&error)))
}

/// The keyring of a command: where it is, and where its plugin is.
#[cfg(feature = "operator")]
pub(super) struct Named {
    pub(super) source: Source,
    pub(super) socket: PathBuf,
    pub(super) dev: bool,
    /// Whether the configuration says that its credential is not lost with the machine.
    pub(super) credential_is_kept: bool,
    /// Whether it does not say that its token is lost with the machine.
    pub(super) token_is_kept: bool,
    /// The cluster that it is for.
    pub(super) cluster: Cluster,
}

#[cfg(feature = "operator")]
impl Place {
    /// Everything that a command needs to find the keyring.
    pub(super) fn named(self) -> Result<Named, Failure> {
        match self {
            Self::Dev(folder) => Ok(Named {
                source: folder.source(),
                socket: folder.socket(),
                dev: true,
                credential_is_kept: false,
                token_is_kept: true,
                cluster: Cluster::default(),
            }),
            Self::Config(config) => {
                let credential_is_kept = matches!(config.seal, Seal::Credential(_)) && !config.machine_bound;
                let token_is_kept = !config.machine_bound;
                Ok(Named {
                    source: config.source(Some(ask_pin)),
                    socket: config.serve.socket.path,
                    dev: false,
                    credential_is_kept,
                    token_is_kept,
                    cluster: config.cluster,
                })
            }
            Self::Unnamed => {
                let next = "Say `--config FILE`, or `--dev` for the development keyring.";
                Err(Failure::new(Exit::Usage, "find the keyring", "no keyring was named", next))
            }
        }
    }
}

#[cfg(feature = "operator")]
impl Named {
    /// What opens it: what the configuration says, or a passphrase from the terminal.
    pub(super) fn opener(&self, ask: bool) -> Result<Opener, Failure> {
        if ask { ask_passphrase(false) } else { opener(&self.source) }
    }
}
