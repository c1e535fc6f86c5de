//! Every test there is, stage by stage, on a machine where nothing is prepared.

mod packages;
mod report;
mod targets;

use std::collections::BTreeSet;

use keywright_testbed::tools::{Module, Tools};

use crate::run::{TaskError, cargo, watch};
use crate::stages::{Outcome, Stages};
use crate::{disk, fuzz, instructions};
use report::Report;
use targets::Target;

/// `cargo xtask test`. The last line is `N passed, M failed`, where a fuzz target counts as one test, and one that
/// runs with both feature sets as two.
///
/// The stages are ordered so that later ones find the crates of earlier ones compiled, and each runs even when one before it failed.
pub(crate) fn run(fuzz_seconds: u32) -> Result<bool, TaskError> {
    let mut stages = Stages::new();
    let ready = stages.run("disk", disk::ensure)
        && stages.run("system packages", packages::ensure)
        && stages.run("Go tools", || Ok(Tools::build(&mut |line| println!("{line}")).map(|_| Outcome::ok())?))
        && stages.run("PKCS#11 modules", modules);
    if ready {
        every_test(&mut stages, fuzz_seconds)?;
    }
    stages.print_summary();
    println!("{} passed, {} failed", stages.passed(), stages.failed());
    Ok(stages.failed() == 0)
}

fn modules() -> Result<Outcome, TaskError> {
    for module in Module::ALL {
        module.build(&mut |line| println!("{line}"))?;
    }
    Ok(Outcome::ok())
}

fn every_test(stages: &mut Stages, fuzz_seconds: u32) -> Result<(), TaskError> {
    let targets = targets::of_workspace()?;
    let gated: Vec<_> = targets.iter().filter(|target| target.is_gated()).collect();
    let mut ran = Report::default();
    stages.run("unit and command-line tests", || tests(&mut ran, &[]));
    stages.run("plugin-only feature set", || tests(&mut ran, &["--no-default-features", "--lib"]));
    stages.run("the tests' own tools", || tests(&mut ran, &["-p", "xtask", "-p", "keywright-testbed"]));
    stages.run("control plane and systemd", || tests(&mut ran, &with_features(&gated)));
    stages.run("instructions and system calls per call", || instructions::stage(instructions::Then::Compare));
    if fuzz::exist() {
        stages.run("fuzz targets", || fuzz::every_target(fuzz_seconds));
    }
    stages.run("every test target was run", || Ok(Outcome { problems: targets::not_run(&targets, &ran), ..Outcome::default() }));
    Ok(())
}

/// The words that turn on what `gated` targets require, and choose them. Plain `cargo test` skips them without a word.
fn with_features<'a>(gated: &[&'a Target]) -> Vec<&'a str> {
    let features: BTreeSet<_> = gated.iter().flat_map(|target| &target.required_features).collect();
    let features = features.into_iter().flat_map(|feature| ["--features", feature]);
    let names = gated.iter().flat_map(|target| ["--test", &target.name]);
    features.chain(names).collect()
}

/// Runs `cargo test` with `words`. No test at all, or one that was ignored, is a failure like any other.
fn tests(ran: &mut Report, words: &[&str]) -> Result<Outcome, TaskError> {
    let mut report = Report::default();
    let ended_well = watch(cargo().args(["test", "--no-fail-fast"]).args(words), |line| report.see(line))?;
    let total = report.total();
    let mut problems = Vec::new();
    if total.failed > 0 {
        problems.push(format!("{} tests failed", total.failed));
    } else if !ended_well {
        problems.push("cargo test failed; see above".to_owned());
    } else if total.passed == 0 {
        problems.push("no test ran".to_owned());
    }
    if total.ignored > 0 {
        problems.push(format!("{} tests are ignored", total.ignored));
    }
    ran.add(report);
    Ok(Outcome { passed: total.passed, failed: total.failed, problems })
}
