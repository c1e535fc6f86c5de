//! CPU time and memory of another process, from /proc.
//!
//! CPU time is the sum of the first field of `/proc/PID/task/*/schedstat`: nanoseconds on a core, kernel time included. It has
//! two blind spots, so it is never believed alone: a running thread's figure is brought up to date only at the next tick or
//! switch (hence `settled`), and a thread that ends takes its figure along. `utime + stime` of `/proc/PID/stat` keeps what
//! ended threads used but counts in ticks; a reading on which the two differ by more than rounding is an error.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;
use std::{fs, io};

use rustix::io::Errno;
use thiserror::Error;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Why there is no figure.
#[derive(Debug, Error)]
pub enum ProcessError {
    /// It cannot be read: the process has ended, is another user's, or is not in sight from here.
    #[error("read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It does not hold what the kernel documents.
    #[error("{} has no {what}", .path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is missing.
        what: String,
    },
    /// The kernel's two clocks differ by more than rounding.
    #[error("schedstat counts {by_schedstat:?} of CPU time and stat {by_stat:?}: did a thread of the process end?")]
    Disagreement {
        /// In nanoseconds, of the threads there are.
        by_schedstat: Duration,
        /// In ticks, of all threads.
        by_stat: Duration,
    },
}

/// What a process had used when it was read: nanoseconds by thread id, and ticks.
#[derive(Debug, Clone, PartialEq)]
struct Reading {
    threads: BTreeMap<OsString, u64>,
    ticks: u64,
}

/// The CPU time of one process, watched from some moment on.
#[derive(Debug)]
pub struct Clock {
    pid: u32,
    first: Reading,
}

/// A stretch of work whose CPU time is wanted.
#[derive(Debug)]
pub struct Window<'a> {
    clock: &'a Clock,
    opened: Reading,
}

/// CPU time of a closed window.
#[derive(Debug, Clone, Copy)]
pub struct Used {
    /// By `schedstat`: the figure to use.
    pub time: Duration,
    /// How far `stat` is from it since the process is watched.
    pub disagreement: Duration,
}

impl Clock {
    /// Watches a process from now on.
    pub fn watch(pid: u32) -> Result<Self, ProcessError> {
        Ok(Self { pid, first: read(pid)? })
    }

    /// Which process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Begins a window once the process has come to rest.
    pub async fn open(&self) -> Result<Window<'_>, ProcessError> {
        let opened = settled(self.pid).await?;
        self.agreement(&opened)?;
        Ok(Window { clock: self, opened })
    }

    /// How far the two clocks are apart since the first reading. Errors when that is more than rounding can explain.
    fn agreement(&self, reading: &Reading) -> Result<Duration, ProcessError> {
        let by_schedstat = reading.since(&self.first);
        let ticks = reading.ticks.saturating_sub(self.first.ticks);
        let by_stat = tick() * u32::try_from(ticks).unwrap_or(u32::MAX);
        // User and system time are each cut down to a whole tick, at both readings; one more for work between the two clocks.
        let disagreement = by_stat.abs_diff(by_schedstat);
        if disagreement > 3 * tick() { Err(ProcessError::Disagreement { by_schedstat, by_stat }) } else { Ok(disagreement) }
    }
}

impl Window<'_> {
    /// Ends the window once the process has come to rest again.
    pub async fn close(self) -> Result<Used, ProcessError> {
        let closed = settled(self.clock.pid).await?;
        let disagreement = self.clock.agreement(&closed)?;
        Ok(Used { time: closed.since(&self.opened), disagreement })
    }
}

impl Reading {
    /// CPU time since an earlier reading. By thread, so that one that rested and ended in between takes nothing away from the others.
    fn since(&self, earlier: &Self) -> Duration {
        let since = |(thread, nanos): (&OsString, &u64)| nanos.saturating_sub(*earlier.threads.get(thread).unwrap_or(&0));
        Duration::from_nanos(self.threads.iter().map(since).sum())
    }
}

/// The unit of `/proc/PID/stat`.
pub fn tick() -> Duration {
    Duration::from_nanos(NANOS_PER_SECOND / rustix::param::clock_ticks_per_second())
}

/// Resident memory in KiB (`VmRSS`).
pub fn resident_kib(pid: u32) -> Result<u64, ProcessError> {
    let value = status_field(pid, "VmRSS")?;
    let form = || ProcessError::Form { path: format!("/proc/{pid}/status").into(), what: "number of VmRSS".into() };
    value.trim_end_matches("kB").trim().parse().map_err(|_| form())
}

