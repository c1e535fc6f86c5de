//! A command that ran to its end, and what its caller may rely on: exit code, output, and a next step in every refusal.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::terminal::Ended;
use crate::{Error, Result, scratch};

/// How long a command may take.
const LIMIT: Duration = Duration::from_secs(60);

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ran {
    /// Runs `command` to its end, with nothing on its standard input. One that is still running after a minute is killed, and an error.
    pub fn of(command: &mut Command) -> Result<Self> {
        Self::within(command, LIMIT)
    }

    /// The same with another limit, for what waits for an API server.
    pub fn within(command: &mut Command, limit: Duration) -> Result<Self> {
        let what = command.get_program().display().to_string();
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let child = child.map_err(|e| Error::while_doing(format!("run {what}"), e))?;
        let (number, pid) = (child.id(), Pid::from_child(&child));
        scratch::watch(number)?;
        let (ended, end) = std::sync::mpsc::channel();
        // It reads both outputs, so that a command with much to say does not wait for us.
        let reading = std::thread::spawn(move || ended.send(child.wait_with_output()));
        let Ok(output) = end.recv_timeout(limit) else {
            // Not waited for yet, so the pid is still its own.
            kill_process(pid, Signal::KILL).map_err(|e| Error::while_doing(format!("kill {what}"), e))?;
            let _ = reading.join();
            scratch::forget(number)?;
            return Err(Error::new(format!("{what} is still running after {limit:?}")));
        };
        scratch::forget(number)?;
        let Output { status, stdout, stderr } = output?;
        let code = status.code().ok_or_else(|| Error::new(format!("{what} was ended: {status}")))?;
        let text = |bytes| String::from_utf8(bytes).map_err(|e| Error::while_doing(format!("read what {what} printed"), e));
        Ok(Self { code, out: text(stdout)?, err: text(stderr)? })
    }

    /// Asserts the exit code and that standard error has each of `texts` and a next step.
    #[track_caller]
    pub fn fails(self, code: i32, texts: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        for text in texts.iter().chain(&["\n  next: "]) {
            assert!(self.err.contains(text), "{text:?} is missing in {}", self.err);
        }
    }

    /// Asserts success and gives standard output.
    #[track_caller]
    pub fn succeeds(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// A command that ended at its terminal; what was shown there is left out.
impl TryFrom<Ended> for Ran {
    type Error = Error;

    fn try_from(ended: Ended) -> Result<Self> {
        let code = ended.code.ok_or_else(|| Error::new(format!("it was ended by a signal: {ended:?}")))?;
        Ok(Self { code, out: ended.out, err: ended.err })
    }
}
