//! What every file here needs.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub(crate) use keywright_testbed::ran::Ran;
use tempfile::TempDir;

/// How long anything may take that takes milliseconds; the machine may be busy.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_keywright"))
}

/// A private folder that goes away.
pub(crate) fn folder() -> TempDir {
    keywright_testbed::scratch::folder("cli").expect("folder")
}

/// Runs the binary to its end.
pub(crate) fn run(arguments: &[&str]) -> Ran {
    ran(Command::new(binary()).args(arguments).env_remove("CREDENTIALS_DIRECTORY"))
}

/// Runs any command to its end.
pub(crate) fn ran(command: &mut Command) -> Ran {
    Ran::of(command).expect("ends by itself")
}

/// Writes a file of the given mode.
pub(crate) fn write(path: &Path, bytes: impl AsRef<[u8]>, mode: u32) {
    std::fs::write(path, bytes).expect("write");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
}

/// A configuration in `dir` with a key file; `extra` is appended.
pub(crate) fn config(dir: &Path, extra: &str) -> PathBuf {
    write(&dir.join("seal.key"), [7; 32], 0o400);
    let state = dir.join("state");
    if !state.exists() {
        std::fs::create_dir(&state).expect("mkdir");
    }
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o700)).expect("chmod");
    let text =
        format!("keyring = \"{0}/keyring\"\nstate_dir = \"{0}/state\"\n[seal]\nkey_file = \"{0}/seal.key\"\n{extra}\n", dir.display());
    let path = dir.join("config.toml");
    write(&path, text, 0o644);
    path
}

/// The `[socket]` table for a socket in `dir`.
pub(crate) fn socket_table(dir: &Path) -> String {
    format!("[socket]\npath = \"{}/kms.sock\"\n", dir.display())
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}
