//! Encrypts the text of an export with age, and decrypts it: for X25519 recipients, SSH keys and plugins, or for one passphrase.

use std::io::{self, Read, Write};

use age::armor::{ArmoredReader, ArmoredWriter, Format};
use age::secrecy::SecretString;
use age::{Callbacks, Decryptor, Encryptor, IdentityFile, plugin, scrypt, x25519};
use thiserror::Error;

use super::MAX_TEXT;
use super::ssh::{self, SshError};
use crate::keyring::seal::MIN_PASSPHRASE;
use crate::secret::SecretBytes;

/// Largest export file, in bytes: the largest text, armored.
pub const MAX_FILE: u64 = 2 * MAX_TEXT as u64;
/// Cost of a passphrase as a power of two: 256 MiB, about a second.
const WORK: u8 = 18;
/// Greatest cost that is paid to open one: 1 GiB. A file that asks for more is refused before it is allocated.
const MAX_WORK: u8 = 20;

/// Why age did not do it.
#[derive(Debug, Error)]
pub enum AgeError {
    /// Not an X25519 recipient, a plugin's or an SSH key.
    #[error("`{0}` is no age recipient of the form age1... (X25519, or a plugin's) and no SSH public key")]
    Recipient(String),
    /// An SSH key that an export is not encrypted to.
    #[error("{0}")]
    SshRecipient(SshError),
    /// An SSH key that opens no export.
    #[error("{0}")]
    SshIdentity(SshError),
    /// The program of a plugin is not on the path.
    #[error("the program age-plugin-{0} is not found in $PATH")]
    NoPlugin(String),
    /// Too short to be one, or no text.
    #[error("the passphrase must be text of at least {MIN_PASSPHRASE} bytes")]
    Passphrase,
    /// Not a file of identities.
    #[error(
        "the identity file has no line that is an identity (AGE-SECRET-KEY-1... or AGE-PLUGIN-...) and is no SSH private key; \
         one that age encrypted must be decrypted first"
    )]
    Identity,
    /// age could not encrypt.
    #[error("age could not encrypt: {0}")]
    Encrypt(String),
    /// Not an age file.
    #[error("the file is not an age file, or is damaged at its beginning: {0}")]
    NotAge(String),
    /// None of the identities fits.
    #[error("none of the identities opens the export")]
    WrongIdentity,
    /// The passphrase is another one.
    #[error("this passphrase does not open the export, or the file is damaged at its beginning")]
    WrongPassphrase,
    /// It was encrypted in the other way.
    #[error("the export is encrypted {0}")]
    OtherWay(&'static str),
    /// Opens, and is damaged further on.
    #[error("the file is damaged: {0}")]
    Damaged(io::Error),
}

/// Whom an export is encrypted to.
pub enum To {
    /// Any one of these opens it.
    Recipients(Recipients),
    /// Whoever knows this.
    Passphrase(SecretBytes),
}

/// At least one recipient.
pub struct Recipients {
    native: Vec<x25519::Recipient>,
    ssh: Vec<age::ssh::Recipient>,
    plugins: Vec<plugin::Recipient>,
}

impl Recipients {
    /// Parses `age1...` recipients and SSH public keys.
    pub fn parse(texts: &[String]) -> Result<Self, AgeError> {
        let mut recipients = Self { native: vec![], ssh: vec![], plugins: vec![] };
        for text in texts {
            if ssh::is_public_key(text) {
                recipients.ssh.push(ssh::recipient(text).map_err(AgeError::SshRecipient)?);
            } else if let Ok(native) = text.parse() {
                recipients.native.push(native);
            } else {
                recipients.plugins.push(text.parse().map_err(|_| AgeError::Recipient(text.escape_default().to_string()))?);
            }
        }
        Ok(recipients)
    }
}

/// How an export is opened.
pub enum By {
    /// The content of an age identity file, or of an OpenSSH private key.
    Identities(SecretBytes),
    /// What a person remembers.
    Passphrase(SecretBytes),
}

/// What an export file must be opened by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One of its recipients' identities.
    Recipients,
    /// Its passphrase.
    Passphrase,
}

impl Kind {
    /// Reads the head of `file`, armored or not; nothing secret is needed for that.
    pub fn of(file: &[u8]) -> Result<Self, AgeError> {
        head(file).map(|decryptor| if decryptor.is_scrypt() { Self::Passphrase } else { Self::Recipients })
    }

    /// Whether it is `wanted`.
    pub fn expect(self, wanted: Self) -> Result<(), AgeError> {
        match (self, wanted) {
            (Self::Recipients, Self::Passphrase) => Err(AgeError::OtherWay("to recipients, not by a passphrase: name an identity file")),
            (Self::Passphrase, Self::Recipients) => Err(AgeError::OtherWay("by a passphrase, not to recipients")),
            _ => Ok(()),
        }
    }
}

fn head(file: &[u8]) -> Result<Decryptor<ArmoredReader<io::BufReader<&[u8]>>>, AgeError> {
    Decryptor::new_buffered(ArmoredReader::new(file)).map_err(|e| AgeError::NotAge(one_line(&e)))
}

