//! What the API server stored in etcd, read from a live etcd or from a snapshot file. Nothing here opens a secret.

pub mod bolt;
pub mod key;
pub mod live;
pub mod manifest;
pub mod object;
pub mod snapshot;
mod tls;
pub mod value;

use std::fmt;

pub use tls::{TlsError, TlsFault};

/// One stored object, lent out for the time of one call.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    /// The whole etcd key, such as `/registry/secrets/default/s1`.
    pub key: &'a [u8],
    /// The value as stored. It may be a secret in plaintext: never printed, never logged.
    pub value: &'a [u8],
    /// The revision that wrote this value.
    pub mod_revision: u64,
}

impl fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({} at {}, {} bytes)", self.key.escape_ascii(), self.mod_revision, self.value.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_of_an_entry_holds_nothing_of_its_value() {
        let entry = Entry { key: b"/registry/secrets/default/s\n1", value: b"hunter2", mod_revision: 7 };
        assert_eq!(format!("{entry:?} {entry:#?}"), [r"Entry(/registry/secrets/default/s\n1 at 7, 7 bytes)"; 2].join(" "));
    }
}
