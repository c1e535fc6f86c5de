//! Two cores: one for the client, one for the server under test.
//!
//! Unpinned, the scheduler moves both about and a round measures its mood. A child inherits the affinity of the thread that
//! spawns it, so no wrapper program stands between the spawn and the server (a wrapper's own start would be counted).

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Result;

/// The numbers of the two cores, as the kernel counts them.
#[derive(Clone, Copy)]
pub(crate) struct Cores {
    pub(crate) client: usize,
    pub(crate) server: usize,
}

impl Cores {
    /// Takes the first two cores that this process may use and moves this thread to the client's.
    ///
    /// Must run before any other thread is made: only the calling thread moves.
    pub(crate) fn take() -> Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut numbers = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
        let (Some(client), Some(server)) = (numbers.next(), numbers.next()) else {
            return Err("client and server need a core each, and this process may use only one".into());
        };
        let cores = Self { client, server };
        move_to(cores.client)?;
        Ok(cores)
    }

    /// Runs `spawn` on the server's core, so that the child it makes stays there, and comes back.
    pub(crate) fn on_server_core<T>(self, spawn: impl FnOnce() -> Result<T>) -> Result<T> {
        move_to(self.server)?;
        let spawned = spawn();
        move_to(self.client)?;
        spawned
    }
}

fn move_to(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).map_err(|error| format!("move to core {core}: {error}"))?;
    Ok(())
}
