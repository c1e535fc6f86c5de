//! What a process does for the secrets it is about to hold.

use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// Forbids core dumps and tracing by other users, and makes every new file private.
///
/// A kill skips wiping, so memory must not reach a disk that way. Errors are the system's; the caller refuses to go on.
pub fn apply() -> std::io::Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    rustix::process::umask(Mode::from_raw_mode(0o077));
    Ok(())
}
