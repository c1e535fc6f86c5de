//! SSH keys as recipients of an export, and as what opens one.
//!
//! age does the work. What it leaves open is decided here before it sees a key: which kinds and lengths are taken, the cost that a protected
//! key may ask for, and that no key makes its parser panic.

use std::panic::{AssertUnwindSafe, catch_unwind};

use age::secrecy::SecretString;
use age::ssh;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use thiserror::Error;

use crate::secret::SecretBytes;

/// Lengths of an RSA recipient, in bits. An export holds its keys for as long as it lies somewhere, and 3072 is what `ssh-keygen` makes by
/// itself; above 4096 the `age` crate takes none.
pub const RSA_BITS: std::ops::RangeInclusive<usize> = 3072..=4096;
/// Most rounds of bcrypt that are done for a passphrase. `ssh-keygen` asks for 24; each is some milliseconds.
pub const MAX_ROUNDS: u32 = 1024;
/// Ciphers of protected keys that the `age` crate knows.
const CIPHERS: [&str; 5] = ["aes256-cbc", "aes128-ctr", "aes192-ctr", "aes256-ctr", "aes256-gcm@openssh.com"];
const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &str = "-----END OPENSSH PRIVATE KEY-----";
const MAGIC: &[u8] = b"openssh-key-v1\0";

/// Why an SSH key is not taken.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SshError {
    /// Not one public key on one line.
    #[error("this is no SSH public key: one line, as in a .pub file, with its type, its base64 and perhaps a comment")]
    NotPublic,
    /// A kind that cannot decrypt, or that nobody but its token can use.
    #[error("SSH keys of type {0} are not supported: ssh-ed25519 and ssh-rsa are")]
    Type(String),
    /// Too short to rely on, or too long for age.
    #[error("the RSA key has {0} bits; an export takes {min} to {max}", min = RSA_BITS.start(), max = RSA_BITS.end())]
    Bits(usize),
    /// Another format of private keys.
    #[error("the private key is in the old PEM format")]
    Pem,
    /// Damaged, or not what it says.
    #[error("the SSH private key is damaged")]
    NotPrivate,
    /// Protected in a way that is not known.
    #[error("the SSH private key is protected by the cipher {0}, which is not supported")]
    Cipher(String),
    /// Would take too long.
    #[error("the SSH private key asks for {0} rounds of bcrypt; up to {MAX_ROUNDS} are done")]
    Rounds(u32),
    /// Nobody answered.
    #[error("the SSH private key has a passphrase, and there is no terminal to ask for it")]
    NobodyToAsk,
    /// Another passphrase, or a damaged key.
    #[error("this passphrase does not open the SSH private key")]
    Passphrase,
}

/// Whether `text` looks like an SSH public key, sound or not.
pub fn is_public_key(text: &str) -> bool {
    let kind = text.trim_start().split(' ').next().unwrap_or_default();
    ["ssh-", "ecdsa-", "sk-"].iter().any(|start| kind.starts_with(start))
}

/// Whether `content` is a PEM file, and so a private key of SSH rather than identities of age.
pub fn is_private_key(content: &SecretBytes) -> bool {
    content.expose_secret().trim_ascii_start().starts_with(b"-----BEGIN ")
}

/// The recipient of one line of a `.pub` file.
pub fn recipient(line: &str) -> Result<ssh::Recipient, SshError> {
    let line = line.trim();
    let mut words = line.split(' ').filter(|word| !word.is_empty());
    let (Some(kind), Some(digits), false) = (words.next(), words.next(), line.contains(char::is_control)) else {
        return Err(SshError::NotPublic);
    };
    let blob = BASE64_STANDARD.decode(digits).map_err(|_| SshError::NotPublic)?;
    let key = Public::parse(&blob).ok_or(SshError::NotPublic)?;
    match key {
        Public::Other(found) if found == kind => Err(SshError::Type(kind.to_owned())),
        Public::Rsa(bits) if kind == "ssh-rsa" && !RSA_BITS.contains(&bits) => Err(SshError::Bits(bits)),
        Public::Rsa(_) if kind == "ssh-rsa" => parsed(kind, digits),
        Public::Ed25519 if kind == "ssh-ed25519" => parsed(kind, digits),
        _ => Err(SshError::NotPublic),
    }
}

