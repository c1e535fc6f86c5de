//! What the second socket shows of tokens, as text: ages instead of moments, for another process has another clock.
//!
//! ```text
//! token 1 up 1 pin 1 threads 8 busy 2 stuck 0 queued 0 ok 12 refused 0 failed 1 internal 0 late 3 name `kms` (serial 1)
//! key KEY_ID token 1 good 1200
//! key KEY_ID token 1 good - away 65000 token `kms` (serial 1): find the key: ...
//! ```
//!
//! All ages are in milliseconds; `-`: never.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Health;
use crate::key_id::KeyId;
use crate::keyring::Keyring;
use crate::provider::waits::{Calls, Figures, Outcome, Workers};

/// What is known of tokens, of those alone that have keys of the keyring.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// The tokens.
    pub tokens: Vec<Token>,
    /// The keys in them, oldest first.
    pub keys: Vec<Key>,
}

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// As people call it.
    pub name: String,
    /// Whether at least one key in it works.
    pub up: bool,
    /// Whether its PIN is tried: false once it was refused, until it changes.
    pub pin: bool,
    /// What its threads do.
    pub figures: Figures,
    /// The calls since the start.
    pub calls: Calls,
}

/// One key in a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its version.
    pub key_id: KeyId,
    /// Where its token stands among those of the page.
    pub token: usize,
    /// How long ago it was last seen to work; none: never.
    pub good: Option<Duration>,
    /// For how long it has been away, and why; none if it is not.
    pub away: Option<(Duration, String)>,
}

impl Page {
    /// What is so at `now`.
    pub fn of(keyring: &Keyring, health: &Health, now: Instant) -> Self {
        let mut page = Self::default();
        let mut known: Vec<&Arc<Workers>> = Vec::new();
        for (version, waits) in keyring.waiting() {
            let workers = &waits.workers;
            let token = known.iter().position(|known| Arc::ptr_eq(known, workers)).unwrap_or_else(|| {
                known.push(workers);
                let (figures, calls) = (workers.figures(now), workers.calls());
                page.tokens.push(Token { name: workers.token(), up: false, pin: true, figures, calls });
                known.len() - 1
            });
            let away = health.away(version.key_id()).map(|(since, cause)| (now.saturating_duration_since(since), cause));
            let good = waits.last_good.age(now);
            page.tokens[token].up |= away.is_none() && good.is_some();
            page.tokens[token].pin &= !health.pin_refused(version.key_id());
            page.keys.push(Key { key_id: *version.key_id(), token, good, away });
        }
        page
    }

    /// As text.
    pub fn write(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        for (token, number) in self.tokens.iter().zip(1..) {
            let Figures { threads, busy, stuck, queued } = token.figures;
            let (up, pin) = (u8::from(token.up), u8::from(token.pin));
            let _ = write!(text, "token {number} up {up} pin {pin} threads {threads} busy {busy} stuck {stuck} queued {queued}");
            for (outcome, count) in token.calls {
                let _ = write!(text, " {} {count}", outcome.name());
            }
            let _ = writeln!(text, " name {}", line(&token.name));
        }
        for key in &self.keys {
            let good = key.good.map_or_else(|| "-".into(), |age| age.as_millis().to_string());
            let _ = write!(text, "key {} token {} good {good}", key.key_id, key.token + 1);
            if let Some((since, cause)) = &key.away {
                let _ = write!(text, " away {} {}", since.as_millis(), line(cause));
            }
            text.push('\n');
        }
        text
    }

    /// Reads a page. `None` if it is none.
    pub fn read(text: &str) -> Option<Self> {
        let mut page = Self::default();
        for line in text.lines() {
            match line.split_once(' ')? {
                ("token", rest) => {
                    let (number, token) = read_token(rest)?;
                    page.tokens.push(token);
                    (number == page.tokens.len()).then_some(())?;
                }
                ("key", rest) => page.keys.push(read_key(rest, page.tokens.len())?),
                _ => return None,
            }
        }
        Some(page)
    }
}

/// `text` without what would end a line.
fn line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// The value behind `name`, and what follows.
fn after<'a>(text: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    let rest = text.strip_prefix(name)?.strip_prefix(' ')?;
    Some(rest.split_once(' ').unwrap_or((rest, "")))
}

