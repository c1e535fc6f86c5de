//! A damaged file is an error, or shows the same; it is never a panic and never a wrong count.

use keywright::etcd::snapshot::{Digest, Snapshot, SnapshotError};
use keywright_testbed::etcd::{Etcd, Stored};
use keywright_testbed::scratch;

use crate::common::{Random, Shown, pair, read, tools, transaction};

const PAGE: usize = 4096;

/// A saved snapshot with a tree of two levels, some history and a deletion, and its content.
fn saved() -> (Vec<u8>, Shown) {
    let etcd = Etcd::start(&tools()).expect("etcd starts");
    for (from, to, round) in [(0, 100, 0), (100, 190, 0), (5, 40, 1)] {
        transaction(&etcd, &(from..to).map(|at| pair(at, round, 700)).collect::<Vec<_>>());
    }
    etcd.etcdctl(&["del", "/registry/secrets/default/s007"]).expect("etcd takes it");
    etcd.etcdctl(&["put", "/registry/secrets/default/s008", "the last"]).expect("etcd takes it");
    let folder = scratch::folder("snapshot").expect("a folder");
    let file = folder.path().join("saved");
    etcd.save(&file).expect("etcdctl saves");
    let bytes = std::fs::read(file).expect("reads");
    let shown = shown(&bytes).expect("a good file");
    assert_eq!((shown.current.len(), shown.superseded.len()), (189, 37));
    (bytes, shown)
}

fn shown(bytes: &[u8]) -> Result<Shown, SnapshotError> {
    read(&Snapshot::from_bytes(bytes.to_vec())?, "")
}

#[test]
fn a_file_cut_anywhere_is_an_error_or_shows_the_same() {
    let (bytes, whole) = saved();
    let pages = (0..=bytes.len() / PAGE).flat_map(|page| [0, 1, 32, 80, PAGE - 1].map(|more| page * PAGE + more));
    let lengths: Vec<_> = pages.chain((0..bytes.len()).step_by(977)).filter(|length| *length < bytes.len()).collect();
    let mut same = 0;
    for length in lengths {
        match shown(&bytes[..length]) {
            Err(SnapshotError::Bolt(_)) => {}
            Ok(shown) => {
                assert_eq!(shown, whole, "{length} of {} bytes", bytes.len());
                same += 1;
            }
            Err(other) => panic!("{length} of {} bytes: {other}", bytes.len()),
        }
    }
    // Without the digest, or a part of it, and nothing else.
    assert!((1..=20).contains(&same), "{same} lengths");
}

#[test]
fn no_flipped_bit_anywhere_passes_the_digest() {
    let (bytes, _) = saved();
    let mut random = Random(7);
    let verify = |bytes: &[u8]| Snapshot::from_bytes(bytes.to_vec()).and_then(|snapshot| snapshot.verify(&mut |_, _| {}));
    assert_eq!(verify(&bytes).expect("as it was saved"), Digest::Good);
    for page in 0..bytes.len() / PAGE {
        let mut damaged = bytes.clone();
        damaged[page * PAGE + random.below(PAGE)] ^= 1 << random.below(8);
        assert!(verify(&damaged).is_err(), "page {page}");
    }
}

#[test]
fn without_a_digest_a_flipped_bit_is_an_error_or_stays_in_one_name_or_value() {
    let (mut bytes, whole) = saved();
    bytes.truncate(bytes.len() - 32);
    let seed = 20_261_125;
    let mut random = Random(seed);
    let (mut errors, mut same, mut other) = (0, 0, 0);
    for page in 0..bytes.len() / PAGE {
        // Half of them in the header and the elements, where the damage is worst.
        for flip in 0..60 {
            let at = page * PAGE + random.below(if flip % 2 == 0 { 160 } else { PAGE });
            let bit = 1 << random.below(8);
            bytes[at] ^= bit;
            match shown(&bytes) {
                Err(_) => errors += 1,
                Ok(shown) => match differing(&whole, &shown) {
                    0 => same += 1,
                    1 => other += 1,
                    more => panic!("seed {seed}, byte {at}: {more} entries differ"),
                },
            }
            bytes[at] ^= bit;
        }
    }
    assert!(errors > 1_000 && same > 0 && other > 0, "{errors} errors, {same} the same, {other} with another name or value");
}

/// How many revisions differ in name or value; all else must be alike, but for what a changed name or a changed deletion does to its key.
fn differing(whole: &Shown, shown: &Shown) -> usize {
    let by_revision = |shown: &Shown| {
        let mut all: Vec<Stored> = [&shown.current[..], &shown.superseded].concat();
        all.sort_by_key(|entry| (entry.mod_revision, entry.key.clone()));
        all
    };
    let (before, after) = (by_revision(whole), by_revision(shown));
    assert_eq!(before.len(), after.len(), "a revision was lost or made up");
    let revisions = |all: &[Stored]| all.iter().map(|entry| entry.mod_revision).collect::<Vec<_>>();
    assert_eq!(revisions(&before), revisions(&after));
    assert_eq!(shown.summary.tombstones, whole.summary.tombstones);
    // One changed name may sort elsewhere: compare as sets.
    before.iter().filter(|entry| !after.contains(entry)).count()
}
