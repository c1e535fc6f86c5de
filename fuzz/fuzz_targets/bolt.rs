//! Whatever the pages of a bbolt file hold, a walk ends: with an error, or having shown keys that descend, and no more bytes than there are.

#![no_main]

use std::ops::ControlFlow;

use keywright::etcd::bolt::{Bolt, Item};
use libfuzzer_sys::fuzz_target;

#[path = "../meta_pages.rs"]
mod meta_pages;

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    meta_pages::make_valid(&mut bytes);
    let length = bytes.len();
    let Ok(bolt) = Bolt::open(Box::new(bytes), length as u64) else { return };
    for name in [&b"key"[..], b"meta", b"members"] {
        let Ok(Some(bucket)) = bolt.bucket(name) else { continue };
        let (mut last, mut shown) = (None::<Vec<u8>>, 0);
        let walk = bolt.newest_first(&bucket, &mut |item: Item<'_>| {
            assert!(last.as_ref().is_none_or(|last| item.key < last.as_slice()));
            last = Some(item.key.to_vec());
            shown += item.key.len() + item.value.len();
            ControlFlow::<()>::Continue(())
        });
        assert!(shown <= length);
        if walk.is_ok() {
            bolt.unchanged().expect("memory stays as it is");
        }
    }
});
