//! How many instructions and system calls a call costs: `cargo xtask instructions`.
//!
//! Encrypt, Decrypt and Status of a plugin (`serve --dev`) are held against H, an echo on the `h2` crate that reads every message and gives a canned
//! answer of 92 bytes (benches/echo), both built with the same profile and run under callgrind (Valgrind) at 1 connection x 100 in flight. Instructions
//! per call are those of 4,500 calls without those of 500, each from the start of a process to its end, by the 4,000 between: what a start costs is
//! in neither. Callgrind sees no kernel, and its count hardly depends on what else the machine does. System calls of all threads are counted by strace
//! in the same way, at 1 x 1 and 1 x 100; with many in flight, a server that strace slows down finds more of them waiting at once than it
//! would by itself. Every answer is checked.
//!
//! Gates that must always hold are here; what it is made of, layer by layer, goes into the result, which `cargo xtask instructions` compares with
//! `benches/instructions.toml`.
#![expect(clippy::print_stderr, reason = "what a benchmark prints is its result")]

#[path = "instructions/figure.rs"]
mod figure;
#[path = "shared/report.rs"]
mod report;
#[path = "instructions/server.rs"]
mod server;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keywright::bench::client::{Caller, Client, Operation};
use keywright::bench::content::Numbers;
use keywright::bench::load::{Amount, Control, Load, Target};
use keywright_testbed::callgrind::{PerCall, Profile};
use report::{Gate, Report};
use server::{Counter, Running, Server};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const IN_FLIGHT: usize = 100;
const CALLS: [u64; 2] = [500, 4_500];
const ROUNDS: usize = 3;
/// Of system calls, at least, and at most where they are too many. How often the log's thread is woken depends on what else runs, and that only ever
/// adds some: the round with the fewest counts.
const ROUNDS_OF_SYSTEM_CALLS: [usize; 2] = [5, 20];
const OPERATIONS: [Operation; 3] = [Operation::Encrypt, Operation::Decrypt, Operation::Status];
/// Of H.
const GATE: f64 = 1.70;
const STRETCH: f64 = 1.40;
/// How much a count may grow beyond the recorded one. Rounds of one build differ by up to 0.6 %, the medians of two runs by up to 0.5 %.
const INSTRUCTIONS_TOLERANCE: f64 = 0.02;
/// In flight, gate and stretch of system calls per Encrypt, and how much they may grow.
const SYSTEM_CALLS: [(usize, f64, f64, f64); 2] = [(1, 4.1, 3.0, 0.05), (IN_FLIGHT, 1.25, 0.25, 0.05)];
/// Ciphertexts that are decrypted in turn; made in every run, so that they cancel out.
const DISTINCT: u64 = 100;
/// Under callgrind everything takes fifty times as long.
const WITHIN: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    report::ended(compare())
}

fn compare() -> Result<ExitCode> {
    let binary = report::binary()?;
    let echo = std::env::var_os("KEYWRIGHT_ECHO").ok_or("KEYWRIGHT_ECHO is not set: it names keywright-echo, built as the plugin is")?;
    let mut report = Report::begin("instructions");
    let folder = keywright_testbed::scratch::folder("instructions")?;
    let (echo, plugin) = (Server::echo(Path::new(&echo), folder.path()), Server::plugin(&binary, folder.path()));
    let mut instructions = OPERATIONS.map(|_| Vec::new());
    for round in 0..ROUNDS {
        eprintln!("round {} of {ROUNDS}", round + 1);
        let floor = instructions_per_call(&echo, Operation::Encrypt)?.total;
        for (operation, rounds) in OPERATIONS.iter().zip(&mut instructions) {
            rounds.push((instructions_per_call(&plugin, *operation)?, floor));
        }
    }
    let mut figures = Vec::new();
    for (operation, rounds) in OPERATIONS.iter().zip(&instructions) {
        let name = format!("instructions per {}, 1 x {IN_FLIGHT}", operation.name());
        let ratios = rounds.iter().map(|(call, floor)| call.total / floor).collect();
        let side = |name, counts: Vec<f64>| report::Figure::median(name, &counts, "Ir");
        let sides = [
            side("keywright", rounds.iter().map(|(call, _)| call.total).collect()),
            side("h2 echo", rounds.iter().map(|(_, floor)| *floor).collect()),
        ];
        let gate = Gate::at_most(name.as_str(), GATE, STRETCH, sides, ratios);
        figures.push(figure::Figure::instructions(name, gate.median(), INSTRUCTIONS_TOLERANCE, rounds));
        report.gate(gate);
    }
    for (in_flight, gate, stretch, tolerance) in SYSTEM_CALLS {
        let name = format!("system calls per {}, 1 x {in_flight}", Operation::Encrypt.name());
        let [least, most] = ROUNDS_OF_SYSTEM_CALLS;
        let (mut total, mut calls) = (f64::INFINITY, BTreeMap::new());
        for round in 0..most {
            if round >= least && total <= gate {
                break;
            }
            let found = system_calls_per_call(&plugin, in_flight)?;
            let sum = found.values().sum::<f64>();
            if sum < total {
                (total, calls) = (sum, found);
            }
        }
        let sides = [report::Figure::median("keywright", &[total], "calls"), report::Figure::median("request", &[1.0], "")];
        let gate = Gate::at_most(name.as_str(), gate, stretch, sides, vec![total]);
        figures.push(figure::Figure::system_calls(name, total, tolerance, calls));
        report.gate(gate);
    }
    report.more.insert("figures".into(), figures.iter().map(figure::Figure::json).collect());
    Ok(report.end())
}

