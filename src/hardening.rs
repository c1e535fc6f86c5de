//! What a process does for the secrets it is about to hold, and to be sure that it ends.

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

/// Kills this process if it has not ended by itself after `time`: what a library does at the end may wait for threads that never come back.
pub fn end_within(time: std::time::Duration) {
    let ending = std::thread::Builder::new().name("end".into()).spawn(move || {
        std::thread::sleep(time);
        // It cannot fail for ourselves.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    });
    if let Err(error) = ending {
        tracing::warn!(cause = %error, "nobody sees to it that the process ends");
    }
}
