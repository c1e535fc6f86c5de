//! The person at the terminal, and the files that stand in for one: passphrases of exports, questions of age plugins.

use std::io::{IsTerminal, Write};
use std::path::Path;

use age::Callbacks;
use age::secrecy::SecretString;

use super::super::advice;
use super::super::failure::{Exit, Failure};
use crate::ownership;
use crate::secret::SecretBytes;

/// Longest passphrase or identity file, in bytes.
const MAX_SECRET: u64 = 64 << 10;

/// Asks for a passphrase of an export; twice if it is a new one.
pub(super) fn ask(prompt: &str, new: bool) -> Result<SecretBytes, Failure> {
    let attempted = "ask for the passphrase of the export";
    let ask = |prompt: &str| {
        rpassword::prompt_password(prompt)
            .map(|text| SecretBytes::from_vec(text.into_bytes()))
            .map_err(|e| Failure::new(Exit::Usage, attempted, e, "Run the command at a terminal, or name a file: --passphrase-file FILE."))
    };
    let passphrase = ask(prompt)?;
    if new && ask("Once more: ")?.expose_secret() != passphrase.expose_secret() {
        return Err(Failure::new(Exit::Usage, attempted, "the two are different", "Run the command again; nothing was changed."));
    }
    Ok(passphrase)
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

/// Whether a person says yes. Nobody at the terminal says no.
pub(super) fn says_yes(question: &str) -> bool {
    if !std::io::stdin().is_terminal() {
        return false;
    }
    let _ = write!(std::io::stderr(), "{question} [yes/no] ");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).is_ok() && line.trim() == "yes"
}

/// Answers the questions of an age plugin.
#[derive(Clone, Copy)]
pub(super) struct Terminal;

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
        rpassword::prompt_password(format!("age plugin: {} ", printable(description))).ok().map(SecretString::from)
    }
}

/// A plugin's words without what would drive the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
