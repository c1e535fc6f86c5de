//! CPU time and memory of another process, from /proc.
//!
//! CPU time is the sum of the first field of `/proc/PID/task/*/schedstat`: nanoseconds on a core, kernel time included. It has
//! two blind spots, so it is never believed alone: a running thread's figure is brought up to date only at the next tick or
//! switch (hence [`settled`]), and a thread that ends takes its figure along. `utime + stime` of `/proc/PID/stat` keeps what
//! ended threads used but counts in ticks; a reading on which the two differ by more than rounding is an error.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;
use std::{fs, io};

use rustix::io::Errno;

use crate::Result;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// What one process had used when it was read: nanoseconds by thread id, and ticks.
#[derive(PartialEq)]
struct Reading {
    threads: BTreeMap<OsString, u64>,
    ticks: u64,
}

/// A stretch of work whose CPU time is wanted.
pub(crate) struct Window {
    pid: u32,
    opened: Reading,
}

/// CPU time of a closed window.
#[derive(Clone, Copy)]
pub(crate) struct Used {
    /// By `schedstat`: the figure to use.
    pub(crate) nanos: u64,
    /// How far `stat` is from it over the whole life of the process.
    pub(crate) disagreement: Duration,
}

impl Window {
    /// Begins a window once the process has come to rest.
    pub(crate) async fn open(pid: u32) -> Result<Self> {
        let opened = settled(pid).await?;
        opened.agreement()?;
        Ok(Self { pid, opened })
    }

    /// Ends the window once the process has come to rest again.
    pub(crate) async fn close(self) -> Result<Used> {
        let closed = settled(self.pid).await?;
        let disagreement = closed.agreement()?;
        // By thread, so that one that rested and ended inside the window takes nothing away from the others.
        let since = |(thread, nanos): (&OsString, &u64)| nanos.saturating_sub(*self.opened.threads.get(thread).unwrap_or(&0));
        Ok(Used { nanos: closed.threads.iter().map(since).sum(), disagreement })
    }
}

impl Reading {
    /// How far the two clocks are apart. Errors when that is more than rounding can explain.
    fn agreement(&self) -> Result<Duration> {
        let by_schedstat = Duration::from_nanos(self.threads.values().sum());
        let by_stat = tick() * u32::try_from(self.ticks)?;
        // User and system time are each cut down to a whole tick; one more for work between the two readings.
        let disagreement = by_stat.abs_diff(by_schedstat);
        if disagreement > 3 * tick() {
            return Err(format!("schedstat counts {by_schedstat:?} of CPU time, stat {by_stat:?}: did a thread of the server end?").into());
        }
        Ok(disagreement)
    }
}

/// The unit of `/proc/PID/stat`.
pub(crate) fn tick() -> Duration {
    Duration::from_nanos(NANOS_PER_SECOND / rustix::param::clock_ticks_per_second())
}

/// Resident memory in KiB (`VmRSS`).
pub(crate) fn resident_kib(pid: u32) -> Result<u64> {
    let value = status_field(pid, "VmRSS")?;
    Ok(value.trim_end_matches("kB").trim().parse()?)
}

/// One line of `/proc/PID/status`, without its name.
pub(crate) fn status_field(pid: u32, name: &str) -> Result<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(value.ok_or_else(|| format!("no {name} in /proc/{pid}/status"))?.trim().to_owned())
}

/// Reads until nothing has been used for 20 ms: the last answer is out before a server has put its own work away, and one that
/// gathers log lines may hold them back for a while.
///
/// Gives up waiting after 500 ms (a garbage collector may go on) and takes what it has.
async fn settled(pid: u32) -> Result<Reading> {
    let mut last = read(pid)?;
    let mut quiet = 0;
    for _ in 0..250 {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let next = read(pid)?;
        quiet = if next == last { quiet + 1 } else { 0 };
        last = next;
        if quiet == 10 {
            break;
        }
    }
    Ok(last)
}

fn read(pid: u32) -> Result<Reading> {
    let mut threads = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?;
        let schedstat = match fs::read_to_string(task.path().join("schedstat")) {
            Ok(text) => text,
            // Ended between the listing and now. The comparison with `stat` tells whether that matters.
            Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => continue,
            Err(error) => return Err(error.into()),
        };
        threads.insert(task.file_name(), schedstat.split_whitespace().next().ok_or("empty schedstat")?.parse()?);
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the command in brackets and may hold anything; utime and stime are the 14th and 15th of all.
    let (_, fields) = stat.rsplit_once(')').ok_or("no command in stat")?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || fields.next().ok_or("stat is too short")?.parse::<u64>().map_err(|_| "no number in stat");
    let ticks = next()? + next()?;
    Ok(Reading { threads, ticks })
}
