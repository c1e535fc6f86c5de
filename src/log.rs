//! Log lines to standard error, by a thread of their own.
//!
//! Whoever logs appends to a buffer and goes on; one thread writes it. A reader that stands still (a full pipe) can therefore
//! never hold up an answer: beyond 1 MiB lines are dropped, counted, and the count is logged when there is room again.
//! Lines may wait up to 10 ms to be written together, so that a start or a burst is not slowed by its own log; errors are written at once.
//! A SIGKILL loses what waits.
//!
//! Only levels up to `info` exist in the build (`max_level_info` of the tracing crate): the libraries underneath would log frames
//! at lower ones, and a frame holds plaintext.

use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tracing_subscriber::fmt::MakeWriter;

/// Most bytes that wait for the writer.
const MAX_WAITING: usize = 1 << 20;
/// Most memory that is kept for the next lines.
const KEPT: usize = 64 << 10;
/// How long a line may wait for company.
const LINGER: Duration = Duration::from_millis(10);
/// How long the wall clock is reckoned from one reading of it: a clock that is set shows in the lines at most this much later.
const RECKONED: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Waiting {
    text: String,
    clock: Clock,
    dropped: u64,
    /// An error waits.
    urgent: bool,
    closed: bool,
}

/// Who writes.
enum Writer {
    /// Nobody yet.
    Later(Box<dyn io::Write + Send>),
    Runs(std::thread::JoinHandle<()>),
    Ended,
}

struct Shared {
    waiting: Mutex<Waiting>,
    filled: Condvar,
    writer: Mutex<Writer>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // A panic while appending leaves a cut line at worst.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_writer(&self) -> Writer {
        std::mem::replace(&mut *self.writer.lock().unwrap_or_else(PoisonError::into_inner), Writer::Ended)
    }

    fn append(&self, urgent: bool, write: impl FnOnce(&mut String, &mut Clock)) {
        let mut waiting = self.lock();
        if waiting.text.len() >= MAX_WAITING {
            waiting.dropped += 1;
            return;
        }
        let was_idle = waiting.text.is_empty();
        let Waiting { text, clock, .. } = &mut *waiting;
        write(text, clock);
        let wake = was_idle || (urgent && !waiting.urgent);
        waiting.urgent |= urgent;
        drop(waiting);
        if wake {
            self.filled.notify_one();
        }
    }
}

/// The time of day of request lines. Reading the clock and writing a date are among the larger costs of a call that are ours, so that either
/// is done once for many lines.
#[derive(Default)]
struct Clock {
    /// One moment by both clocks.
    read: Option<(Instant, SystemTime)>,
    /// The last second that was written, since 1970, and how.
    second: u64,
    text: String,
}

impl Clock {
    /// The time of day at `moment`; `read` reads it.
    fn at(&mut self, moment: Instant, read: impl FnOnce() -> SystemTime) -> SystemTime {
        let (known, time) = match self.read {
            Some((known, time)) if moment.saturating_duration_since(known) < RECKONED => (known, time),
            _ => *self.read.insert((moment, read())),
        };
        time + moment.saturating_duration_since(known)
    }

    /// Appends `time` to `text` as in RFC 3339, with microseconds.
    fn write(&mut self, text: &mut String, time: SystemTime) {
        // Before 1970: a clock that was never set. There is no time then that could be wrong in an interesting way.
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if self.text.is_empty() || self.second != since.as_secs() {
            self.second = since.as_secs();
            self.text.clear();
            let second = SystemTime::UNIX_EPOCH + Duration::from_secs(self.second);
            // Writing to a String does not fail.
            let _ = write!(self.text, "{}", humantime::format_rfc3339_seconds(second));
            self.text.pop(); // the Z, which stands behind the fraction
        }
        text.push_str(&self.text);
        text.push('.');
        let micros = since.subsec_micros();
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(micros);
        text.push_str("000000".get(digits.len()..).unwrap_or_default());
        text.push_str(digits);
        text.push('Z');
    }
}

