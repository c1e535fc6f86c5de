//! A server behind a program that counts what it does, from its start to its end.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Result, WITHIN};

/// What is counted, and by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counter {
    /// Instructions, by callgrind.
    Instructions,
    /// System calls of all threads, by strace.
    SystemCalls,
}

/// A program that takes the path of its socket as its last word.
pub(crate) struct Server {
    words: Vec<PathBuf>,
    folder: PathBuf,
}

impl Server {
    pub(crate) fn plugin(binary: &Path, folder: &Path) -> Self {
        let words: [&Path; 6] = [binary, "serve".as_ref(), "--dev".as_ref(), "--dir".as_ref(), &folder.join("dev"), "--socket".as_ref()];
        Self { words: words.map(Path::to_owned).to_vec(), folder: folder.to_owned() }
    }

    pub(crate) fn echo(binary: &Path, folder: &Path) -> Self {
        Self { words: vec![binary.to_owned()], folder: folder.to_owned() }
    }

    pub(crate) fn program(&self) -> &Path {
        &self.words[0]
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("kms.sock")
    }

    /// What the counter leaves when the server has ended.
    pub(crate) fn counts(&self) -> PathBuf {
        self.folder.join("counts")
    }

    pub(crate) fn start(&self, counter: Counter) -> Result<Running> {
        for old in [self.socket(), self.counts()] {
            match std::fs::remove_file(old) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        let mut command = match counter {
            Counter::Instructions => {
                let mut command = Command::new("valgrind");
                command.args(["--tool=callgrind", "--quiet"]).arg(format!("--callgrind-out-file={}", self.counts().display()));
                command
            }
            Counter::SystemCalls => {
                let mut command = Command::new("strace");
                command.args(["-f", "-c", "--summary-columns=calls,name", "-o"]).arg(self.counts());
                command
            }
        };
        command.args(&self.words).arg(self.socket()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| format!("start {} (is it installed?): {error}", command.get_program().display()))?;
        Ok(Running { child, counter })
    }
}

/// Killed when it is dropped; [`Running::end`] is the proper way.
pub(crate) struct Running {
    child: Child,
    counter: Counter,
}

impl Running {
    /// Whether it has ended by itself.
    pub(crate) fn is_over(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Has the server end, and waits until its counts are written.
    pub(crate) fn end(mut self) -> Result<()> {
        kill_process(self.server()?, Signal::TERM)?;
        let end = Instant::now() + WITHIN;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > end {
                return Err("it does not end".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Valgrind becomes the server; strace has it as its only child, and ends with it.
    fn server(&self) -> Result<Pid> {
        let counter = Pid::from_child(&self.child);
        if self.counter == Counter::Instructions {
            return Ok(counter);
        }
        let id = counter.as_raw_nonzero();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        let child = children.split_whitespace().next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
        Ok(child.ok_or("strace has no child")?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // All fail only for a child that is gone. strace alone would leave the server behind.
        let _ = self.server().and_then(|server| Ok(kill_process(server, Signal::KILL)?));
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
