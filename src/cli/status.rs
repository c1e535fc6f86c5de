//! `keywright status`: asks a running plugin what a kube-apiserver would ask.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::failure::{Exit, Failure};
use super::output::{self, Answer};
use super::place::{self, Place};
use crate::client::{self, ClientError, Probe, admin};
use crate::config::{self, DEFAULT_SOCKET};
use crate::entropy::OsEntropy;
use crate::key_id;

/// Ask a running plugin: Status, Encrypt and Decrypt with random bytes
#[derive(Args)]
#[command(after_help = "Ends with 0 if all is well, 4 if an answer is not what a kube-apiserver accepts, 5 if there is none.

Examples:
  keywright status                       the plugin of the packaged unit
  keywright status --dev                 the one that `keywright serve --dev` started
  keywright status --socket /run/kms.sock --output json")]
pub(super) struct Arguments {
    #[command(flatten)]
    place: place::Arguments,
    /// The socket to ask, in place of the one that --dev or --config names [default: /run/keywright/kms.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// How long each call may take
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    output: output::Arguments,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let named = match arguments.place.resolve()? {
        Place::Dev(folder) => folder.socket(),
        Place::Config(config) => config.serve.socket.path,
        Place::Unnamed => DEFAULT_SOCKET.into(),
    };
    let socket = arguments.socket.unwrap_or(named);
    let outcome = ask(&socket, arguments.timeout).and_then(|probe| match complaint(&probe) {
        None => Ok(probe),
        Some(why) => Err(Failure::new(
            Exit::CheckFailed,
            format!("accept the answers of {}", socket.display()),
            why,
            "A kube-apiserver would not accept this either. Read the log of the plugin.",
        )),
    });
    let outcome = outcome.map(|probe| {
        // The second socket only adds to the answer: where it is silent, the first one has still answered.
        let alarm = admin::get(&config::admin_path(&socket), "/state").ok();
        let alarm = alarm.and_then(|state| state.lines().find_map(|line| line.strip_prefix("alarm ").map(str::to_owned)));
        Answer { text: table(&socket, &probe, alarm.as_deref()), json: as_json(&socket, &probe, alarm.as_deref()) }
    });
    arguments.output.show(outcome)
}

fn ask(socket: &std::path::Path, timeout: Duration) -> Result<Probe, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(Exit::Unexpected, "start the runtime", e, "This is not foreseen; please report it."))?;
    runtime
        .block_on(client::probe(socket, timeout, &OsEntropy))
        .map_err(|error| Failure::new(Exit::Runtime, format!("ask the plugin at {}", socket.display()), &error, advice(&error)))
}

fn advice(error: &ClientError) -> String {
    match error {
        ClientError::Absent(_) => "Start the plugin, or name its socket with --socket, --config or --dev.",
        ClientError::NotASocket(_) => "Name the socket of the plugin.",
        ClientError::Refused(_) => "Start the plugin; it replaces the left-over socket by itself.",
        ClientError::Denied(_) => "Run as root or as the user of the plugin, or see `socket.mode` and `socket.gid`.",
        ClientError::Closed { .. } => {
            "If the log of the plugin says `connection refused`, put this uid on `socket.allow_uids`, or run as root."
        }
        ClientError::Silent { .. } => {
            "It is connected and does not answer: see its log, and whether the process is stopped or the machine starved."
        }
        ClientError::Answered { .. } => "See the log of the plugin; `docs/grpc-codes.md` has a line for every code.",
        ClientError::Connect { .. } | ClientError::Entropy(_) => "See what the system says about it.",
    }
    .into()
}

/// Why a kube-apiserver would not accept `probe`; `None` if it would.
fn complaint(probe: &Probe) -> Option<String> {
    if probe.version != "v2" {
        return Some(format!("Status says version `{}`, not `v2`", probe.version.escape_default()));
    }
    if probe.healthz != "ok" {
        return Some(format!("Status says healthz `{}`, not `ok`", probe.healthz.escape_default()));
    }
    if probe.key_id.is_empty() {
        return Some("Status names no key_id".into());
    }
    if probe.key_id != probe.encrypt_key_id {
        return Some("Status and Encrypt name different key_ids".into());
    }
    (!probe.round_trip).then(|| "Decrypt did not give back what Encrypt was given".into())
}

fn table(socket: &std::path::Path, probe: &Probe, alarm: Option<&str>) -> String {
    let micros = |d: Duration| format!("{} us", d.as_micros());
    let rows = [
        ("socket", socket.display().to_string()),
        ("healthz", probe.healthz.clone()),
        ("version", probe.version.clone()),
        ("key_id", probe.key_id.clone()),
        ("as the API server shows it", key_id::sha256_form(&probe.key_id)),
        ("round trip", "ok".into()),
        ("Status took", micros(probe.status_took)),
        ("Encrypt took", micros(probe.encrypt_took)),
        ("Decrypt took", micros(probe.decrypt_took)),
    ];
    output::pairs(rows.into_iter().chain(alarm.map(|cause| ("ALARM", cause.to_owned()))))
}

fn as_json(socket: &std::path::Path, probe: &Probe, alarm: Option<&str>) -> serde_json::Value {
    json!({
        "socket": socket,
        "version": probe.version,
        "healthz": probe.healthz,
        "key_id": probe.key_id,
        "key_id_sha256": key_id::sha256_form(&probe.key_id),
        "round_trip": "ok",
        "alarm": alarm,
        "latency_us": {
            "status": probe.status_took.as_micros() as u64,
            "encrypt": probe.encrypt_took.as_micros() as u64,
            "decrypt": probe.decrypt_took.as_micros() as u64,
        },
    })
}
