//! Free TCP ports for servers that cannot be told to choose one themselves.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::Mutex;

use crate::{Error, Result};

/// Below the range from which the kernel takes ports for outgoing connections, so that none of those gets in between
/// the question and the server's own bind.
const RANGE: std::ops::Range<u32> = 20_000..32_000;

/// What this process has handed out already: a server may not have bound its port yet.
static TAKEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// A port that nothing listens on, at any loopback address, and that this process will not hand out again.
pub fn free() -> Result<u16> {
    let mut taken = TAKEN.lock().expect("no holder of this lock panics");
    let taken = taken.get_or_insert_with(HashSet::new);
    let width = RANGE.end - RANGE.start;
    // Test processes start their search at different places: two that run at once rarely meet.
    let first = std::process::id().wrapping_mul(61) % width;
    (0..width)
        .map(|step| RANGE.start + (first + step) % width)
        .filter_map(|port| u16::try_from(port).ok())
        .find(|port| !taken.contains(port) && TcpListener::bind((IpAddr::V4(Ipv4Addr::UNSPECIFIED), *port)).is_ok())
        .inspect(|port| {
            taken.insert(*port);
        })
        .ok_or_else(|| Error::new("no free port from 20000 to 32000"))
}
