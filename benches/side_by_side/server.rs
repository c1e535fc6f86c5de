//! The two servers as child processes.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use keywright::bench::process;
use rustix::process::{Pid, Signal, kill_process};

use crate::Result;
use crate::cores::Cores;

/// Where the log goes, in a program's folder.
const STDERR: &str = "stderr";
const POLL: Duration = Duration::from_millis(2);
const READY_WITHIN: Duration = Duration::from_secs(10);
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// How a server is started and when it counts as ready.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Keywright,
    Reference,
}

/// A server program with a folder of its own.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) binary: PathBuf,
    pub(crate) home: PathBuf,
}

impl Program {
    pub(crate) fn socket(&self) -> PathBuf {
        self.home.join("kms.sock")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        match self.kind {
            Kind::Keywright => command.args(["serve", "--dev", "--dir"]).arg(self.home.join("dev")).arg("--socket"),
            Kind::Reference => command.arg("-socket"),
        };
        command.arg(self.socket());
        command
    }

    /// Starts it on the server's core. It may not be ready yet.
    ///
    /// Nothing is configured away: the log has its default level and goes to a file, every request of it, and Go picks its own
    /// GOMAXPROCS. (It reads the affinity mask at its start and comes to 1 by itself, as it does in a container of one core.)
    pub(crate) fn spawn(&self, cores: Cores) -> Result<Server> {
        // What a killed predecessor left behind would only be refused until it is replaced.
        match fs::remove_file(self.socket()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let output = Output { stdout: self.home.join("stdout"), stderr: self.home.join(STDERR) };
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(File::create(&output.stdout)?).stderr(File::create(&output.stderr)?);
        let child = cores.on_server_core(|| command.spawn().map_err(|error| format!("start {}: {error}", self.binary.display()).into()))?;
        Ok(Server { name: self.name, kind: self.kind, child, output })
    }

    /// Starts it, waits until it says that it is ready, and sees that it stayed on its core.
    pub(crate) fn start(&self, cores: Cores) -> Result<Server> {
        let mut server = self.spawn(cores)?;
        server.wait_ready()?;
        let allowed = process::status_field(server.pid(), "Cpus_allowed_list")?;
        if allowed != cores.server.to_string() {
            return Err(format!("{} left its core: it may run on {allowed}", self.name).into());
        }
        Ok(server)
    }
}

impl Program {
    /// How many lines of the log the server says it had to drop, out of one for each of `encrypts` answered calls.
    ///
    /// Errors when lines are missing without a word, or when it dropped one in a hundred: a server that logs less works less.
    /// The reference logs no requests.
    pub(crate) fn dropped_log_lines(&self, encrypts: u64) -> Result<u64> {
        if self.kind == Kind::Reference {
            return Ok(0);
        }
        let (mut lines, mut dropped) = (0, 0);
        for line in BufReader::new(File::open(self.home.join(STDERR))?).lines() {
            let line = line?;
            lines += u64::from(line.contains(" INFO request op=Encrypt ") && line.contains(" code=OK "));
            if let Some((_, count)) = line.split_once(" WARN log lines dropped count=") {
                dropped += count.parse::<u64>()?;
            }
        }
        if lines + dropped < encrypts || lines > encrypts || dropped * 100 > encrypts {
            return Err(format!("{} logged {lines} of {encrypts} answered Encrypt calls and dropped {dropped} lines", self.name).into());
        }
        Ok(dropped)
    }
}

struct Output {
    stdout: PathBuf,
    stderr: PathBuf,
}

/// A running server.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    kind: Kind,
    child: Child,
    output: Output,
}

impl Server {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a service manager does. Its clients must be gone: it may wait for their connections.
    ///
    /// The wait leaves the runtime free to close them. Errors when it takes longer than 5 s.
    pub(crate) async fn stop(mut self) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).ok_or("a child without a process id")?;
        kill_process(pid, Signal::TERM)?;
        let deadline = Instant::now() + STOP_WITHIN;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                return Err(format!("{} has not stopped after {STOP_WITHIN:?}; the end of its log:\n{}", self.name, self.log_end()).into());
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Errors, with the end of its log, when the server has ended by itself.
    pub(crate) fn check_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("{} ended with {status}; the end of its log:\n{}", self.name, self.log_end()).into()),
        }
    }

    /// The last lines that the server wrote to stderr.
    pub(crate) fn log_end(&self) -> String {
        let log = fs::read(&self.output.stderr).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(2000)..]).into_owned()
    }

    fn wait_ready(&mut self) -> Result<()> {
        let (file, mark) = match self.kind {
            Kind::Keywright => (self.output.stderr.clone(), " INFO ready "),
            Kind::Reference => (self.output.stdout.clone(), "ready"),
        };
        let deadline = Instant::now() + READY_WITHIN;
        while !fs::read_to_string(&file)?.contains(mark) {
            self.check_running()?;
            if Instant::now() > deadline {
                return Err(format!("{} is not ready after {READY_WITHIN:?}; the end of its log:\n{}", self.name, self.log_end()).into());
            }
            sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Server {
    /// The end after an error; [`Server::stop`] is the proper one.
    fn drop(&mut self) {
        // Both fail only for a child that is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
