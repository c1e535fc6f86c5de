//! The lines a process prints, kept and awaited.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::{Error, Result};

/// Everything a process has printed on one stream, line by line, in order. Shared with the thread that reads it.
#[derive(Debug, Default)]
pub struct Log {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<String>,
    ended: bool,
}

impl Log {
    /// Reads `stream` to its end in a thread of its own.
    pub fn follow(stream: impl Read + Send + 'static) -> Arc<Self> {
        let log = Arc::new(Self::default());
        let writer = Arc::clone(&log);
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            // A pty answers EIO instead of end of file when its last writer is gone: any error is the end.
            while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                writer.push(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned());
                line.clear();
            }
            writer.end();
        });
        log
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    fn push(&self, line: String) {
        self.state().lines.push(line);
        self.changed.notify_all();
    }

    fn end(&self) {
        self.state().ended = true;
        self.changed.notify_all();
    }

    /// A copy of all lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.state().lines.clone()
    }

    /// How many lines there are so far: a place from which to wait for later ones.
    pub fn len(&self) -> usize {
        self.state().lines.len()
    }

    /// Whether nothing was printed so far.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first line at or after position `from` that `wanted` accepts, as soon as it is there.
    ///
    /// Fails when the stream ends without it or when `limit` passes; both errors carry the last lines.
    pub fn wait_for(&self, from: usize, limit: Duration, what: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let end = Instant::now() + limit;
        let mut next = from;
        let mut state = self.state();
        loop {
            while let Some(line) = state.lines.get(next) {
                if wanted(line) {
                    return Ok(line.clone());
                }
                next += 1;
            }
            let left = end.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                let cause = if state.ended { "the stream ended" } else { "it did not come in time" };
                return Err(Error::new(format!("waiting for {what}: {cause}; last lines:\n{}", tail(&state.lines, 30))));
            }
            state = self.changed.wait_timeout(state, left).expect("no holder of this lock panics").0;
        }
    }

    /// Waits until the process has closed the stream, so that [`Log::lines`] is complete.
    pub fn wait_end(&self, limit: Duration) -> Result<()> {
        let (state, timeout) =
            self.changed.wait_timeout_while(self.state(), limit, |state| !state.ended).expect("no holder of this lock panics");
        if timeout.timed_out() {
            return Err(Error::new(format!("the stream is still open; last lines:\n{}", tail(&state.lines, 30))));
        }
        Ok(())
    }

    /// The last `count` lines as one text, for error messages.
    pub fn tail(&self, count: usize) -> String {
        tail(&self.state().lines, count)
    }
}

fn tail(lines: &[String], count: usize) -> String {
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn a_line_that_came_before_the_wait_is_found() {
        let log = Log::follow(&b"one\ntwo\n"[..]);
        log.wait_end(SOON).expect("a slice ends");
        assert_eq!(log.wait_for(0, SOON, "two", |line| line == "two").expect("it is there"), "two");
    }

    #[test]
    fn the_end_of_the_stream_ends_the_wait_and_shows_the_last_lines() {
        let log = Log::follow(&b"one\nlast words"[..]);
        let error = log.wait_for(0, SOON, "three", |line| line == "three").expect_err("there is no such line");
        assert!(error.to_string().contains("the stream ended") && error.to_string().contains("last words"), "{error}");
    }

    #[test]
    fn a_wait_from_a_position_does_not_see_earlier_lines() {
        let log = Log::follow(&b"ready\nother\n"[..]);
        log.wait_end(SOON).expect("a slice ends");
        log.wait_for(1, SOON, "ready", |line| line == "ready").expect_err("only the first line says so");
    }
}
