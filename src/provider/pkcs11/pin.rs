//! Where a PIN comes from, and that one which was refused is not given again.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::latch::{Held, Latch};
use super::{Attempt, PinFrom, PinSource, Problem, TokenError, TokenName};
use crate::entropy::Entropy;
use crate::ownership;
use crate::secret::{SecretBytes, SecretKey};

/// Most bytes of a PIN; tokens take fewer.
const MAX_PIN: usize = 255;
/// Largest file with one, in bytes: more than the longest PIN and a line feed, so that too long a one is told of as that.
const MAX_FILE: u64 = 4096;
const ATTEMPT: &str = "log in";

/// Asks a person for the PIN of a token; says why that cannot be.
pub type Ask = fn(&TokenName) -> Result<SecretBytes, String>;

/// The PIN of one token.
pub(super) struct Pins {
    token: TokenName,
    from: PinFrom,
    ask: Option<Ask>,
    latch: Latch,
    entropy: Box<dyn Entropy>,
    clock: fn() -> SystemTime,
    known: Mutex<Known>,
}

/// What this process knows of the PIN by now.
#[derive(Default)]
struct Known {
    /// Of a person, who is asked once.
    typed: Option<SecretBytes>,
    /// A tag of the last one that the token took, under a key that nobody else has.
    taken: Option<(SecretKey, [u8; 32])>,
}

impl Pins {
    /// That of `token`. Nothing is read yet: a credential that changes is seen at the next attempt.
    pub(super) fn new(
        token: TokenName,
        from: PinFrom,
        ask: Option<Ask>,
        latch: Latch,
        entropy: Box<dyn Entropy>,
        clock: fn() -> SystemTime,
    ) -> Self {
        Self { token, from, ask, latch, entropy, clock, known: Mutex::default() }
    }

    fn read(&self) -> Result<SecretBytes, Problem> {
        let source = |why: &dyn std::fmt::Display| Problem::PinSource(why.to_string());
        let (mut pin, place) = match &self.from {
            PinFrom::Credential(name) => {
                let path = ownership::credential_path(name)
                    .ok_or_else(|| source(&format!("credential `{name}`: this process was given no credentials")))?;
                (ownership::read_credential(&path, MAX_FILE).map_err(|e| source(&e))?, format!("credential `{name}`"))
            }
            PinFrom::File(path) => (ownership::read_private_file(path, MAX_FILE).map_err(|e| source(&e))?, path.display().to_string()),
            PinFrom::Prompt => (self.asked()?, "what was typed".to_owned()),
        };
        pin.strip_line_end();
        let problem = match pin.expose_secret() {
            [] => "it is empty",
            long if long.len() > MAX_PIN => "it has more than 255 bytes",
            bytes if bytes.iter().any(u8::is_ascii_control) => "it has a line end or another control character in it",
            _ => return Ok(pin),
        };
        Err(Problem::PinForm { place, problem })
    }

    fn asked(&self) -> Result<SecretBytes, Problem> {
        let known = &mut *self.known();
        let typed = match &known.typed {
            Some(typed) => typed,
            None => {
                let nobody = || Problem::PinSource("neither `pin_credential` nor `pin_file` is set, and nobody is there to ask".into());
                let ask = self.ask.ok_or_else(nobody)?;
                known.typed.insert(ask(&self.token).map_err(Problem::PinSource)?)
            }
        };
        Ok(SecretBytes::from_vec(typed.expose_secret().to_vec()))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn was_taken(&self, pin: &SecretBytes) -> bool {
        self.known().taken.as_ref().is_some_and(|(key, tag)| mac(key, pin).verify_slice(tag).is_ok())
    }

    fn remember(&self, pin: &SecretBytes) {
        // Without random bytes nothing is remembered, and the latch is written once more next time.
        let key = SecretKey::try_fill(|out| self.entropy.fill(out)).ok();
        self.known().taken = key.map(|key| {
            let tag = mac(&key, pin).finalize().into_bytes().into();
            (key, tag)
        });
    }
}

impl PinSource for Pins {
    fn attempt(&self, counts_wrong: bool) -> Result<Box<dyn Attempt + '_>, TokenError> {
        let failed = |problem| TokenError { token: self.token.clone(), attempt: ATTEMPT, problem };
        let pin = self.read().map_err(failed)?;
        // Taken by the token before, in this process: no restart loop hides behind it, and a token that comes and goes costs no file.
        let hold = || self.latch.hold(&pin, counts_wrong, (self.clock)(), self.entropy.as_ref());
        let held = if self.was_taken(&pin) { None } else { Some(hold().map_err(failed)?) };
        Ok(Box::new(Try { pins: self, pin, held }))
    }
}

