//! One bash that runs blocks of shell, one after the other, as a person at a terminal would.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::process::Process;
use crate::{Error, Result};

/// Lines that begin with it are the shell's, not a command's.
const MARK: &str = "@@ ";

/// A running bash. The first command that fails ends it.
#[derive(Debug)]
pub struct Shell {
    process: Process,
    /// Names the blocks to the shell.
    names: File,
    folder: PathBuf,
    blocks: u32,
}

impl Shell {
    /// Starts `bash`, with files of its own in `folder`.
    pub(super) fn start(mut bash: Command, folder: &Path) -> Result<Self> {
        let folder = folder.join("blocks");
        fs::create_dir(&folder)?;
        let (fifo, script) = (folder.join("names"), folder.join("blocks.sh"));
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).map_err(|e| Error::while_doing("make a FIFO", e))?;
        fs::write(&script, include_str!("blocks.sh"))?;
        // With both ends open here, neither side waits for the other.
        let names = File::options().read(true).write(true).open(&fifo)?;
        let process = Process::spawn("the shell", bash.arg(script).arg(fifo))?;
        Ok(Self { process, names, folder, blocks: 0 })
    }

    pub(super) fn run(&mut self, block: &str, limit: Duration) -> Result<Vec<String>> {
        self.blocks += 1;
        let file = self.folder.join(format!("{}.sh", self.blocks));
        fs::write(&file, block)?;
        let from = self.process.out().len();
        writeln!(self.names, "{}", file.display())?;
        let end = self.process.out().wait_for(from, limit, "a block of shell to end", |line| line.starts_with(MARK))?;
        let lines = self.process.out().lines().into_iter().skip(from).take_while(|line| *line != end).collect::<Vec<_>>();
        if end == format!("{MARK}done: {}", file.display()) {
            return Ok(lines);
        }
        Err(Error::new(format!("{end} in this block\n{block}\nwhich printed\n{}", lines.join("\n"))))
    }
}
