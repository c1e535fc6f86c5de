//! Commands under strace: which system calls they make, and what becomes of them when one is killed or fails.

use std::ffi::OsString;
use std::process::Command;

use super::ground::{Ground, Ran, binary, run};

/// What opens for writing, writes, syncs, renames, cuts, locks, removes or changes modes.
pub(crate) const CALLS: [&str; 22] = [
    "open",
    "openat",
    "creat",
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "fsync",
    "fdatasync",
    "rename",
    "renameat",
    "renameat2",
    "ftruncate",
    "truncate",
    "fchmod",
    "fchmodat",
    "flock",
    "link",
    "linkat",
    "unlink",
    "unlinkat",
    "mkdirat",
];

/// A system call that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// How many of that name there were up to it; counted from 1.
    pub(crate) nth: usize,
    /// As strace prints it: file handles with their paths, and the result.
    pub(crate) line: String,
}

impl Call {
    /// What it returned, if it succeeded.
    pub(crate) fn result(&self) -> Option<u64> {
        let result = self.line.rsplit_once(" = ")?.1;
        result.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    }

    /// Whether it opens a file so that it can be changed.
    pub(crate) fn opens_to_write(&self) -> bool {
        ["open", "openat", "creat"].contains(&self.name.as_str())
            && ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "creat("].iter().any(|flag| self.line.contains(flag))
    }
}

/// Runs `words` on `ground` under strace; `more` are further arguments of strace, such as faults.
pub(crate) fn traced(ground: &Ground, words: &[impl AsRef<str>], more: &[&str]) -> (Ran, Vec<Call>) {
    let ran = run(&mut strace(ground, &ground.arguments(words), more));
    (ran, calls(ground))
}

/// A command under strace, to be started.
pub(crate) fn strace(ground: &Ground, arguments: &[OsString], more: &[&str]) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-qq", "-s", "32", "-e", "signal=none"]).arg("-e").arg(format!("trace={}", CALLS.join(",")));
    command.arg("-o").arg(ground.path("trace")).args(more).arg("--").arg(binary()).args(arguments);
    command
}

/// What the last command under strace did.
pub(crate) fn calls(ground: &Ground) -> Vec<Call> {
    parse(&std::fs::read_to_string(ground.path("trace")).expect("strace writes its output"))
}

pub(crate) fn parse(text: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    for line in text.lines() {
        // "PID name(arguments) = result"
        let Some((_, line)) = line.split_once(char::is_whitespace) else { continue };
        let Some((name, _)) = line.trim_start().split_once('(') else { continue };
        if CALLS.contains(&name) {
            let nth = calls.iter().filter(|call| call.name == name).count() + 1;
            calls.push(Call { name: name.to_owned(), nth, line: line.trim_start().to_owned() });
        }
    }
    calls
}

/// The argument that makes the call fail with `error`, or kills the process at it.
pub(crate) fn fault(call: &Call, what: &str) -> String {
    format!("inject={}:{what}:when={}", call.name, call.nth)
}
