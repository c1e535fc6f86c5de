//! Keywright against the reference plugin (Go, `k8s.io/kms/pkg/service` with AES-GCM), side by side in one run.
//!
//! `KEYWRIGHT_BIN=... KEYWRIGHT_REFPLUGIN=... cargo bench --bench side_by_side`; both are paths of release builds. The result goes
//! to stdout and to `target/bench/side_by_side.json`. Only ratios of figures from the same round are judged: absolute figures
//! change from run to run and machine to machine.
//!
//! `KEYWRIGHT_BENCH_QUICK=1` takes 3 rounds: to see that it works, not to claim anything.
//! `KEYWRIGHT_BENCH_SELF_CHECK=1` puts the reference on both sides: the method is sound when every ratio comes out near 1.
//!
//! On a machine that has other work, run it as root and with priority: `CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="nice -n -10"`.
//! Ratios of CPU time bear other work well, the one at 1 x 1 least: it sleeps between requests and finds its caches taken.
//!
//! Exit codes: 0 all gates hold, 1 a gate is missed, 2 no result: an error, or one single wrong answer.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what a benchmark prints is its result")]

#[path = "side_by_side/client.rs"]
mod client;
#[path = "side_by_side/cores.rs"]
mod cores;
#[path = "side_by_side/cpu.rs"]
mod cpu;
#[path = "side_by_side/host.rs"]
mod host;
#[path = "side_by_side/load.rs"]
mod load;
#[path = "side_by_side/server.rs"]
mod server;
#[path = "side_by_side/start.rs"]
mod start;
#[path = "side_by_side/stats.rs"]
mod stats;
#[path = "side_by_side/table.rs"]
mod table;
#[path = "side_by_side/wire.rs"]
mod wire;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use cores::Cores;
use host::{Build, Host};
use load::{Measured, Numbers, Point};
use server::{Kind, Program, Server};
use table::{Gate, Report, Setting, Side};

/// A benchmark has one answer to every error: it says what happened and gives no figures.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const POINTS: [Point; 3] = [
    Point { connections: 1, in_flight: 1, requests: 6_000, warm_up: 1_000, gate: 0.60 },
    Point { connections: 1, in_flight: 100, requests: 30_000, warm_up: 5_000, gate: 0.50 },
    Point { connections: 8, in_flight: 50, requests: 30_000, warm_up: 5_000, gate: 0.42 },
];
/// Resident memory is read at the end of this point.
const LAST: usize = POINTS.len() - 1;
const MEMORY_GATE: f64 = 0.50;
const START_GATE: f64 = 0.60;
/// Bounds of every ratio when both sides are the same program.
const SAME: (f64, f64) = (0.90, 1.10);

const QUICK: &str = "quick run of 3 rounds";
const SELF_CHECK: &str = "self-check, the reference plugin on both sides";

