//! Small bbolt files made by hand, right or wrong, for tests.

use super::meta::fnv1a;
use super::page::HEADER;

pub(crate) const PAGE: usize = 1024;

/// A leaf of `(flags, key, value)`.
pub(crate) fn leaf(number: u64, items: &[(u32, &[u8], &[u8])]) -> Vec<u8> {
    let mut page = header(number, 2, items.len());
    let mut position = 16 * items.len();
    for (flags, key, value) in items {
        for word in [*flags, position as u32, key.len() as u32, value.len() as u32] {
            page.extend(word.to_le_bytes());
        }
        position = position + key.len() + value.len() - 16;
    }
    page.extend(items.iter().flat_map(|(_, key, value)| [*key, *value].concat()));
    page
}

/// A branch of `(key, page)`.
pub(crate) fn branch(number: u64, items: &[(&[u8], u64)]) -> Vec<u8> {
    let mut page = header(number, 1, items.len());
    let mut position = 16 * items.len();
    for (key, child) in items {
        page.extend((position as u32).to_le_bytes());
        page.extend((key.len() as u32).to_le_bytes());
        page.extend(child.to_le_bytes());
        position = position + key.len() - 16;
    }
    page.extend(items.iter().flat_map(|(key, _)| key.to_vec()));
    page
}

fn header(number: u64, kind: u16, count: usize) -> Vec<u8> {
    let mut page = number.to_le_bytes().to_vec();
    page.extend(kind.to_le_bytes());
    page.extend((count as u16).to_le_bytes());
    page.extend([0; 4]);
    page
}

/// A meta page with its root.
pub(crate) fn meta(number: u64, root: u64, pages: u64, transaction: u64) -> Vec<u8> {
    let mut body = Vec::new();
    for word in [0xED0C_DAED_u32, 2, PAGE as u32, 0] {
        body.extend(word.to_le_bytes());
    }
    for word in [root, 0, u64::MAX, pages, transaction] {
        body.extend(word.to_le_bytes());
    }
    body.extend(fnv1a(&body).to_le_bytes());
    let mut page = header(number, 4, 0);
    page.extend(body);
    page
}

/// The value of a bucket with a page of its own.
pub(crate) fn bucket(root: u64) -> Vec<u8> {
    [root.to_le_bytes(), [0; 8]].concat()
}

/// The value of an inline bucket.
pub(crate) fn inline(page: &[u8]) -> Vec<u8> {
    [&[0; HEADER], page].concat()
}

/// A file of two meta pages, whose root is page 2, and `pages` from 2 on; each takes as many pages as it needs.
pub(crate) fn file(pages: &[Vec<u8>]) -> Vec<u8> {
    let mut rest = Vec::new();
    for page in pages {
        let needed = page.len().div_ceil(PAGE);
        let mut page = page.clone();
        page[12..16].copy_from_slice(&(needed as u32 - 1).to_le_bytes());
        page.resize(needed * PAGE, 0);
        rest.extend(page);
    }
    let count = 2 + (rest.len() / PAGE) as u64;
    let mut file = Vec::new();
    for number in [0, 1] {
        file.extend(meta(number, 2, count, 8 + number));
        file.resize(PAGE * (number as usize + 1), 0);
    }
    file.extend(rest);
    file
}
