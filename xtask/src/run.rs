//! Running other programs: where, with what environment, and with their output seen and shown.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use keywright_testbed::tools::ToolsError;

/// A command of ours that could not do its work (a test that fails is no error: it is a result).
#[derive(Debug, thiserror::Error)]
pub(crate) enum TaskError {
    #[error("{attempt}: {source}")]
    Io { attempt: String, source: io::Error },
    #[error("`{command}` failed ({status})")]
    Failed { command: String, status: std::process::ExitStatus },
    #[error("read what `{command}` printed: {reason}")]
    Output { command: String, reason: String },
    #[error("the tests make namespaces and mounts: run `sudo -E env \"PATH=$PATH\" cargo xtask test` (`cargo test` alone needs no root)")]
    NotRoot,
    #[error("install what is missing, then run it again: {line}")]
    Packages { line: String },
    #[error(transparent)]
    Tools(#[from] ToolsError),
    #[error("{0}")]
    Cluster(String),
}

/// The top folder of this checkout.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the repository")
}

/// Where cargo puts what it builds.
pub(crate) fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), |folder| repository().join(folder))
}

/// `cargo`, without what the outer `cargo run` told this program about itself: a changed variable would compile crates again.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new("cargo");
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    if io::stdout().is_terminal() && std::env::var_os("CARGO_TERM_COLOR").is_none() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    command
}

/// `PATH` with `folder` in front.
pub(crate) fn path_with(folder: &Path) -> OsString {
    let mut path = OsString::from(folder);
    if let Some(rest) = std::env::var_os("PATH") {
        path.push(":");
        path.push(rest);
    }
    path
}

/// Runs `command` with its output on ours; an exit code other than 0 is an error.
pub(crate) fn succeed(command: &mut Command) -> Result<(), TaskError> {
    announce(command);
    let status = command.stdin(Stdio::null()).status().map_err(io_error(command))?;
    if status.success() { Ok(()) } else { Err(TaskError::Failed { command: text(command), status }) }
}

/// Runs `command` and returns what it printed on stdout; stderr is shown.
pub(crate) fn output(command: &mut Command) -> Result<String, TaskError> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().map_err(io_error(command))?;
    if !output.status.success() {
        return Err(TaskError::Failed { command: text(command), status: output.status });
    }
    String::from_utf8(output.stdout).map_err(|error| TaskError::Output { command: text(command), reason: error.to_string() })
}

/// Runs `command`, shows each line of its output as it comes and gives it to `see`, without colours. Returns whether it ended well.
///
/// Both streams share one pipe, so that cargo's "Running tests/x.rs" stays in front of the results of x.
pub(crate) fn watch(command: &mut Command, mut see: impl FnMut(&str)) -> Result<bool, TaskError> {
    announce(command);
    let (reader, writer) = io::pipe().map_err(io_error(command))?;
    let copy = writer.try_clone().map_err(io_error(command))?;
    let mut child = command.stdin(Stdio::null()).stdout(copy).stderr(writer).spawn().map_err(io_error(command))?;
    // Our own ends of the pipe go, or it would never end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.map_err(io_error(command))?;
        let line = String::from_utf8_lossy(&line);
        // A closed terminal is no reason to lose the result.
        let _ = writeln!(io::stdout(), "{line}");
        see(&plain(&line));
    }
    Ok(child.wait().map_err(io_error(command))?.success())
}

/// Where the user's programs are, and those that root's `PATH` may lack.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Errors with the line that installs the first of `programs` that is missing; each is in the package of its name.
pub(crate) fn need(programs: &[&str]) -> Result<(), TaskError> {
    let missing = programs.iter().find(|program| find_program(program).is_none());
    missing.map_or(Ok(()), |program| Err(TaskError::Packages { line: format!("apt-get install {program}") }))
}

fn announce(command: &Command) {
    println!("$ {}", text(command));
}

fn io_error(command: &Command) -> impl FnOnce(io::Error) -> TaskError + use<> {
    let attempt = format!("run `{}`", text(command));
    move |source| TaskError::Io { attempt, source }
}

/// The command as a person would type it.
fn text(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// `line` without escape sequences of a terminal.
fn plain(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line.chars();
    while let Some(character) = rest.next() {
        if character == '\u{1b}' {
            // "ESC [ parameters letter"
            rest.by_ref().skip(1).find(char::is_ascii_alphabetic);
        } else {
            plain.push(character);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_do_not_hide_words() {
        assert_eq!(plain("\u{1b}[1m\u{1b}[32m     Running\u{1b}[0m tests/cli.rs"), "     Running tests/cli.rs");
    }

    #[test]
    fn both_streams_are_seen_in_order() {
        let mut lines = Vec::new();
        let ended_well = watch(Command::new("sh").args(["-c", "echo 1; echo 2 >&2; echo 3; exit 1"]), |line| lines.push(line.to_owned()));
        assert!(matches!(ended_well, Ok(false)));
        assert_eq!(lines, ["1", "2", "3"]);
    }
}
