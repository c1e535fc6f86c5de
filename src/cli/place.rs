//! Which keyring a command is about: `--dev [--dir DIR]` or `--config FILE`, the same for every command.

use std::path::PathBuf;

use clap::Args;

use super::advice;
use super::failure::{Exit, Failure};
use crate::config::{self, Config, Seal};
use crate::keyring::seal::Opener;
use crate::ownership;

/// Largest credential or key file, in bytes.
const MAX_SECRET: u64 = 64 << 10;
/// Names in a development folder.
const DEV_KEYRING: &str = "keyring";
const DEV_SOCKET: &str = "kms.sock";

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
    pub(super) fn resolve(self) -> Result<Place, Failure> {
        if self.dev {
            let dir = self.dir.map_or_else(default_dev_folder, Ok)?;
            let dir = std::path::absolute(&dir)
                .map_err(|e| Failure::new(Exit::Usage, format!("use the folder {}", dir.display()), e, "Name a folder with --dir."))?;
            return Ok(Place::Dev(DevFolder(dir)));
        }
        match self.config {
            Some(path) => {
                let config = config::read(&path).map_err(|e| {
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

    /// Makes the folder, closed to others, if it is not there.
    pub(super) fn create(&self) -> Result<(), Failure> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0).map_err(|e| {
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

/// Reads what opens the keyring of a configuration.
pub(super) fn opener(seal: &Seal) -> Result<Opener, Failure> {
    let failed = |what: &str, error: &ownership::OwnershipError| {
        Failure::new(Exit::Configuration, format!("read the {what} that opens the keyring"), error, advice::ownership(error))
    };
    let secret = match seal {
        Seal::KeyFile(path) => ownership::read_private_file(path, MAX_SECRET).map_err(|e| failed("key file", &e))?,
        Seal::Credential(name) => {
            let folder = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
                let attempted = format!("read the credential `{name}` that opens the keyring");
                let why = "this process was given no credentials ($CREDENTIALS_DIRECTORY is not set)";
                let next = format!(
                    "Run the command in a unit with LoadCredential={name}:... , for example by `systemd-run --pipe --wait -p LoadCredential={name}:PATH keywright ...`."
                );
                Failure::new(Exit::Configuration, attempted, why, next)
            })?;
            ownership::read_credential(&PathBuf::from(folder).join(name), MAX_SECRET).map_err(|e| failed("credential", &e))?
        }
    };
    Ok(Opener::Secret(secret))
}
