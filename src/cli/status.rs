//! `keywright status`: asks a running plugin what a kube-apiserver would ask.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::failure::{Exit, Failure};
use super::output::{self, Answer};
use super::place;
use crate::client::{self, ClientError, Probe, admin};
use crate::config;
use crate::entropy::OsEntropy;
use crate::health::page::{Key, Page, Token};
use crate::key_id;

/// Ask a running plugin: Status, Encrypt and Decrypt with random bytes
#[derive(Args)]
#[command(
    after_help = "Ends with 0 if all is well, 4 if an answer is not what a kube-apiserver accepts, 5 if there is none. Where keys are in tokens, shows how each
token does, when each key in it was last seen to work, and why one does not.

Examples:
  keywright status                       the plugin of the packaged unit
  keywright status --dev                 the one that `keywright serve --dev` started
  keywright status --socket /run/kms.sock --output json"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    plugin: place::PluginArguments,
    /// How long each call may take
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    output: output::Arguments,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let socket = arguments.plugin.socket()?;
    let outcome = ask(&socket, arguments.timeout).and_then(|probe| match complaint(&probe) {
        None => Ok(probe),
        Some(why) => Err(Failure::new(
            Exit::CheckFailed,
            format!("accept the answers of {}", socket.display()),
            why,
            "A kube-apiserver would not accept this either. Read the log of the plugin.",
        )),
    });
    // The second socket only adds to the answer: where it is silent, the first one has still answered.
    let more = |page: &str| admin::get(&config::admin_path(&socket), page).ok();
    let tokens = || more("/tokens").and_then(|page| Page::read(&page)).unwrap_or_default();
    let outcome = match outcome {
        Ok(probe) => {
            let alarm = more("/state").and_then(|state| state.lines().find_map(|line| line.strip_prefix("alarm ").map(str::to_owned)));
            let (alarm, tokens) = (alarm.as_deref(), tokens());
            Ok(Answer { text: table(&socket, &probe, alarm, &tokens), json: as_json(&socket, &probe, alarm, &tokens) })
        }
        Err(mut failure) => {
            for away in away(&tokens()) {
                failure.why.push_str("; ");
                failure.why.push_str(&away);
            }
            Err(failure)
        }
    };
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

