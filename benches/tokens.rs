//! Decrypt by keys in a token, beside bare threads that call the same module with the same key: `cargo xtask bench`, or
//! `KEYWRIGHT_BIN=... cargo bench --bench tokens`.
//!
//! - *Rate.* Eight calls in flight through the plugin, each with a ciphertext of its own, against eight threads of a process that does nothing but
//!   C_DecryptInit and C_Decrypt, each thread with a session of its own. Rounds of both in turn; the median of the ratios of each round is judged. With
//!   SoftHSM, and with the fake module of the tests taking 500 us for each C_Decrypt, as a device on a wire would.
//! - *Status* while Decrypt is saturated, and while every C_Decrypt hangs, with 256 calls in flight in both cases: its 99th percentile, on a
//!   connection of its own.
//! - *A burst* of 10,000 Decrypts, 256 in flight: each is answered, and rightly.
//!
//! Nothing is pinned: what the plugin shares with its callers and with the module, it shares here too. The client takes its part of the
//! machine, which the bare threads do not have to give. `KEYWRIGHT_BIN` has `keywright-operator` beside it, which makes the keyring.
//!
//! On a machine that has other work the ratios come out anywhere between a third and more than one: believe a run by the spread of its rounds and by
//! the load average that it prints.
//!
//! Exit codes: 0 all gates hold, 1 a gate is missed, 2 no result: an error, or a wrong answer.

#![expect(clippy::print_stdout, reason = "a benchmark reports")]

#[path = "tokens/bare.rs"]
mod bare;
#[path = "tokens/calls.rs"]
mod calls;
#[path = "tokens/plugin.rs"]
mod plugin;
#[path = "shared/report.rs"]
mod report;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use keywright_testbed::tokens::{Fake, Hsm, Token};

use bare::Bare;
use calls::{Caller, Sealed};
use plugin::Plugin;
use report::{Figure, Gate, Report};

/// An error says what happened, and there are no figures.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Calls at once in the comparison: the sessions of a token unless set otherwise.
pub(crate) const IN_FLIGHT: usize = 8;
/// Calls at once where the plugin is to have more than it can do.
const MANY: usize = 256;
const BURST: usize = 10_000;
const ROUNDS: usize = 9;
/// Calls of each side in a round.
const CALLS: usize = 4_000;
const STATUS_FOR: Duration = Duration::from_secs(5);
const STATUS_GATE: f64 = 5.0;
const STATUS_WANTED: f64 = 1.0;
/// Set, to a folder, in the process that measures: modules read their configuration from the environment, and a process cannot change its own.
const FOLDER: &str = "KEYWRIGHT_BENCH_TOKENS";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    report::ended(match (arguments.get(1).map(String::as_str), std::env::var_os(FOLDER)) {
        (Some(bare::WORD), _) => bare::serve(&arguments[2..]).map(|()| ExitCode::SUCCESS),
        (_, Some(folder)) => measure(Path::new(&folder)),
        (_, None) => again().map(ExitCode::from),
    })
}

/// Runs this program in an environment that names the modules' files.
fn again() -> Result<u8> {
    let folder = keywright_testbed::scratch::folder("tokens")?;
    let mut command = Command::new(std::env::current_exe()?);
    command.env(FOLDER, folder.path());
    command.env("SOFTHSM2_CONF", folder.path().join("softhsm2.conf")).env("FAKE_PKCS11", folder.path().join("fake"));
    let code = command.status()?.code().ok_or("the measuring process was killed")?;
    Ok(u8::try_from(code)?)
}

fn measure(folder: &Path) -> Result<ExitCode> {
    let mut report = Report::begin("tokens");
    softhsm(folder, &mut report)?;
    fake(folder, &mut report)?;
    Ok(report.end())
}