/// One attempt; while it lasts no other process makes one with an unknown PIN. Dropped without a word it leaves the latch where it is.
struct Try<'a> {
    pins: &'a Pins,
    pin: SecretBytes,
    held: Option<Held>,
}

impl Attempt for Try<'_> {
    fn pin(&self) -> &SecretBytes {
        &self.pin
    }

    fn accepted(self: Box<Self>) {
        self.pins.remember(&self.pin);
        if let Some(Err(error)) = self.held.map(Held::release) {
            tracing::warn!(token = %self.pins.token, %error, "the token took its PIN, but the record of a refused one stays; remove it before the next start");
        }
    }

    fn rejected(self: Box<Self>) {
        let held = self.held.map_or_else(
            || {
                // It was good before. From now on it is not, for the next process either.
                self.pins.known().taken = None;
                self.pins.latch.hold(&self.pin, false, (self.pins.clock)(), self.pins.entropy.as_ref())
            },
            Ok,
        );
        match held.and_then(Held::refuse) {
            Ok(()) | Err(Problem::PinLatched { .. }) => {}
            Err(problem) => tracing::error!(token = %self.pins.token, %problem, "the token refused its PIN, and that was not recorded"),
        }
    }

    fn undecided(self: Box<Self>) {
        if let Some(Err(error)) = self.held.map(Held::restore) {
            tracing::warn!(token = %self.pins.token, %error, "the PIN counts as refused although the token said nothing of it");
        }
    }
}

