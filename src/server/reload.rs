//! Watches the keyring file and swaps the snapshot when it has changed: one atomic step, no call sees anything in between.
//!
//! A keyring that fails to load leaves the old one serving and turns the alarm on; Status stays ok, for its keys work. The file is looked
//! at four times a second: that works on every file system, and a change by rename always shows.

use std::sync::Arc;
use std::time::Duration;

use super::alarm::Alarm;
use crate::entropy::OsEntropy;
use crate::service::Snapshots;
use crate::source::{Identity, Source};

/// Between two looks; Status shows a change within a second.
const LOOK: Duration = Duration::from_millis(250);

/// Before a keyring whose token did not answer is loaded again.
const AGAIN: Duration = Duration::from_secs(3);

/// A load that takes longer waits for a token that does not answer.
const LONG: Duration = Duration::from_secs(10);

/// Watches until it is dropped. `loaded`: which file the snapshot that serves now was loaded from.
pub(super) async fn watch(source: Arc<Source>, snapshots: Snapshots, alarm: Alarm, mut loaded: Option<Identity>) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        // Taken before the load: a change during it is seen by the next look. What is logged comes last, so that who reads it finds it so.
        let now = source.identity();
        if now == loaded {
            continue;
        }
        loaded = now;
        let reading = source.clone();
        let served = snapshots.current().map(|serving| serving.id());
        let mut loading = tokio::task::spawn_blocking(move || reading.load(served, &OsEntropy));
        let outcome = match tokio::time::timeout(LONG, &mut loading).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let cause = "loading the keyring waits for a token that does not answer";
                alarm.raise(cause.into());
                tracing::error!("{cause}; the one loaded before goes on serving");
                loading.await
            }
        };
        match outcome {
            Ok(Ok(keyring)) => {
                let serving = snapshots.current();
                let (generation, versions) = (keyring.generation(), keyring.versions().len());
                if serving.is_some_and(|serving| serving.head() == keyring.head() && serving.id() == keyring.id()) {
                    alarm.clear();
                    tracing::info!(generation, "keyring file replaced by the same keyring");
                } else {
                    let key_id = keyring.primary_name().to_owned();
                    snapshots.publish(keyring);
                    alarm.clear();
                    tracing::info!(key_id, versions, generation, "keyring reloaded");
                }
            }
            Ok(Err(error)) => {
                let cause = error.to_string();
                // Said once where it is tried again: a token is asked until it answers.
                let news = !error.may_pass() || alarm.cause().as_ref() != Some(&cause);
                alarm.raise(cause.clone());
                if news {
                    tracing::error!(cause, "the keyring file did not load; the one loaded before goes on serving");
                }
                if error.may_pass() {
                    loaded = None;
                    tokio::time::sleep(AGAIN).await;
                }
            }
            Err(panic) => {
                alarm.raise("loading the keyring panicked".into());
                tracing::error!(cause = %panic, "loading the keyring panicked; the one loaded before goes on serving");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unseal::Seal;
    use std::fs::{self, Permissions};
    use std::io;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

    const SAMPLE: &str = include_str!("../../keys/insecure-format-1/two-versions.keyring");
    const SOON: Duration = Duration::from_secs(20);

    /// Reads the log as fast as anybody could, and notes what is so when a line is written: the alarm, and whether a keyring serves.
    #[derive(Clone)]
    struct Reader {
        alarm: Alarm,
        snapshots: Snapshots,
        found: UnboundedSender<(String, bool, bool)>,
    }

    impl io::Write for Reader {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let line_text = String::from_utf8_lossy(line).into_owned();
            let found = (line_text, self.alarm.cause().is_some(), self.snapshots.current().is_some());
            self.found.send(found).map_err(io::Error::other)?;
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn put(path: &Path, text: &str) {
        let new = path.with_extension("put");
        fs::write(&new, text).expect("write");
        fs::set_permissions(&new, Permissions::from_mode(0o600)).expect("chmod");
        fs::rename(&new, path).expect("rename");
    }

    #[tokio::test]
    async fn who_reads_the_log_finds_it_as_the_line_says() {
        let dir = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().expect("folder");
        let path = dir.path().join("keyring");
        let source = Source {
            path: path.clone(),
            seal: Seal::InsecureDevelopment,
            state_dir: dir.path().to_owned(),
            tokens: crate::provider::pkcs11::Tokens::none(),
        };
        let (snapshots, alarm) = (Snapshots::default(), Alarm::default());
        let (found, mut lines) = unbounded_channel();
        let reader = Reader { alarm: alarm.clone(), snapshots: snapshots.clone(), found };
        let _log = tracing::subscriber::set_default(tracing_subscriber::fmt().with_writer(move || reader.clone()).finish());

        put(&path, "garbage\n");
        let watching = watch(Arc::new(source), snapshots, alarm, None);
        let checked = async {
            let (line, alarmed, serving) = lines.recv().await.expect("a line");
            assert!(line.contains("the keyring file did not load"), "{line}");
            assert!(alarmed && !serving, "the line came before the alarm");
            put(&path, SAMPLE);
            let (line, alarmed, serving) = lines.recv().await.expect("a line");
            assert!(line.contains("keyring reloaded"), "{line}");
            assert!(!alarmed && serving, "the line came before the keys");
        };
        tokio::select! {
            () = watching => panic!("it watches until it is dropped"),
            done = tokio::time::timeout(SOON, checked) => done.expect("both lines come"),
        }
    }
}