/// One line of `/proc/PID/status`, without its name.
pub fn status_field(pid: u32, name: &str) -> Result<String, ProcessError> {
    let path = PathBuf::from(format!("/proc/{pid}/status"));
    let status = fs::read_to_string(&path).map_err(|source| ProcessError::Read { path: path.clone(), source })?;
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.map(|value| value.trim().to_owned()).ok_or_else(|| ProcessError::Form { path, what: name.to_owned() })
}

/// Reads until nothing has been used for 20 ms: the last answer is out before a server has put its own work away, and one that
/// gathers log lines may hold them back for a while.
///
/// Gives up waiting after 500 ms (a garbage collector, or other callers, may go on) and takes what it has.
async fn settled(pid: u32) -> Result<Reading, ProcessError> {
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

fn read(pid: u32) -> Result<Reading, ProcessError> {
    let failed = |path: PathBuf| move |source| ProcessError::Read { path, source };
    let mut threads = BTreeMap::new();
    let tasks = PathBuf::from(format!("/proc/{pid}/task"));
    for task in fs::read_dir(&tasks).map_err(failed(tasks.clone()))? {
        let task = task.map_err(failed(tasks.clone()))?;
        let path = task.path().join("schedstat");
        let schedstat = match fs::read_to_string(&path) {
            Ok(text) => text,
            // Ended between the listing and now. The comparison with `stat` tells whether that matters.
            Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => continue,
            Err(source) => return Err(ProcessError::Read { path, source }),
        };
        let nanos = schedstat.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
        threads.insert(task.file_name(), nanos.ok_or_else(|| ProcessError::Form { path, what: "time on a core".into() })?);
    }
    let path = PathBuf::from(format!("/proc/{pid}/stat"));
    let stat = fs::read_to_string(&path).map_err(failed(path.clone()))?;
    // The second field is the command in brackets and may hold anything; utime and stime are the 14th and 15th of all.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let mut ticks = fields.split_whitespace().skip(11).map_while(|field| field.parse::<u64>().ok());
    let (Some(user), Some(system)) = (ticks.next(), ticks.next()) else {
        return Err(ProcessError::Form { path, what: "utime and stime".into() });
    };
    Ok(Reading { threads, ticks: user.saturating_add(system) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that does nothing but work, and ends with the test.
    struct Busy(std::process::Child);

    impl Drop for Busy {
        fn drop(&mut self) {
            // It may have ended already.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[tokio::test]
    async fn work_of_another_process_in_a_window_is_counted() {
        // Not this one: threads of other tests end in it, and what they used is then missed.
        let busy = Busy(std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().expect("starts"));
        let clock = Clock::watch(busy.0.id()).expect("our child");
        let window = clock.open().await.expect("opens");
        tokio::time::sleep(Duration::from_millis(400)).await;
        // It may have to wait for a core.
        let used = window.close().await.expect("closes").time;
        assert!(used > Duration::from_millis(20), "{used:?}");
    }

    #[test]
    fn what_a_thread_used_before_it_ended_is_missed_as_a_disagreement() {
        let threads = |of: &[(&str, u64)]| of.iter().map(|(id, nanos)| (OsString::from(id), *nanos)).collect::<BTreeMap<_, _>>();
        let per_tick = u64::try_from(tick().as_nanos()).expect("a tick is short");
        let first = Reading { threads: threads(&[("1", 5 * per_tick), ("2", 900 * per_tick)]), ticks: 905 };
        let clock = Clock { pid: 0, first };
        let both = Reading { threads: threads(&[("1", 15 * per_tick), ("2", 910 * per_tick)]), ticks: 925 };
        assert_eq!(clock.agreement(&both).expect("the same"), Duration::ZERO);
        let rested = Reading { threads: threads(&[("1", 15 * per_tick)]), ticks: 916 };
        assert_eq!(clock.agreement(&rested).expect("about the same"), tick());
        let ended = Reading { threads: threads(&[("1", 15 * per_tick)]), ticks: 925 };
        assert!(matches!(clock.agreement(&ended), Err(ProcessError::Disagreement { .. })));
    }

    #[test]
    fn a_process_that_is_not_there_has_no_figures() {
        assert!(matches!(Clock::watch(u32::MAX), Err(ProcessError::Read { .. })));
        assert!(matches!(resident_kib(u32::MAX), Err(ProcessError::Read { .. })));
        assert!(resident_kib(std::process::id()).expect("our own") > 0);
    }
}
