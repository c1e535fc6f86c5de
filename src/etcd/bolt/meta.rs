//! The two meta pages at the start of the file. A transaction writes one of them, in turn, as its last act.
//!
//! ```text
//! offset  bytes  field, behind the 16 bytes of the page header
//!      0      4  magic ed0cdaed
//!      4      4  version 2
//!      8      4  page size
//!     12      4  flags
//!     16      8  page of the root bucket
//!     24      8  sequence of the root bucket
//!     32      8  page of the freelist
//!     40      8  number of pages (the high-water mark)
//!     48      8  transaction
//!     56      8  FNV-1a of the 56 bytes before
//! ```

use super::page::HEADER;
use super::{BoltError, Source, number};

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
const LEN: usize = 64;
const META_FLAG: u16 = 4;
const PAGE_SIZES: [u64; 7] = [1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15, 1 << 16];

/// What a valid meta page says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meta {
    /// Bytes of a page, one of [`PAGE_SIZES`].
    pub(super) page_size: u64,
    /// The page of the root bucket.
    pub(super) root: u64,
    /// Pages in the file; all numbers are below it.
    pub(super) pages: u64,
    pub(super) transaction: u64,
}

/// The valid meta page with the higher transaction, and whether it is the only one.
pub(super) fn newest(source: &dyn Source, length: u64) -> Result<(Meta, bool), BoltError> {
    // The second page stands one page after the first: where that is says the first, or the second itself at one of few places.
    let first = read(source, length, 0, None)?;
    let second = match first {
        Some(meta) => read(source, length, meta.page_size, Some(meta.page_size))?,
        None => second_alone(source, length)?,
    };
    match (first, second) {
        (Some(first), Some(second)) => Ok((if second.transaction > first.transaction { second } else { first }, false)),
        (Some(only), None) | (None, Some(only)) => Ok((only, true)),
        (None, None) => Err(BoltError::Foreign),
    }
}

fn second_alone(source: &dyn Source, length: u64) -> Result<Option<Meta>, BoltError> {
    for size in PAGE_SIZES {
        if let Some(meta) = read(source, length, size, Some(size))? {
            return Ok(Some(meta));
        }
    }
    Ok(None)
}

/// The meta page at `offset`, if a valid one stands there; of that page size, where one is given.
fn read(source: &dyn Source, length: u64, offset: u64, page_size: Option<u64>) -> Result<Option<Meta>, BoltError> {
    let mut bytes = [0; HEADER + LEN];
    if offset + bytes.len() as u64 > length {
        return Ok(None);
    }
    source.read_exact_at(&mut bytes, offset).map_err(|source| BoltError::Read { offset, length: bytes.len() as u64, source })?;
    let meta = parse(&bytes).filter(|meta| page_size.is_none_or(|size| meta.page_size == size));
    Ok(meta)
}

fn parse(page: &[u8; HEADER + LEN]) -> Option<Meta> {
    let flags = u16::from_le_bytes(number(page, 8)?);
    let meta = page.get(HEADER..)?;
    let u32_at = |at| number(meta, at).map(u32::from_le_bytes);
    let u64_at = |at| number(meta, at).map(u64::from_le_bytes);
    let known = flags == META_FLAG && u32_at(0)? == MAGIC && u32_at(4)? == VERSION;
    if !known || u64_at(56)? != fnv1a(meta.get(..56)?) {
        return None;
    }
    let page_size = u64::from(u32_at(8)?);
    let parsed = Meta { page_size, root: u64_at(16)?, pages: u64_at(40)?, transaction: u64_at(48)? };
    PAGE_SIZES.contains(&page_size).then_some(parsed)
}

/// FNV-1a with 64 bits.
pub(super) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
