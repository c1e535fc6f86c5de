use std::ops::ControlFlow;

use super::testing::{PAGE, branch, bucket, file, inline, leaf, meta};
use super::*;

fn open(bytes: &[u8]) -> Result<Bolt, BoltError> {
    Bolt::open(Box::new(bytes.to_vec()), bytes.len() as u64)
}

/// All items of the bucket "b", newest first.
/// Keys with their values.
type Items = Vec<(Vec<u8>, Vec<u8>)>;

fn items(bytes: &[u8]) -> Result<Items, BoltError> {
    let bolt = open(bytes)?;
    let bucket = bolt.bucket(b"b")?.expect("every test file has it");
    let mut found = Vec::new();
    let flow = bolt.newest_first(&bucket, &mut |item: Item<'_>| {
        found.push((item.key.to_vec(), item.value.to_vec()));
        ControlFlow::<()>::Continue(())
    })?;
    assert!(flow.is_continue());
    bolt.unchanged()?;
    Ok(found)
}

fn pairs(items: &[(&str, &str)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    items.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

/// A branch at page 3 over the leaves 4 and 5.
fn tree() -> Vec<Vec<u8>> {
    vec![
        leaf(2, &[(1, b"b", &bucket(3))]),
        branch(3, &[(b"a", 4), (b"m", 5)]),
        leaf(4, &[(0, b"a", b"1"), (0, b"b", b"2")]),
        leaf(5, &[(0, b"m", b"3"), (0, b"z", b"")]),
    ]
}

fn fault(pages: &[Vec<u8>]) -> (u64, Fault) {
    match items(&file(pages)) {
        Err(BoltError::Page { page, fault }) => (page, fault),
        other => panic!("no fault of a page: {other:?}"),
    }
}

#[test]
fn items_come_from_the_last_key_to_the_first() {
    assert_eq!(items(&file(&tree())).expect("a good file"), pairs(&[("z", ""), ("m", "3"), ("b", "2"), ("a", "1")]));
}

#[test]
fn an_inline_bucket_is_read_out_of_the_page_that_holds_it() {
    let small = leaf(0, &[(0, b"k", b"v"), (0, b"l", b"w")]);
    let root = leaf(2, &[(1, b"a", &inline(&leaf(0, &[]))), (1, b"b", &inline(&small))]);
    assert_eq!(items(&file(&[root])).expect("a good file"), pairs(&[("l", "w"), ("k", "v")]));
}

#[test]
fn an_inline_bucket_that_lost_an_element_is_an_error() {
    let mut small = leaf(0, &[(0, b"k", b"v"), (0, b"l", b"w")]);
    for count in [0, 1] {
        small[10] = count;
        let root = leaf(2, &[(1, b"b", &inline(&small))]);
        let expected = if count == 0 { Fault::Blank } else { Fault::Misplaced(0) };
        assert_eq!(fault(&[root]), (2, expected));
    }
}

#[test]
fn a_bucket_that_is_not_there_is_none() {
    let bolt = open(&file(&tree())).expect("a good file");
    assert!(bolt.bucket(b"c").expect("the root is whole").is_none());
    assert_eq!(bolt.progress(), (1, 6));
}

#[test]
fn a_value_over_many_pages_is_whole() {
    let long = vec![b'x'; 5 * PAGE];
    let pages = [leaf(2, &[(1, b"b", &bucket(3))]), leaf(3, &[(0, b"k", &long), (0, b"l", b"y")])];
    let found = items(&file(&pages)).expect("a good file");
    assert_eq!(found, [(b"l".to_vec(), b"y".to_vec()), (b"k".to_vec(), long)]);
}

#[test]
fn the_newer_of_two_good_meta_pages_counts_and_a_damaged_one_is_told() {
    let mut bytes = file(&tree());
    let bolt = open(&bytes).expect("a good file");
    assert_eq!((bolt.transaction(), bolt.has_one_meta()), (9, false));
    bytes[PAGE + 20] ^= 1;
    let bolt = open(&bytes).expect("one is enough");
    assert_eq!((bolt.transaction(), bolt.has_one_meta()), (8, true));
    let mut bytes = file(&tree());
    bytes[..PAGE].fill(0);
    let bolt = open(&bytes).expect("the second is found at its page size");
    assert_eq!((bolt.transaction(), bolt.has_one_meta()), (9, true));
}

#[test]
fn what_is_no_bbolt_file_is_told_apart() {
    assert!(matches!(open(b""), Err(BoltError::Empty)));
    for foreign in [&b"\x7fELF"[..], &[0; 200_000], &[0xff; 70_000]] {
        assert!(matches!(open(foreign), Err(BoltError::Foreign)));
    }
    let bytes = file(&tree());
    let cut = &bytes[..bytes.len() - 1];
    assert!(matches!(open(cut), Err(BoltError::Truncated { length: 6143, needed: 6144 })));
}

#[test]
fn each_damage_of_a_page_has_its_name() {
    let with = |at: usize, page: Vec<u8>| {
        let mut pages = tree();
        pages[at] = page;
        pages
    };
    assert_eq!(fault(&with(3, leaf(4, &[(0, b"m", b"3")]))), (5, Fault::Number(4)));
    assert_eq!(fault(&with(3, leaf(5, &[]))), (5, Fault::Blank));
    assert_eq!(fault(&with(3, leaf(5, &[(2, b"m", b"3")]))), (5, Fault::Flags(0)));
    assert_eq!(fault(&with(3, leaf(5, &[(0, b"n", b"3"), (0, b"m", b"")]))), (5, Fault::Order(0)));
    assert_eq!(fault(&with(3, leaf(5, &[(0, b"", b"3")]))), (5, Fault::Order(0)));
    assert_eq!(fault(&with(3, leaf(5, &[(0, b"l", b"3")]))), (5, Fault::Order(0)), "below what the branch says");
    assert_eq!(fault(&with(2, leaf(4, &[(0, b"a", b""), (0, b"m", b"")]))), (4, Fault::Order(1)), "above what the branch says");
    assert_eq!(fault(&with(1, branch(3, &[(b"a", 4), (b"m", 4)]))), (4, Fault::Order(1)), "the same page as another");
    assert_eq!(fault(&with(1, branch(3, &[(b"a", 4), (b"m", 6)]))), (6, Fault::Outside { pages: 6 }));
    assert_eq!(fault(&with(1, branch(3, &[(b"a", 4), (b"m", 1)]))), (1, Fault::Outside { pages: 6 }));
    assert_eq!(fault(&with(1, branch(3, &[(b"a", 3)]))), (3, Fault::Twice));
    assert_eq!(fault(&with(0, leaf(2, &[(0, b"b", b"plain")]))), (2, Fault::NoBucket));
    assert_eq!(fault(&with(0, leaf(2, &[(1, b"b", b"short")]))), (2, Fault::BucketCut));
}

#[test]
fn a_page_that_lost_its_last_elements_is_an_error() {
    for count in [1, 2] {
        let mut pages = tree();
        pages[3] = leaf(5, &[(0, b"m", b"3"), (0, b"n", b"4"), (0, b"z", b"5")]);
        pages[3][10] = count;
        assert_eq!(fault(&pages), (5, Fault::Misplaced(0)), "{count} of 3");
    }
}

#[test]
fn a_chain_of_pages_that_is_too_deep_ends() {
    let mut pages = vec![leaf(2, &[(1, b"b", &bucket(3))])];
    pages.extend((3..80).map(|number| branch(number, &[(b"a", number + 1)])));
    pages.push(leaf(80, &[(0, b"a", b"")]));
    assert_eq!(fault(&pages), (68, Fault::TooDeep));
}

#[test]
fn an_overflow_beyond_the_file_is_an_error_and_no_allocation() {
    let mut bytes = file(&tree());
    bytes[5 * PAGE + 12..5 * PAGE + 16].fill(0xff);
    assert!(matches!(items(&bytes), Err(BoltError::Page { page: 5, fault: Fault::Outside { pages: 6 } })));
    // A sparse file may well be longer than any memory.
    let mut bytes = file(&tree());
    for number in [0, 1] {
        let page = meta(number, 2, 1 << 40, 9);
        let at = usize::try_from(number).expect("0 or 1") * PAGE;
        bytes[at..at + page.len()].copy_from_slice(&page);
    }
    bytes[5 * PAGE + 12..5 * PAGE + 16].fill(0xff);
    let bolt = Bolt::open(Box::new(bytes), PAGE as u64 * (1 << 40)).expect("the meta pages are good");
    let bucket = bolt.bucket(b"b").expect("the root is whole").expect("it is there");
    let error = bolt.newest_first(&bucket, &mut |_| ControlFlow::<()>::Continue(())).expect_err("no page is as long");
    assert!(matches!(error, BoltError::Page { page: 5, fault: Fault::TooLong(_) }), "{error}");
}

#[test]
fn no_flipped_bit_outside_of_keys_and_values_goes_unnoticed() {
    let bytes = file(&tree());
    let whole = items(&bytes).expect("a good file");
    for page in 3..6 {
        // The header and the elements; the rest of these pages is keys, values and nothing. Page 2 names the bucket, which may be gone.
        for bit in (page * PAGE * 8)..(page * PAGE + 48) * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            match items(&damaged) {
                Err(BoltError::Page { .. }) => {}
                // What only the owner of the items can judge: a value that became a bucket, and lengths of the last item.
                Ok(_) if page > 3 && matches!(bit - page * PAGE * 8, 128 | 256 | 320..384) => {}
                other => panic!("page {page}, bit {bit}: {other:?}, before {whole:?}"),
            }
        }
    }
}

#[test]
fn a_file_that_changes_meanwhile_is_told() {
    use std::io::{Seek, SeekFrom, Write};
    let bytes = file(&tree());
    let mut on_disk = tempfile::tempfile().expect("a file");
    on_disk.write_all(&bytes).expect("writes");
    let bolt = Bolt::open(Box::new(on_disk.try_clone().expect("a handle")), bytes.len() as u64).expect("a good file");
    bolt.unchanged().expect("nobody wrote");
    on_disk.seek(SeekFrom::Start(0)).expect("seeks");
    on_disk.write_all(&meta(0, 2, 6, 10)).expect("writes");
    assert!(matches!(bolt.unchanged(), Err(BoltError::Changed)));
}
