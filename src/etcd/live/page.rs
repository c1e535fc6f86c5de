//! What every page of a range must be, checked before anyone sees it, and how many keys to ask for next. No I/O.

use bytes::Bytes;
use thiserror::Error;

use super::pb;

/// Longest answer that is read, in bytes. etcd's values have 1.5 MiB at most unless it was told otherwise, 10 MiB at the most that its
/// manual advises; a page is cut smaller long before.
pub(super) const MAX_ANSWER: usize = 16 << 20;
/// What a page should have, in bytes: large beside the cost of a question, small beside memory.
const WANTED: u64 = 3 << 20;
/// Keys of the first page: even if each had 256 KiB it would be accepted.
const FIRST: u64 = 64;
/// Most keys of a page: what is small comes in large numbers.
const MOST: u64 = 20_000;
/// A page asks for at most this many times the keys of the one before: the next values may be larger.
const GROWTH: u64 = 8;

/// An answer that contradicts itself or an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Broken {
    /// No header.
    #[error("it has no header")]
    Header,
    /// The store's revision is older than the one that is being read, or no revision at all.
    #[error("its revision goes backwards")]
    Revision,
    /// Keys that are not in ascending order, or come twice.
    #[error("its keys are not in order")]
    Order,
    /// Keys that were not asked for.
    #[error("it has keys outside of the range")]
    Range,
    /// More keys than asked for.
    #[error("it has more keys than were asked for")]
    Limit,
    /// A value that is newer than the revision.
    #[error("it has a value from another revision than the one that was asked for")]
    ModRevision,
    /// The number of keys that are left does not fit what was read.
    #[error("it counts other keys than it sends")]
    Count,
    /// `more` and the number of keys contradict each other.
    #[error("it says that there are more keys and that there are none")]
    More,
}

/// How far a range was read.
#[derive(Debug)]
pub(super) struct Cursor {
    prefix: Vec<u8>,
    last: Option<Bytes>,
    read: u64,
    fixed: Option<Fixed>,
    asked: Option<u64>,
}

/// What the first page settles for all that follow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fixed {
    pub(super) revision: u64,
    pub(super) total: u64,
}

impl Cursor {
    /// `revision`: to be read; the newest when `None`.
    pub(super) fn new(prefix: &[u8], revision: Option<u64>) -> Self {
        Self { prefix: prefix.to_vec(), last: None, read: 0, fixed: None, asked: revision }
    }

    /// Where the next page begins: right behind the last key.
    pub(super) fn next_key(&self) -> Vec<u8> {
        match &self.last {
            Some(last) => [last.as_ref(), &[0]].concat(),
            None if self.prefix.is_empty() => vec![0],
            None => self.prefix.clone(),
        }
    }

    /// The revision to ask for; 0 for the newest.
    pub(super) fn revision(&self) -> u64 {
        self.fixed.map(|fixed| fixed.revision).or(self.asked).unwrap_or_default()
    }

    /// Known from the first page on.
    pub(super) fn fixed(&self) -> Option<Fixed> {
        self.fixed
    }

    /// Takes a page over: all of it is right, or it is an error. Says whether more is to come.
    pub(super) fn take(&mut self, page: &pb::RangeResponse, limit: u64) -> Result<bool, Broken> {
        let header = page.header.as_ref().ok_or(Broken::Header)?;
        let newest = u64::try_from(header.revision).map_err(|_| Broken::Revision)?;
        let left = u64::try_from(page.count).map_err(|_| Broken::Count)?;
        let fixed = match self.fixed {
            Some(fixed) => fixed,
            None => Fixed { revision: self.asked.unwrap_or(newest), total: left },
        };
        if newest == 0 || newest < fixed.revision {
            return Err(Broken::Revision);
        }
        let sent = u64::try_from(page.kvs.len()).map_err(|_| Broken::Limit)?;
        if sent > limit {
            return Err(Broken::Limit);
        }
        if sent > left || self.read.checked_add(left) != Some(fixed.total) {
            return Err(Broken::Count);
        }
        if page.more != (sent < left) || (page.more && sent == 0) {
            return Err(Broken::More);
        }
        self.check_keys(page, fixed.revision)?;
        if let Some(last) = page.kvs.last() {
            // A copy: a slice would keep the whole page in memory.
            self.last = Some(Bytes::copy_from_slice(&last.key));
        }
        self.read = self.read.saturating_add(sent);
        self.fixed = Some(fixed);
        Ok(page.more)
    }

    fn check_keys(&self, page: &pb::RangeResponse, revision: u64) -> Result<(), Broken> {
        let mut before = self.last.as_deref();
        for pair in &page.kvs {
            if before.is_some_and(|before| before >= pair.key.as_ref()) {
                return Err(Broken::Order);
            }
            if pair.key.is_empty() || !pair.key.starts_with(&self.prefix) {
                return Err(Broken::Range);
            }
            if !u64::try_from(pair.mod_revision).is_ok_and(|written| (1..=revision).contains(&written)) {
                return Err(Broken::ModRevision);
            }
            before = Some(&pair.key);
        }
        Ok(())
    }
}

/// How many keys to ask for, so that answers have about [`WANTED`] bytes.
#[derive(Debug)]
pub(super) struct Pace {
    limit: u64,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { limit: FIRST }
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// After a page of that many keys and bytes.
    pub(super) fn seen(&mut self, keys: u64, bytes: u64) {
        let each = bytes.checked_div(keys).unwrap_or_default().max(1);
        let grown = self.limit.saturating_mul(GROWTH).min(MOST);
        self.limit = (WANTED / each).clamp(1, grown);
    }

