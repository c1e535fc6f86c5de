//! What the tests need from the system: installed on Debian when we may, else named in one line.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::run::{TaskError, find_program, succeed};
use crate::stages::Outcome;

/// Where Debian puts what is loaded into a process and is no program of its own.
macro_rules! library {
    ($name:literal) => {
        if cfg!(target_arch = "aarch64") {
            concat!("/usr/lib/aarch64-linux-gnu/", $name)
        } else {
            concat!("/usr/lib/x86_64-linux-gnu/", $name)
        }
    };
}

/// Program (or file, or the beginning of its name and a `*`), Debian package, what it is for.
const NEEDED: [(&str, &str, &str); 30] = [
    ("bash", "bash", "boots the systemd under test"),
    ("cc", "gcc", "links Rust and Go programs"),
    ("c++", "g++", "compiles libFuzzer"),
    ("dpkg", "dpkg", "knows where libfaketime is"),
    (library!("faketime/libfaketime.so.1"), "libfaketime", "moves the clock of one process"),
    ("ip", "iproute2", "joins the nodes of a cluster"),
    ("mount", "mount", "builds the root of the systemd under test"),
    ("pivot_root", "util-linux", "enters that root"),
    ("/usr/bin/perl", "perl-base", "is a client of another uid"),
    ("python3", "python3", "reads keyrings and exports by code that is not ours"),
    ("setpriv", "util-linux", "gives it that uid"),
    ("ssh-keygen", "openssh-client", "makes the SSH keys that exports are encrypted to"),
    ("strace", "strace", "makes system calls fail, kills at them, and shows their order"),
    ("unshare", "util-linux", "makes namespaces"),
    ("valgrind", "valgrind", "counts instructions per call"),
    (library!("softhsm/libsofthsm2.so"), "softhsm2", "is a token"),
    ("softhsm2-util", "softhsm2", "makes tokens"),
    (library!("libsoftokn3.so"), "libnss3", "is a token with habits of its own"),
    ("certutil", "libnss3-tools", "makes that one"),
    ("pkcs11-tool", "opensc", "makes and lists keys in tokens by code that is not ours"),
    ("pkg-config", "pkg-config", "finds the two libraries under Kryoptic, a token to be built"),
    (library!("libssl.so"), "libssl-dev", "is one"),
    (library!("libsqlite3.so"), "libsqlite3-dev", "is the other"),
    (library!("libclang-*"), "libclang1", "reads their headers"),
    ("/usr/bin/dbus-daemon", "dbus", "carries what systemd-run asks for"),
    ("/lib/systemd/systemd", "systemd", "starts the shipped unit"),
    ("swtpm", "swtpm", "is a TPM for it"),
    (library!("libtss2-esys.so.0"), "libtss2-esys-3.0.2-0", "is how it talks to a TPM"),
    (library!("libtss2-rc.so.0"), "libtss2-rc0", "is what it says of a TPM's errors"),
    (library!("libtss2-tcti-swtpm.so.0"), "libtss2-tcti-swtpm0", "reaches this one"),
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
    if let Some(beginning) = program.strip_suffix('*') {
        return any_begins(beginning);
    }
    if program.starts_with('/') { Path::new(program).exists() } else { find_program(program).is_some() }
}

/// Whether there is a file whose path begins so: for names that end in a version.
fn any_begins(beginning: &str) -> bool {
    let (folder, name) = beginning.rsplit_once('/').unwrap_or((".", beginning));
    let mut files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files.any(|file| file.file_name().as_encoded_bytes().starts_with(name.as_bytes()))
}

/// The owner of a process's folder in /proc is its effective user.
fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|data| data.uid() == 0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_version_in_a_name_does_not_matter() {
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/src/test/pack*");
        assert!(super::is_there(here));
        assert!(!super::is_there(&here.replace("pack*", "pack-*")));
    }
}
