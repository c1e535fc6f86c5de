//! A person at the terminal types a secret that nobody else sees, into memory that never moves and is wiped.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};

use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use super::failure::{Exit, Failure};
use crate::secret::SecretBytes;

/// Most bytes that a terminal hands over as one line, its end included; it cuts what is longer (`N_TTY_BUF_SIZE` of the kernel).
const LINE: usize = 4096;

/// How a passphrase is asked for. Every refusal is one of usage, and nothing was changed by then.
pub(super) struct Asking {
    /// As in "cannot <attempted>".
    pub(super) attempted: &'static str,
    /// What to do where there is no terminal.
    pub(super) instead: &'static str,
}

impl Asking {
    /// Asks for one that exists.
    pub(super) fn once(&self, prompt: &str) -> Result<SecretBytes, Failure> {
        hidden(prompt).map_err(|e| self.failed(e))
    }

    /// Asks for a new one, and once more if it is `good` enough. The terminal stays hidden in between: two lines may come in one paste.
    pub(super) fn twice(&self, prompt: &str, good: impl FnOnce(&SecretBytes) -> Result<(), Failure>) -> Result<SecretBytes, Failure> {
        let hidden = Hidden::begin().map_err(|e| self.failed(e))?;
        let passphrase = hidden.ask(prompt).map_err(|e| self.failed(e))?;
        good(&passphrase)?;
        let again = hidden.ask("Once more: ").map_err(|e| self.failed(e))?;
        if again.expose_secret() != passphrase.expose_secret() {
            let next = "Run the command again; nothing was changed.";
            return Err(Failure::new(Exit::Usage, self.attempted, "the two are different", next));
        }
        Ok(passphrase)
    }

    fn failed(&self, error: io::Error) -> Failure {
        Failure::new(Exit::Usage, self.attempted, error, self.instead)
    }
}

/// Asks for one line at the terminal of this process, wherever its input and output go; what is typed is not shown.
///
/// Errors: no terminal; its end before the line's; more than 4094 bytes. Ctrl-C ends the process by SIGINT, the terminal put right first.
pub(super) fn hidden(prompt: &str) -> io::Result<SecretBytes> {
    Hidden::begin()?.ask(prompt)
}

/// While it lives, the terminal does not show what is typed. It begins before the prompt is shown, for a paste is fast.
///
/// The kernel goes on editing the line. Ctrl-C ends the line in place of the process, so that the terminal is put right before it ends.
struct Hidden {
    terminal: File,
    before: Termios,
}

impl Hidden {
    fn begin() -> io::Result<Self> {
        let terminal = File::options().read(true).write(true).open("/dev/tty")?;
        let before = tcgetattr(&terminal)?;
        let mut modes = before.clone();
        modes.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ISIG);
        modes.local_modes.insert(LocalModes::ICANON);
        modes.special_codes[SpecialCodeIndex::VEOL] = before.special_codes[SpecialCodeIndex::VINTR];
        tcsetattr(&terminal, OptionalActions::Now, &modes)?;
        Ok(Self { terminal, before })
    }

    fn ask(&self, prompt: &str) -> io::Result<SecretBytes> {
        let mut terminal = &self.terminal;
        terminal.write_all(prompt.as_bytes())?;
        let mut line = SecretBytes::with_capacity(LINE);
        let read = line.fill_from(&mut OneLine { terminal, ended: false });
        // The return key was not shown either.
        let _ = terminal.write_all(b"\n");
        read?;
        // The key that interrupts, Ctrl-C as a rule; 0 where none does.
        let interrupt = self.before.special_codes[SpecialCodeIndex::VINTR];
        match line.expose_secret().last().copied() {
            Some(b'\n') => line.strip_line_end(),
            Some(last) if last != 0 && last == interrupt => {
                self.put_right();
                kill_process(getpid(), Signal::INT)?;
                return Err(io::Error::new(ErrorKind::Interrupted, "it was interrupted"));
            }
            _ => return Err(io::Error::new(ErrorKind::UnexpectedEof, "the terminal ended before the line did")),
        }
        if line.len() >= LINE - 1 {
            return Err(io::Error::new(ErrorKind::InvalidInput, format!("the line has more than {} bytes", LINE - 2)));
        }
        Ok(line)
    }

    fn put_right(&self) {
        // The terminal is gone if it fails.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        self.put_right();
    }
}

/// A terminal hands over one line at a time, whole; reading on would wait for the next one.
struct OneLine<'a> {
    terminal: &'a File,
    ended: bool,
}

impl Read for OneLine<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        let read = self.terminal.read(buffer)?;
        self.ended = true;
        Ok(read)
    }
}
