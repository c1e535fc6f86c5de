//! The project's own commands, as `cargo xtask COMMAND`: what needs more than cargo alone, in the same way here and in CI.

mod bench;
mod check;
mod cluster;
mod disk;
mod files;
mod fuzz;
mod install;
mod instructions;
mod run;
mod stages;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use keywright_testbed::tools::Tools;

use run::TaskError;

/// Time for each fuzz target in `test` and `ci`: enough to run every stored input and to notice a parser that fell over.
const FUZZ_SECONDS: u32 = 12;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "The project's own commands", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Every test, on a fresh machine with Rust and Go: installs or names what is missing, builds the control plane, runs all of it
    Test {
        /// Time for each fuzz target
        #[arg(long, value_name = "SECONDS", default_value_t = FUZZ_SECONDS)]
        fuzz_seconds: u32,
    },
    /// Formats, lints, licences and documentation of both feature sets
    Check,
    /// `check`, then `test`, whatever the first one said
    Ci,
    /// Builds the Go programs that the tests need: etcd, kube-apiserver, kube-controller-manager, their clients, and two of our own
    Tools,
    /// Fuzzes every parser for a bounded time
    Fuzz {
        /// Time for each target
        #[arg(long, value_name = "SECONDS", default_value_t = 60)]
        seconds: u32,
    },
    /// A real control plane with the plugin in it, to try things by hand
    Cluster {
        #[command(subcommand)]
        action: cluster::Action,
    },
    /// Measures the release build beside the Go reference plugin and other yardsticks, and writes docs/benchmarks.md
    Bench {
        /// Only these, and what they state into target/bench
        #[arg(value_name = "BENCHMARK", value_parser = bench::BENCHES)]
        only: Vec<String>,
    },
    /// Counts instructions and system calls per call, beside an echo on the h2 crate, and compares them with benches/instructions.toml
    Instructions {
        /// Write what was counted into that file, in place of comparing
        #[arg(long, conflicts_with = "release")]
        record: bool,
        /// Count the shipped build, which takes minutes to compile, and hold it against the fixed gates alone
        #[arg(long)]
        release: bool,
    },
}

fn main() -> ExitCode {
    // Every command below names files from the top of the repository.
    let outcome = std::env::set_current_dir(run::repository())
        .map_err(|source| TaskError::Io { attempt: format!("enter {}", run::repository().display()), source })
        .and_then(|()| match Arguments::parse().command {
            Command::Test { fuzz_seconds } => test::run(fuzz_seconds),
            Command::Check => check::run(),
            Command::Ci => ci(),
            Command::Tools => tools(),
            Command::Fuzz { seconds } => fuzz::run(seconds),
            Command::Cluster { action } => cluster::run(action),
            Command::Bench { only } => bench::run(&only),
            Command::Instructions { release: true, .. } => instructions::of_release(),
            Command::Instructions { record: true, .. } => instructions::run(instructions::Then::Record),
            Command::Instructions { .. } => instructions::run(instructions::Then::Compare),
        });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn ci() -> Result<bool, TaskError> {
    let checked = check::run()?;
    let tested = test::run(FUZZ_SECONDS)?;
    if !checked {
        eprintln!("error: `cargo xtask check` failed; its list is above the tests");
    }
    Ok(checked && tested)
}

fn tools() -> Result<bool, TaskError> {
    let tools = Tools::build(&mut |line| println!("{line}"))?;
    println!("all in {}", tools.folder().display());
    Ok(true)
}