fn main() -> ExitCode {
    match run() {
        Ok(report) => {
            println!("{report}");
            if report.holds() { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Err(error) => {
            eprintln!("no result: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<Report> {
    let quick = env::var_os("KEYWRIGHT_BENCH_QUICK").is_some_and(|value| value == "1");
    let self_check = env::var_os("KEYWRIGHT_BENCH_SELF_CHECK").is_some_and(|value| value == "1");
    let (rounds, trials) = if quick { (3, 15) } else { (9, 41) };

    let folder = tempfile::tempdir()?;
    let programs = programs(folder.path(), self_check)?;
    let builds = [Build::describe(&programs[0])?, Build::describe(&programs[1])?];
    let host = Host::describe()?;
    let load_before = host::load_average()?;
    let cores = Cores::take()?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let numbers = Numbers::default();
    let (measured, dropped_log_lines) = runtime.block_on(load_rounds(&programs, cores, rounds, &numbers))?;
    let realtime_starts = start::realtime();
    let starts = runtime.block_on(start_trials(&programs, cores, trials, &numbers))?;

    let setting = Setting {
        host,
        cores,
        builds,
        rounds,
        trials,
        load: [load_before, host::load_average()?],
        clock_disagreement: measured.iter().flatten().flatten().map(|round| round.clock_disagreement).max().unwrap_or_default(),
        dropped_log_lines,
        realtime_starts,
        not_a_claim: if self_check { Some(SELF_CHECK) } else { quick.then_some(QUICK) },
    };
    let report = report(setting, &measured, starts, self_check);
    write_json(&report)?;
    Ok(report)
}

/// The candidate and the reference, each with a new folder.
fn programs(folder: &Path, self_check: bool) -> Result<[Program; 2]> {
    let program = |name, kind, variable: &str, home: &str| -> Result<Program> {
        let binary = env::var_os(variable).ok_or_else(|| format!("{variable} is not set: it names the release build to measure"))?;
        let home = folder.join(home);
        fs::create_dir(&home)?;
        Ok(Program { name, kind, binary: PathBuf::from(binary), home })
    };
    let reference = program("reference", Kind::Reference, "KEYWRIGHT_REFPLUGIN", "reference")?;
    let candidate = match self_check {
        true => program("same again", Kind::Reference, "KEYWRIGHT_REFPLUGIN", "candidate")?,
        false => program("keywright", Kind::Keywright, "KEYWRIGHT_BIN", "candidate")?,
    };
    Ok([candidate, reference])
}

/// Both sides at one point, one entry a round.
type Rounds = [Vec<Measured>; 2];

/// Both servers live through all rounds, as they would live for months; each point of a round has new connections. With the
/// figures comes the number of log lines that were dropped.
async fn load_rounds(programs: &[Program; 2], cores: Cores, rounds: usize, numbers: &Numbers) -> Result<([Rounds; POINTS.len()], u64)> {
    let mut servers: [Server; 2] = [programs[0].start(cores)?, programs[1].start(cores)?];
    let mut measured: [Rounds; POINTS.len()] = Default::default();
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        for turn in 0..POINTS.len() {
            let point = (round + turn) % POINTS.len();
            for side in order(round) {
                let result = load::measure(&programs[side], &mut servers[side], &POINTS[point], numbers).await;
                let context = |error| format!("{}, {}, round {}: {error}", servers[side].name, POINTS[point].name(), round + 1);
                measured[point][side].push(result.map_err(context)?);
            }
        }
    }
    let encrypts = POINTS.iter().map(|point| point.warm_up + point.requests).sum::<u64>() * rounds as u64;
    let mut dropped = 0;
    for (server, program) in servers.into_iter().zip(programs) {
        server.stop().await?;
        dropped += program.dropped_log_lines(encrypts)?;
    }
    Ok((measured, dropped))
}

/// Milliseconds from spawn to first good Status, one entry a trial.
async fn start_trials(programs: &[Program; 2], cores: Cores, trials: usize, numbers: &Numbers) -> Result<[Vec<f64>; 2]> {
    let mut times: [Vec<f64>; 2] = Default::default();
    // One start of each before the trials, not counted: it finds the files in memory as all later ones do.
    for trial in 0..=trials {
        for side in order(trial) {
            let taken = start::to_first_status(&programs[side], cores, numbers).await;
            let taken = taken.map_err(|error| format!("{}, start: {error}", programs[side].name))?;
            if trial > 0 {
                times[side].push(taken.as_secs_f64() * 1e3);
            }
        }
    }
    Ok(times)
}

/// Which side goes first changes from round to round.
fn order(round: usize) -> [usize; 2] {
    if round.is_multiple_of(2) { [0, 1] } else { [1, 0] }
}

fn report(setting: Setting, measured: &[Rounds; POINTS.len()], starts: [Vec<f64>; 2], self_check: bool) -> Report {
    let bounds = |gate| if self_check { SAME } else { (0.0, gate) };
    let figures =
        |rounds: &Rounds, figure: fn(&Measured) -> f64| [0, 1].map(|side: usize| rounds[side].iter().map(figure).collect::<Vec<f64>>());
    let mut gates = Vec::new();
    let mut sides = Vec::new();
    for (point, rounds) in POINTS.iter().zip(measured) {
        let cpu = figures(rounds, |round| round.cpu_us_per_request);
        gates.push(Gate::new(format!("server CPU/request {}", point.name()), "us", cpu, bounds(point.gate)));
        for (build, rounds) in setting.builds.iter().zip(rounds) {
            sides.push(Side::new(point, build.name, rounds));
        }
    }
    let memory = figures(&measured[LAST], |round| round.resident_kib as f64 / 1024.0);
    gates.push(Gate::new(format!("resident after {}", POINTS[LAST].name()), "MiB", memory, bounds(MEMORY_GATE)));
    gates.push(Gate::new("spawn to first good Status", "ms", starts, bounds(START_GATE)));
    Report { setting, gates, sides }
}

/// Writes the report beside the other output of cargo.
fn write_json(report: &Report) -> Result<()> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("cargo's target folder has no parent")?;
    let folder = target.join("bench");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("side_by_side.json"), format!("{:#}\n", report.json()))?;
    Ok(())
}
