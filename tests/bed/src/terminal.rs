//! A person at a terminal: a command with a pseudo-terminal of its own, on which its prompts are read and answered.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Pid;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use crate::process::gone_within;
use crate::{Error, Result, scratch};

/// A command at a terminal. Its standard output and error are pipes, so that they are not mixed with what it shows on the terminal.
#[derive(Debug)]
pub struct Terminal {
    ours: File,
    child: Child,
    shown: Vec<u8>,
    read_to: usize,
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// What stood on the terminal: prompts, and whatever was echoed.
    pub shown: String,
}

impl Terminal {
    /// Starts `program` in a session whose controlling terminal, and standard input, is a new one.
    pub fn run(program: &OsStr, arguments: &[&str]) -> Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let open = || -> rustix::io::Result<_> {
            let ours = openpt(flags)?;
            grantpt(&ours)?;
            unlockpt(&ours)?;
            let other = ioctl_tiocgptpeer(&ours, flags)?;
            Ok((ours, other))
        };
        let (ours, other) = open().map_err(|e| Error::while_doing("open a pseudo-terminal", e))?;
        // Both replace themselves by the program, so the pid stays. A test run that a shell put in the background ignores these signals, and so
        // would all that it starts.
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--", "env", "--default-signal=INT,QUIT"]).arg(program).args(arguments);
        let child = command.stdin(other).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let child = child.map_err(|e| Error::while_doing("start setsid", e))?;
        let terminal = Self { ours: ours.into(), child, shown: Vec::new(), read_to: 0 };
        scratch::watch(terminal.pid())?;
        Ok(terminal)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `prompt` is shown after all that was waited for before, and types `line` and the return key.
    pub fn answer(&mut self, prompt: &str, line: &str, limit: Duration) -> Result<()> {
        self.wait_for(prompt, limit)?;
        self.type_line(line)
    }

    /// As [`Self::answer`], when the terminal has stopped to show what is typed: a program that asks for a secret hides it some
    /// microseconds after its prompt, and a person takes longer than that.
    pub fn answer_hidden(&mut self, prompt: &str, line: &str, limit: Duration) -> Result<()> {
        self.wait_for(prompt, limit)?;
        self.type_hidden(line, limit)
    }

    /// Types a line when the terminal has stopped to show what is typed.
    pub fn type_hidden(&mut self, line: &str, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            let modes = tcgetattr(&self.ours).map_err(|e| Error::while_doing("ask the terminal's modes", e))?.local_modes;
            if !modes.contains(LocalModes::ECHO) {
                return self.type_line(line);
            }
            if Instant::now() > end {
                return Err(Error::new("the terminal still shows what is typed"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn type_line(&mut self, line: &str) -> Result<()> {
        self.type_keys(&format!("{line}\n"))
    }

    /// Types exactly these keys, at once; `\u{3}` is Ctrl-C.
    pub fn type_keys(&mut self, keys: &str) -> Result<()> {
        self.ours.write_all(keys.as_bytes()).map_err(|e| Error::while_doing("type", e))
    }

    /// Waits until `text` is shown after all that was waited for before.
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            let rest = &self.shown[self.read_to..];
            if let Some(at) = rest.windows(text.len()).position(|window| window == text.as_bytes()) {
                self.read_to += at + text.len();
                return Ok(());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.read_some(left)? {
                let shown = String::from_utf8_lossy(&self.shown);
                return Err(Error::new(format!("{text:?} was not shown; the terminal has {shown:?}")));
            }
        }
    }

    /// Waits for the end, at most `limit`.
    pub fn finish(mut self, limit: Duration) -> Result<Ended> {
        // With our handle of the other end gone, reading ends when the program does.
        let end = Instant::now() + limit;
        while self.read_some(end.saturating_duration_since(Instant::now()))? {}
        if !gone_within(Pid::from_child(&self.child), end.saturating_duration_since(Instant::now()))? {
            let shown = String::from_utf8_lossy(&self.shown).into_owned();
            return Err(Error::new(format!("it is still running; the terminal has {shown:?}")));
        }
        let read = |stream: Option<&mut dyn Read>| -> Result<String> {
            let mut text = String::new();
            if let Some(stream) = stream {
                stream.read_to_string(&mut text)?;
            }
            Ok(text)
        };
        let out = read(self.child.stdout.as_mut().map(|stream| stream as &mut dyn Read))?;
        let err = read(self.child.stderr.as_mut().map(|stream| stream as &mut dyn Read))?;
        let code = self.child.wait()?.code();
        scratch::forget(self.pid())?;
        Ok(Ended { code, out, err, shown: String::from_utf8_lossy(&self.shown).into_owned() })
    }

    /// Reads what is there, or waits for it; false at the end of the terminal or of the time.
    fn read_some(&mut self, limit: Duration) -> Result<bool> {
        let limit = Timespec::try_from(limit).map_err(|_| Error::new("limit too long"))?;
        let mut waiting = [PollFd::from_borrowed_fd(self.ours.as_fd(), PollFlags::IN)];
        if poll(&mut waiting, Some(&limit)).map_err(|e| Error::while_doing("wait for the terminal", e))? == 0 {
            return Ok(false);
        }
        let mut bytes = [0; 4096];
        // A pty answers EIO instead of end of file when its last writer is gone: any error is the end.
        let read = self.ours.read(&mut bytes).unwrap_or(0);
        self.shown.extend_from_slice(&bytes[..read]);
        Ok(read > 0)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // After `finish` both say that it has ended already; nobody is left to tell about another failure.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn what_is_typed_at_a_prompt_is_read_and_echoed_unless_it_is_switched_off() {
        let script =
            "printf 'name? ' > /dev/tty; read name; printf 'word? ' > /dev/tty; stty -echo; read word; echo \"$name $word\"; exit 3";
        let mut terminal = Terminal::run("sh".as_ref(), &["-c", script]).expect("starts");
        terminal.answer("name? ", "anna", SOON).expect("asked");
        terminal.answer_hidden("word? ", "hidden", SOON).expect("asked");
        let ended = terminal.finish(SOON).expect("ends");
        assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (Some(3), "anna hidden\n", ""));
        assert!(ended.shown.contains("anna") && !ended.shown.contains("hidden"), "{}", ended.shown);
    }

    #[test]
    fn a_prompt_that_does_not_come_is_an_error_that_shows_what_did() {
        let mut terminal = Terminal::run("sh".as_ref(), &["-c", "echo other > /dev/tty"]).expect("starts");
        let error = terminal.wait_for("prompt", SOON).expect_err("it was not shown").to_string();
        assert!(error.contains("other"), "{error}");
    }
}
