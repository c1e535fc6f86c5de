//! Every fuzz target for a bounded time, on the stable compiler.

use std::path::Path;

use crate::files;
use crate::install::{CARGO_FUZZ, cargo_extension};
use crate::run::{TaskError, cargo, output, path_with, succeed};
use crate::stages::{Outcome, Stages};

/// `cargo xtask fuzz`.
pub(crate) fn run(seconds: u32) -> Result<bool, TaskError> {
    let mut stages = Stages::new();
    let good = stages.run("fuzz targets", || every_target(seconds));
    stages.print_summary();
    Ok(good)
}

/// Whether this checkout has fuzz targets.
pub(crate) fn exist() -> bool {
    Path::new("fuzz/Cargo.toml").is_file()
}

/// Runs each target for `seconds`; one that survives counts as one test.
pub(crate) fn every_target(seconds: u32) -> Result<Outcome, TaskError> {
    let path = path_with(&cargo_extension(CARGO_FUZZ)?);
    let fuzz = |words: &[&str]| {
        let mut command = cargo();
        command.env("PATH", &path).arg("fuzz").args(words);
        command
    };
    let list = output(&mut fuzz(&["list"]))?;
    let targets: Vec<_> = list.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut outcome = Outcome::ok();
    if targets.is_empty() {
        outcome.problems.push("`cargo fuzz list` names no target".to_owned());
        return Ok(outcome);
    }
    // Sanitizers want a nightly compiler; safe Rust loses little without: panics, overflows and hangs are found all the same.
    succeed(&mut fuzz(&["build", "-s", "none"]))?;
    for target in targets {
        let mut command = fuzz(&["run", "-s", "none", target]);
        let seeds = format!("fuzz/seeds/{target}");
        if Path::new(&seeds).is_dir() {
            // The first folder receives what the run finds, the second is only read.
            command.args([format!("fuzz/corpus/{target}"), seeds]);
            files::create_folder(Path::new(&format!("fuzz/corpus/{target}")))?;
        }
        // -verbosity=0 keeps the log to what matters; a finding is printed all the same, and the statistics say how much was tried.
        command.args([
            "--".to_owned(),
            format!("-max_total_time={seconds}"),
            "-timeout=10".to_owned(),
            "-verbosity=0".to_owned(),
            "-print_final_stats=1".to_owned(),
        ]);
        match succeed(&mut command) {
            Ok(()) => outcome.passed += 1,
            Err(error) => {
                outcome.failed += 1;
                outcome.problems.push(error.to_string());
            }
        }
    }
    Ok(outcome)
}
