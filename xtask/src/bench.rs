//! The release build beside the Go reference plugin, in one run.

use std::fs;
use std::path::Path;

use keywright_testbed::tools::Tools;

use crate::run::{TaskError, cargo, succeed, target_folder};

/// `cargo xtask bench`.
///
/// The binary under test comes from a plain `cargo build`: what `cargo bench` builds for itself carries the features that
/// dev-dependencies turn on. It is copied aside, because `cargo bench` puts its own build in the same place.
pub(crate) fn run() -> Result<bool, TaskError> {
    let tools = Tools::build_own(&mut |line| println!("{line}"))?;
    succeed(cargo().args(["build", "--release", "-p", "keywright"]))?;
    let target = target_folder();
    let plain = target.join("plain-release");
    let binary = plain.join("keywright");
    fs::create_dir_all(&plain).map_err(|source| TaskError::Io { attempt: format!("create {}", plain.display()), source })?;
    copy(&target.join("release/keywright"), &binary)?;
    succeed(
        cargo().args(["bench", "--bench", "side_by_side"]).env("KEYWRIGHT_BIN", &binary).env("KEYWRIGHT_REFPLUGIN", tools.refplugin()),
    )?;
    Ok(true)
}

fn copy(from: &Path, to: &Path) -> Result<(), TaskError> {
    fs::copy(from, to).map(drop).map_err(|source| TaskError::Io { attempt: format!("copy {} to {}", from.display(), to.display()), source })
}
