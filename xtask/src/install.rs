//! Cargo's own extensions, of a fixed version, in the cache folder: neither the user's nor fetched again after `cargo clean`.

use std::path::PathBuf;

use keywright_testbed::tools::cache_folder;

use crate::run::{TaskError, cargo, succeed};

/// Licences, sources and banned crates (3 minutes to build on two cores).
pub(crate) const CARGO_DENY: (&str, &str) = ("cargo-deny", "0.20.2");

/// Drives libFuzzer (half a minute).
pub(crate) const CARGO_FUZZ: (&str, &str) = ("cargo-fuzz", "0.13.2");

/// The folder that holds the program, which is built first if it is not there.
pub(crate) fn cargo_extension((name, version): (&str, &str)) -> Result<PathBuf, TaskError> {
    let root = cache_folder()?.join(format!("{name}-{version}"));
    let folder = root.join("bin");
    if !folder.join(name).is_file() {
        println!("{name} {version} is not in {} yet: it is built once", root.display());
        // --force: an install that was killed late is on record without its program.
        succeed(cargo().args(["install", "--locked", "--force", "--version", version, "--root"]).arg(&root).arg(name))?;
    }
    Ok(folder)
}
