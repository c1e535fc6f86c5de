//! A whole range at one revision, page by page, in memory that does not grow with it.

use super::error::{Incomplete, Refusal};
use super::page::{Cursor, Pace};
use super::{Etcd, EtcdError, pb};
use crate::etcd::Entry;

/// Entries between two looks at the connection: it must be fed while a page is visited.
const BREATH: usize = 256;

/// What to read.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Every key that begins with this; all keys when empty.
    pub prefix: &'a [u8],
    /// Without values: `Entry::value` is then empty.
    pub keys_only: bool,
    /// As of this revision; the newest when `None`.
    pub revision: Option<u64>,
}

impl<'a> Request<'a> {
    /// All of the prefix, with values, as it is now.
    pub fn all(prefix: &'a [u8]) -> Self {
        Self { prefix, keys_only: false, revision: None }
    }
}

/// How far it is, after each page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Entries visited.
    pub read: u64,
    /// Entries there are at the revision.
    pub total: u64,
    /// The revision that is read.
    pub revision: u64,
}

/// A range that was visited to its end, each key once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// The revision at which all of it was read.
    pub revision: u64,
    /// How many entries: as many as etcd itself counts at that revision.
    pub entries: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

impl Etcd {
    /// Visits every entry of the range once, in order of keys, at one revision. `progress` is called after each page.
    ///
    /// Memory: two pages of about 3 MiB, or of one value each where those are longer. The next page is on its way while one is visited.
    ///
    /// Errors: `Incomplete` in every case in which not all of it was visited; what was visited by then is void. A lost connection, a
    /// member that is gone and an election are no errors while the tries last: the page is asked of the next endpoint, at the same
    /// revision. A compaction is one: see [`Etcd::fold`].
    pub async fn range(
        &mut self,
        request: &Request<'_>,
        mut visit: impl FnMut(Entry<'_>),
        mut progress: impl FnMut(Progress),
    ) -> Result<Done, Incomplete> {
        let mut reading = Reading { cursor: Cursor::new(request.prefix, request.revision), pace: Pace::new(), more: true };
        let (mut read, mut bytes) = (0_u64, 0_u64);
        let mut page = self.next_page(request, &mut reading).await.map_err(|why| reading.incomplete(read, why))?;
        loop {
            let fixed = reading.cursor.fixed();
            let (visited, next) = if reading.more {
                let (visited, next) = tokio::join!(visit_page(&page, &mut visit), self.next_page(request, &mut reading));
                (visited, Some(next))
            } else {
                (visit_page(&page, &mut visit).await, None)
            };
            read = read.saturating_add(visited.0);
            bytes = bytes.saturating_add(visited.1);
            let (revision, total) = fixed.map_or((0, 0), |fixed| (fixed.revision, fixed.total));
            progress(Progress { read, total, revision });
            match next {
                None => return Ok(Done { revision, entries: read, bytes }),
                Some(Ok(next)) => page = next,
                Some(Err(why)) => return Err(reading.incomplete(read, why)),
            }
        }
    }

    /// Like [`Etcd::range`], into a state of the caller's. When a compaction takes the revision away the whole is read again at the newest
    /// one, with a new state, at most `restarts` times: so no count ever mixes two revisions. A `revision` in the request is not replaced.
    pub async fn fold<S>(
        &mut self,
        request: &Request<'_>,
        restarts: u32,
        mut new: impl FnMut() -> S,
        mut visit: impl FnMut(&mut S, Entry<'_>),
        mut progress: impl FnMut(Progress),
    ) -> Result<(S, Done), Incomplete> {
        let mut left = restarts;
        loop {
            let mut state = new();
            match self.range(request, |entry| visit(&mut state, entry), &mut progress).await {
                Ok(done) => return Ok((state, done)),
                Err(Incomplete { why: EtcdError::Compacted { .. }, .. }) if left > 0 && request.revision.is_none() => left -= 1,
                Err(incomplete) => return Err(incomplete),
            }
        }
    }

    /// How many keys begin with `prefix` now, by etcd's own count.
    pub async fn count(&mut self, prefix: &[u8]) -> Result<u64, EtcdError> {
        let request = pb::RangeRequest { count_only: true, ..question(prefix, &Cursor::new(prefix, None)) };
        let answer = self.ask(&request).await?;
        u64::try_from(answer.count).map_err(|_| super::Broken::Count.into())
    }

    async fn next_page(&mut self, request: &Request<'_>, reading: &mut Reading) -> Result<pb::RangeResponse, EtcdError> {
        loop {
            let limit = reading.pace.limit();
            let question = pb::RangeRequest {
                limit: i64::try_from(limit).unwrap_or(i64::MAX),
                keys_only: request.keys_only,
                ..question(request.prefix, &reading.cursor)
            };
            let page = match self.ask(&question).await {
                Ok(page) => page,
                Err(error) => match error.refusal() {
                    Some(Refusal::TooLong) if reading.pace.too_long() => continue,
                    Some(Refusal::Compacted) => return Err(EtcdError::Compacted { revision: reading.cursor.revision() }),
                    _ => return Err(error),
                },
            };
            reading.more = reading.cursor.take(&page, limit)?;
            let (keys, bytes) = sizes(&page);
            reading.pace.seen(keys, bytes);
            return Ok(page);
        }
    }
}

/// Where a range is.
struct Reading {
    cursor: Cursor,
    pace: Pace,
    more: bool,
}

impl Reading {
    fn incomplete(&self, read: u64, why: EtcdError) -> Incomplete {
        let fixed = self.cursor.fixed();
        Incomplete { read, total: fixed.map(|fixed| fixed.total), revision: fixed.map(|fixed| fixed.revision), why }
    }
}

fn question(prefix: &[u8], cursor: &Cursor) -> pb::RangeRequest {
    pb::RangeRequest {
        key: cursor.next_key(),
        range_end: end_of(prefix),
        revision: i64::try_from(cursor.revision()).unwrap_or(i64::MAX),
        ..Default::default()
    }
}

/// The first key after all that begin with `prefix`; one zero byte, which stands for no end, when there is none.
pub(super) fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return end;
        }
    }
    vec![0]
}

fn sizes(page: &pb::RangeResponse) -> (u64, u64) {
    page.kvs.iter().fold((0_u64, 0_u64), |(keys, bytes), pair| {
        let size = pair.key.len().saturating_add(pair.value.len());
        (keys.saturating_add(1), bytes.saturating_add(u64::try_from(size).unwrap_or(u64::MAX)))
    })
}

/// Lends each entry out; gives the number and the bytes of them.
async fn visit_page(page: &pb::RangeResponse, visit: &mut impl FnMut(Entry<'_>)) -> (u64, u64) {
    // The question for the next page goes out first.
    for some in page.kvs.chunks(BREATH) {
        tokio::task::yield_now().await;
        for pair in some {
            // The cursor has seen that it is positive.
            let mod_revision = u64::try_from(pair.mod_revision).unwrap_or_default();
            visit(Entry { key: &pair.key, value: &pair.value, mod_revision });
        }
    }
    sizes(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_its_last_byte_that_can_grow_does() {
        for (prefix, end) in [(&b"/registry/"[..], &b"/registry0"[..]), (b"a\xff", b"b"), (b"\xff\xff", b"\0"), (b"", b"\0")] {
            assert_eq!(end_of(prefix), end, "{prefix:?}");
        }
    }
}