fn mac(key: &SecretKey, pin: &SecretBytes) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(key.expose_secret()).expect("HMAC takes a key of any length").chain_update(pin.expose_secret())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;
    use crate::entropy::OsEntropy;

    fn token() -> TokenName {
        TokenName { label: "kms".into(), serial: "1".into() }
    }

    fn at() -> SystemTime {
        SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_800_000_000)
    }

    /// A state directory and a file with a PIN.
    struct Place(tempfile::TempDir);

    impl Place {
        fn new(pin: &[u8]) -> Self {
            let dir = tempfile::tempdir().expect("a folder");
            std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o700)).expect("chmod");
            let place = Self(dir);
            place.set(pin);
            place
        }

        fn path(&self) -> &Path {
            self.0.path()
        }

        fn set(&self, pin: &[u8]) {
            let file = self.path().join("pin");
            std::fs::write(&file, pin).expect("writes");
            std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("chmod");
        }

        /// As a new process has it.
        fn pins(&self) -> Pins {
            let from = PinFrom::File(self.path().join("pin"));
            Pins::new(token(), from, None, Latch::new(self.path(), &token()), Box::new(OsEntropy), at)
        }

        fn latches(&self) -> Vec<std::path::PathBuf> {
            let files = std::fs::read_dir(self.path()).expect("lists").map(|entry| entry.expect("an entry").path());
            files.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("pin-latch-"))).collect()
        }
    }

    fn problem(pins: &Pins) -> Problem {
        pins.attempt(false).err().expect("no attempt").problem
    }

    fn latched(pins: &Pins) -> bool {
        matches!(problem(pins), Problem::PinLatched { since, .. } if since == "2027-01-15T08:00:00Z")
    }

    #[test]
    fn a_refused_pin_is_given_once_whatever_starts_anew_and_another_one_is_given() {
        let place = Place::new(b"wrong\n");
        let first = place.pins();
        let attempt = first.attempt(false).expect("never given before");
        assert_eq!(attempt.pin().expose_secret(), b"wrong");
        attempt.rejected();
        assert!(latched(&first) && latched(&place.pins()) && latched(&place.pins()));
        place.set(b"wrong too");
        place.pins().attempt(false).expect("another one").rejected();
        place.set(b"wrong");
        assert!(latched(&place.pins()), "the first one is still known");
        place.set(b"right");
        place.pins().attempt(false).expect("another one").accepted();
        assert_eq!(place.latches(), Vec::<std::path::PathBuf>::new(), "nothing is left of it");
        place.pins().attempt(false).expect("a good one").accepted();
    }

    #[test]
    fn after_an_end_in_the_middle_of_a_login_a_pin_is_given_once_more_and_not_a_third_time() {
        let place = Place::new(b"1234");
        drop(place.pins().attempt(false).expect("never given before"));
        drop(place.pins().attempt(false).expect("nobody knows what became of the first"));
        assert!(latched(&place.pins()) && latched(&place.pins()));
        place.set(b"5678");
        drop(place.pins().attempt(false).expect("another one"));
        place.pins().attempt(false).expect("nobody knows").accepted();
        assert_eq!(place.latches(), Vec::<std::path::PathBuf>::new(), "nothing is left of it");
    }

    #[test]
    fn a_second_try_that_is_refused_or_of_which_nothing_is_said_leaves_no_more_tries_than_there_were() {
        let place = Place::new(b"1234");
        drop(place.pins().attempt(false).expect("never given before"));
        for _ in 0..3 {
            place.pins().attempt(false).expect("nobody knows").undecided();
        }
        place.pins().attempt(false).expect("nobody knows").rejected();
        assert!(latched(&place.pins()));
    }

    #[test]
    fn a_token_that_counts_a_wrong_pin_is_not_given_the_one_whose_try_did_not_end() {
        let place = Place::new(b"1234");
        drop(place.pins().attempt(true).expect("somebody gave another one"));
        let refused = place.pins().attempt(true).err().expect("it may have been this one").problem;
        assert!(matches!(refused, Problem::PinLatched { .. }), "{refused}");
        // The count is gone, so somebody has logged in since.
        place.pins().attempt(false).expect("given").accepted();
    }

    #[test]
    fn a_token_that_says_nothing_of_the_pin_leaves_what_was_known() {
        let place = Place::new(b"1234");
        place.pins().attempt(false).expect("never given").undecided();
        place.pins().attempt(false).expect("still never refused").rejected();
        place.set(b"5678");
        place.pins().attempt(false).expect("another one").undecided();
        place.set(b"1234");
        assert!(latched(&place.pins()), "the first one is refused still");
    }

    #[test]
    fn a_pin_that_was_good_costs_no_file_and_is_latched_once_it_is_refused() {
        let place = Place::new(b"1234");
        let pins = place.pins();
        pins.attempt(false).expect("never given").accepted();
        let again = pins.attempt(false).expect("good");
        assert_eq!(place.latches(), Vec::<std::path::PathBuf>::new());
        again.rejected();
        assert!(latched(&pins) && latched(&place.pins()));
    }

    #[test]
    fn two_processes_do_not_both_give_it() {
        let place = Place::new(b"wrong");
        let given = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| {
                    if let Ok(attempt) = place.pins().attempt(false) {
                        given.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        attempt.rejected();
                    }
                });
            }
        });
        assert_eq!(given.into_inner(), 1);
    }

    #[test]
    fn no_pin_is_given_where_a_refusal_could_not_be_recorded() {
        let place = Place::new(b"1234");
        let elsewhere = Latch::new(&place.path().join("missing"), &token());
        let from = PinFrom::File(place.path().join("pin"));
        let pins = Pins::new(token(), from, None, elsewhere, Box::new(OsEntropy), at);
        assert!(matches!(problem(&pins), Problem::PinLatch(_)));
        place.pins().attempt(false).expect("given").rejected();
        let [latch] = place.latches().try_into().expect("one file");
        let text = std::fs::read_to_string(&latch).expect("text");
        assert!(!text.contains("1234"), "{text}");
        for torn in [
            &text[..text.len() - 1],
            "",
            &text.replace("argon2id 65536 3 4", "argon2id 4194304 3 4"),
            &text.replace("serial=1", "serial=2"),
        ] {
            std::fs::write(&latch, torn).expect("writes");
            assert!(matches!(problem(&place.pins()), Problem::PinLatch(_)), "{torn}");
        }
    }

    #[test]
    fn what_cannot_be_a_pin_is_told_without_a_byte_of_it() {
        for (bytes, expected) in [
            (&b""[..], "it is empty"),
            (b"\n", "it is empty"),
            (b"12\n34\n", "it has a line end or another control character in it"),
            (b"1234\n\n", "it has a line end or another control character in it"),
            (b"1234\r\n", "it has a line end or another control character in it"),
            (&[b'7'; 256], "it has more than 255 bytes"),
        ] {
            let place = Place::new(bytes);
            let shown = problem(&place.pins()).to_string();
            assert!(shown.ends_with(expected) && !shown.contains("34") && !shown.contains("77"), "{shown}");
            assert_eq!(place.latches(), Vec::<std::path::PathBuf>::new(), "nothing was given");
        }
        let place = Place::new(b"1234");
        std::fs::set_permissions(place.path().join("pin"), PermissionsExt::from_mode(0o644)).expect("chmod");
        assert!(matches!(problem(&place.pins()), Problem::PinSource(_)));
        let nobody = Pins::new(token(), PinFrom::Prompt, None, Latch::new(place.path(), &token()), Box::new(OsEntropy), at);
        assert!(problem(&nobody).to_string().contains("nobody is there to ask"));
    }
}
