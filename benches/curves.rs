//! What things cost as one number grows, as curves within one run: `cargo xtask bench`, or `KEYWRIGHT_BIN=... cargo bench --bench curves`.
//!
//! - Processor time of the plugin for a Decrypt, against versions in its keyring (1 to 1,000), distinct ciphertexts (1 to 10,000), and connections (1 to 64, 16 calls in
//!   flight on each): flat, at most 1.05 x at the last point of what it is at the first. Of versions, the oldest and the newest are asked for in turn.
//! - Time of a scan of a live etcd (100 to 100,000 objects) and of a snapshot (1,000 to 1,000,000 values), and of a rewrite (200 to 5,000 stale Secrets of 5,000): each further
//!   object costs at most 1.25 x between the last two points of what it costs between the two before. What a command pays once is in neither. A live scan
//!   may come to 2 x: with every page that it gives, etcd counts all keys that are left, so that its part grows faster than the objects do.
//!
//! The points of a curve take turns in rounds; a ratio is taken within a round, and the median of the rounds is held against its gate.
//! A wrong answer, a wrong count, a Secret that stays stale, or an error, and there is no result.
//!
//! Exit codes: 0 all gates hold, 1 a gate is missed, 2 no result.
#![expect(clippy::print_stdout, reason = "a benchmark reports")]

#[path = "curves/calls.rs"]
mod calls;
#[path = "side_by_side/cores.rs"]
mod cores;
#[path = "shared/curve.rs"]
mod curve;
#[path = "curves/objects.rs"]
mod objects;
#[path = "shared/report.rs"]
mod report;
#[allow(dead_code, reason = "only one of its two programs runs here")]
#[path = "side_by_side/server.rs"]
mod server;
#[allow(dead_code, reason = "kubectl's side is not measured here")]
#[path = "shared/stale.rs"]
mod stale;
#[allow(dead_code, reason = "all of etcd is scanned")]
#[path = "shared/values.rs"]
mod values;
#[path = "shared/versions.rs"]
mod versions;

use std::path::Path;
use std::process::ExitCode;

use keywright_testbed::tools::Tools;
use report::Report;

/// An error says what happened, and there are no figures.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Gate and stretch of what must be flat.
const FLAT: (f64, f64) = (1.05, 1.02);
/// And of what each further object costs. These are times of whole commands, and depend on what else the machine does.
const PROPORTIONAL: (f64, f64) = (1.25, 1.1);
/// The same where etcd is asked.
const LIVE: (f64, f64) = (2.0, 1.25);
/// Runs only one of these: `calls`, `scans`, `rewrite`.
const ONLY: &str = "KEYWRIGHT_CURVES";

fn main() -> ExitCode {
    report::ended(run().map(Report::end))
}

fn run() -> Result<Report> {
    let binary = report::binary()?;
    let mut report = Report::begin("curves");
    let only = std::env::var(ONLY).ok();
    report.not_a_claim = only.as_ref().map(|only| format!("only {only}"));
    let wanted = |what: &str| only.as_ref().is_none_or(|only| only == what);
    let tools = Tools::build(&mut |line| println!("{line}"))?;
    let folder = keywright_testbed::scratch::folder("curves")?;
    if wanted("calls") {
        for curve in on_a_thread_of_its_own(&binary, folder.path())? {
            report.curve(&curve);
            report.gate(curve.flat(FLAT.0, FLAT.1));
        }
    }
    let mut proportional = |curve: curve::Curve, (gate, wanted): (f64, f64)| {
        report.curve(&curve);
        report.gate(curve.proportional(gate, wanted));
    };
    if wanted("scans") {
        proportional(objects::live_scan(&tools, &binary)?, LIVE);
        proportional(objects::snapshot_scan(&tools, &binary, folder.path())?, PROPORTIONAL);
    }
    if wanted("rewrite") {
        proportional(objects::rewrite(&tools, &binary)?, PROPORTIONAL);
    }
    if report.gates.is_empty() { Err(format!("{ONLY} names nothing that is measured here").into()) } else { Ok(report) }
}

/// The thread moves to one core, and so do the programs that it starts; those of the other curves are not to.
fn on_a_thread_of_its_own(binary: &Path, folder: &Path) -> Result<[curve::Curve; 3]> {
    std::thread::scope(|scope| scope.spawn(|| calls::curves(binary, folder)).join().expect("its errors are returned"))
}

/// Points in an order that changes from round to round.
pub(crate) fn order(round: usize, points: usize) -> Vec<usize> {
    let rotated = (0..points).map(|at| (round + at) % points);
    if round.is_multiple_of(2) { rotated.collect() } else { rotated.rev().collect() }
}