/// Whether a new passphrase can be one: text of at least [`MIN_PASSPHRASE`] bytes.
pub fn check_passphrase(passphrase: &SecretBytes) -> Result<(), AgeError> {
    let text = std::str::from_utf8(passphrase.expose_secret()).map_err(|_| AgeError::Passphrase)?;
    if text.len() < MIN_PASSPHRASE { Err(AgeError::Passphrase) } else { Ok(()) }
}

/// Encrypts `text`; the answer is ASCII (armor), so that it survives being pasted.
pub fn encrypt(text: &SecretBytes, to: &To, callbacks: impl Callbacks) -> Result<Vec<u8>, AgeError> {
    let encryptor = match to {
        To::Passphrase(passphrase) => {
            let mut recipient = scrypt::Recipient::new(secret_text(passphrase)?);
            recipient.set_work_factor(WORK);
            Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient))
        }
        To::Recipients(recipients) => {
            let mut all: Vec<Box<dyn age::Recipient>> = vec![];
            for native in &recipients.native {
                all.push(Box::new(native.clone()));
            }
            for key in &recipients.ssh {
                all.push(Box::new(key.clone()));
            }
            let mut names: Vec<&str> = recipients.plugins.iter().map(plugin::Recipient::plugin).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                let plugin = plugin::RecipientPluginV1::new(name, &recipients.plugins, &[], callbacks.clone());
                all.push(Box::new(plugin.map_err(|_| AgeError::NoPlugin(name.to_owned()))?));
            }
            Encryptor::with_recipients(all.iter().map(|recipient| &**recipient))
        }
    };
    let encryptor = encryptor.map_err(|e| AgeError::Encrypt(one_line(&e)))?;
    let failed = |e: io::Error| AgeError::Encrypt(e.to_string());
    let armor = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor).map_err(failed)?;
    let mut writer = encryptor.wrap_output(armor).map_err(failed)?;
    writer.write_all(text.expose_secret()).map_err(failed)?;
    writer.finish().and_then(ArmoredWriter::finish).map_err(failed)
}

/// Decrypts `file`, armored or not. `callbacks` are asked what a plugin wants to know, and the passphrase of a protected SSH key.
pub fn decrypt(file: &[u8], by: &By, callbacks: impl Callbacks) -> Result<SecretBytes, AgeError> {
    let decryptor = head(file)?;
    let kind = if decryptor.is_scrypt() { Kind::Passphrase } else { Kind::Recipients };
    let mut reader = match by {
        By::Passphrase(passphrase) => {
            kind.expect(Kind::Passphrase)?;
            let mut identity = scrypt::Identity::new(secret_text(passphrase)?);
            identity.set_max_work_factor(MAX_WORK);
            decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity))
        }
        By::Identities(content) if ssh::is_private_key(content) => {
            kind.expect(Kind::Recipients)?;
            let passphrase = || callbacks.request_passphrase("Passphrase of the SSH key:");
            let identity = ssh::identity(content, passphrase).map_err(AgeError::SshIdentity)?;
            decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity))
        }
        By::Identities(content) => {
            kind.expect(Kind::Recipients)?;
            let file = IdentityFile::from_buffer(content.expose_secret()).map_err(|_| AgeError::Identity)?;
            let identities = file.with_callbacks(callbacks).into_identities().map_err(|e| match e {
                age::DecryptError::PluginResolve(plugin::ResolveError::MissingPlugin { binary_name }) => {
                    AgeError::NoPlugin(binary_name.trim_start_matches("age-plugin-").to_owned())
                }
                other => AgeError::NotAge(one_line(&other)),
            })?;
            if identities.is_empty() {
                return Err(AgeError::Identity);
            }
            decryptor.decrypt(identities.iter().map(|identity| &**identity as &dyn age::Identity))
        }
    }
    .map_err(|e| refusal(&e, by))?;
    // Room for all of it at once: what never moves leaves no copy behind.
    let mut text = SecretBytes::with_capacity(file.len());
    text.fill_from(&mut reader).map_err(AgeError::Damaged)?;
    match reader.read(&mut [0]) {
        Ok(0) => Ok(text),
        Ok(_) => Err(AgeError::Damaged(io::Error::other("it is longer than its cipher allows"))),
        Err(error) => Err(AgeError::Damaged(error)),
    }
}

fn refusal(error: &age::DecryptError, by: &By) -> AgeError {
    use age::DecryptError::{DecryptionFailed, KeyDecryptionFailed, NoMatchingKeys};
    match (error, by) {
        (NoMatchingKeys | KeyDecryptionFailed | DecryptionFailed, By::Identities(_)) => AgeError::WrongIdentity,
        (NoMatchingKeys | KeyDecryptionFailed | DecryptionFailed, By::Passphrase(_)) => AgeError::WrongPassphrase,
        (other, _) => AgeError::NotAge(one_line(other)),
    }
}

/// age's messages have several lines, the later ones with advice for its own command line.
fn one_line(error: &impl std::fmt::Display) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

fn secret_text(passphrase: &SecretBytes) -> Result<SecretString, AgeError> {
    check_passphrase(passphrase)?;
    let text = std::str::from_utf8(passphrase.expose_secret()).map_err(|_| AgeError::Passphrase)?;
    // Exactly as long as it is: boxing it moves nothing.
    Ok(SecretString::from(text.to_owned()))
}
