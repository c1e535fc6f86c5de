//! Whatever a snapshot holds, reading it ends: with an error, or with counts that are those of what was shown, each key once.

#![no_main]

use std::collections::HashSet;
use std::ops::ControlFlow;

use keywright::entropy::{Entropy, EntropyError};
use keywright::etcd::snapshot::{Snapshot, Standing};
use libfuzzer_sys::fuzz_target;

#[path = "../meta_pages.rs"]
mod meta_pages;

/// The same bytes each time, so that findings can be repeated.
struct Fixed;

impl Entropy for Fixed {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        out.fill(7);
        Ok(())
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    meta_pages::make_valid(&mut bytes);
    let Ok(snapshot) = Snapshot::from_bytes(bytes) else { return };
    let _ = snapshot.verify(&mut |done, all| assert!(done <= all));
    let _ = (snapshot.consistent_index(), snapshot.cluster_version(), snapshot.members());
    let (mut current, mut shown) = (HashSet::new(), [0; 4]);
    let walk = snapshot.every_revision(b"/registry/", &Fixed, &mut |standing, entry| {
        assert!(entry.key.starts_with(b"/registry/"));
        let newest = standing == Standing::Current;
        assert!(!newest || current.insert(entry.key.to_vec()), "shown twice");
        let at = if newest { 0 } else { 2 };
        shown[at] += 1;
        shown[at + 1] += entry.value.len() as u64;
        ControlFlow::Continue(())
    });
    if let Ok(summary) = walk {
        assert_eq!(shown, [summary.keys, summary.bytes, summary.superseded, summary.superseded_bytes]);
        let again = snapshot.current(b"/registry/", &Fixed, &mut |_| ControlFlow::Continue(()));
        assert_eq!(again.expect("it went well before"), summary);
    }
});