/// What to do about a plugin that does not answer.
pub(super) fn advice(error: &ClientError) -> String {
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

fn table(socket: &std::path::Path, probe: &Probe, alarm: Option<&str>, tokens: &Page) -> String {
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
    let of_tokens = tokens.tokens.iter().map(|token| ("token", token_text(token)));
    let of_keys = tokens.keys.iter().map(|key| ("key in a token", key_text(key, tokens)));
    let alarms = alarm.map(str::to_owned).into_iter().chain(away(tokens)).map(|cause| ("ALARM", cause));
    output::pairs(rows.into_iter().chain(of_tokens).chain(of_keys).chain(alarms))
}

/// As people say it: to the second, or to the millisecond below one.
fn age(age: Duration) -> String {
    let rounded =
        if age < Duration::from_secs(1) { Duration::from_millis(age.as_millis() as u64) } else { Duration::from_secs(age.as_secs()) };
    humantime::format_duration(rounded).to_string()
}

fn token_text(token: &Token) -> String {
    let Token { name, up, pin, figures, calls: _ } = token;
    let works = match (up, pin) {
        (_, false) => "its PIN was refused and is not tried again before it changes",
        (true, true) => "works",
        (false, true) => "AWAY",
    };
    format!(
        "{name}: {works}, {} of {} threads busy, {} stuck, {} calls wait for one",
        figures.busy, figures.threads, figures.stuck, figures.queued
    )
}

fn key_text(key: &Key, tokens: &Page) -> String {
    let token = tokens.tokens.get(key.token).map_or("?", |token| token.name.as_str());
    let good = key.good.map_or_else(|| "never seen to work".into(), |good| format!("seen to work {} ago", age(good)));
    format!("{} in {token}, {good}", key.key_id)
}

/// A line for each key that is away.
fn away(tokens: &Page) -> impl Iterator<Item = String> {
    tokens.keys.iter().filter_map(|key| {
        let (since, cause) = key.away.as_ref()?;
        Some(format!("key version {} is away for {}: {cause}", key.key_id.version.number(), age(*since)))
    })
}

fn as_json(socket: &std::path::Path, probe: &Probe, alarm: Option<&str>, tokens: &Page) -> serde_json::Value {
    let keys = |at: usize| {
        let keys = tokens.keys.iter().filter(move |key| key.token == at);
        let millis = |age: Duration| age.as_millis() as u64;
        let shown = keys.map(|key| {
            let away = key.away.as_ref().map(|(since, cause)| json!({ "ms": millis(*since), "cause": cause }));
            json!({ "key_id": key.key_id.to_string(), "last_good_ms": key.good.map(millis), "away": away })
        });
        shown.collect::<Vec<_>>()
    };
    let tokens = tokens.tokens.iter().enumerate().map(|(at, token)| {
        let figures = token.figures;
        let calls = token.calls.iter().map(|(outcome, count)| (outcome.name().to_owned(), json!(count)));
        json!({
            "name": token.name,
            "up": token.up,
            "pin_latched": !token.pin,
            "threads": { "most": figures.threads, "busy": figures.busy, "stuck": figures.stuck },
            "queued": figures.queued,
            "calls": calls.collect::<serde_json::Map<_, _>>(),
            "keys": keys(at),
        })
    });
    json!({
        "socket": socket,
        "version": probe.version,
        "healthz": probe.healthz,
        "key_id": probe.key_id,
        "key_id_sha256": key_id::sha256_form(&probe.key_id),
        "round_trip": "ok",
        "alarm": alarm,
        "tokens": tokens.collect::<Vec<_>>(),
        "latency_us": {
            "status": probe.status_took.as_micros() as u64,
            "encrypt": probe.encrypt_took.as_micros() as u64,
            "decrypt": probe.decrypt_took.as_micros() as u64,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_their_keys_are_shown_and_one_that_is_away_is_an_alarm() {
        let page = "token 1 up 0 pin 1 threads 8 busy 8 stuck 8 queued 3 ok 12 refused 0 failed 1 internal 0 late 3 name `kms` (serial 1)
key kw1.0101010101010101.2.00000000000000000000000000000000 token 1 good 95100 away 65000 find the key: none
key kw1.0101010101010101.3.00000000000000000000000000000000 token 1 good -
";
        let tokens = Page::read(page).expect("a page");
        let took = Duration::from_micros(7);
        let text = || String::from("x");
        let probe = Probe {
            version: text(),
            healthz: text(),
            key_id: text(),
            encrypt_key_id: text(),
            round_trip: true,
            status_took: took,
            encrypt_took: took,
            decrypt_took: took,
        };
        let table = table("/run/x".as_ref(), &probe, None, &tokens);
        for line in [
            "`kms` (serial 1): AWAY, 8 of 8 threads busy, 8 stuck, 3 calls wait for one",
            "kw1.0101010101010101.2.00000000000000000000000000000000 in `kms` (serial 1), seen to work 1m 35s ago",
            "kw1.0101010101010101.3.00000000000000000000000000000000 in `kms` (serial 1), never seen to work",
            "key version 2 is away for 1m 5s: find the key: none",
        ] {
            assert!(table.contains(line), "{line} is not in\n{table}");
        }
        assert_eq!(table.matches("ALARM").count(), 1);
        let latched = Page::read(&page.replace("pin 1", "pin 0")).expect("a page");
        assert!(token_text(&latched.tokens[0]).contains("its PIN was refused"));
        let json = as_json("/run/x".as_ref(), &probe, None, &tokens);
        let token = &json["tokens"][0];
        assert_eq!((&token["threads"]["stuck"], &token["calls"]["late"], &token["up"]), (&json!(8), &json!(3), &json!(false)));
        assert_eq!(token["keys"][0]["away"], json!({ "ms": 65_000, "cause": "find the key: none" }));
        assert_eq!(token["keys"][1]["last_good_ms"], json!(null));
    }
}
