//! Runs the Go compiler: one program at a time, with progress, under a lock, and never leaving half a program behind.

use std::collections::VecDeque;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::{ToolsError, elapsed};

/// Silence for longer than this looks like a hang to a person who waits.
const HEARTBEAT: Duration = Duration::from_secs(20);

/// How much of Go's output an error carries.
const LAST_LINES: usize = 25;

/// Start of the names of programs that are being built.
const UNFINISHED: &str = ".unfinished-";

/// How many states of our own sources keep their programs (30 MB each).
const SOURCES_KEPT: usize = 5;

/// What `go version` says in `module`, checked against the `go` line of its go.mod.
pub(super) fn go_version(module: &Path) -> Result<String, ToolsError> {
    let file = module.join("go.mod");
    let text = fs::read_to_string(&file).map_err(ToolsError::io(format!("read {}", file.display())))?;
    let needed = text.lines().find_map(|line| line.strip_prefix("go ")).unwrap_or_default().trim().to_owned();
    let output = match go(module).arg("version").output() {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ToolsError::GoMissing { needed }),
        Err(source) => return Err(ToolsError::Io { attempt: "run `go version`".to_owned(), source }),
    };
    // An old Go either fetches the one that go.mod asks for, or fails here, or (before 1.21) just says its version.
    let said = String::from_utf8_lossy(if output.status.success() { &output.stdout } else { &output.stderr }).trim().to_owned();
    if !output.status.success() || is_older(&said, &needed) {
        return Err(ToolsError::GoTooOld { found: said, needed });
    }
    Ok(said)
}

/// Whether `said` ("go version go1.26.8 linux/amd64") names a Go older than `needed` ("1.26.0"). A development version counts as new.
fn is_older(said: &str, needed: &str) -> bool {
    let numbers = |version: &str| version.split('.').map_while(|part| part.parse::<u32>().ok()).collect::<Vec<_>>();
    let found = said.split_whitespace().nth(2).and_then(|word| word.strip_prefix("go"));
    found.map(numbers).is_some_and(|found| !found.is_empty() && found < numbers(needed))
}

/// Keeps two builds out of each other's way, from here until the file is dropped.
pub(super) fn lock(folder: &Path, progress: &mut dyn FnMut(&str)) -> Result<File, ToolsError> {
    fs::create_dir_all(folder).map_err(ToolsError::io(format!("create {}", folder.display())))?;
    let path = folder.join(".lock");
    let failed = || ToolsError::io(format!("lock {}", path.display()));
    let file = File::create(&path).map_err(failed())?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            progress("another run is building the tools; waiting for it");
            file.lock().map_err(failed())?;
        }
        Err(TryLockError::Error(error)) => return Err(failed()(error)),
    }
    Ok(file)
}

/// Builds `package` to `folder/name`, unless it is there. The folder's name says what it was built from, so what is there is right.
pub(super) fn program(module: &Path, folder: &Path, name: &str, package: &str, progress: &mut dyn FnMut(&str)) -> Result<(), ToolsError> {
    let path = folder.join(name);
    if path.is_file() {
        progress(&format!("{name}: already built"));
        return Ok(());
    }
    // Built under another name and renamed when complete: a build that was killed leaves nothing that looks finished.
    let unfinished = folder.join(format!("{UNFINISHED}{name}-{}", std::process::id()));
    fs::create_dir_all(folder).map_err(ToolsError::io(format!("create {}", folder.display())))?;
    let start = Instant::now();
    progress(&format!("{name}: building {package}"));
    let mut command = go(module);
    // -buildvcs=false: no commit in the program, and no complaint about the owner of a fresh clone.
    command.args(["build", "-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o"]).arg(&unfinished).arg(package);
    let (status, output) = watch(&mut command, name, start, progress)?;
    if !status.success() {
        return Err(failure(name, package, module, status, output));
    }
    fs::rename(&unfinished, &path).map_err(ToolsError::io(format!("rename {} to {name}", unfinished.display())))?;
    progress(&format!("{name}: built in {}", elapsed(start.elapsed())));
    Ok(())
}