    /// After an answer that was too long to be read; false when a single key is too long already.
    pub(super) fn too_long(&mut self) -> bool {
        let single = self.limit <= 1;
        self.limit = (self.limit / GROWTH).max(1);
        !single
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &str, mod_revision: i64) -> pb::KeyValue {
        pb::KeyValue { key: Bytes::copy_from_slice(key.as_bytes()), mod_revision, ..Default::default() }
    }

    fn page(keys: &[(&str, i64)], more: bool, count: i64, revision: i64) -> pb::RangeResponse {
        let header = pb::ResponseHeader { cluster_id: 1, member_id: 1, revision, raft_term: 1 };
        pb::RangeResponse { header: Some(header), kvs: keys.iter().map(|(key, at)| pair(key, *at)).collect(), more, count }
    }

    #[test]
    fn pages_that_fit_together_are_taken() {
        let mut cursor = Cursor::new(b"/r/", None);
        assert_eq!((cursor.next_key(), cursor.revision()), (b"/r/".to_vec(), 0));
        assert_eq!(cursor.take(&page(&[("/r/a", 3), ("/r/b", 9)], true, 3, 9), 2), Ok(true));
        assert_eq!((cursor.next_key(), cursor.revision()), (b"/r/b\0".to_vec(), 9));
        // The store has moved on, the range has not.
        assert_eq!(cursor.take(&page(&[("/r/c", 1)], false, 1, 40), 2), Ok(false));
        assert_eq!((cursor.read, cursor.fixed().map(|fixed| fixed.total)), (3, Some(3)));
    }

    #[test]
    fn an_empty_range_is_complete() {
        let mut cursor = Cursor::new(b"/r/", None);
        assert_eq!(cursor.take(&page(&[], false, 0, 9), 2), Ok(false));
    }

    #[test]
    fn each_lie_of_a_second_page_has_its_own_error() {
        let lies = [
            (page(&[("/r/c", 1)], false, 1, 8), Broken::Revision),
            (page(&[("/r/b", 1)], false, 1, 9), Broken::Order),
            (page(&[("/s/c", 1)], false, 1, 9), Broken::Range),
            (page(&[("/r/c", 10)], false, 1, 12), Broken::ModRevision),
            (page(&[("/r/c", 0)], false, 1, 12), Broken::ModRevision),
            (page(&[("/r/c", -1)], false, 1, 12), Broken::ModRevision),
            (page(&[("/r/c", 1), ("/r/d", 1), ("/r/e", 1)], false, 3, 9), Broken::Limit),
            (page(&[("/r/c", 1), ("/r/d", 1)], false, 1, 9), Broken::Count),
            (page(&[("/r/c", 1), ("/r/d", 1)], false, 2, 9), Broken::Count),
            (page(&[], false, 0, 9), Broken::Count),
            (page(&[("/r/c", 1)], false, -1, 9), Broken::Count),
            (page(&[("/r/c", 1)], true, 1, 9), Broken::More),
            (page(&[], false, 1, 9), Broken::More),
            (page(&[], true, 1, 9), Broken::More),
            (pb::RangeResponse { header: None, ..page(&[("/r/c", 1)], false, 1, 9) }, Broken::Header),
        ];
        for (number, (lie, error)) in lies.iter().enumerate() {
            let mut cursor = Cursor::new(b"/r/", None);
            cursor.take(&page(&[("/r/a", 3), ("/r/b", 9)], true, 3, 9), 2).expect("the first is right");
            assert_eq!(cursor.take(lie, 2), Err(*error), "lie {number}");
            assert_eq!(cursor.next_key(), b"/r/b\0", "nothing of it is taken over");
        }
    }

    #[test]
    fn keys_within_one_page_must_ascend_and_stay_in_the_range() {
        for (keys, error) in [
            ([("/r/b", 1), ("/r/a", 1)], Broken::Order),
            ([("/r/a", 1), ("/r/a", 1)], Broken::Order),
            ([("/r/a", 1), ("/r0", 1)], Broken::Range),
            ([("/q", 1), ("/r/a", 1)], Broken::Range),
        ] {
            assert_eq!(Cursor::new(b"/r/", None).take(&page(&keys, false, 2, 9), 9), Err(error), "{keys:?}");
        }
    }

    #[test]
    fn the_number_of_keys_follows_their_size_and_grows_by_steps() {
        let mut pace = Pace::new();
        pace.seen(64, 64 * 100);
        assert_eq!(pace.limit(), 512);
        pace.seen(512, 512 * 1024);
        assert_eq!(pace.limit(), 3072);
        pace.seen(3, 3 << 20);
        assert_eq!(pace.limit(), 3);
        pace.seen(1, 8 << 20);
        assert_eq!(pace.limit(), 1);
        pace.seen(0, 0);
        assert_eq!(pace.limit(), 8);
        for _ in 0..9 {
            pace.seen(1, 0);
        }
        assert_eq!(pace.limit(), MOST);
    }

    #[test]
    fn an_answer_that_is_too_long_is_asked_for_in_smaller_parts_down_to_one_key() {
        let mut pace = Pace { limit: 20 };
        assert!(pace.too_long());
        assert_eq!(pace.limit(), 2);
        assert!(pace.too_long());
        assert_eq!(pace.limit(), 1);
        assert!(!pace.too_long());
    }
}
