//! `cargo xtask instructions`, and the stage of that name in `cargo xtask test`: what a call costs, counted and compared with what was recorded.

mod baseline;
mod figure;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::files;
use crate::run::{TaskError, cargo, need, output, succeed, target_folder};
use crate::stages::Outcome;
use baseline::{Baseline, Verdict};
use figure::Figure;

/// What was recorded, for each processor architecture.
const BASELINE: &str = "benches/instructions.toml";
/// The cheap profile: the figures compare with a yardstick of the same build, not with another profile.
const GATE: &str = "gate";

/// How a count ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// Comparison with the baseline.
    Compare,
    /// A new baseline.
    Record,
}

/// `cargo xtask instructions --release`: the shipped build, held against the fixed gates alone. Its fat LTO takes minutes.
pub(crate) fn of_release() -> Result<bool, TaskError> {
    count("release", &["-p", "keywright"]).map(|(_, holds)| holds)
}

/// `cargo xtask instructions`, with or without `--record`.
pub(crate) fn run(then: Then) -> Result<bool, TaskError> {
    let outcome = stage(then)?;
    for problem in &outcome.problems {
        println!("FAILED: {problem}");
    }
    Ok(outcome.problems.is_empty())
}

/// The plugin alone is counted: what serves is the same with and without the operator's commands.
pub(crate) fn stage(then: Then) -> Result<Outcome, TaskError> {
    let (figures, holds) = count(GATE, &["-p", "keywright", "--no-default-features"])?;
    let text = files::read_if_there(Path::new(BASELINE))?.unwrap_or_default();
    let mut baseline = Baseline::parse(&text).map_err(|reason| TaskError::Output { command: BASELINE.into(), reason })?;
    let (architecture, tools) = (std::env::consts::ARCH, tools()?);
    let mut problems = Vec::new();
    if !holds {
        problems.push("a gate was missed; see above".to_owned());
    }
    match then {
        Then::Record => {
            baseline.record(architecture, &tools, &figures);
            files::write(Path::new(BASELINE), &baseline.text())?;
            println!("{BASELINE} states what was counted");
        }
        Then::Compare => {
            let Verdict { worse, notes } = baseline.compare(architecture, &tools, &figures);
            notes.iter().for_each(|note| println!("{note}"));
            problems.extend(worse);
        }
    }
    Ok(Outcome { problems, ..Outcome::default() })
}

/// Builds the plugin and the yardstick at once, and counts. The figures, and whether all fixed gates hold.
fn count(profile: &str, plugin: &[&str]) -> Result<(Vec<Figure>, bool), TaskError> {
    need(&["valgrind", "strace"])?;
    succeed(cargo().args(["build", "--profile", profile, "-p", "keywright-echo"]).args(plugin))?;
    let result = target_folder().join("bench/instructions.json");
    // A result of another day must not be taken for one of this run.
    files::remove(&result)?;
    let built = |name| built(profile, name);
    let mut command = cargo();
    // What loads the servers is not what is counted: the tests have compiled it.
    command.args(["bench", "--profile", "dev", "--bench", "instructions"]);
    command.env("KEYWRIGHT_BIN", built("keywright")).env("KEYWRIGHT_ECHO", built("keywright-echo"));
    let ended = succeed(&mut command);
    let text = files::read_if_there(&result)?.unwrap_or_default();
    if text.is_empty() {
        // There is no result, and the benchmark has said why.
        return Err(ended.err().unwrap_or(TaskError::Output { command: "cargo bench".into(), reason: "no result".into() }));
    }
    let figures = figure::parse(&text).map_err(|reason| TaskError::Output { command: result.display().to_string(), reason })?;
    Ok((figures, ended.is_ok()))
}

fn built(profile: &str, name: &str) -> PathBuf {
    // The benchmark runs in another folder than this.
    let target = target_folder();
    target.canonicalize().unwrap_or(target).join(profile).join(name)
}

/// What counts may depend on beside the code.
fn tools() -> Result<String, TaskError> {
    let versions = ["rustc", "valgrind"].map(|program| output(Command::new(program).arg("--version")));
    let versions = versions.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(versions.iter().map(|version| version.trim()).collect::<Vec<_>>().join(", "))
}
