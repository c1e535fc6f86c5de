//! The person at the terminal, and the files that stand in for one: passphrases of exports, questions of age plugins.

use std::io::{IsTerminal, Write};
use std::path::Path;

use age::Callbacks;
use age::secrecy::SecretString;

use super::super::advice;
use super::super::failure::{Exit, Failure};
use super::super::prompt::{self, Asking};
use super::export::age_failure;
use crate::export::age::check_passphrase;
use crate::ownership;
use crate::secret::SecretBytes;

/// Longest passphrase or identity file, in bytes.
const MAX_SECRET: u64 = 64 << 10;

/// Asks for a passphrase of an export; twice if it is a new one.
pub(super) fn ask(prompt: &str, new: bool) -> Result<SecretBytes, Failure> {
    let asking = Asking {
        attempted: "ask for the passphrase of the export",
        instead: "Run the command at a terminal, or name a file: --passphrase-file FILE.",
    };
    if new { asking.twice(prompt, |passphrase| check_passphrase(passphrase).map_err(|e| age_failure(&e))) } else { asking.once(prompt) }
}

/// The passphrase in a file that only its owner can read; its last line feed does not count.
pub(super) fn passphrase_file(path: &Path) -> Result<SecretBytes, Failure> {
    let mut passphrase = private(path, "read the passphrase of the export")?;
    passphrase.strip_line_end();
    Ok(passphrase)
}

/// A secret file that only its owner can read.
pub(super) fn private(path: &Path, attempted: &str) -> Result<SecretBytes, Failure> {
    ownership::read_private_file(path, MAX_SECRET).map_err(|e| Failure::new(Exit::Configuration, attempted, &e, advice::ownership(&e)))
}

/// Whether there is a person who could say yes.
pub(super) fn somebody_is_there() -> bool {
    std::io::stdin().is_terminal()
}

/// Whether a person says yes. Nobody at the terminal says no.
pub(super) fn says_yes(question: &str) -> bool {
    if !std::io::stdin().is_terminal() {
        return false;
    }
    let _ = write!(std::io::stderr(), "{question} [yes/no] ");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).is_ok() && line.trim() == "yes"
}

/// Answers the questions of an age plugin, or the one about an SSH key.
#[derive(Clone, Copy)]
pub(super) enum Terminal {
    /// Says whose words are shown.
    Plugin,
    /// The words are our own.
    SshKey,
}

impl Callbacks for Terminal {
    fn display_message(&self, message: &str) {
        let _ = writeln!(std::io::stderr(), "age plugin: {}", printable(message));
    }

    fn confirm(&self, message: &str, yes_string: &str, no_string: Option<&str>) -> Option<bool> {
        let no = no_string.unwrap_or("no");
        std::io::stdin()
            .is_terminal()
            .then(|| says_yes(&format!("age plugin: {} (yes: {}; no: {})", printable(message), printable(yes_string), printable(no))))
    }

    fn request_public_string(&self, description: &str) -> Option<String> {
        if !std::io::stdin().is_terminal() {
            return None;
        }
        let _ = write!(std::io::stderr(), "age plugin: {} ", printable(description));
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).ok()?;
        Some(line.trim().to_owned())
    }

    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        let from = match self {
            Self::Plugin => "age plugin: ",
            Self::SshKey => "",
        };
        let typed = prompt::hidden(&format!("{from}{} ", printable(description))).ok()?;
        // Exactly as long as it is: boxing it moves nothing.
        std::str::from_utf8(typed.expose_secret()).ok().map(|text| SecretString::from(text.to_owned()))
    }
}

/// A plugin's words without what would drive the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
