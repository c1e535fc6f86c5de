//! A real systemd as PID 1, in namespaces of its own, over an overlay of this machine's root: nothing outside is touched.
//!
//! There is no journal and no network in it. Units write to files below [`OUT`] by a drop-in; commands are run one after another by
//! a oneshot service and their output is kept. Needs root, `unshare`, `pivot_root` and an installed systemd.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};

use crate::log::Log;
use crate::process::Process;
use crate::ran::Ran;
use crate::{Error, Result, scratch};

/// A folder inside that outlives the run: files written there are in [`Report::file`].
pub const OUT: &str = "/var/bed/out";

/// Mounts, then becomes systemd. Runs as PID 1 of the new namespaces.
const BOOT: &str = include_str!("systemd/boot.sh");

/// Removes what the machine leaves behind outside of its namespaces: its cgroup.
const CLEAN: &str = include_str!("systemd/clean.sh");

/// Runs the steps in order, inside, and ends the machine.
const STEPS: &str = include_str!("systemd/steps.sh");

const TARGET: &str = "[Unit]\nDescription=Steps of a test\nDefaultDependencies=no\nWants=bed-steps.service\n";

const SERVICE: &str = "[Unit]\nDescription=Steps of a test\nDefaultDependencies=no\n\
                       [Service]\nType=oneshot\nTimeoutStartSec=infinity\nExecStart=/bin/bash /var/bed/steps.sh\n";

/// A machine to be booted: files that it has beside those of this machine, and commands to run in it.
#[derive(Debug, Default)]
pub struct Machine {
    files: Vec<(PathBuf, u32, Vec<u8>)>,
    steps: Vec<(String, String)>,
}

/// One command that was run inside.
#[derive(Debug, Clone)]
pub struct Step {
    /// The name it was given.
    pub name: String,
    /// Its exit code.
    pub code: i32,
    /// What it printed, both streams in order.
    pub output: String,
    /// How long it took, from the clock inside.
    pub took: Duration,
}

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    steps: Vec<Step>,
    out: tempfile::TempDir,
    /// What systemd said on its console.
    pub console: String,
}

impl Machine {
    /// A machine like this one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a file at the absolute `path` inside; it belongs to root and has `mode`.
    pub fn file(mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((PathBuf::from(path), mode, content.into()));
        self
    }

    /// Copies a file of this machine to the absolute `path` inside.
    pub fn copy(self, from: &Path, path: &str, mode: u32) -> Result<Self> {
        let content = fs::read(from).map_err(|e| Error::while_doing(format!("read {}", from.display()), e))?;
        Ok(self.file(path, mode, content))
    }

    /// Adds a shell command. All steps run, in this order, whatever the exit codes of the earlier ones.
    pub fn step(mut self, name: &str, command: &str) -> Self {
        self.steps.push((name.to_owned(), command.to_owned()));
        self
    }

    /// Boots, runs the steps, waits for the end. The whole machine is killed after `limit`.
    pub fn run(self, limit: Duration) -> Result<Report> {
        let spec = scratch::folder("systemd")?;
        let out = scratch::folder("systemd-out")?;
        let tree = spec.path().join("tree");
        let mut files = self.files;
        files.push(("/etc/systemd/system/bed.target".into(), 0o644, TARGET.into()));
        files.push(("/etc/systemd/system/bed-steps.service".into(), 0o644, SERVICE.into()));
        files.push(("/var/bed/steps.sh".into(), 0o755, STEPS.into()));
        for (number, (_, command)) in self.steps.iter().enumerate() {
            files.push((format!("/var/bed/steps/{number:03}").into(), 0o644, command.clone().into()));
        }
        for (path, mode, content) in files {
            place(&tree, &path, mode, &content)?;
        }
        let boot = spec.path().join("boot.sh");
        fs::write(&boot, BOOT)?;

        let Console { ours, other, path: terminal } = Console::open()?;
        // Somebody must read it: systemd waits a second for each line that a full terminal does not take.
        let console = Log::follow(fs::File::from(ours));
        let mut command = Command::new("unshare");
        command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child=KILL", "--", "bash"]);
        command.arg(boot).arg(&tree).arg(out.path()).arg(&terminal);
        let mut process = Process::spawn("systemd", &mut command)?;
        let ended = process.wait(limit);
        drop(process); // an unfinished machine is killed here
        drop(other);
        console.wait_end(Duration::from_secs(5))?;
        let said = format!("console:\n{}", console.tail(60));
        ended.map_err(|e| Error::new(format!("{e}\n{said}")))?;
        clean(out.path())?;

        let steps = self.steps.iter().enumerate().map(|(number, (name, _))| result(out.path(), number, name));
        let steps = steps.collect::<Result<Vec<_>>>().map_err(|e| Error::new(format!("{e}\n{said}")))?;
        Ok(Report { steps, out, console: console.lines().join("\n") })
    }
}

