//! Folders and processes that are gone after the test process, however it ends.
//!
//! Drop does the work in the ordinary case. It does not run for statics, nor when the test process is killed; so one small
//! shell per test process holds the list of what is alive and, when its pipe closes, ends and removes exactly that.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use tempfile::TempDir;

use crate::{Error, Result};

/// Lines `+ PID START`, `- PID` and `@ FOLDER` come in; at the end of input the processes are killed whose start time is still the
/// one noted (a pid may belong to somebody else by then), and the folder is removed.
const CARETAKER: &str = r#"
declare -A alive
while read -r what pid start; do
    case $what in
        +) alive[$pid]=$start ;;
        -) unset "alive[$pid]" ;;
        @) folder=$pid ;;
    esac
done
for pid in "${!alive[@]}"; do
    { read -r line < "/proc/$pid/stat"; } 2>/dev/null || continue
    set -- ${line##*) }
    [ "${20}" != "${alive[$pid]}" ] || kill -KILL "$pid"
done
[ -z "$folder" ] || rm -rf -- "$folder"
"#;

/// When set, folders stay for a look at them afterwards.
const KEEP: &str = "KEYWRIGHT_KEEP";

struct Scratch {
    base: PathBuf,
    pipe: Mutex<ChildStdin>,
    /// Never waited for: it outlives this process on purpose.
    _caretaker: Child,
}

static SCRATCH: OnceLock<std::result::Result<Scratch, String>> = OnceLock::new();

fn scratch() -> Result<&'static Scratch> {
    SCRATCH.get_or_init(|| open().map_err(|e| e.to_string())).as_ref().map_err(|e| Error::while_doing("prepare a scratch folder", e))
}

fn open() -> Result<Scratch> {
    let base = tempfile::Builder::new().prefix("kwbed-").permissions(PermissionsExt::from_mode(0o700)).tempdir()?.keep();
    let mut caretaker = Command::new("bash")
        .args(["-c", CARETAKER])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0) // an interrupt at the terminal ends the tests, not their caretaker
        .spawn()
        .map_err(|e| Error::while_doing("start bash", e))?;
    let mut pipe = caretaker.stdin.take().expect("the pipe was asked for above");
    if std::env::var_os(KEEP).is_none() {
        writeln!(pipe, "@ {}", base.display())?;
    }
    Ok(Scratch { base, pipe: Mutex::new(pipe), _caretaker: caretaker })
}

/// A new folder, mode 0700, for one server or one test; its name begins with `name`.
pub fn folder(name: &str) -> Result<TempDir> {
    let mut folder =
        tempfile::Builder::new().prefix(&format!("{name}-")).permissions(PermissionsExt::from_mode(0o700)).tempdir_in(&scratch()?.base)?;
    folder.disable_cleanup(std::env::var_os(KEEP).is_some());
    Ok(folder)
}

/// From now on the process `pid` is ended when this process is gone.
pub(crate) fn watch(pid: u32) -> Result<()> {
    let start = start_time(pid)?;
    tell(&format!("+ {pid} {start}"))
}

/// The process `pid` was waited for; its number may be used again by others.
pub(crate) fn forget(pid: u32) -> Result<()> {
    tell(&format!("- {pid}"))
}

fn tell(line: &str) -> Result<()> {
    let mut pipe = scratch()?.pipe.lock().expect("no holder of this lock panics");
    writeln!(pipe, "{line}").map_err(|e| Error::while_doing("tell the caretaker", e))
}

/// When the process started, in clock ticks since boot: together with the pid it names a process for good.
pub(crate) fn start_time(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).map_err(|e| Error::while_doing(format!("read {path}"), e))?;
    // The second field is a name in brackets that may hold anything; the fields after the last bracket are regular.
    let rest = stat.rsplit_once(") ").map(|(_, rest)| rest).unwrap_or_default();
    rest.split(' ').nth(19).and_then(|field| field.parse().ok()).ok_or_else(|| Error::new(format!("{path} has no start time")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_of_this_process_is_known_and_stays() {
        let first = start_time(std::process::id()).expect("this process exists");
        assert!(first > 0);
        assert_eq!(first, start_time(std::process::id()).expect("this process exists"));
    }

    #[test]
    fn a_folder_is_for_its_owner_only() {
        let folder = folder("mode").expect("a folder can be made");
        let mode = std::fs::metadata(folder.path()).expect("it exists").permissions().mode();
        assert_eq!(mode & 0o7777, 0o700);
    }
}