/// Where lines go; cheap to clone.
#[derive(Clone)]
pub struct Log(Arc<Shared>);

/// Writes out what waits and ends the writer when dropped: `main` holds it to its end.
pub struct LogGuard(Arc<Shared>);

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.filled.notify_one();
        match self.0.take_writer() {
            // The writer does not panic; if it did, there is nobody left to tell.
            Writer::Runs(writer) => drop(writer.join()),
            Writer::Later(out) => write_lines(&self.0, out),
            Writer::Ended => {}
        }
    }
}

/// Sends every event of this process to `out`, from [`Log::begin`] on; what was logged before waits for it, or for the end of the guard.
///
/// Errors: another subscriber is set already.
pub fn start(out: impl io::Write + Send + 'static) -> io::Result<(Log, LogGuard)> {
    let (log, guard) = Log::later(out);
    let subscriber = tracing_subscriber::fmt().with_target(false).with_ansi(false).with_writer(Events(log.clone())).finish();
    tracing::subscriber::set_global_default(subscriber).map_err(io::Error::other)?;
    Ok((log, guard))
}

impl Log {
    /// A log whose lines reach `out`, for request lines alone.
    ///
    /// Errors: the system gives no thread.
    pub fn to(out: impl io::Write + Send + 'static) -> io::Result<(Self, LogGuard)> {
        let (log, guard) = Self::later(out);
        log.begin()?;
        Ok((log, guard))
    }

    fn later(out: impl io::Write + Send + 'static) -> (Self, LogGuard) {
        let writer = Mutex::new(Writer::Later(Box::new(out)));
        let shared = Arc::new(Shared { waiting: Mutex::default(), filled: Condvar::new(), writer });
        (Self(shared.clone()), LogGuard(shared))
    }

    /// Starts the writer, if it does not run. A plugin does it once its callers need not wait for that.
    ///
    /// Errors: the system gives no thread.
    pub fn begin(&self) -> io::Result<()> {
        let mut writer = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner);
        *writer = match std::mem::replace(&mut *writer, Writer::Ended) {
            Writer::Later(out) => {
                let shared = self.0.clone();
                Writer::Runs(std::thread::Builder::new().name("log".into()).spawn(move || write_lines(&shared, out))?)
            }
            other => other,
        };
        Ok(())
    }

    /// Logs one request. Nothing in it is secret; what a stranger chose (uid, key_id) is escaped and cut.
    pub fn request(&self, request: &Request<'_>) {
        self.0.append(false, |text, clock| request.write(text, clock, SystemTime::now));
    }
}

/// One answered call.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// When it was answered.
    pub at: Instant,
    /// `Status`, `Encrypt`, ...
    pub operation: &'static str,
    /// `v2` or `v1`.
    pub api: &'static str,
    /// The caller's name for it, as sent.
    pub uid: &'a str,
    /// The key that was used, or the text that named none.
    pub key_id: &'a str,
    /// The gRPC code of the answer, such as `OK`.
    pub code: &'static str,
    /// From the parsed request to its answer.
    pub took: Duration,
}

impl Request<'_> {
    /// Appends the line; `now` reads the time of day. Without the machinery of `write!`, which took 4 % of the instructions of a call.
    fn write(&self, text: &mut String, clock: &mut Clock, now: impl FnOnce() -> SystemTime) {
        let time = clock.at(self.at, now);
        clock.write(text, time);
        text.push_str(if self.code == "OK" { "  INFO request op=" } else { "  WARN request op=" });
        text.push_str(self.operation);
        text.push_str(" api=");
        text.push_str(self.api);
        if !self.uid.is_empty() {
            text.push_str(" uid=");
            push_foreign(text, self.uid);
        }
        if !self.key_id.is_empty() {
            text.push_str(" key_id=");
            push_foreign(text, self.key_id);
        }
        text.push_str(" code=");
        text.push_str(self.code);
        text.push_str(" us=");
        text.push_str(itoa::Buffer::new().format(self.took.as_micros()));
        text.push('\n');
    }
}