fn softhsm(folder: &Path, report: &mut Report) -> Result<()> {
    let token = Hsm::softhsm(folder)?.token("kms", "1234")?;
    let plugin = Plugin::start(folder, &token)?;
    let mut caller = Caller::connect(plugin.socket())?;
    let made = caller.encrypt(BURST)?;
    report.gate(beside("SoftHSM", (0.45, 0.60), &mut caller, &token, &made)?);

    let (answered, time) = caller.decrypt(&made, BURST, MANY)?;
    println!("SoftHSM, {BURST} Decrypts, {MANY} in flight: {answered} right answers in {:.1} s: ok", time.as_secs_f64());

    let status = calls::status_beside(plugin.socket(), STATUS_FOR, |stop| caller.saturate(&made, MANY, false, stop))?;
    report.gate(slow_status("while Decrypt is saturated", status));
    Ok(())
}

fn fake(folder: &Path, report: &mut Report) -> Result<()> {
    let module = Fake::new(folder)?;
    let token = module.hsm().token("kms", "1234")?;
    let plugin = Plugin::start(folder, &token)?;
    let mut caller = Caller::connect(plugin.socket())?;
    let made = caller.encrypt(CALLS)?;
    module.script("delay Decrypt 500us")?;
    report.gate(beside("500 us a call", (0.80, 0.95), &mut caller, &token, &made)?);

    module.script("hang Decrypt")?;
    let status = calls::status_beside(plugin.socket(), STATUS_FOR, |stop| caller.saturate(&made, MANY, true, stop))?;
    let inside = module.calls()?.inside("C_Decrypt");
    module.script("")?;
    if inside != IN_FLIGHT {
        return Err(format!("{inside} calls hung in the token, not {IN_FLIGHT}").into());
    }
    report.gate(slow_status("while the token hangs", status));
    Ok(())
}

/// Rounds of both sides in turn; whether the rate through the plugin is enough of the bare one.
fn beside(name: &str, (gate, wanted): (f64, f64), caller: &mut Caller, token: &Token, made: &Arc<[Sealed]>) -> Result<Gate> {
    let mut bare = Bare::start(token)?;
    let mut rounds = Vec::new();
    // The first finds everything cold.
    for round in 0..=ROUNDS {
        let (ours, theirs) = if round % 2 == 0 {
            let ours = caller.decrypt(made, CALLS, IN_FLIGHT)?.1;
            (ours, bare.decrypt(CALLS)?)
        } else {
            let theirs = bare.decrypt(CALLS)?;
            (caller.decrypt(made, CALLS, IN_FLIGHT)?.1, theirs)
        };
        if round > 0 {
            rounds.push([theirs.as_secs_f64() / ours.as_secs_f64(), ours.as_secs_f64(), theirs.as_secs_f64()]);
        }
    }
    let column = |column: usize| rounds.iter().map(|round| round[column]).collect::<Vec<f64>>();
    let each = |side, seconds: Vec<f64>| {
        let each: Vec<f64> = seconds.into_iter().map(|seconds| seconds * 1e6 / CALLS as f64).collect();
        Figure::median(side, &each, "us a Decrypt")
    };
    Ok(Gate {
        metric: format!("rate of Decrypt, {name}, {IN_FLIGHT} in flight, beside as many bare threads"),
        sides: [each("through the plugin", column(1)), each("bare", column(2))],
        ratios: column(0),
        at_least: Some(gate),
        at_most: None,
        stretch: Some(wanted),
    })
}

/// What Status took, in milliseconds, beside what it may.
fn slow_status(when: &str, mut milliseconds: Vec<f64>) -> Gate {
    milliseconds.sort_by(f64::total_cmp);
    let count = milliseconds.len();
    let p99 = milliseconds[(count * 99).div_ceil(100) - 1];
    println!("Status {when}: p50 {:.2} ms, most {:.2} ms of {count}", milliseconds[count / 2], milliseconds[count - 1]);
    Gate::at_most(
        format!("p99 of Status {when}, {MANY} in flight"),
        1.0,
        STATUS_WANTED / STATUS_GATE,
        [Figure::median("Status", &[p99], "ms"), Figure::median("the most it may", &[STATUS_GATE], "ms")],
        vec![p99 / STATUS_GATE],
    )
}
