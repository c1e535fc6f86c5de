//! A child process with its output read, which is killed when its owner lets go of it.

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::log::Log;
use crate::{Error, Result, scratch};

/// A running child. Dropping it kills it (by its own pid) and waits for it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    out: Arc<Log>,
    err: Arc<Log>,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` with no standard input and both outputs captured. `name` stands in errors.
    pub fn spawn(name: &str, command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| Error::while_doing(format!("start {name} ({})", command.get_program().display()), e))?;
        let out = Log::follow(child.stdout.take().expect("the pipe was asked for above"));
        let err = Log::follow(child.stderr.take().expect("the pipe was asked for above"));
        let process = Self { name: name.to_owned(), child, out, err, ended: None };
        scratch::watch(process.pid())?; // an error here drops, and so kills, the child
        Ok(process)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What stands in errors.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Standard output, by line.
    pub fn out(&self) -> &Arc<Log> {
        &self.out
    }

    /// Standard error, by line: the log of every server here.
    pub fn err(&self) -> &Arc<Log> {
        &self.err
    }

    /// The exit status if it has ended by now.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?;
            if self.ended.is_some() {
                scratch::forget(self.pid())?;
            }
        }
        Ok(self.ended)
    }

    /// Sends SIGTERM: please finish.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Sends any signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if self.ended.is_some() {
            return Err(Error::new(format!("{} has ended already", self.name)));
        }
        // The child is not waited for yet, so the pid is still its own.
        kill_process(self.handle(), signal).map_err(|e| Error::while_doing(format!("signal {}", self.name), e))
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(&mut self) -> Result<()> {
        if self.ended()?.is_none() {
            self.child.kill()?;
            self.ended = Some(self.child.wait()?);
            scratch::forget(self.pid())?;
        }
        Ok(())
    }

    /// Waits for the end, at most `limit`; then both logs are complete.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        if self.ended()?.is_none() && !gone_within(self.handle(), limit)? {
            return Err(Error::new(format!("{} (pid {}) is still running after {limit:?}:\n{}", self.name, self.pid(), self.err.tail(20))));
        }
        let status = self.ended()?.ok_or_else(|| Error::new(format!("{} ended without a status", self.name)))?;
        self.out.wait_end(limit)?;
        self.err.wait_end(limit)?;
        Ok(status)
    }

    fn handle(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nobody is left to tell about a failure; the caretaker tries once more at the end.
        let _ = self.kill();
    }
}

/// Waits on the kernel's handle of the process until it has ended; false when `limit` passed first.
pub(crate) fn gone_within(pid: Pid, limit: Duration) -> Result<bool> {
    let handle = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => handle,
        Err(rustix::io::Errno::SRCH) => return Ok(true),
        Err(e) => return Err(Error::while_doing(format!("open process {}", pid.as_raw_nonzero()), e)),
    };
    let limit = Timespec::try_from(limit).map_err(|_| Error::new("limit too long"))?;
    let mut waiting = [PollFd::new(&handle, PollFlags::IN)];
    let ready = poll(&mut waiting, Some(&limit)).map_err(|e| Error::while_doing("wait for a process", e))?;
    Ok(ready > 0)
}

/// Runs a command that ends by itself and gives its standard output; fails with its standard error.
pub fn output(program: impl AsRef<OsStr>, arguments: &[&str]) -> Result<Vec<u8>> {
    let program = program.as_ref();
    let what = || format!("{} {}", program.display(), arguments.join(" "));
    let done = Command::new(program).args(arguments).stdin(Stdio::null()).output().map_err(|e| Error::while_doing(what(), e))?;
    if !done.status.success() {
        return Err(Error::new(format!("{}: {}: {}", what(), done.status, String::from_utf8_lossy(&done.stderr).trim())));
    }
    Ok(done.stdout)
}

/// How a process ended, as one word for assertions and reports: `exit 0`, `signal 9`.
pub fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn output_and_status_are_complete_after_the_wait() {
        let mut process = Process::spawn("sh", Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"])).expect("sh starts");
        assert_eq!(ending(process.wait(SOON).expect("it ends")), "exit 3");
        assert_eq!((process.out().lines(), process.err().lines()), (vec!["out".to_owned()], vec!["err".to_owned()]));
    }

    #[test]
    fn a_process_that_does_not_end_is_an_error_after_the_limit() {
        let mut process = Process::spawn("sleep", Command::new("sleep").arg("600")).expect("sleep starts");
        let error = process.wait(Duration::from_millis(50)).expect_err("it sleeps");
        assert!(error.to_string().contains("still running"), "{error}");
        process.terminate().expect("it can be signalled");
        assert_eq!(ending(process.wait(SOON).expect("it ends")), "signal 15");
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let process = Process::spawn("sleep", Command::new("sleep").arg("600")).expect("sleep starts");
        let pid = process.handle();
        drop(process);
        assert!(gone_within(pid, SOON).expect("it can be asked"));
    }
}