fn read_token(text: &str) -> Option<(usize, Token)> {
    let (number, mut rest) = text.split_once(' ')?;
    let mut value = |name: &str| {
        let (value, behind) = after(rest, name)?;
        rest = behind;
        value.parse::<u64>().ok()
    };
    let (up, pin) = (value("up")? == 1, value("pin")? == 1);
    let mut count = |name: &str| usize::try_from(value(name)?).ok();
    let figures = Figures { threads: count("threads")?, busy: count("busy")?, stuck: count("stuck")?, queued: count("queued")? };
    let mut calls = Outcome::ALL.map(|outcome| (outcome, 0));
    for (outcome, count) in &mut calls {
        *count = value(outcome.name())?;
    }
    let name = rest.strip_prefix("name ")?.to_owned();
    Some((number.parse().ok()?, Token { name, up, pin, figures, calls }))
}

fn read_key(text: &str, tokens: usize) -> Option<Key> {
    let millis = |word: &str| word.parse().ok().map(Duration::from_millis);
    let (key_id, rest) = text.split_once(' ')?;
    let (token, rest) = after(rest, "token")?;
    let token = token.parse::<usize>().ok()?.checked_sub(1).filter(|at| *at < tokens)?;
    let (good, rest) = after(rest, "good")?;
    let good = if good == "-" { None } else { Some(millis(good)?) };
    let away = match rest {
        "" => None,
        rest => {
            let (since, cause) = after(rest, "away")?;
            Some((millis(since)?, cause.to_owned()))
        }
    };
    Some(Key { key_id: key_id.parse().ok()?, token, good, away })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Kek;
    use crate::provider::pkcs11::{Problem, TokenError};
    use crate::provider::waits::Limits;
    use crate::provider::waits::played::{self, Plays, error};

    #[test]
    fn what_is_written_is_read_back_as_it_was() {
        let [one, two] = [2, 3].map(|threads| played::Token::new(threads, Limits::default(), Plays::Works));
        let keys = [one.key(), two.key(), two.key()];
        let start = Instant::now() + Duration::from_secs(1);
        let at = |seconds| start + Duration::from_secs(seconds);
        keys[2].waits().expect("waits").last_good.note(at(0));
        one.workers.count(Outcome::Failed);
        let keyring = Keyring::played(keys.map(|key| key as Arc<dyn Kek>).into());
        let health = Health::default();
        let first = *keyring.versions()[0].key_id();
        health.failed(first, &TokenError { problem: Problem::PinRejected, ..error() }.into(), at(0));
        health.look(&keyring, at(1));
        let page = Page::of(&keyring, &health, at(5));
        let shown: Vec<_> = page.keys.iter().map(|key| (key.token, key.good, key.away.clone())).collect();
        let away = (Duration::from_secs(5), TokenError { problem: Problem::PinRejected, ..error() }.to_string());
        assert_eq!(shown, [(0, None, Some(away)), (1, None, None), (1, Some(Duration::from_secs(5)), None)]);
        assert_eq!(
            page.tokens.iter().map(|token| (token.up, token.pin, token.figures.threads)).collect::<Vec<_>>(),
            [(false, false, 2), (true, true, 3)]
        );
        let text = page.write();
        assert!(text.contains(" failed 1 ") && text.lines().count() == 5, "{text}");
        assert_eq!(Page::read(&text), Some(page));
        assert_eq!(Page::read(""), Some(Page::default()), "no tokens");
    }

    #[test]
    fn what_is_no_page_is_not_read() {
        let token = "token 1 up 1 pin 0 threads 8 busy 2 stuck 0 queued 0 ok 12 refused 0 failed 1 internal 0 late 3 name `k` (serial 1)\n";
        let key = "key kw1.0101010101010101.1.00000000000000000000000000000000 token 1 good 5";
        assert!(Page::read(&format!("{token}{key} away 6 a cause\n")).is_some());
        let other = key.replace("token 1", "token 2");
        let zero = key.replace("token 1", "token 0");
        let worse = key.replace("good 5", "good x");
        for bad in [key, &format!("{token}{token}"), &format!("{token}{other}"), &format!("{token}{zero}"), &format!("{token}{worse}")] {
            assert_eq!(Page::read(bad), None, "{bad}");
        }
        for cut in 1..token.find("name ").expect("is there") {
            assert_eq!(Page::read(&token[..cut]), None, "{cut}");
        }
        assert_eq!(Page::read(&format!("{token}{key} 6\n")), None);
        assert_eq!(Page::read(&token.replace("late", "latest")), None);
    }
}
