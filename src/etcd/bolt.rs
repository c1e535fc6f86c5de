//! A bbolt file, read and never written, a page at a time by `pread`.
//!
//! No part of it is mapped: a page that changes or ends while it is looked at is an error here, not a signal. Every page is checked before it
//! is used, and more strictly than bbolt itself does: its own number, its kind, elements that lie one behind the other without a gap, keys that
//! ascend within the bounds that the page above states, no page in two places. So a damaged page is an error, but for what only the owner of
//! the items can judge: the bytes of keys and values, and the lengths of the last item of a page.
//! What lies in pages that are in no bucket is not looked at: it may be what was deleted long ago.
//!
//! The layout is bbolt's, all little endian; see `page` and `meta`.

mod meta;
mod page;
mod source;
#[cfg(test)]
pub(crate) mod testing;
mod walk;

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;
use zeroize::Zeroizing;

pub use page::Fault;
pub use source::Source;
pub use walk::{Bucket, Item};

use meta::Meta;
use page::Header;

/// Longest page that is read, overflow included, in bytes.
///
/// bbolt leaves up to four values in a page of their own; etcd takes requests of 1.5 MiB, and of 10 MiB where it is told to.
pub const MAX_PAGE: u64 = 64 << 20;

/// Why a file is not read as bbolt.
#[derive(Debug, Error)]
pub enum BoltError {
    /// The system did not give the bytes.
    #[error("read {length} bytes at offset {offset}: {source}")]
    Read {
        /// Where, in bytes from the start of the file.
        offset: u64,
        /// How many.
        length: u64,
        /// What the system said.
        source: std::io::Error,
    },
    /// Nothing in it.
    #[error("the file is empty")]
    Empty,
    /// Neither meta page is one.
    #[error("not a bbolt database: neither of its first two pages is a valid meta page")]
    Foreign,
    /// Shorter than its own account of itself.
    #[error("the file is cut short: it has {length} bytes, and its meta page speaks of {needed}")]
    Truncated {
        /// What is there.
        length: u64,
        /// What the meta page says.
        needed: u64,
    },
    /// A page is not what it should be.
    #[error("page {page}: {fault}")]
    Page {
        /// Its number.
        page: u64,
        /// What is wrong with it.
        fault: Fault,
    },
    /// Somebody wrote to the file meanwhile.
    #[error("the file was changed while it was read; copy it first, or take a snapshot")]
    Changed,
}

impl BoltError {
    fn page(page: u64) -> impl FnOnce(Fault) -> Self {
        move |fault| Self::Page { page, fault }
    }
}

/// An open bbolt file.
pub struct Bolt {
    source: Box<dyn Source>,
    meta: Meta,
    /// One of the two meta pages is damaged.
    one_meta: bool,
    pages_read: AtomicU64,
}

impl Bolt {
    /// Reads the meta pages of the first `length` bytes of `source`.
    ///
    /// The valid meta page with the higher transaction counts, as in bbolt. Errors: `Empty`, `Foreign`, `Truncated`, `Read`.
    pub fn open(source: Box<dyn Source>, length: u64) -> Result<Self, BoltError> {
        if length == 0 {
            return Err(BoltError::Empty);
        }
        let (meta, one_meta) = meta::newest(&*source, length)?;
        let needed = meta.pages.checked_mul(meta.page_size).ok_or(BoltError::Foreign)?;
        if needed > length {
            return Err(BoltError::Truncated { length, needed });
        }
        Ok(Self { source, meta, one_meta, pages_read: AtomicU64::new(0) })
    }

    /// The transaction whose state is read.
    pub fn transaction(&self) -> u64 {
        self.meta.transaction
    }

    /// Whether one of the two meta pages is damaged, so that the state may be one transaction older than the file's last.
    ///
    /// A power cut may leave this, and bbolt goes on from it. It is no proof of what the newest state was.
    pub fn has_one_meta(&self) -> bool {
        self.one_meta
    }

    /// Pages read so far by all walks, of how many in the file; unused ones are never read. To be asked while a walk goes on.
    pub fn progress(&self) -> (u64, u64) {
        (self.pages_read.load(Ordering::Relaxed), self.meta.pages)
    }

    /// The bucket of that name at the top of the file, if it is there.
    pub fn bucket(&self, name: &[u8]) -> Result<Option<Bucket>, BoltError> {
        let found = self.newest_first(&Bucket::at(self.meta.root), &mut |item: Item<'_>| match item.key == name {
            true => ControlFlow::Break(item.as_bucket()),
            false => ControlFlow::Continue(()),
        })?;
        match found {
            ControlFlow::Break(bucket) => bucket.map(Some),
            ControlFlow::Continue(()) => Ok(None),
        }
    }

    /// Shows the items of `bucket` to `visit`, from the last key to the first, until it breaks.
    ///
    /// Every item was checked before it is shown. An error may still come after many items: what was counted until then counts nothing.
    pub fn newest_first<B>(&self, bucket: &Bucket, visit: &mut dyn FnMut(Item<'_>) -> ControlFlow<B>) -> Result<ControlFlow<B>, BoltError> {
        walk::backward(self, bucket, visit)
    }

    /// Fails when another transaction was written since the file was opened, so that pages of two states may have been read.
    pub fn unchanged(&self) -> Result<(), BoltError> {
        match meta::newest(&*self.source, self.meta.pages * self.meta.page_size) {
            Ok((meta, _)) if meta == self.meta => Ok(()),
            _ => Err(BoltError::Changed),
        }
    }

    /// Reads page `number` with its overflow into `buffer` and returns its header and its length in bytes.
    fn load(&self, number: u64, buffer: &mut Zeroizing<Vec<u8>>) -> Result<(Header, usize), BoltError> {
        let fail = BoltError::page;
        if number < 2 || number >= self.meta.pages {
            return Err(fail(number)(Fault::Outside { pages: self.meta.pages }));
        }
        let one = usize::try_from(self.meta.page_size).map_err(|_| BoltError::Foreign)?;
        grow(buffer, one, 0);
        self.read(&mut buffer[..one], number * self.meta.page_size)?;
        let header = Header::parse(buffer).map_err(fail(number))?;
        header.check_number(number).map_err(fail(number))?;
        let run = u64::from(header.overflow) + 1;
        if run > self.meta.pages - number {
            return Err(fail(number)(Fault::Outside { pages: self.meta.pages }));
        }
        let length = run * self.meta.page_size;
        if length > MAX_PAGE {
            return Err(fail(number)(Fault::TooLong(length)));
        }
        let length = usize::try_from(length).map_err(|_| fail(number)(Fault::TooLong(length)))?;
        if length > one {
            grow(buffer, length, one);
            self.read(&mut buffer[one..length], number * self.meta.page_size + self.meta.page_size)?;
        }
        self.pages_read.fetch_add(run, Ordering::Relaxed);
        Ok((header, length))
    }

    fn read(&self, into: &mut [u8], offset: u64) -> Result<(), BoltError> {
        let length = into.len() as u64;
        self.source.read_exact_at(into, offset).map_err(|source| BoltError::Read { offset, length, source })
    }
}

/// Gives `buffer` at least `length` bytes, of which the first `kept` stay. Pages may hold secrets: old memory is wiped, not just freed.
fn grow(buffer: &mut Zeroizing<Vec<u8>>, length: usize, kept: usize) {
    if buffer.len() >= length {
        return;
    }
    let mut larger = Zeroizing::new(vec![0; length]);
    larger[..kept].copy_from_slice(&buffer[..kept]);
    *buffer = larger;
}

/// A number in the file at `at`, or none if it would end outside.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests;
