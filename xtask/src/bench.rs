//! Every benchmark, of a release build: beside the Go reference plugin, cold starts of an API server, cost curves, the keyring, swaps, snapshots, a live
//! scan, a rewrite, tokens, small parts; and the page that states what came out.

mod curve;
mod graph;
mod page;
mod plot;
mod results;
mod svg;

use std::path::{Path, PathBuf};

use keywright_testbed::tools::Tools;

use crate::files;
use crate::run::{TaskError, cargo, need, output, succeed, target_folder};
use page::Origin;
use results::Results;

/// All of them, most with gates of their own.
pub(crate) const BENCHES: [&str; 10] =
    ["side_by_side", "cold_start", "curves", "keyring", "swaps", "snapshot", "live_scan", "rewrite", "tokens", MICRO];
/// Of small parts of the library; it needs neither a control plane nor a program under test, but Valgrind.
const MICRO: &str = "micro";
const PAGE: &str = "benchmarks.md";
const PLOTS: &str = "benchmarks";
const PLOT: &str = "gates.svg";

/// `cargo xtask bench`: runs those named in `only`, or all of them, which writes `docs/benchmarks.md`. Whether every gate holds.
pub(crate) fn run(only: &[String]) -> Result<bool, TaskError> {
    let chosen: Vec<_> = BENCHES.into_iter().filter(|bench| only.is_empty() || only.iter().any(|name| name == bench)).collect();
    if chosen.contains(&MICRO) {
        need(&["valgrind"])?;
    }
    let under_test = if chosen == [MICRO] { None } else { Some((Tools::build(&mut |line| println!("{line}"))?, plain_release()?)) };
    let folder = target_folder().join("bench");
    let mut found = Vec::new();
    let mut failed = Vec::new();
    for bench in chosen {
        let file = folder.join(format!("{bench}.json"));
        // A result of another day must not be taken for one of this run.
        files::remove(&file)?;
        let mut command = cargo();
        command.args(["bench", "--bench", bench]);
        if let Some((tools, binary)) = &under_test {
            command.env("KEYWRIGHT_BIN", binary).env("KEYWRIGHT_REFPLUGIN", tools.refplugin());
        }
        let ended_well = succeed(&mut command);
        // One that missed its gate has left its figures; the others are still wanted.
        match Results::read(bench, &file)? {
            Some(results) if ended_well.is_ok() == results.holds() => found.push(results),
            _ => failed.push(bench),
        }
    }
    for results in &found {
        results.gates.iter().filter(|gate| !gate.holds).for_each(|gate| println!("MISSED in {}: {}", results.bench, gate.metric));
    }
    if !failed.is_empty() {
        println!("no result: {}; docs/{PAGE} stays as it is", failed.join(", "));
        return Ok(false);
    }
    write(&found, &folder, only.is_empty())?;
    Ok(found.iter().all(Results::holds))
}

/// The programs under test, from a plain `cargo build`: what `cargo bench` builds for itself carries the features that
/// dev-dependencies turn on. They are copied aside, because `cargo bench` puts its own build in the same place.
fn plain_release() -> Result<PathBuf, TaskError> {
    succeed(cargo().args(["build", "--release", "-p", "keywright"]))?;
    let target = target_folder();
    let plain = target.join("plain-release");
    files::create_folder(&plain)?;
    for program in ["keywright", "keywright-operator"] {
        files::copy(&target.join("release").join(program), &plain.join(program))?;
    }
    Ok(plain.join("keywright"))
}

/// Writes the page and its plots; of a run of some only, or one that claims nothing, into `aside` in place of `docs`.
fn write(found: &[Results], aside: &Path, whole: bool) -> Result<(), TaskError> {
    let claims = whole && found.iter().all(|results| results.not_a_claim.is_none());
    let folder = if claims { Path::new("docs") } else { aside };
    files::create_folder(&folder.join(PLOTS))?;
    let rustc = output(std::process::Command::new("rustc").arg("--version"))?;
    let commit = output(std::process::Command::new("git").args(["describe", "--always", "--dirty", "--exclude=*"]));
    let commit = commit.unwrap_or_else(|_| "unknown".into());
    let origin = Origin { commit: commit.trim(), rustc: rustc.trim(), plots: PLOTS, plot: PLOT };
    files::write(&folder.join(PAGE), &page::render(found, &origin))?;
    files::write(&folder.join(PLOTS).join(PLOT), &plot::gates(found))?;
    for curve in found.iter().flat_map(|results| &results.curves) {
        files::write(&folder.join(PLOTS).join(format!("{}.svg", curve.name)), &graph::graph(curve))?;
    }
    println!("{} states what came out", folder.join(PAGE).display());
    Ok(())
}
