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

#[path = "side_by_side/cores.rs"]
mod cores;
#[path = "side_by_side/host.rs"]
mod host;
#[path = "side_by_side/load.rs"]
mod load;
#[path = "shared/report.rs"]
mod report;
#[path = "side_by_side/server.rs"]
mod server;
#[path = "side_by_side/start.rs"]
mod start;
#[path = "side_by_side/table.rs"]
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use cores::Cores;
use host::Build;
use keywright::bench::content::Numbers;
use keywright::bench::process::Clock;
use load::{Measured, Point};
use report::{Figure, Gate, Report};
use server::{Kind, Program, Server};
use table::{Setting, Side, Table};

/// A benchmark has one answer to every error: it says what happened and gives no figures.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const POINTS: [Point; 3] = [
    Point { connections: 1, in_flight: 1, requests: 6_000, warm_up: 1_000, gate: 0.60, stretch: 0.40 },
    Point { connections: 1, in_flight: 100, requests: 30_000, warm_up: 5_000, gate: 0.50, stretch: 0.30 },
    Point { connections: 8, in_flight: 50, requests: 30_000, warm_up: 5_000, gate: 0.42, stretch: 0.25 },
];
/// Resident memory is read at the end of this point.
const LAST: usize = POINTS.len() - 1;
/// Gate and stretch.
const MEMORY: (f64, f64) = (0.50, 0.35);
const START: (f64, f64) = (0.60, 0.30);
/// Bounds of every ratio when both sides are the same program.
const SAME: (f64, f64) = (0.90, 1.10);

const QUICK: &str = "quick run of 3 rounds";
const SELF_CHECK: &str = "self-check, the reference plugin on both sides";

fn main() -> ExitCode {
    match run() {
        Ok(report) => report.end(),
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
    let mut report = Report::begin("side_by_side");
    let cores = Cores::take()?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let numbers = Numbers::default();
    let (measured, dropped_log_lines) = runtime.block_on(load_rounds(&programs, cores, rounds, &numbers))?;
    let realtime_starts = start::realtime();
    let starts = runtime.block_on(start_trials(&programs, cores, trials, &numbers))?;

    let setting = Setting {
        host: report.host.clone(),
        cores,
        builds,
        rounds,
        trials,
        load: report.load(),
        clock_disagreement: measured.iter().flatten().flatten().map(|round| round.clock_disagreement).max().unwrap_or_default(),
        dropped_log_lines,
        realtime_starts,
        not_a_claim: if self_check { Some(SELF_CHECK) } else { quick.then_some(QUICK) },
    };
    report.not_a_claim = setting.not_a_claim.map(str::to_owned);
    let (gates, sides) = judged(&setting, &measured, starts, self_check);
    let table = Table { setting: &setting, gates: &gates, sides: &sides };
    println!("{table}");
    report.more.extend(table.json());
    report.gates = gates;
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
    let clocks = [Clock::watch(servers[0].pid())?, Clock::watch(servers[1].pid())?];
    let mut measured: [Rounds; POINTS.len()] = Default::default();
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        for turn in 0..POINTS.len() {
            let point = (round + turn) % POINTS.len();
            for side in order(round) {
                let result = load::measure(&programs[side], &mut servers[side], &clocks[side], &POINTS[point], numbers).await;
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

fn judged(setting: &Setting, measured: &[Rounds; POINTS.len()], starts: [Vec<f64>; 2], self_check: bool) -> (Vec<Gate>, Vec<Side>) {
    let gate = |metric: String, unit, [candidate, reference]: [Vec<f64>; 2], (gate, stretch)| {
        let ratios = candidate.iter().zip(&reference).map(|(candidate, reference)| candidate / reference).collect();
        let [name, other] = setting.builds.each_ref().map(|build| build.name);
        let sides = [Figure::median(name, &candidate, unit), Figure::median(other, &reference, unit)];
        let gate = Gate::at_most(metric, gate, stretch, sides, ratios);
        match self_check {
            true => Gate { at_least: Some(SAME.0), at_most: Some(SAME.1), stretch: None, ..gate },
            false => gate,
        }
    };
    let figures =
        |rounds: &Rounds, figure: fn(&Measured) -> f64| [0, 1].map(|side: usize| rounds[side].iter().map(figure).collect::<Vec<f64>>());
    let (mut gates, mut sides) = (Vec::new(), Vec::new());
    for (point, rounds) in POINTS.iter().zip(measured) {
        let cpu = figures(rounds, |round| round.cpu_us_per_request);
        gates.push(gate(format!("server CPU/request {}", point.name()), "us", cpu, (point.gate, point.stretch)));
        for (build, rounds) in setting.builds.iter().zip(rounds) {
            sides.push(Side::new(point, build.name, rounds));
        }
    }
    let memory = figures(&measured[LAST], |round| round.resident_kib as f64 / 1024.0);
    gates.push(gate(format!("resident after {}", POINTS[LAST].name()), "MiB", memory, MEMORY));
    gates.push(gate("spawn to first good Status".into(), "ms", starts, START));
    (gates, sides)
}