/// Runs `command` to its end; says now and then that it still runs; returns the last lines of its output.
fn watch(command: &mut Command, name: &str, start: Instant, progress: &mut dyn FnMut(&str)) -> Result<(ExitStatus, String), ToolsError> {
    let failed = || ToolsError::io(format!("run go to build {name}"));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(failed())?;
    let stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
    let (sender, lines) = mpsc::channel();
    // Ends by itself when Go closes its output.
    let reader = std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let (mut downloads, mut last) = (0, VecDeque::new());
    loop {
        match lines.recv_timeout(HEARTBEAT) {
            Ok(line) if line.starts_with("go: downloading ") => {
                downloads += 1;
                if downloads % 50 == 0 {
                    progress(&format!("{name}: {downloads} modules downloaded, {}", elapsed(start.elapsed())));
                }
            }
            Ok(line) => {
                last.push_back(line);
                if last.len() > LAST_LINES {
                    last.pop_front();
                }
            }
            Err(RecvTimeoutError::Timeout) => progress(&format!("{name}: still building, {}", elapsed(start.elapsed()))),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = child.wait().map_err(failed())?;
    let _ = reader.join();
    Ok((status, last.into_iter().collect::<Vec<_>>().join("\n")))
}

fn failure(name: &str, package: &str, module: &Path, status: ExitStatus, output: String) -> ToolsError {
    const NETWORK: [&str; 7] =
        ["module lookup disabled", "dial tcp", "no such host", "i/o timeout", "connection refused", "TLS handshake", "proxyconnect"];
    if NETWORK.iter().any(|sign| output.contains(sign)) {
        return ToolsError::Network { name: name.to_owned(), output };
    }
    let command = format!("go build -mod=readonly {package}");
    ToolsError::Build { name: name.to_owned(), command, folder: module.to_owned(), status, output }
}

/// Removes what killed builds left and the programs of sources that are long gone; `own` was just used and stays. Call it under the lock.
pub(super) fn forget_leftovers(folder: &Path, own: &Path) -> Result<(), ToolsError> {
    let failed = || ToolsError::io(format!("clear old programs in {}", folder.display()));
    let mut old = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(UNFINISHED) {
            fs::remove_file(entry.path()).map_err(failed())?;
        } else if name.starts_with("own-") && entry.path() != own {
            old.push((entry.metadata().and_then(|data| data.modified()).map_err(failed())?, entry.path()));
        }
    }
    old.sort();
    let surplus = (old.len() + 1).saturating_sub(SOURCES_KEPT);
    old.iter().take(surplus).try_for_each(|(_, path)| fs::remove_dir_all(path).map_err(failed()))
}

/// `go`, in our module and in no workspace that happens to lie around it.
fn go(module: &Path) -> Command {
    let mut command = Command::new("go");
    command.current_dir(module).env("GOWORK", "off").env_remove("GOFLAGS").stdin(Stdio::null());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(is_older("go version go1.9.7 linux/amd64", "1.26.0"));
        assert!(is_older("go version go1.25.9 linux/amd64", "1.26.0"));
        assert!(!is_older("go version go1.26.0 linux/amd64", "1.26.0"));
        assert!(!is_older("go version go1.100.1 linux/amd64", "1.26.0"));
        assert!(!is_older("go version devel go1.27-abcdef linux/amd64", "1.26.0"));
    }

    #[test]
    fn a_download_that_failed_is_told_from_a_compiler_error() {
        use std::os::unix::process::ExitStatusExt;
        let ended = |output: &str| failure("etcd", "x", Path::new("/"), ExitStatus::from_raw(256), output.to_owned());
        assert!(matches!(ended("Get \"https://x\": dial tcp: lookup x: no such host"), ToolsError::Network { .. }));
        assert!(matches!(ended("x.go:3:1: syntax error"), ToolsError::Build { .. }));
    }

    #[test]
    fn only_the_newest_sources_keep_their_programs_and_no_half_program_stays() {
        let folder = std::env::temp_dir().join(format!("keywright-own-{}", std::process::id()));
        let own = folder.join("own-z");
        for name in ["a", "b", "c", "d", "e", "f", "z"] {
            fs::create_dir_all(folder.join(format!("own-{name}"))).expect("a temporary folder can be made");
        }
        fs::write(folder.join(".unfinished-etcd-1"), "half").expect("a temporary file can be written");
        forget_leftovers(&folder, &own).expect("old folders can be removed");
        let left = fs::read_dir(&folder).expect("it is still there").count();
        let own_left = own.is_dir();
        fs::remove_dir_all(&folder).expect("the temporary folder can be removed");
        assert_eq!((left, own_left), (SOURCES_KEPT, true));
    }
}
