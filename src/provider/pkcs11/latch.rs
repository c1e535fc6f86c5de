//! Remembers a PIN that its token refused, so that nobody gives it again: most tokens lock at the third wrong one, and a service manager starts a
//! plugin anew as often as it ends.
//!
//! One file for each token in the state directory. It holds no PIN but a salted argon2id of it, for a PIN is short. It is written before a PIN is
//! given for the first time (`begun`) and removed when the token has taken it. A refusal is written down as that (`refused`).
//!
//! An end in between leaves `begun`, and nobody knows what the token thought. Then the PIN is given once more, under `refused` this time: so a process
//! that was killed at a bad moment needs nobody, and a restart loop gives a PIN twice at most, not at all where the token counts a wrong one.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use super::{Problem, TokenName};
use crate::durable::{WriteError, Writer};
use crate::entropy::Entropy;
use crate::hex;
use crate::ownership::{self, OwnershipError};
use crate::secret::SecretBytes;
use crate::stretch::Cost;

const MAGIC: &str = "keywright-pin-latch 1";
/// First words of a record.
const BEGUN: &str = "begun";
const REFUSED: &str = "refused";
/// What every name of such a file begins with.
const PREFIX: &str = "pin-latch-";
const MAX_FILE: u64 = 4096;
/// So many are remembered: a person who tries one does not let a service try its own again.
const MOST: usize = 8;
/// A login takes milliseconds, and the hash before it some 0.2 s.
const LOCK_TRIES: u32 = 60;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// A token whose PIN was refused or may have been, or is being given right now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latched {
    /// Which token.
    pub token: TokenName,
    /// When its PIN was given, by the clock of this machine; RFC 3339.
    pub since: String,
    /// Whether that did not come to an end, so that it is given once more.
    pub begun: bool,
}

/// Every token with a latch in `state_dir`, in no order; takes no lock. None where there is no such folder.
///
/// Errors: [`Problem::PinLatch`] if one cannot be read, or is none.
pub fn read(state_dir: &Path) -> Result<Vec<Latched>, Problem> {
    let cannot = |why: &dyn std::fmt::Display| Problem::PinLatch(format!("{}: {why}", state_dir.display()));
    let entries = match std::fs::read_dir(state_dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|e| cannot(&e))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| cannot(&e))?.path();
        if !path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX)) {
            continue;
        }
        // One that went meanwhile is none.
        let Some(text) = text(&path).map_err(|e| cannot(&e))? else { continue };
        let token = text.lines().nth(1).and_then(|line| TokenName::parse_given(line.strip_prefix("token ")?).ok());
        let latched = token.and_then(|token| {
            let Record { since, begun, .. } = Refused::parse(&text, &token)?.0.pop()?;
            Some(Latched { token, since, begun })
        });
        found.push(latched.ok_or_else(|| cannot(&format!("{} is no latch", path.display())))?);
    }
    Ok(found)
}

fn text(path: &Path) -> Result<Option<String>, OwnershipError> {
    // What is no text is no latch either.
    let bytes = ownership::read_private_if_there(path, MAX_FILE)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(bytes.expose_secret()).into_owned()))
}

/// Where the latch of a token is.
#[derive(Debug, Clone)]
pub(super) struct Latch {
    path: PathBuf,
    token: TokenName,
}

/// The right to give a PIN to the token, by one process at a time, with the latch on it meanwhile.
pub(super) struct Held {
    writer: Writer,
    /// What stood there before.
    before: Option<String>,
    /// What stands there if the token refuses it.
    refused: String,
}

/// The PINs that were given since one was taken, oldest first.
#[derive(Debug, Default)]
struct Refused(Vec<Record>);

/// One of them, as the file tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    /// Its try did not come to an end, as far as is known.
    begun: bool,
    since: String,
    cost: Cost,
    salt: [u8; 16],
    hash: [u8; 32],
}

impl Latch {
    /// That of `token`, below `state_dir`.
    pub(super) fn new(state_dir: &Path, token: &TokenName) -> Self {
        let digest = Sha256::digest(token.uri().as_bytes());
        let path = state_dir.join(format!("{PREFIX}{}", base16ct::lower::encode_string(&digest[..8])));
        Self { path, token: token.clone() }
    }

