//! The machine, as far as figures depend on it.

use std::{fs, io, thread};

/// What it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Model of its processor.
    pub cpu: String,
    /// Release of the Linux kernel.
    pub kernel: String,
    /// How many processors this process may use.
    pub cores: usize,
}

impl Host {
    /// Must run before this process is pinned: the number of cores is the number that it may use.
    pub fn describe() -> io::Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Ok(Self {
            cpu: model.map_or("unknown", |(_, model)| model).to_owned(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            cores: thread::available_parallelism()?.get(),
        })
    }
}

/// The load average of the last minute: other work on the machine widens the spread.
pub fn load_average() -> io::Result<f64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    let first = text.split_whitespace().next().and_then(|word| word.parse().ok());
    first.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/loadavg does not begin with a number"))
}