impl Report {
    /// The step of this name.
    ///
    /// # Panics
    /// When no step was given this name: a mistake in the test.
    pub fn step(&self, name: &str) -> &Step {
        self.steps.iter().find(|step| step.name == name).unwrap_or_else(|| panic!("there is no step {name:?}"))
    }

    /// All steps and the console's end as text, for the message of a failed assertion.
    pub fn transcript(&self) -> String {
        let show = |step: &Step| format!("## {}: exit {} after {:?}\n{}\n", step.name, step.code, step.took, step.output);
        let steps: String = self.steps.iter().map(show).collect();
        let lines: Vec<&str> = self.console.lines().collect();
        format!("{steps}## console, its end\n{}\n", lines[lines.len().saturating_sub(20)..].join("\n"))
    }

    /// A file that something inside wrote to [`OUT`].
    pub fn file(&self, name: &str) -> Result<String> {
        let path = self.out.path().join(name);
        fs::read_to_string(&path).map_err(|e| Error::while_doing(format!("read {}", path.display()), e))
    }
}

/// Writes one file into the tree; folders on the way get the mode that such folders have everywhere.
fn place(tree: &Path, path: &Path, mode: u32, content: &[u8]) -> Result<()> {
    let inside = path.strip_prefix("/").map_err(|_| Error::new(format!("{} is not absolute", path.display())))?;
    let mut folder = tree.to_owned();
    make_folder(&folder)?;
    for part in inside.parent().into_iter().flatten() {
        folder.push(part);
        make_folder(&folder)?;
    }
    let file = tree.join(inside);
    fs::write(&file, content)?;
    Ok(fs::set_permissions(&file, fs::Permissions::from_mode(mode))?)
}

fn clean(out: &Path) -> Result<()> {
    let ran = Ran::of(Command::new("unshare").args(["--mount", "--", "bash", "-c", CLEAN, "clean.sh"]).arg(out))?;
    if ran.code == 0 { Ok(()) } else { Err(Error::new(format!("the cgroup of the machine stays: {}", ran.err))) }
}

fn make_folder(folder: &Path) -> Result<()> {
    if !folder.is_dir() {
        fs::create_dir_all(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// The terminal that systemd gets as /dev/console: our end, and the path of the other.
struct Console {
    ours: OwnedFd,
    /// Held open while systemd runs: without it our end reads an error, and so its end, whenever nobody has the other end open.
    other: OwnedFd,
    path: PathBuf,
}

impl Console {
    fn open() -> Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let open = || -> rustix::io::Result<_> {
            let ours = openpt(flags)?;
            grantpt(&ours)?;
            unlockpt(&ours)?;
            let other = ioctl_tiocgptpeer(&ours, flags)?;
            let path = ptsname(&ours, Vec::new())?;
            Ok((ours, other, path))
        };
        let (ours, other, path) = open().map_err(|e| Error::while_doing("open a pseudo-terminal", e))?;
        let path = path.into_string().map_err(|e| Error::while_doing("name of the terminal", e))?;
        Ok(Self { ours, other, path: path.into() })
    }
}

fn result(out: &Path, number: usize, name: &str) -> Result<Step> {
    let read = |what: &str| {
        let path = out.join(format!("step-{number:03}.{what}"));
        fs::read(&path)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .map_err(|e| Error::while_doing(format!("step {name:?} did not end: {}", path.display()), e))
    };
    let status = read("status")?;
    let mut numbers = status.split_whitespace().map(str::parse::<u64>);
    let (Some(Ok(code)), Some(Ok(microseconds))) = (numbers.next(), numbers.next()) else {
        return Err(Error::new(format!("step {name:?} left the status {status:?}")));
    };
    let code = i32::try_from(code).map_err(|_| Error::new(format!("step {name:?} left the status {status:?}")))?;
    Ok(Step { name: name.to_owned(), code, output: read("output")?, took: Duration::from_micros(microseconds) })
}