fn parsed(kind: &str, digits: &str) -> Result<ssh::Recipient, SshError> {
    // The space says where the digits end, which a parser of streams wants to know.
    format!("{kind} {digits} ").parse().map_err(|_| SshError::NotPublic)
}

/// The identity of an OpenSSH private key; `passphrase` is asked once, and only if the key has one and everything else is in order.
pub fn identity(content: &SecretBytes, passphrase: impl FnOnce() -> Option<SecretString>) -> Result<ssh::Identity, SshError> {
    let text = std::str::from_utf8(content.expose_secret()).map_err(|_| SshError::NotPrivate)?.trim();
    let Some(body) = text.strip_prefix(BEGIN) else { return Err(SshError::Pem) };
    let body = body.strip_suffix(END).ok_or(SshError::NotPrivate)?;
    let mut digits = SecretBytes::with_capacity(body.len());
    for line in body.split_ascii_whitespace() {
        digits.extend(line.as_bytes());
    }
    let whole = SecretBytes::from_vec(BASE64_STANDARD.decode(digits.expose_secret()).map_err(|_| SshError::NotPrivate)?);
    check_head(whole.expose_secret())?;
    // What stands behind the head is secret or encrypted, and age's to read. It panics on an RSA key whose numbers are nonsense.
    let caught = |read: &mut dyn FnMut() -> Option<ssh::Identity>| catch_unwind(AssertUnwindSafe(read)).unwrap_or(None);
    // Exactly as a key generator writes it, with a line feed behind its last line.
    let mut framed = SecretBytes::with_capacity(text.len() + 1);
    framed.extend(text.as_bytes());
    framed.extend(b"\n");
    let read = caught(&mut || ssh::Identity::from_buffer(framed.expose_secret(), None).ok());
    match read.ok_or(SshError::NotPrivate)? {
        ssh::Identity::Encrypted(key) => {
            let passphrase = passphrase().ok_or(SshError::NobodyToAsk)?;
            caught(&mut || key.decrypt(passphrase.clone()).ok().map(ssh::Identity::from)).ok_or(SshError::Passphrase)
        }
        ssh::Identity::Unsupported(_) => Err(SshError::NotPrivate),
        opened @ ssh::Identity::Unencrypted(_) => Ok(opened),
    }
}

/// Checks what stands in clear at the beginning of a private key: cipher, cost and public key.
fn check_head(whole: &[u8]) -> Result<(), SshError> {
    let mut fields = Fields(whole.strip_prefix(MAGIC).ok_or(SshError::NotPrivate)?);
    let mut next = || fields.string().ok_or(SshError::NotPrivate);
    let (cipher, kdf, options) = (next()?, next()?, next()?);
    if cipher != b"none" {
        if !CIPHERS.iter().any(|known| known.as_bytes() == cipher) {
            return Err(SshError::Cipher(name(cipher)));
        }
        let mut options = Fields(options);
        let (b"bcrypt", Some(_salt), Some(rounds)) = (kdf, options.string(), options.number()) else { return Err(SshError::NotPrivate) };
        if rounds > MAX_ROUNDS {
            return Err(SshError::Rounds(rounds));
        }
    }
    let (Some(1), Some(public)) = (fields.number(), fields.string()) else { return Err(SshError::NotPrivate) };
    match Public::parse(public) {
        Some(Public::Other(kind)) => Err(SshError::Type(kind)),
        Some(Public::Rsa(_) | Public::Ed25519) => Ok(()),
        None => Err(SshError::NotPrivate),
    }
}

/// A public key as it stands in base64, of a kind that we tell apart.
#[derive(Debug, PartialEq, Eq)]
enum Public {
    Ed25519,
    /// Its modulus has so many bits.
    Rsa(usize),
    Other(String),
}

impl Public {
    fn parse(blob: &[u8]) -> Option<Self> {
        let mut fields = Fields(blob);
        let key = match fields.string()? {
            b"ssh-ed25519" => {
                (fields.string()?.len() == 32).then_some(())?;
                Self::Ed25519
            }
            b"ssh-rsa" => {
                bits(fields.string()?)?;
                Self::Rsa(bits(fields.string()?)?)
            }
            other => return Some(Self::Other(name(other))),
        };
        fields.0.is_empty().then_some(key)
    }
}

/// The fields of SSH's wire format (RFC 4251, section 5).
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn number(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*number))
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (string, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(string)
    }
}

