//! From the spawn of a server to its first good Status.

use std::path::Path;
use std::process::{self, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use keywright::bench::client::{Caller, Client};
use keywright::bench::content::Numbers;
use keywright::bench::load::good_status;

use crate::Result;
use crate::cores::Cores;
use crate::server::Program;

/// Pause between two attempts. A thread sleeps it: the runtime's timer counts in whole milliseconds.
const RETRY: Duration = Duration::from_micros(200);
const WITHIN: Duration = Duration::from_secs(10);

/// Puts this process, and so the servers that it starts from now on, into the realtime class; says whether that was granted.
///
/// A start is a handful of milliseconds with several threads handing over to each other. On a core that has other work each of
/// them may wait for a whole time slice, and what is measured is the other work. Needs root and `chrt` (util-linux). Not for the
/// load: in this class the threads of one server would wait for each other.
pub(crate) fn realtime() -> bool {
    let chrt = Command::new("chrt").args(["--fifo", "--pid", "10", &process::id().to_string()]).stderr(Stdio::null()).status();
    chrt.is_ok_and(|status| status.success())
}

/// Starts a server whose folder already holds its key, and returns how long its first good Status took.
///
/// Every attempt is a new connection; a refused one, a broken one and a Status that is not good yet are all tried again.
pub(crate) async fn to_first_status(program: &Program, cores: Cores, numbers: &Numbers) -> Result<Duration> {
    let started = Instant::now();
    let mut server = program.spawn(cores)?;
    loop {
        let Err(error) = attempt(&program.socket(), numbers).await else {
            let taken = started.elapsed();
            server.stop().await?;
            return Ok(taken);
        };
        server.check_running()?;
        if started.elapsed() > WITHIN {
            return Err(format!("no good Status after {WITHIN:?}: {error}; the end of the log:\n{}", server.log_end()).into());
        }
        thread::sleep(RETRY);
    }
}

async fn attempt(socket: &Path, numbers: &Numbers) -> Result<()> {
    let client = Client::connect(socket, Caller::ApiServer, WITHIN).await?;
    good_status(&client, numbers.next()).await?;
    Ok(())
}
