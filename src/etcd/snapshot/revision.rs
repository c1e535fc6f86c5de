//! The keys of the bucket of revisions.

/// One change: the `sub`-th of the transaction that made revision `main`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Revision {
    pub(super) main: u64,
    sub: u64,
    /// The change deleted its key.
    pub(super) tombstone: bool,
}

impl Revision {
    /// `main` and `sub` with 8 bytes each, big endian, a `_` between them; and a `t` behind them for a deletion. Nothing else is a revision.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (main, rest) = bytes.split_first_chunk()?;
        let (sub, mark) = rest.strip_prefix(b"_")?.split_first_chunk()?;
        let tombstone = match mark {
            b"" => false,
            b"t" => true,
            _ => return None,
        };
        let (main, sub) = (u64::from_be_bytes(*main), u64::from_be_bytes(*sub));
        // etcd counts with signed numbers.
        (main <= i64::MAX as u64 && sub <= i64::MAX as u64).then_some(Self { main, sub, tombstone })
    }

    /// Whether it was made earlier; no change was made twice, deletion or not.
    pub(super) fn is_before(self, other: Self) -> bool {
        (self.main, self.sub) < (other.main, other.sub)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_17_bytes_and_18_with_a_mark_are_revisions() {
        let good = b"\0\0\0\0\0\0\0\x05_\0\0\0\0\0\0\0\x02";
        assert_eq!(Revision::parse(good), Some(Revision { main: 5, sub: 2, tombstone: false }));
        assert_eq!(Revision::parse(&[&good[..], b"t"].concat()), Some(Revision { main: 5, sub: 2, tombstone: true }));
        for end in 0..good.len() {
            assert_eq!(Revision::parse(&good[..end]), None);
        }
        for bad in [&[&good[..], b"x"].concat(), &[&good[..], b"tt"].concat()] {
            assert_eq!(Revision::parse(bad), None);
        }
        for (at, byte) in [(8, b'-'), (0, 0x80), (9, 0x80)] {
            let mut bad = *good;
            bad[at] = byte;
            assert_eq!(Revision::parse(&bad), None, "byte {at}");
        }
    }
}
