//! Where the bytes of a file come from: the file itself, or memory in tests and fuzzing.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes that are read at any place, by several threads at once.
pub trait Source: Send + Sync {
    /// Fills `into` from `offset` on, or fails; an end before that is an error.
    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()>;
}

impl Source for File {
    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, into, offset)
    }
}

impl Source for Vec<u8> {
    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).ok();
        let found = start.and_then(|start| self.get(start..)?.get(..into.len()));
        into.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}
