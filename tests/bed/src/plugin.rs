//! The plugin under test: started, read, signalled, killed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use crate::log::Log;
use crate::process::Process;
use crate::{Error, Result};

/// How long a start may take before it counts as failed. It takes milliseconds; the machine may be busy.
const START: Duration = Duration::from_secs(20);

/// A running `keywright serve`. Dropping it kills it.
#[derive(Debug)]
pub struct Plugin {
    process: Process,
    socket: PathBuf,
}

impl Plugin {
    /// Starts `binary serve --dev --dir DIR` and waits until its keys answer. The socket is `DIR/kms.sock`.
    pub fn dev(binary: &Path, dir: &Path) -> Result<Self> {
        let plugin = Self::spawn(binary, ["serve".into(), "--dev".into(), "--dir".into(), dir.into()], &dir.join("kms.sock"))?;
        plugin.ready()?;
        Ok(plugin)
    }

    /// Starts `binary serve --config FILE` and waits until its keys answer. `socket` is what the file says.
    pub fn configured(binary: &Path, config: &Path, socket: &Path) -> Result<Self> {
        let plugin = Self::spawn(binary, ["serve".into(), "--config".into(), config.into()], socket)?;
        plugin.ready()?;
        Ok(plugin)
    }

    /// Starts it with any arguments and waits for nothing.
    pub fn spawn(binary: &Path, arguments: impl IntoIterator<Item = OsString>, socket: &Path) -> Result<Self> {
        Self::started(Command::new(binary).args(arguments), socket)
    }

    /// Starts `command`, which serves at `socket`, and waits for nothing.
    pub fn started(command: &mut Command, socket: &Path) -> Result<Self> {
        let process = Process::spawn("keywright", command.env_remove("RUST_LOG"))?;
        Ok(Self { process, socket: socket.to_owned() })
    }

    /// Waits for the line that says that the keys answer, and gives the key_id on it.
    pub fn ready(&self) -> Result<String> {
        let line = self.wait_line(0, START, " INFO ready ")?;
        field(&line, "key_id").ok_or_else(|| Error::new(format!("no key_id on the line {line:?}")))
    }

    /// Waits until the log has a line with `text` at or after line `from`.
    pub fn wait_line(&self, from: usize, limit: Duration, text: &str) -> Result<String> {
        self.log().wait_for(from, limit, &format!("{text:?} in the plugin's log"), |line| line.contains(text))
    }

    /// Waits until the log has a line with all of `texts` at or after line `from`.
    pub fn wait_line_with(&self, from: usize, limit: Duration, texts: &[&str]) -> Result<String> {
        self.log().wait_for(from, limit, &format!("{texts:?} in the plugin's log"), |line| texts.iter().all(|text| line.contains(text)))
    }

    /// The log: standard error by line. The handle stays good after the plugin is gone.
    pub fn log(&self) -> &Arc<Log> {
        self.process.err()
    }

    /// Everything it printed so far on either stream, for a search for secrets.
    pub fn printed(&self) -> String {
        [self.process.out().lines(), self.process.err().lines()].concat().join("\n")
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Kills it with SIGKILL: no clean-up of any kind happens in it.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Asks it to stop with SIGTERM and waits for the end.
    pub fn stop(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.process.terminate()?;
        self.process.wait(limit)
    }

    /// The process itself, for other signals and waits.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// The value of `name=` on a line of the log; quotation marks around it are taken off.
pub fn field(line: &str, name: &str) -> Option<String> {
    let start = line.match_indices(name).map(|(at, _)| at).find(|at| {
        let before = at.checked_sub(1).and_then(|before| line.as_bytes().get(before));
        before.is_none_or(|byte| *byte == b' ') && line[at + name.len()..].starts_with('=')
    })?;
    let value = &line[start + name.len() + 1..];
    match value.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next().map(str::to_owned),
        None => value.split(' ').next().map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let line = r#"2026-11-25T01:02:03.123456Z INFO request op=Encrypt uid="a b" key_id=kw1.aa.1.bb id=7 us=41"#;
        assert_eq!(field(line, "key_id").as_deref(), Some("kw1.aa.1.bb"));
        assert_eq!(field(line, "id").as_deref(), Some("7"));
        assert_eq!(field(line, "uid").as_deref(), Some("a b"));
        assert_eq!(field(line, "us").as_deref(), Some("41"));
        assert_eq!(field(line, "p"), None);
    }
}
