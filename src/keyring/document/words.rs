//! The words of the keyring file that have rules of their own.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// State of a version in the file; what it carries is decided when it is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateLabel {
    /// See [`crate::keyring::State::Staged`].
    Staged,
    /// See [`crate::keyring::State::Primary`].
    Primary,
    /// See [`crate::keyring::State::Retired`].
    Retired,
    /// See [`crate::keyring::State::Disabled`].
    Disabled,
    /// See [`crate::keyring::State::Destroyed`].
    Destroyed,
}

impl StateLabel {
    /// All of them, in the order in which a version goes through them.
    pub const ALL: [Self; 5] = [Self::Staged, Self::Primary, Self::Retired, Self::Disabled, Self::Destroyed];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Primary => "primary",
            Self::Retired => "retired",
            Self::Disabled => "disabled",
            Self::Destroyed => "destroyed",
        }
    }

    /// The state of that word.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// A moment in whole seconds, UTC, written as RFC 3339 (`2026-01-02T03:04:05Z`).
///
/// Kept as its text: a large keyring has thousands, read at every start and looked into by few.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time([u8; Time::LEN]);

impl Time {
    /// Length of its text, in bytes.
    pub(super) const LEN: usize = 20;
    /// The last second that four digits of a year can name: 9999-12-31T23:59:59Z.
    const MAX: u64 = 253_402_300_799;

    /// The second that `at` lies in, kept within what can be written.
    pub fn of(at: SystemTime) -> Self {
        let seconds = at.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()).min(Self::MAX);
        let text = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string();
        Self(text.as_bytes().try_into().expect("a time with a year of four digits has 20 bytes"))
    }

    /// Time since `earlier`; none if that is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.at().duration_since(earlier.at()).unwrap_or_default()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a time is made of digits and punctuation")
    }

    fn at(&self) -> SystemTime {
        humantime::parse_rfc3339(self.as_str()).expect("a time was checked when it was made")
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Time {
    type Err = ();

    /// Strict: exactly a text that [`Display`](fmt::Display) makes.
    fn from_str(text: &str) -> Result<Self, ()> {
        let bytes: [u8; Self::LEN] = text.as_bytes().try_into().map_err(|_| ())?;
        let [y1, y2, y3, y4, b'-', o1, o2, b'-', d1, d2, b'T', h1, h2, b':', m1, m2, b':', s1, s2, b'Z'] = bytes else { return Err(()) };
        let year = two_digits(y1, y2)? * 100 + two_digits(y3, y4)?;
        let (month, day) = (two_digits(o1, o2)?, two_digits(d1, d2)?);
        let (hour, minute, second) = (two_digits(h1, h2)?, two_digits(m1, m2)?, two_digits(s1, s2)?);
        // The shape leaves one text for each moment; a leap second is none.
        let exists = year >= 1970 && (1..=days(year, month)).contains(&day) && hour < 24 && minute < 60 && second < 60;
        if exists { Ok(Self(bytes)) } else { Err(()) }
    }
}

fn two_digits(tens: u8, ones: u8) -> Result<u32, ()> {
    let both = tens.is_ascii_digit() && ones.is_ascii_digit();
    if both { Ok(u32::from(tens - b'0') * 10 + u32::from(ones - b'0')) } else { Err(()) }
}

/// Days of a month of the Gregorian calendar; none in a month that there is not.
fn days(year: u32, month: u32) -> u32 {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => 0,
    }
}

/// Name of a control-plane node: 1 to 63 of `a-z`, `0-9`, `-` and `.`, beginning and ending with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeName(String);

impl FromStr for NodeName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = text.as_bytes();
        let ends = [bytes.first(), bytes.last()].into_iter().all(|b| b.is_some_and(|b| alphanumeric(*b)));
        let valid = ends && bytes.len() <= 63 && bytes.iter().all(|b| alphanumeric(*b) || matches!(b, b'-' | b'.'));
        if valid { Ok(Self(text.to_owned())) } else { Err(()) }
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A reason in words: printable ASCII, 1 to 200 bytes, no two spaces in a row, none at the ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why(String);

impl Why {
    /// Makes a reason of what a person wrote: other characters become `?`, runs of space one space, and it is cut.
    ///
    /// `None` if nothing is left.
    pub fn from_person(text: &str) -> Option<Self> {
        let printable = |c: char| if c.is_ascii_graphic() { c } else { '?' };
        let words: Vec<String> = text.split_whitespace().map(|word| word.chars().map(printable).collect()).collect();
        let mut line = words.join(" ");
        line.truncate(200);
        line.trim_end().parse().ok()
    }
}

impl FromStr for Why {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        // In one pass: a large keyring has thousands of them. A space stands only between two that are none.
        let mut space = true;
        for byte in text.bytes() {
            if !(byte.is_ascii_graphic() || byte == b' ' && !space) {
                return Err(());
            }
            space = byte == b' ';
        }
        if !space && text.len() <= 200 { Ok(Self(text.to_owned())) } else { Err(()) }
    }
}

impl Why {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_in_exactly_the_form_it_is_written() {
        let time: Time = "2026-01-02T03:04:05Z".parse().expect("valid");
        assert_eq!(time.to_string(), "2026-01-02T03:04:05Z");
        for other in [
            "2026-01-02t03:04:05z",
            "2026-01-02T03:04:05.0Z",
            "2026-01-02 03:04:05Z",
            "2026-02-30T00:00:00Z",
            "2026-12-31T23:59:60Z",
            "1969-12-31T23:59:59Z",
            "",
            "x",
        ] {
            assert_eq!(other.parse::<Time>(), Err(()), "{other}");
        }
        assert_eq!(Time::of(UNIX_EPOCH + Duration::from_secs(u64::MAX / 4)).to_string(), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn the_days_that_exist_are_those_that_the_library_for_times_reads() {
        for year in (1960..2110).chain([2200, 2300, 2399, 2400, 9999]) {
            for (month, day) in (0..14).flat_map(|month| (0..33).map(move |day| (month, day))) {
                let text = format!("{year}-{month:02}-{day:02}T00:00:00Z");
                assert_eq!(text.parse::<Time>().is_ok(), humantime::parse_rfc3339(&text).is_ok(), "{text}");
            }
        }
        for (hour, minute, second) in (0..26).flat_map(|h| [0, 59, 60].map(|m| [0, 59, 60, 61].map(|s| (h, m, s)))).flatten() {
            let text = format!("2026-12-31T{hour:02}:{minute:02}:{second:02}Z");
            let exists = humantime::parse_rfc3339(&text).is_ok() && second < 60;
            assert_eq!(text.parse::<Time>().is_ok(), exists, "{text}");
        }
    }

    #[test]
    fn node_names_are_those_of_dns_labels_and_domains() {
        let long = "n".repeat(63);
        for good in ["cp-1", "10.0.0.1", "a", &long] {
            assert!(good.parse::<NodeName>().is_ok(), "{good}");
        }
        let too_long = "n".repeat(64);
        for bad in ["", "-a", "a-", "A", "a b", "a\n", &too_long] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn whatever_a_person_writes_becomes_one_printable_line_or_nothing() {
        let why = Why::from_person("  no one\n needs\tit \u{1f600} ").expect("something");
        assert_eq!(why.to_string(), "no one needs it ?");
        assert_eq!(Why::from_person(" \n "), None);
        let long = Why::from_person(&"ab ".repeat(1_000)).expect("something").to_string();
        assert!(long.len() <= 200 && long.parse::<Why>().is_ok());
    }
}