fn instructions_per_call(server: &Server, operation: Operation) -> Result<PerCall> {
    let [few, many] = runs(server, Counter::Instructions, operation, IN_FLIGHT, |counts| Ok(Profile::read(counts)?))?;
    Ok(many.per_call(&few, CALLS[1] - CALLS[0]))
}

fn system_calls_per_call(server: &Server, in_flight: usize) -> Result<BTreeMap<String, f64>> {
    let [few, many] = runs(server, Counter::SystemCalls, Operation::Encrypt, in_flight, figure::system_calls)?;
    let count = |name: &String, of: &BTreeMap<String, u64>| of.get(name).copied().unwrap_or_default() as f64;
    let each = |name: &String| (count(name, &many) - count(name, &few)) / (CALLS[1] - CALLS[0]) as f64;
    Ok(many.keys().map(|name| (name.clone(), each(name))).collect())
}

/// What was counted with few calls, and with many.
fn runs<T>(server: &Server, counter: Counter, operation: Operation, in_flight: usize, read: impl Fn(&Path) -> Result<T>) -> Result<[T; 2]> {
    let mut counted = Vec::new();
    for calls in CALLS {
        let mut running = server.start(counter)?;
        // Its connections end with the runtime: a server that is told to end would wait for them.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let load = runtime.block_on(loaded(server, &mut running, operation, in_flight, calls));
        drop(runtime);
        load.map_err(|error| format!("{} of {}: {error}", operation.name(), server.program().display()))?;
        running.end()?;
        counted.push(read(&server.counts())?);
    }
    Ok(counted.try_into().map_err(|_| "two runs")?)
}

async fn loaded(server: &Server, running: &mut Running, operation: Operation, in_flight: usize, calls: u64) -> Result<()> {
    let numbers = Numbers::default();
    let end = Instant::now() + WITHIN;
    let target = loop {
        let target =
            async { Ok(Target::new(vec![Client::connect(&server.socket(), Caller::ApiServer, WITHIN).await?], numbers.clone()).await?.0) };
        match target.await {
            Result::<Arc<Target>>::Ok(target) => break target,
            Err(error) if Instant::now() > end => return Err(error),
            Err(_) if running.is_over()? => return Err("it ended by itself".into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    let load = |operation, count, keep| Load { operation, in_flight, amount: Amount::Count(count), rate: None, keep };
    let mut wrapped = Arc::from([]);
    let mut loads = vec![load(operation, calls, 0)];
    if operation == Operation::Decrypt {
        loads.insert(0, load(Operation::Encrypt, DISTINCT, DISTINCT as usize));
    }
    for load in loads {
        let measured = target.run(load, &wrapped, &Arc::new(Control::default())).await;
        if let Some(first) = measured.failures.first {
            return Err(first.into());
        }
        wrapped = measured.kept.into();
    }
    Ok(())
}
