//! `keywright serve`: the plugin itself.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Args;

use super::failure::{Exit, Failure};
use super::place::{self, DevFolder, Place};
use super::{advice, print};
use crate::config::Config;
use crate::durable::WriteError;
use crate::entropy::OsEntropy;
use crate::keyring::create::First;
use crate::keyring::document::Time;
use crate::keyring::seal::Opener;
use crate::keyring::store::{self, ChangeError};
use crate::provider::pkcs11::Tokens;
use crate::server::{self, Ready, ServeError, Settings};
use crate::source::SourceError;
use crate::{hardening, log};

/// How long the end may take while a token has swallowed threads: its module may want to have them back first.
const HUNG_END: Duration = Duration::from_secs(5);

/// Serve KMS v2 on a Unix socket
#[derive(Args)]
#[command(after_help = "Logs go to standard error, one line per request, no payloads. SIGTERM ends it after the calls in flight.

Examples:
  keywright serve --dev                                a first look: insecure keyring, socket in its folder
  keywright serve --dev --dir ./dev --socket /run/kms-dev/kms.sock
  keywright serve --config /etc/keywright/config.toml  the real thing; make its keyring once with `init`")]
pub(super) struct Arguments {
    #[command(flatten)]
    place: place::Arguments,
    /// Where to listen, in place of DIR/kms.sock
    #[arg(long, value_name = "PATH", requires = "dev")]
    socket: Option<PathBuf>,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let place = arguments.place.resolve()?;
    hardening::apply().map_err(|e| unexpected("forbid core dumps", e))?;
    let (log, guard) = log::start(std::io::stderr()).map_err(|e| unexpected("start the log", e))?;
    let (settings, source, dev) = match place {
        Place::Dev(folder) => {
            let socket = arguments.socket.unwrap_or_else(|| folder.socket());
            let socket = std::path::absolute(&socket).map_err(|e| unexpected("find the working folder", e))?;
            make_once(&folder)?;
            tracing::warn!("INSECURE development keyring: its root key stands in its file in clear; never for a real cluster");
            (Config::default_serve(socket), folder.source(), true)
        }
        Place::Config(config) => (config.serve.clone(), config.source(None), false),
        Place::Unnamed => {
            let next = "Say `--config FILE`, or `--dev` for a first look.";
            return Err(Failure::new(Exit::Usage, "serve", "no keyring was named", next));
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| unexpected("start the runtime", e))?;
    let (path, tokens) = (source.path.clone(), source.tokens.names().next().is_some());
    let announce = {
        let settings = settings.clone();
        move |ready: &Ready| print(&announcement(ready, &settings, dev))
    };
    let outcome = runtime.block_on(server::serve(settings, log, source, announce));
    // A call that hangs in a module, or what a module does at the end of a process, holds nobody up.
    if tokens {
        hardening::end_within(HUNG_END);
    }
    // A load that hangs in the module of a token is not waited for.
    runtime.shutdown_background();
    // The lines that were logged come before what the caller prints.
    drop(guard);
    outcome.map_err(|error| failure(&path, error))
}

/// What `init` does, for a development keyring, if it was not done before.
fn make_once(folder: &DevFolder) -> Result<(), Failure> {
    folder.create()?;
    // What stands there is loaded, or refused, like any other keyring; making one for nothing would slow every start.
    if folder.keyring().symlink_metadata().is_ok() {
        return Ok(());
    }
    // No hold: a development keyring is for trying things out.
    let first = First {
        openers: &[Opener::InsecureDevelopment],
        nodes: vec![],
        hold: Duration::ZERO,
        key: crate::keyring::create::NewKey::Local,
        now: Time::of(SystemTime::now()),
    };
    match store::create(&folder.keyring(), first, &Tokens::none(), &OsEntropy) {
        Ok(_) | Err(ChangeError::Write(WriteError::Exists(_))) => Ok(()),
        Err(error) => Err(advice::changed(format!("make the development keyring {}", folder.keyring().display()), &error)),
    }
}

fn failure(keyring: &Path, error: ServeError) -> Failure {
    match &error {
        ServeError::Socket(e) => Failure::new(Exit::Runtime, "listen", e, advice::socket(e)),
        ServeError::Source(e @ SourceError::NotDurable(_)) => {
            Failure::new(Exit::Runtime, format!("open the keyring {}", keyring.display()), e, advice::source(e))
        }
        ServeError::Source(SourceError::Load(e)) => {
            Failure::new(advice::load_exit(e), format!("open the keyring {}", keyring.display()), e, advice::load(e))
        }
        ServeError::Source(e) => Failure::new(Exit::Configuration, format!("open the keyring {}", keyring.display()), e, advice::source(e)),
        ServeError::System { .. } => Failure::new(Exit::Runtime, "serve", &error, "See the limits of the service (open files, tasks)."),
        ServeError::Hung(_) => {
            let next = "The service manager starts it anew. If it happens again, look at the token, its module, and what lies between.";
            Failure::new(Exit::Runtime, "go on", &error, next)
        }
        ServeError::Stopped(_) => unexpected("serve", &error),
    }
}

fn unexpected(attempted: &str, why: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Unexpected, attempted, why, "This is not foreseen; please report it with the log.")
}

fn announcement(ready: &Ready, settings: &Settings, dev: bool) -> String {
    let mut text = String::new();
    if dev {
        text.push_str(
            "
  *****************************************************************
  *  INSECURE development keyring: whoever reads its file has     *
  *  every key in it. For trying Keywright out, nothing else.     *
  *****************************************************************
",
        );
    }
    text.push_str(&format!("\nsocket   {}\nkey_id   {}\n", ready.socket.display(), ready.key_id));
    text.push_str("\nSave this and start kube-apiserver with --encryption-provider-config=THAT_FILE:\n\n");
    text.push_str(&encryption_configuration(&ready.socket, settings.v1));
    text
}

/// The configuration of an API server that writes with us and still reads what is not encrypted yet.
fn encryption_configuration(socket: &Path, v1: bool) -> String {
    // JSON strings are YAML strings, whatever the path holds.
    let endpoint = format!("unix://{}", socket.display());
    let mut providers = format!(
        "      - kms:
          apiVersion: v2
          name: keywright
          endpoint: {endpoint:?}
"
    );
    if v1 {
        providers.push_str(&format!(
            "      - kms:                       # reads what KMS v1 wrote; needs --feature-gates=KMSv1=true
          apiVersion: v1
          name: keywright-v1
          endpoint: {endpoint:?}
"
        ));
    }
    format!(
        "apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: [secrets]
    providers:
{providers}      - identity: {{}}               # reads what is not encrypted yet; remove it once everything is
"
    )
}
