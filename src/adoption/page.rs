//! What the second socket shows of adoption, as text: ages instead of moments, for another process has another clock.
//!
//! ```text
//! running 532100
//! named KEY_ID 12300
//! caller 7 pid 812 uid 0 connected 431000 encrypted KEY_ID 17200 named KEY_ID 1200
//! caller 9 pid 1033 uid 0 connected 20 encrypted - named - ours
//! ```
//!
//! All ages are in milliseconds.

use std::fmt::Write as _;
use std::str::Split;
use std::time::{Duration, Instant};

use super::{Callers, Calls};
use crate::key_id::KeyId;

/// One connection, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its number since the start of the plugin.
    pub number: u64,
    /// Process at the other end.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// What it asked for.
    pub calls: Calls,
    /// Whether it is a command of ours.
    pub ours: bool,
}

/// All that one plugin knows of who uses which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Since when it knows.
    pub started: Instant,
    /// The key_ids that Status has named to others than ourselves, and when it last did.
    pub named: Vec<(KeyId, Instant)>,
    /// The connections there are.
    pub callers: Vec<Shown>,
}

/// What `callers` know at `now`.
pub fn write(callers: &Callers, now: Instant) -> String {
    let age = |at: Instant| now.saturating_duration_since(at).as_millis();
    let seen = |seen: Option<(KeyId, Instant)>| seen.map_or("-".into(), |(key_id, at)| format!("{key_id} {}", age(at)));
    // Writing to a String does not fail.
    let mut text = format!("running {}\n", age(callers.started()));
    for (key_id, at) in callers.named() {
        let _ = writeln!(text, "named {key_id} {}", age(at));
    }
    for caller in callers.live() {
        let Calls { encrypted, named } = caller.calls();
        let _ = write!(text, "caller {} pid {} uid {} connected {}", caller.number, caller.pid, caller.uid, age(caller.since));
        let _ = write!(text, " encrypted {} named {}", seen(encrypted), seen(named));
        text.push_str(if caller.ours() { " ours\n" } else { "\n" });
    }
    text
}

/// Reads a page that was asked for at `now`. `None` if it is none.
pub fn read(text: &str, now: Instant) -> Option<Page> {
    let mut lines = text.lines();
    let running = lines.next()?.strip_prefix("running ")?;
    let mut page = Page { started: ago(running, now)?, named: Vec::new(), callers: Vec::new() };
    for line in lines {
        let mut words = Words { words: line.split(' '), now };
        match words.next()? {
            "named" => page.named.push(words.seen()??),
            "caller" => page.callers.push(words.caller()?),
            _ => return None,
        }
        if words.words.next().is_some() {
            return None;
        }
    }
    Some(page)
}

fn ago(word: &str, now: Instant) -> Option<Instant> {
    let age = Duration::from_millis(word.parse().ok()?);
    // Older than the clock of this machine reaches: as old as it can say.
    Some(now.checked_sub(age).unwrap_or(now))
}

struct Words<'a> {
    words: Split<'a, char>,
    now: Instant,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a str> {
        self.words.next()
    }

    fn after(&mut self, word: &str) -> Option<&'a str> {
        (self.next()? == word).then_some(())?;
        self.next()
    }

    /// A key_id and an age, or `-`.
    fn seen(&mut self) -> Option<Option<(KeyId, Instant)>> {
        match self.next()? {
            "-" => Some(None),
            key_id => Some(Some((key_id.parse().ok()?, ago(self.next()?, self.now)?))),
        }
    }

    fn caller(&mut self) -> Option<Shown> {
        let number = self.next()?.parse().ok()?;
        let pid = self.after("pid")?.parse().ok()?;
        let uid = self.after("uid")?.parse().ok()?;
        self.after("connected")?;
        (self.next()? == "encrypted").then_some(())?;
        let encrypted = self.seen()?;
        (self.next()? == "named").then_some(())?;
        let named = self.seen()?;
        let ours = match self.words.clone().next() {
            Some("ours") => self.next().is_some(),
            _ => false,
        };
        Some(Shown { number, pid, uid, calls: Calls { encrypted, named }, ours })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_id(version: u32) -> KeyId {
        format!("kw1.0101010101010101.{version}.00000000000000000000000000000000").parse().expect("valid")
    }

    #[test]
    fn what_is_written_is_read_back_as_it_was() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let callers = Callers::new(start);
        let server = callers.connect(0, 812, at(1));
        server.encrypt(Some(key_id(2)), at(2));
        server.status(key_id(2), at(3));
        let ours = callers.connect(4, 813, at(5));
        ours.is_ours();
        let text = write(&callers, at(10));
        let page = read(&text, at(10)).expect("a page");
        assert_eq!((page.started, page.named), (start, vec![(key_id(2), at(3))]));
        let shown = |number, pid, uid, calls, ours| Shown { number, pid, uid, calls, ours };
        let calls = Calls { encrypted: Some((key_id(2), at(2))), named: Some((key_id(2), at(3))) };
        assert_eq!(page.callers, [shown(1, 812, 0, calls, false), shown(2, 813, 4, Calls::default(), true)]);
    }

    #[test]
    fn what_is_no_page_is_not_read() {
        let now = Instant::now();
        let good = "running 5\nnamed kw1.0101010101010101.2.00000000000000000000000000000000 3\n";
        assert!(read(good, now).is_some());
        for bad in
            ["", "running\n", "running x\n", "running 5\nnamed - \n", "running 5\nnamed x 3\n", "running 5\ncaller\n", "running 5 5\n"]
        {
            assert_eq!(read(bad, now), None, "{bad:?}");
        }
        for cut in 11..good.len() - 2 {
            assert_eq!(read(&good[..cut], now), None, "{cut}");
        }
    }
}