/// Bytes that a log line may hold as they are.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        plain[byte] = b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'/');
        byte += 1;
    }
    plain
};

/// Longest text of a stranger in a line, in characters.
const MAX_FOREIGN: usize = 80;

/// Appends `value` bare when it is short and plain, else quoted, escaped and cut.
pub fn push_foreign(text: &mut String, value: &str) {
    if value.len() <= MAX_FOREIGN && !value.is_empty() && value.bytes().all(|b| PLAIN[usize::from(b)]) {
        text.push_str(value);
        return;
    }
    text.push('"');
    for c in value.chars().take(MAX_FOREIGN) {
        if c.is_ascii() { text.extend(c.escape_default()) } else { text.extend(c.escape_unicode()) }
    }
    text.push('"');
    if value.chars().nth(MAX_FOREIGN).is_some() {
        let _ = write!(text, "[{} bytes]", value.len());
    }
}

fn write_lines(shared: &Shared, mut out: impl io::Write) {
    let mut batch = String::new();
    loop {
        let mut waiting = shared.lock();
        while waiting.text.is_empty() && !waiting.closed {
            waiting = shared.filled.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        if !waiting.urgent && !waiting.closed {
            let linger = |w: &mut Waiting| !w.urgent && !w.closed;
            waiting = shared.filled.wait_timeout_while(waiting, LINGER, linger).unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::swap(&mut batch, &mut waiting.text);
        let dropped = std::mem::take(&mut waiting.dropped);
        waiting.urgent = false;
        let closed = waiting.closed;
        drop(waiting);
        if dropped > 0 {
            let _ = writeln!(batch, "{}  WARN log lines dropped count={dropped}", humantime::format_rfc3339_micros(SystemTime::now()));
        }
        // Nobody can be told that the log is gone; serving goes on without it.
        let _ = out.write_all(batch.as_bytes()).and_then(|()| out.flush());
        batch.clear();
        // What a burst needed is not kept for ever.
        batch.shrink_to(KEPT);
        if closed {
            return;
        }
    }
}

/// Takes the lines of the tracing crate.
struct Events(Log);

impl<'a> MakeWriter<'a> for Events {
    type Writer = EventWriter;

    fn make_writer(&'a self) -> EventWriter {
        EventWriter { log: self.0.clone(), urgent: true }
    }

    fn make_writer_for(&'a self, event: &tracing::Metadata<'_>) -> EventWriter {
        EventWriter { log: self.0.clone(), urgent: *event.level() == tracing::Level::ERROR }
    }
}

/// Appends one formatted event.
struct EventWriter {
    log: Log,
    urgent: bool,
}

impl io::Write for EventWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.log.0.append(self.urgent, |text, _| text.push_str(&String::from_utf8_lossy(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Hands every write on, and blocks in it until it may go on.
    struct Gate(mpsc::Sender<String>, mpsc::Receiver<()>);

    impl io::Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(String::from_utf8_lossy(bytes).into_owned());
            let _ = self.1.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn request<'a>(uid: &'a str, code: &'static str) -> Request<'a> {
        Request { at: Instant::now(), operation: "Decrypt", api: "v2", uid, key_id: "kw1.a.1.b", code, took: Duration::from_micros(41) }
    }

    fn line(uid: &str) -> String {
        let mut text = String::new();
        request(uid, "OK").write(&mut text, &mut Clock::default(), || SystemTime::UNIX_EPOCH);
        text
    }

    #[test]
    fn every_line_has_its_own_time_of_day_to_the_microsecond() {
        let (mut clock, start) = (Clock::default(), Instant::now());
        let day = SystemTime::UNIX_EPOCH + Duration::from_micros(86_399_950_007);
        let mut shown = |after, wall: Duration| {
            let mut text = String::new();
            let time = clock.at(start + Duration::from_millis(after), || day + wall);
            clock.write(&mut text, time);
            text
        };
        assert_eq!(shown(0, Duration::ZERO), "1970-01-01T23:59:59.950007Z");
        assert_eq!(shown(50, Duration::from_secs(9)), "1970-01-02T00:00:00.000007Z", "reckoned, over the end of the second");
        assert_eq!(shown(99, Duration::from_secs(9)), "1970-01-02T00:00:00.049007Z");
        assert_eq!(shown(100, Duration::from_secs(9)), "1970-01-02T00:00:08.950007Z", "read again: the clock was set");
        assert_eq!(shown(20, Duration::from_secs(9)), "1970-01-02T00:00:08.950007Z", "a moment before the last reading counts as that");
        let mut text = String::new();
        clock.write(&mut text, SystemTime::UNIX_EPOCH - Duration::from_secs(1));
        assert_eq!(text, "1970-01-01T00:00:00.000000Z");
    }

    #[test]
    fn a_request_is_one_line_with_its_uid_key_id_code_and_time() {
        assert_eq!(line("u-1"), "1970-01-01T00:00:00.000000Z  INFO request op=Decrypt api=v2 uid=u-1 key_id=kw1.a.1.b code=OK us=41\n");
    }

    #[test]
    fn a_hostile_uid_stays_one_short_line_of_printable_ascii() {
        for uid in ["a\nb\r\x1b[31m\0", "uid=\"x\" code=OK", &"\u{202e}".repeat(9_000), &"x".repeat(10_000)] {
            let line = line(uid);
            assert_eq!(line.matches('\n').count(), 1, "{line:?}");
            assert!(line.trim_end().bytes().all(|b| (0x20..0x7f).contains(&b)), "{line:?}");
            assert!(line.len() < 1_000, "{} bytes", line.len());
        }
        assert!(line("uid=\"x\" code=OK").contains(r#"uid="uid=\"x\" code=OK""#));
    }

    #[test]
    fn lines_are_all_written_before_the_guard_is_gone() {
        let (sent, lines) = mpsc::channel();
        let (go, gate) = mpsc::channel();
        let (log, guard) = Log::to(Gate(sent, gate)).expect("starts");
        for _ in 0..1_000 {
            log.request(&request("u", "OK"));
        }
        drop(go);
        drop(guard);
        assert_eq!(lines.iter().map(|text| text.lines().count()).sum::<usize>(), 1_000);
    }

    #[test]
    fn lines_from_before_the_writer_runs_are_written_by_it_or_else_at_the_end() {
        for begins in [true, false] {
            let (sent, lines) = mpsc::channel();
            let (go, gate) = mpsc::channel();
            drop(go);
            let (log, guard) = Log::later(Gate(sent, gate));
            log.request(&request("early", "OK"));
            assert!(lines.try_recv().is_err(), "nobody writes yet");
            if begins {
                log.begin().expect("begins");
                log.begin().expect("once more does nothing");
                assert!(lines.recv().expect("is written").contains("early"));
            }
            log.request(&request("late", "OK"));
            drop(guard);
            let rest: String = lines.iter().collect();
            assert_eq!((rest.contains("early"), rest.contains("late")), (!begins, true));
        }
    }

    #[test]
    fn a_reader_that_stands_still_holds_nobody_up_and_the_dropped_lines_are_counted() {
        let (sent, lines) = mpsc::channel();
        let (go, gate) = mpsc::channel();
        let (log, guard) = Log::to(Gate(sent, gate)).expect("starts");
        log.request(&request("first", "OK"));
        let first = lines.recv().expect("the writer stands in its first write");
        assert!(first.contains("first"));
        // Every one of these returns although nothing is written.
        let many = 2 * MAX_WAITING / line("u").len();
        for _ in 0..many {
            log.request(&request("u", "OK"));
        }
        drop(go);
        drop(guard);
        let rest: String = lines.iter().collect();
        let dropped: usize = rest
            .lines()
            .find_map(|l| l.split("log lines dropped count=").nth(1))
            .and_then(|n| n.parse().ok())
            .expect("the count is logged");
        assert_eq!(rest.lines().count() - 1 + dropped, many);
    }
}