/// How long a positive `mpint` is; `None` for zero, for a negative one, and for one with a needless byte in front.
fn bits(mpint: &[u8]) -> Option<usize> {
    let digits = match mpint {
        [0, second, ..] if *second >= 0x80 => &mpint[1..],
        [0x01..0x80, ..] => mpint,
        _ => return None,
    };
    let (first, rest) = digits.split_first()?;
    Some(8 * rest.len() + (8 - first.leading_zeros() as usize))
}

/// A name out of a key, safe to print.
fn name(bytes: &[u8]) -> String {
    bytes.iter().take(64).map(|b| if b.is_ascii_graphic() { char::from(*b) } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_mpint_is_as_long_as_its_number_and_has_one_form() {
        let cases: [(&[u8], Option<usize>); 8] = [
            (&[1], Some(1)),
            (&[0x7f, 0xff], Some(15)),
            (&[0, 0x80], Some(8)),
            (&[], None),
            (&[0], None),
            (&[0, 0], None),
            (&[0, 0x7f], None),
            (&[0x80], None),
        ];
        for (mpint, expected) in cases {
            assert_eq!(bits(mpint), expected, "{mpint:?}");
        }
    }

    fn field(bytes: &[u8]) -> Vec<u8> {
        [&u32::try_from(bytes.len()).expect("short").to_be_bytes(), bytes].concat()
    }

    fn line(kind: &str, fields: &[&[u8]]) -> String {
        let blob: Vec<u8> = [kind.as_bytes()].iter().chain(fields).flat_map(|bytes| field(bytes)).collect();
        format!("{kind} {}", BASE64_STANDARD.encode(blob))
    }

    #[test]
    fn numbers_on_which_the_parser_of_age_panics_are_refused_before_it_sees_them() {
        for n in [&[][..], &[0], &[0, 0], &[0x80; 385]] {
            assert_eq!(recipient(&line("ssh-rsa", &[&[1, 0, 1], n])).err(), Some(SshError::NotPublic), "{n:?}");
        }
        let public = [field(b"ssh-rsa"), field(&[1, 0, 1]), field(&[&[0][..], &[0xff; 384]].concat())].concat();
        let private: Vec<u8> =
            [vec![0; 8], field(b"ssh-rsa")].into_iter().chain((0..6).map(|_| field(&[0]))).chain([field(b"")]).flatten().collect();
        let head = [MAGIC, &field(b"none"), &field(b"none"), &field(b""), &1_u32.to_be_bytes(), &field(&public), &field(&private)].concat();
        let text = format!("{BEGIN}\n{}\n{END}\n", BASE64_STANDARD.encode(head));
        let refused = identity(&SecretBytes::from_vec(text.into_bytes()), || None).err();
        assert_eq!(refused, Some(SshError::NotPrivate));
    }

    #[test]
    fn a_name_that_does_not_fit_the_key_or_a_second_line_is_no_recipient() {
        let good = line("ssh-ed25519", &[&[9; 32]]);
        let as_rsa = good.replacen("ssh-ed25519", "ssh-rsa", 1);
        let two = format!("{good}\n{good}");
        for bad in
            [&as_rsa, &two, "ssh-ed25519", "ssh-ed25519 AAAA", &line("ssh-ed25519", &[&[9; 31]]), &line("ssh-ed25519", &[&[9; 32], b"x"])]
        {
            assert_eq!(recipient(bad).err(), Some(SshError::NotPublic), "{bad}");
        }
    }

    #[test]
    fn a_key_that_asks_for_hours_of_bcrypt_is_refused_before_its_passphrase_is_asked() {
        let public = [field(b"ssh-ed25519"), field(&[9; 32])].concat();
        let protected = |cipher: &[u8], rounds: u32| {
            let options = [field(&[5; 16]), rounds.to_be_bytes().to_vec()].concat();
            let whole =
                [MAGIC, &field(cipher), &field(b"bcrypt"), &field(&options), &1_u32.to_be_bytes(), &field(&public), &field(&[1; 144])];
            let text = format!("{BEGIN}\n{}\n{END}\n", BASE64_STANDARD.encode(whole.concat()));
            identity(&SecretBytes::from_vec(text.into_bytes()), || panic!("asked")).err()
        };
        assert_eq!(protected(b"aes256-ctr", u32::MAX), Some(SshError::Rounds(u32::MAX)));
        assert_eq!(protected(b"rot13", 1), Some(SshError::Cipher("rot13".into())));
    }
}
