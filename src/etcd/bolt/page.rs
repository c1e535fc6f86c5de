//! One page: its header, and its elements from the last to the first.
//!
//! ```text
//! offset  bytes  field
//!      0      8  number of the page
//!      8      2  kind: 1 branch, 2 leaf, 4 meta, 16 freelist
//!     10      2  number of elements
//!     12      4  further pages that belong to it (overflow)
//!     16   16 n  elements, then the bytes of element 0, of element 1, and so on, without a gap
//!
//! element of a branch: position u32 (from the element's start), key length u32, page u64
//! element of a leaf:   flags u32 (1: a bucket), position u32, key length u32, value length u32
//! ```

use thiserror::Error;

use super::number;

/// Bytes before the elements.
pub(super) const HEADER: usize = 16;
/// Bytes of one element, in branches and leaves.
const ELEMENT: usize = 16;
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
const BUCKET_FLAG: u32 = 1;

/// What is wrong with a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Fault {
    /// It, or its overflow, does not lie in the file.
    #[error("lies outside of the {pages} pages of the file")]
    Outside {
        /// Pages in the file.
        pages: u64,
    },
    /// It says that it is another one.
    #[error("says that it is page {0}")]
    Number(u64),
    /// Neither branch nor leaf where one of them must be.
    #[error("has kind {0}, where a branch (1) or a leaf (2) must be")]
    Kind(u16),
    /// Longer than any page of etcd.
    #[error("is {0} bytes long, which no page of etcd is")]
    TooLong(u64),
    /// Reached a second time.
    #[error("is in two places of the tree")]
    Twice,
    /// The tree is deeper than any tree of that many pages.
    #[error("lies deeper in the tree than any page can")]
    TooDeep,
    /// No elements.
    #[error("has no elements")]
    Blank,
    /// An element does not begin where the one before it ends, or does not end within the page.
    #[error("element {0} does not lie where it must")]
    Misplaced(usize),
    /// A key is empty, not above the key before it, or not between those that the page above states.
    #[error("the key of element {0} is out of order")]
    Order(usize),
    /// A leaf's flags are neither 0 nor 1.
    #[error("element {0} has unknown flags")]
    Flags(usize),
    /// The named item is no bucket.
    #[error("holds a plain value, where a bucket must be")]
    NoBucket,
    /// The bucket of that item is shorter than its header.
    #[error("holds a bucket that is cut short")]
    BucketCut,
}

/// What the first 16 bytes say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    number: u64,
    pub(super) leaf: bool,
    count: usize,
    pub(super) overflow: u32,
}

impl Header {
    /// Reads it; fails on kinds that have no place in a tree.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let parts = (number(bytes, 0), number(bytes, 8), number(bytes, 10), number(bytes, 12));
        let (Some(own), Some(kind), Some(count), Some(overflow)) = parts else { return Err(Fault::BucketCut) };
        let leaf = match u16::from_le_bytes(kind) {
            BRANCH => false,
            LEAF => true,
            other => return Err(Fault::Kind(other)),
        };
        let count = usize::from(u16::from_le_bytes(count));
        Ok(Self { number: u64::from_le_bytes(own), leaf, count, overflow: u32::from_le_bytes(overflow) })
    }

    /// A page that was written to another place, or never, names another number.
    pub(super) fn check_number(&self, number: u64) -> Result<(), Fault> {
        if self.number == number { Ok(()) } else { Err(Fault::Number(self.number)) }
    }

    /// Whether it has no elements.
    pub(super) fn is_blank(&self) -> bool {
        self.count == 0
    }
}

/// The keys that a page may have: from `from` on, and below `to`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bounds<'a> {
    pub(super) from: Option<&'a [u8]>,
    pub(super) to: Option<&'a [u8]>,
}

/// One element with what is checked about it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Element<'a> {
    pub(super) key: &'a [u8],
    /// Of a leaf; empty in a branch.
    pub(super) value: &'a [u8],
    /// Of a leaf: the value is a bucket.
    pub(super) bucket: bool,
    /// Of a branch: the page below, whose keys are from `key` on and below `to`.
    pub(super) child: u64,
    pub(super) to: Option<&'a [u8]>,
}

/// The elements of a page, the last first. Each is checked against its neighbours before it is given out; the first error is the end.
pub(super) struct Backward<'a> {
    page: &'a [u8],
    leaf: bool,
    left: usize,
    /// Where the bytes of element 0 begin.
    table_end: usize,
    /// Where the element must end; unknown only for the last one.
    end: Option<usize>,
    bounds: Bounds<'a>,
}

impl<'a> Backward<'a> {
    /// `page`: the page with its overflow. `fills`: the last element ends where the page ends, as it does in inline buckets.
    pub(super) fn new(header: Header, page: &'a [u8], fills: bool, bounds: Bounds<'a>) -> Self {
        let table_end = HEADER + header.count * ELEMENT;
        Self { page, leaf: header.leaf, left: header.count, table_end, end: fills.then_some(page.len()), bounds }
    }

    /// The next element; none after the first one.
    pub(super) fn next(&mut self) -> Result<Option<Element<'a>>, Fault> {
        let Some(index) = self.left.checked_sub(1) else { return Ok(None) };
        let misplaced = || Fault::Misplaced(index);
        let at = HEADER + index * ELEMENT;
        let word = |at| number(self.page, at).map(u32::from_le_bytes).ok_or_else(misplaced);
        let (flags, position, key_len, value_len, child) = if self.leaf {
            (word(at)?, word(at + 4)?, word(at + 8)?, word(at + 12)?, 0)
        } else {
            let child = number(self.page, at + 8).map(u64::from_le_bytes).ok_or_else(misplaced)?;
            (0, word(at)?, word(at + 4)?, 0, child)
        };
        // A sum that does not fit lies in no page.
        let after = |start: usize, length: u32| usize::try_from(length).map_or(usize::MAX, |length| start.saturating_add(length));
        let start = after(at, position);
        let key_end = after(start, key_len);
        let end = after(key_end, value_len);
        let placed = self.end.is_none_or(|must| end == must) && (index > 0 || start == self.table_end);
        let key = self.page.get(start..key_end).filter(|_| placed).ok_or_else(misplaced)?;
        let value = self.page.get(key_end..end).ok_or_else(misplaced)?;
        let above = self.bounds.from.is_none_or(|from| key >= from);
        let below = self.bounds.to.is_none_or(|to| key < to);
        if key.is_empty() || !above || !below {
            return Err(Fault::Order(index));
        }
        if flags > BUCKET_FLAG {
            return Err(Fault::Flags(index));
        }
        let to = self.bounds.to.replace(key);
        self.end = Some(start);
        self.left = index;
        Ok(Some(Element { key, value, bucket: flags == BUCKET_FLAG, child, to }))
    }
}
