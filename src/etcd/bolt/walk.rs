//! Walks the tree of a bucket from its last key to its first.

use std::ops::ControlFlow;

use zeroize::Zeroizing;

use super::page::{Backward, Bounds, Element, Fault, HEADER, Header};
use super::{Bolt, BoltError, number};

/// Levels below a root. A tree of that many pages fits no disk.
const MAX_DEPTH: usize = 64;

/// Bytes before the inline page of a bucket: its root page and its sequence, of 8 bytes each.
const BUCKET_HEADER: usize = 16;

/// Where the items of a bucket are.
#[derive(Debug)]
pub struct Bucket(Root);

#[derive(Debug)]
enum Root {
    /// A page of its own.
    Page(u64),
    /// A small bucket lies, as one leaf, in the page that names it.
    Inline { holder: u64, page: Zeroizing<Vec<u8>> },
}

impl Bucket {
    pub(super) fn at(root: u64) -> Self {
        Self(Root::Page(root))
    }
}

/// One item of a bucket, lent out for the time of one call.
#[derive(Clone, Copy)]
pub struct Item<'a> {
    /// The page that it stands in, for errors.
    pub page: u64,
    /// Its key.
    pub key: &'a [u8],
    /// Its value; it may be secret.
    pub value: &'a [u8],
    /// Whether the value is a bucket.
    pub bucket: bool,
}

impl Item<'_> {
    /// The bucket that this item is.
    pub(super) fn as_bucket(&self) -> Result<Bucket, BoltError> {
        let fail = BoltError::page(self.page);
        if !self.bucket {
            return Err(fail(Fault::NoBucket));
        }
        let root = number(self.value, 0).map(u64::from_le_bytes);
        match (root, self.value.get(BUCKET_HEADER..)) {
            (Some(0), Some(page)) => Ok(Bucket(Root::Inline { holder: self.page, page: Zeroizing::new(page.to_vec()) })),
            (Some(root), Some(_)) => Ok(Bucket::at(root)),
            _ => Err(fail(Fault::BucketCut)),
        }
    }
}

/// See [`Bolt::newest_first`].
pub(super) fn backward<B>(
    bolt: &Bolt,
    bucket: &Bucket,
    visit: &mut dyn FnMut(Item<'_>) -> ControlFlow<B>,
) -> Result<ControlFlow<B>, BoltError> {
    match &bucket.0 {
        Root::Page(root) => Walk { bolt, seen: Pages::default(), spare: Vec::new(), visit }.page(*root, 0, Bounds::default()),
        Root::Inline { holder, page } => inline(*holder, page, visit),
    }
}

/// An inline bucket is one leaf, which may be blank, and fills its value to the end.
fn inline<B>(holder: u64, page: &[u8], visit: &mut dyn FnMut(Item<'_>) -> ControlFlow<B>) -> Result<ControlFlow<B>, BoltError> {
    let header = Header::parse(page).map_err(BoltError::page(holder))?;
    if !header.leaf {
        return Err(BoltError::page(holder)(Fault::Kind(1)));
    }
    if header.is_blank() && page.len() != HEADER {
        return Err(BoltError::page(holder)(Fault::Blank));
    }
    let mut elements = Backward::new(header, page, true, Bounds::default());
    while let Some(Element { key, value, bucket, .. }) = elements.next().map_err(BoltError::page(holder))? {
        if let ControlFlow::Break(stop) = visit(Item { page: holder, key, value, bucket }) {
            return Ok(ControlFlow::Break(stop));
        }
    }
    Ok(ControlFlow::Continue(()))
}

struct Walk<'w, B> {
    bolt: &'w Bolt,
    seen: Pages,
    /// Buffers that no level needs at the moment: as many are made as the tree is deep.
    spare: Vec<Zeroizing<Vec<u8>>>,
    visit: &'w mut dyn FnMut(Item<'_>) -> ControlFlow<B>,
}

impl<B> Walk<'_, B> {
    fn page(&mut self, page: u64, depth: usize, bounds: Bounds<'_>) -> Result<ControlFlow<B>, BoltError> {
        if depth > MAX_DEPTH {
            return Err(BoltError::page(page)(Fault::TooDeep));
        }
        let mut buffer = self.spare.pop().unwrap_or_default();
        let (header, length) = self.bolt.load(page, &mut buffer)?;
        if !self.seen.insert(page, u64::from(header.overflow) + 1) {
            return Err(BoltError::page(page)(Fault::Twice));
        }
        // bbolt leaves no page without elements: an empty bucket is inline. Only the root of a file in which nothing was ever put is blank.
        if header.is_blank() && (depth > 0 || page != self.bolt.meta.root) {
            return Err(BoltError::page(page)(Fault::Blank));
        }
        let mut elements = Backward::new(header, &buffer[..length], false, bounds);
        while let Some(element) = elements.next().map_err(BoltError::page(page))? {
            let Element { key, value, bucket, child, to } = element;
            let flow = match header.leaf {
                true => (self.visit)(Item { page, key, value, bucket }),
                false => self.page(child, depth + 1, Bounds { from: Some(key), to })?,
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
        self.spare.push(buffer);
        Ok(ControlFlow::Continue(()))
    }
}

/// The pages that were reached, one bit each: at most as many bits as the file has pages.
#[derive(Default)]
struct Pages(Vec<u64>);

impl Pages {
    /// Adds `count` pages from `first` on, all of them in the file; false if one of them was there before.
    fn insert(&mut self, first: u64, count: u64) -> bool {
        let mut fresh = true;
        for page in first..first + count {
            let Ok(word) = usize::try_from(page / 64) else { return false };
            if self.0.len() <= word {
                self.0.resize(word + 1, 0);
            }
            let bit = 1 << (page % 64);
            fresh &= self.0[word] & bit == 0;
            self.0[word] |= bit;
        }
        fresh
    }
}
