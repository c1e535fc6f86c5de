//! What the tests need from the system: installed on Debian when we may, else named in one line.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::run::{TaskError, find_program, succeed};
use crate::stages::Outcome;

/// Loaded into a process, never a program of its own.
const FAKETIME: &str = if cfg!(target_arch = "aarch64") {
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1"
} else {
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
};

/// Program (or file), Debian package, what it is for.
const NEEDED: [(&str, &str, &str); 16] = [
    ("bash", "bash", "boots the systemd under test"),
    ("cc", "gcc", "links Rust and Go programs"),
    ("c++", "g++", "compiles libFuzzer"),
    ("dpkg", "dpkg", "knows where libfaketime is"),
    (FAKETIME, "libfaketime", "moves the clock of one process"),
    ("ip", "iproute2", "joins the nodes of a cluster"),
    ("mount", "mount", "builds the root of the systemd under test"),
    ("pivot_root", "util-linux", "enters that root"),
    ("/usr/bin/perl", "perl-base", "is a client of another uid"),
    ("python3", "python3", "reads keyrings and exports by code that is not ours"),
    ("setpriv", "util-linux", "gives it that uid"),
    ("ssh-keygen", "openssh-client", "makes the SSH keys that exports are encrypted to"),
    ("strace", "strace", "makes system calls fail, kills at them, and shows their order"),
    ("unshare", "util-linux", "makes namespaces"),
    ("/usr/bin/dbus-daemon", "dbus", "carries what systemd-run asks for"),
    ("/lib/systemd/systemd", "systemd", "starts the shipped unit"),
];

/// Installs what is missing, or fails with the line that does.
///
/// Fails first when we are not root: some tests make namespaces and mounts, and to find that out after ten minutes would be late.
pub(super) fn ensure() -> Result<Outcome, TaskError> {
    if !is_root() {
        return Err(TaskError::NotRoot);
    }
    let missing: Vec<_> = NEEDED.into_iter().filter(|(program, ..)| !is_there(program)).collect();
    if missing.is_empty() {
        println!("all there: {}", NEEDED.map(|(program, ..)| program).join(", "));
        return Ok(Outcome::ok());
    }
    for (program, _, purpose) in &missing {
        println!("missing: {program} ({purpose})");
    }
    let mut packages: Vec<_> = missing.iter().map(|(_, package, _)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    let install = ["install", "-y", "--no-install-recommends"];
    if !(Path::new("/etc/debian_version").exists() && find_program("apt-get").is_some()) {
        return Err(TaskError::Packages {
            line: format!("apt-get {} {}   (or what your system calls these packages)", install.join(" "), packages.join(" ")),
        });
    }
    succeed(apt_get().args(["update", "-q"]))?;
    succeed(apt_get().args(install).arg("-q").args(&packages))?;
    let problems = missing.iter().filter(|(program, ..)| !is_there(program));
    let problems = problems.map(|(program, package, _)| format!("{program} is still missing after installing {package}")).collect();
    Ok(Outcome { problems, ..Outcome::default() })
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn is_there(program: &str) -> bool {
    if program.starts_with('/') { Path::new(program).exists() } else { find_program(program).is_some() }
}

/// The owner of a process's folder in /proc is its effective user.
fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|data| data.uid() == 0)
}
