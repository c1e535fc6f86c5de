//! Every benchmark, of a release build: beside the Go reference plugin, the keyring, swaps, snapshots, a live scan, a rewrite.

use std::fs;
use std::path::Path;

use keywright_testbed::tools::Tools;

use crate::run::{TaskError, cargo, succeed, target_folder};

/// All of them, each with a gate of its own.
const BENCHES: [&str; 6] = ["side_by_side", "keyring", "swaps", "snapshot", "live_scan", "rewrite"];

/// `cargo xtask bench`.
///
/// The programs under test come from a plain `cargo build`: what `cargo bench` builds for itself carries the features that
/// dev-dependencies turn on. They are copied aside, because `cargo bench` puts its own build in the same place.
pub(crate) fn run() -> Result<bool, TaskError> {
    let tools = Tools::build(&mut |line| println!("{line}"))?;
    succeed(cargo().args(["build", "--release", "-p", "keywright"]))?;
    let target = target_folder();
    let plain = target.join("plain-release");
    let binary = plain.join("keywright");
    fs::create_dir_all(&plain).map_err(|source| TaskError::Io { attempt: format!("create {}", plain.display()), source })?;
    for program in ["keywright", "keywright-operator"] {
        copy(&target.join("release").join(program), &plain.join(program))?;
    }
    let mut good = true;
    for bench in BENCHES {
        let mut command = cargo();
        command.args(["bench", "--bench", bench]).env("KEYWRIGHT_BIN", &binary);
        command.env("KEYWRIGHT_REFPLUGIN", tools.refplugin());
        // One that missed its gate has printed its figures; the others are still wanted.
        if let Err(error) = succeed(&mut command) {
            println!("{error}");
            good = false;
        }
    }
    Ok(good)
}

fn copy(from: &Path, to: &Path) -> Result<(), TaskError> {
    fs::copy(from, to).map(drop).map_err(|source| TaskError::Io { attempt: format!("copy {} to {}", from.display(), to.display()), source })
}
