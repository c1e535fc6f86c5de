//! SIGINT and SIGTERM while objects are rewritten: the work ends in order, and says how far it came.

use std::sync::OnceLock;

use tokio::sync::watch;

use super::super::failure::{Exit, Failure};

/// Who is told. Once a signal is caught it stays caught, so the thread below lives as long as the process.
static SIGNALS: OnceLock<watch::Sender<bool>> = OnceLock::new();

/// Someone who ends in order when a signal comes. While there is none, a signal ends the process as if nobody had caught it.
pub(super) struct Watching(watch::Receiver<bool>);

impl Watching {
    /// Ready when a signal has come.
    pub(super) async fn asked(mut self) {
        if self.0.wait_for(|asked| *asked).await.is_err() {
            std::future::pending::<()>().await; // the thread is gone, and no signal will come through it
        }
    }
}

/// Catches both signals from here on.
pub(super) fn watch() -> Result<Watching, Failure> {
    if let Some(sender) = SIGNALS.get() {
        return Ok(Watching(sender.subscribe()));
    }
    let failed = |e| Failure::new(Exit::Unexpected, "catch SIGINT and SIGTERM", e, "This is not foreseen; please report it.");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
    let (mut int, mut term) = {
        let _entered = runtime.enter();
        use tokio::signal::unix::{SignalKind, signal};
        (signal(SignalKind::interrupt()).map_err(failed)?, signal(SignalKind::terminate()).map_err(failed)?)
    };
    let sender = SIGNALS.get_or_init(|| watch::Sender::new(false));
    let watching = Watching(sender.subscribe());
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            runtime.block_on(async move {
                loop {
                    let number = tokio::select! {
                        Some(()) = int.recv() => 2,
                        Some(()) = term.recv() => 15,
                        else => return,
                    };
                    // Nobody to tell, or told before.
                    if sender.receiver_count() == 0 || sender.send_replace(true) {
                        end(number);
                    }
                }
            });
        })
        .map_err(failed)?;
    Ok(watching)
}

/// With the exit code by which a shell shows an end by signal `number`.
#[expect(clippy::exit, reason = "nobody waits for the thread of the signals, and every command may be killed at any moment")]
fn end(number: i32) -> ! {
    std::process::exit(128 + number)
}
