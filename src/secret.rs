//! The only place where raw secret bytes are defined: keys, seeds, passphrases.
//!
//! Both types wipe their memory when dropped, print nothing but their length, and are read through one loud name,
//! [`expose_secret`](SecretKey::expose_secret), so that a search finds every exposure. Neither can be cloned, compared or serialised.

use std::fmt;
use std::io::{self, Read};

use zeroize::{Zeroize, ZeroizeOnDrop};

/// A 256-bit key: a root key, a key derived from it, or a KEK.
///
/// Boxed, so that moving the value moves a pointer and leaves no copy of the bytes behind on the stack.
#[derive(ZeroizeOnDrop)]
pub struct SecretKey(Box<[u8; SecretKey::LEN]>);

impl SecretKey {
    /// Length of every key, in bytes.
    pub const LEN: usize = 32;

    /// Makes a key in place: `fill` writes into the final memory.
    ///
    /// Errors: whatever `fill` returns; the memory is wiped then too.
    pub fn try_fill<E>(fill: impl FnOnce(&mut [u8; Self::LEN]) -> Result<(), E>) -> Result<Self, E> {
        let mut key = Self(Box::new([0; Self::LEN]));
        fill(&mut key.0)?;
        Ok(key)
    }

    /// Takes 32 bytes out of `bytes`; `None` if it has another length.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let mut key = Self(Box::new([0; Self::LEN]));
        if bytes.len() != Self::LEN {
            return None;
        }
        key.0.copy_from_slice(bytes);
        Some(key)
    }

    /// The key itself. Secret: no byte of it may reach a log, an error or a file in clear.
    pub fn expose_secret(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(32 bytes)")
    }
}

/// Secret bytes of any length: an unwrapped DEK source, a passphrase, the content of a credential.
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Takes over `bytes`; they are wiped when the value is dropped.
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Empty, with room for `capacity` bytes: filled up to there it never moves, and so leaves no copy behind.
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// Has `fill` write into `room` zero bytes, and keeps as many from the start as it says, `room` at most.
    ///
    /// Errors: whatever `fill` returns; the memory is wiped then too.
    pub fn try_fill<E>(room: usize, fill: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Result<Self, E> {
        let mut bytes = Self(vec![0; room]);
        let len = fill(&mut bytes.0)?;
        // What is cut off is spare capacity from here on, which is wiped too.
        bytes.0.truncate(len);
        Ok(bytes)
    }

    /// Reads until the end of `source` or the capacity is full, and returns the number of bytes.
    pub fn fill_from(&mut self, source: &mut impl Read) -> io::Result<usize> {
        let start = self.0.len();
        let capacity = self.0.capacity();
        // Within the capacity: no reallocation.
        self.0.resize(capacity, 0);
        let mut end = start;
        while end < capacity {
            match source.read(&mut self.0[end..]) {
                Ok(0) => break,
                Ok(n) => end += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.0.truncate(end);
        Ok(end - start)
    }

    /// Appends `bytes`, within the capacity: the value never moves, and so leaves no copy behind.
    ///
    /// Panics if there is no room; the caller made room for what it appends.
    pub fn extend(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.0.capacity() - self.0.len(), "secret bytes grow within their capacity only");
        self.0.extend_from_slice(bytes);
    }

    /// The first `N` bytes, to be written over; `None` if there are fewer.
    pub fn first_chunk_mut<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        self.0.first_chunk_mut()
    }

    /// The bytes themselves. Secret: no byte of them may reach a log, an error or a file in clear.
    pub fn expose_secret(&self) -> &[u8] {
        &self.0
    }

    /// Length in bytes, which is not secret.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Wipes and drops the line feed that a file of text may end with. For what a person typed, never for random bytes.
    pub fn strip_line_end(&mut self) {
        if self.0.last() == Some(&b'\n') {
            self.0.pop();
        }
    }

    /// Hands the bytes to a message, whose own `Drop` wipes them from here on (see [`crate::protocol`]).
    pub fn release_to_message(mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

impl Drop for SecretBytes {
    /// Wipes as slices, at once; a whole `Vec` would be wiped byte by byte, and a keyring file has up to 8 MiB.
    fn drop(&mut self) {
        self.0.spare_capacity_mut().zeroize();
        self.0.as_mut_slice().zeroize();
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_of_secrets_holds_none_of_their_bytes() {
        let key = SecretKey::from_slice(&[0xab; 32]).expect("32 bytes");
        let bytes = SecretBytes::from_vec(b"hunter2hunter2".to_vec());
        let shown = format!("{key:?} {bytes:?} {key:#?} {bytes:#?}").to_lowercase();
        for needle in ["ab, ab", "171", "abab", "hunter", "104"] {
            assert!(!shown.contains(needle), "{needle} stands in {shown}");
        }
    }

    #[test]
    fn a_key_is_made_of_exactly_32_bytes() {
        assert!(SecretKey::from_slice(&[1; 31]).is_none());
        assert!(SecretKey::from_slice(&[1; 33]).is_none());
        assert_eq!(SecretKey::from_slice(&[1; 32]).expect("32").expose_secret(), &[1; 32]);
    }
}