    /// Takes note that `pin` is about to be given.
    ///
    /// `counts_wrong`: see [`PinSource::attempt`](super::PinSource::attempt).
    ///
    /// Errors: [`Problem::PinLatched`] if it is one that was refused; [`Problem::PinBusy`] while another process gives one;
    /// [`Problem::PinLatch`] if nothing can be noted, for then nothing would keep a restart from giving it again.
    pub(super) fn hold(&self, pin: &SecretBytes, counts_wrong: bool, now: SystemTime, entropy: &dyn Entropy) -> Result<Held, Problem> {
        let cannot = |why: &dyn std::fmt::Display| Problem::PinLatch(why.to_string());
        let writer = self.lock()?;
        let before = text(&self.path).map_err(|e| cannot(&e))?;
        let mut refused = match &before {
            Some(text) => {
                Refused::parse(text, &self.token).ok_or_else(|| cannot(&format!("{} is no latch of this token", self.path.display())))?
            }
            None => Refused::default(),
        };
        let mut again = None;
        for (place, known) in refused.0.iter().enumerate() {
            let hash = known.cost.stretch(pin, &known.salt).map_err(|e| cannot(&e))?;
            if *hash.expose_secret() == known.hash {
                if !known.begun || counts_wrong {
                    return Err(Problem::PinLatched { since: known.since.clone(), record: self.path.display().to_string() });
                }
                again = Some(place);
            }
        }
        let place = match again {
            // Before it is given: there is no third time.
            Some(place) => {
                refused.0[place].begun = false;
                place
            }
            None => {
                let mut salt = [0; 16];
                entropy.fill(&mut salt).map_err(|e| cannot(&e))?;
                let hash = *Cost::NEW.stretch(pin, &salt).map_err(|e| cannot(&e))?.expose_secret();
                let since = humantime::format_rfc3339_seconds(now).to_string();
                refused.0.push(Record { begun: true, since, cost: Cost::NEW, salt, hash });
                let surplus = refused.0.len().saturating_sub(MOST);
                refused.0.drain(..surplus);
                refused.0.len() - 1
            }
        };
        writer.replace(refused.write(&self.token).as_bytes()).map_err(|e| cannot(&e))?;
        refused.0[place].begun = false;
        Ok(Held { writer, before, refused: refused.write(&self.token) })
    }

    /// Waits for another process that is logging in, which takes a moment, but not for one that hangs in it.
    fn lock(&self) -> Result<Writer, Problem> {
        for _ in 0..LOCK_TRIES {
            match Writer::lock(&self.path) {
                Err(WriteError::Busy(_)) => std::thread::sleep(LOCK_PAUSE),
                outcome => return outcome.map_err(|error| Problem::PinLatch(error.to_string())),
            }
        }
        Err(Problem::PinBusy)
    }
}

impl Held {
    /// The token took the PIN.
    pub(super) fn release(self) -> Result<(), WriteError> {
        self.writer.remove()
    }

    /// The token refused the PIN.
    pub(super) fn refuse(self) -> Result<(), Problem> {
        self.writer.replace(self.refused.as_bytes()).map_err(|e| Problem::PinLatch(e.to_string()))
    }

    /// The token said nothing of the PIN: what was known before is known now.
    pub(super) fn restore(self) -> Result<(), WriteError> {
        match &self.before {
            Some(text) => self.writer.replace(text.as_bytes()),
            None => self.writer.remove(),
        }
    }
}

impl Refused {
    fn write(&self, token: &TokenName) -> String {
        let mut text = format!("{MAGIC}\ntoken {}\n", token.uri());
        for Record { begun, since, cost, salt, hash } in &self.0 {
            let word = if *begun { BEGUN } else { REFUSED };
            let [memory, passes, lanes] = cost.numbers();
            let [salt, hash] = [base16ct::lower::encode_string(salt), base16ct::lower::encode_string(hash)];
            // Writing to a String does not fail.
            let _ = writeln!(text, "{word} {since} argon2id {memory} {passes} {lanes} {salt} {hash}");
        }
        text
    }

    /// Exactly what [`write`](Self::write) writes. Costs out of range are refused before anything is derived.
    fn parse(text: &str, token: &TokenName) -> Option<Self> {
        let refused = text.lines().skip(2).map(record).collect::<Option<Vec<_>>>().map(Self)?;
        // One form: what is shorter, longer or written otherwise is not ours.
        let whole = (1..=MOST).contains(&refused.0.len()) && refused.write(token) == text;
        whole.then_some(refused)
    }
}

fn record(line: &str) -> Option<Record> {
    let mut words = line.split(' ');
    let begun = match words.next()? {
        BEGUN => true,
        REFUSED => false,
        _ => return None,
    };
    let since = words.next()?.to_owned();
    humantime::parse_rfc3339(&since).ok()?;
    words.next().filter(|word| *word == "argon2id")?;
    let mut number = || words.next()?.parse().ok();
    let cost = Cost::new(number()?, number()?, number()?)?;
    Some(Record { begun, since, cost, salt: hex::decode(words.next()?)?, hash: hex::decode(words.next()?)? })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::entropy::Counted;

    #[test]
    fn every_latch_of_a_state_directory_is_told_of_and_a_damaged_one_is_not_passed_over() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o700)).expect("chmod");
        assert_eq!(read(&dir.path().join("missing")), Ok(vec![]));
        let pin = SecretBytes::from_vec(b"1234".to_vec());
        let hold = |label: &str| {
            let token = TokenName { label: label.into(), serial: "1".into() };
            Latch::new(dir.path(), &token).hold(&pin, false, UNIX_EPOCH, &Counted::default()).expect("held")
        };
        let (refused, taken) = (hold("kms ;"), hold("other"));
        taken.release().expect("removed");
        drop(refused);
        let token = TokenName { label: "kms ;".into(), serial: "1".into() };
        let latched = |begun| Latched { token: token.clone(), since: "1970-01-01T00:00:00Z".into(), begun };
        assert_eq!(read(dir.path()), Ok(vec![latched(true)]));
        let again = Latch::new(dir.path(), &token).hold(&pin, false, UNIX_EPOCH, &Counted::default()).expect("once more");
        assert_eq!(read(dir.path()), Ok(vec![latched(false)]));
        drop(again);
        std::fs::write(Latch::new(dir.path(), &token).path, "keywright-pin-latch 1\n").expect("write");
        assert!(matches!(read(dir.path()), Err(Problem::PinLatch(_))));
    }
}
