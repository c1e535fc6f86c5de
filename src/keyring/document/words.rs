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
pub struct Time([u8; 20]);

impl Time {
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
        let bytes: [u8; 20] = text.as_bytes().try_into().map_err(|_| ())?;
        let shape = bytes.iter().zip(b"0000-00-00T00:00:00Z");
        let shaped = shape.into_iter().all(|(b, form)| if *form == b'0' { b.is_ascii_digit() } else { b == form });
        // The shape leaves one text for each moment; a leap second, and what is no date, is none.
        let exists = shaped && bytes[17..19] != *b"60" && humantime::parse_rfc3339(text).is_ok();
        if exists { Ok(Self(bytes)) } else { Err(()) }
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
        let printable = text.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
        let valid = printable && (1..=200).contains(&text.len()) && text.trim() == text && !text.contains("  ");
        if valid { Ok(Self(text.to_owned())) } else { Err(()) }
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
