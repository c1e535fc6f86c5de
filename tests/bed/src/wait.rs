//! Waiting for the state of something that cannot tell us: asked again and again, never longer than a deadline.

use std::time::{Duration, Instant};

use crate::{Error, Result};

/// Time between two questions. Short beside everything that is waited for here, long beside the cost of asking.
const PAUSE: Duration = Duration::from_millis(50);

/// Asks `probe` until it answers `Ok`; after `limit` fails with `what` and the last reason that the probe gave.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> std::result::Result<T, String>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        let reason = match probe() {
            Ok(value) => return Ok(value),
            Err(reason) => reason,
        };
        if Instant::now() >= end {
            return Err(Error::new(format!("{what}: not within {limit:?}; last seen: {reason}")));
        }
        std::thread::sleep(PAUSE);
    }
}
