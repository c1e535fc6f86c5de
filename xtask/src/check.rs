//! Everything about the code except whether it works: formats, lints, licences, documentation, for both feature sets.

use std::collections::BTreeSet;
use std::process::Command;

use keywright_testbed::tools::go_module;

use crate::fuzz;
use crate::install::{CARGO_DENY, cargo_extension};
use crate::run::{TaskError, cargo, output, path_with, succeed};
use crate::stages::{Outcome, Stages};

/// The modules that tests load: a workspace of its own.
const MODULES: &str = "tests/modules/Cargo.toml";

/// The feature set of the plugin alone.
const PLUGIN_ONLY: &str = "--no-default-features";

/// `cargo xtask check`: all checks, also after one has failed. The cheap ones come first.
pub(crate) fn run() -> Result<bool, TaskError> {
    let mut stages = Stages::new();
    stages.run("rustfmt", || check(cargo().args(["fmt", "--all", "--check"])));
    if fuzz::exist() {
        // A workspace of its own, which `--all` does not reach.
        stages.run("rustfmt, fuzz targets", || check(cargo().args(["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"])));
    }
    stages.run("rustfmt, PKCS#11 modules", || check(cargo().args(["fmt", "--all", "--manifest-path", MODULES, "--check"])));
    stages.run("gofmt", gofmt);
    stages.run("licences, sources and bans", || {
        let path = path_with(&cargo_extension(CARGO_DENY)?);
        check(cargo().env("PATH", path).args(["deny", "--workspace", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"]))
    });
    stages.run("clippy, everything", || {
        check(cargo().args([
            "clippy",
            "--keep-going",
            "--workspace",
            "--all-targets",
            "--features",
            "keywright/cluster-tests",
            "--",
            "-D",
            "warnings",
        ]))
    });
    stages.run("clippy, plugin only", || check(cargo().args(["clippy", "-p", "keywright", PLUGIN_ONLY, "--", "-D", "warnings"])));
    // Not Kryoptic's wrapper: it is five lines, and its crate wants libraries that `cargo xtask test` installs.
    stages.run("clippy, fake PKCS#11 module", || {
        check(cargo().args(["clippy", "--manifest-path", MODULES, "-p", "fake-module", "--locked", "--", "-D", "warnings"]))
    });
    stages.run("documentation, everything", || check(doc().arg("--workspace")));
    stages.run("documentation, plugin only", || check(doc().args(["-p", "keywright", PLUGIN_ONLY])));
    stages.run("go vet", || check(go("go").args(["vet", "-mod=readonly", "./conformance", "./count", "./refplugin", "./snapshotgen"])));
    stages.run("number of crates", crates);
    stages.print_summary();
    let good = stages.failed() == 0;
    println!("{}", if good { "all checks passed".to_owned() } else { format!("checks that failed: {}", stages.failed()) });
    Ok(good)
}

fn check(command: &mut Command) -> Result<Outcome, TaskError> {
    succeed(command).map(|()| Outcome::ok())
}

fn doc() -> Command {
    let mut command = cargo();
    command.env("RUSTDOCFLAGS", "-Dwarnings").args(["doc", "--no-deps"]);
    command
}

fn go(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(go_module()).env("GOWORK", "off").env_remove("GOFLAGS");
    command
}

/// gofmt lists what it would change and ends well all the same.
fn gofmt() -> Result<Outcome, TaskError> {
    let problems =
        output(go("gofmt").args(["-l", "."]))?.lines().map(|file| format!("tests/go/{file} is not formatted: gofmt -w")).collect();
    Ok(Outcome { problems, ..Outcome::default() })
}

/// Numbers to watch: crates that run inside the plugin, and all that take part in making it.
fn crates() -> Result<Outcome, TaskError> {
    for (what, features) in [("with the operator's commands", None), ("plugin only", Some(PLUGIN_ONLY))] {
        let tree = |edges| {
            let mut command = cargo();
            command.env("CARGO_TERM_COLOR", "never").args(["tree", "-p", "keywright", "--prefix", "none", "-e", edges]).args(features);
            output(&mut command).map(|tree| count(&tree))
        };
        println!("{:4} crates {what}, {} of them in the program", tree("normal")?, tree("normal,no-proc-macro")?);
    }
    Ok(Outcome::ok())
}

/// A crate that several others need is listed once for each, then with `(*)`.
fn count(tree: &str) -> usize {
    let names: BTreeSet<_> = tree.lines().map(|line| line.trim_end_matches(" (*)")).filter(|line| !line.is_empty()).collect();
    // The first one is the plugin itself.
    names.len().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_crate_counts_once_and_the_plugin_does_not_count() {
        assert_eq!(
            super::count("keywright v0.1.0 (/x)\na v1.0.0\nb v1.0.0 (proc-macro)\na v1.0.0 (*)\na v2.0.0\nb v1.0.0 (proc-macro) (*)\n"),
            3
        );
    }
}
