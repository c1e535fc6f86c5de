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

/// Watches until it is dropped. `loaded`: which file the snapshot that serves now was loaded from.
pub(super) async fn watch(source: Arc<Source>, snapshots: Snapshots, alarm: Alarm, mut loaded: Option<Identity>) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        // Taken before the load: a change during it is seen by the next look.
        let now = source.identity();
        if now == loaded {
            continue;
        }
        loaded = now;
        let reading = source.clone();
        let served = snapshots.current().map(|serving| serving.id());
        match tokio::task::spawn_blocking(move || reading.load(served, &OsEntropy)).await {
            Ok(Ok(keyring)) => {
                let serving = snapshots.current();
                if serving.is_some_and(|serving| serving.head() == keyring.head() && serving.id() == keyring.id()) {
                    tracing::info!(generation = keyring.generation(), "keyring file replaced by the same keyring");
                } else {
                    tracing::info!(
                        key_id = %keyring.primary_name(),
                        versions = keyring.versions().len(),
                        generation = keyring.generation(),
                        "keyring reloaded"
                    );
                    snapshots.publish(keyring);
                }
                alarm.clear();
            }
            Ok(Err(error)) => {
                tracing::error!(cause = %error, "the keyring file did not load; the one loaded before goes on serving");
                alarm.raise(error.to_string());
            }
            Err(panic) => {
                tracing::error!(cause = %panic, "loading the keyring panicked; the one loaded before goes on serving");
                alarm.raise("loading the keyring panicked".into());
            }
        }
    }
}
