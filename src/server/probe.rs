//! Probes in the background the keys that wait for a token, so that it is known without any caller whether they work; and ends the process
//! when a token has swallowed every thread.
//!
//! A call that hangs in a module can neither be ended nor is the module started anew under it, so the one way out is another process: when no
//! thread is left, or when the token needs the module to be started anew to be seen again.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use crate::health::{Health, To, interval};
use crate::key_id::KeyId;
use crate::keyring::Keyring;
use crate::provider::KekError;
use crate::provider::pkcs11::Problem;
use crate::provider::waits::{Interest, Workers};
use crate::service::Snapshots;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);
/// The same while no key waits for a token.
const IDLE: Duration = Duration::from_secs(1);
/// A call that is in a module for longer does not come back.
const HUNG: Duration = Duration::from_secs(60);

/// A token in whose module calls hang, so that the primary does not work any more. None of them can be ended but with the process.
#[derive(Debug, Error)]
pub enum Hung {
    /// Every thread is in one.
    #[error("token {token}: all of its {threads} threads have been inside its module for over {} s, and the primary does not work", HUNG.as_secs())]
    Threads {
        /// Which one.
        token: String,
        /// How many there may be.
        threads: usize,
    },
    /// The module would have to be started anew, and cannot be.
    #[error("token {token}: a call that does not return has kept its module from being started anew for over {} s, and the primary does not work", HUNG.as_secs())]
    Module {
        /// Which one.
        token: String,
    },
}

/// Probes until it is dropped, or the token of the primary hangs.
pub(super) async fn watch(snapshots: Snapshots, health: Health) -> Hung {
    let mut prober = Prober::new(health);
    loop {
        let pause = match snapshots.current() {
            Some(keyring) if keyring.waiting().next().is_some() => match prober.look(&keyring, Instant::now()) {
                Ok(()) => LOOK,
                Err(hung) => return hung,
            },
            _ => IDLE,
        };
        tokio::time::sleep(pause).await;
    }
}

struct Prober {
    health: Health,
    probes: Vec<Probe>,
    /// When each key was last probed.
    probed: HashMap<KeyId, Instant>,
    /// Since when every probe of the key says that its module cannot be started anew.
    blocked: HashMap<KeyId, Instant>,
}

/// One that has not come back.
struct Probe {
    workers: Weak<Workers>,
    key_id: KeyId,
    begun: Instant,
    result: oneshot::Receiver<Result<(), KekError>>,
    _interest: Interest,
}

impl Prober {
    fn new(health: Health) -> Self {
        Self { health, probes: Vec::new(), probed: HashMap::new(), blocked: HashMap::new() }
    }

    /// Takes what has come back, begins the probes that are due, at most one in each token, and logs what has changed.
    fn look(&mut self, keyring: &Arc<Keyring>, now: Instant) -> Result<(), Hung> {
        self.collect(now);
        self.probed.retain(|key_id, _| keyring.find(key_id).is_ok());
        self.blocked.retain(|key_id, since| {
            let waits = keyring.find(key_id).ok().and_then(|version| version.waits());
            let blocked = now.saturating_duration_since(*since);
            // What worked since then was not in the way.
            waits.is_some_and(|waits| waits.last_good.age(now).is_none_or(|age| age >= blocked))
        });
        let mut due: Vec<(usize, Option<Instant>)> = (0..keyring.versions().len())
            .filter(|at| self.is_due(keyring, *at, now))
            .map(|at| (at, self.probed.get(keyring.versions()[at].key_id()).copied()))
            .collect();
        let is_primary = |at: usize| keyring.versions()[at].key_id() == keyring.primary();
        // The primary first, then who was not asked for longest.
        due.sort_by_key(|(at, probed)| (!is_primary(*at), *probed));
        for (at, _) in due {
            self.begin(keyring, at, now);
        }
        for (_, waits) in keyring.waiting() {
            waits.workers.look(now);
        }
        for change in self.health.look(keyring, now) {
            let (key_id, token) = (change.key_id, change.token);
            match change.to {
                To::Away(cause) => tracing::error!(%key_id, token, cause, "the key is away"),
                To::Back(after) => tracing::info!(%key_id, token, away_seconds = after.as_secs(), "the key works again"),
            }
        }
        let Some(waits) = keyring.waits().filter(|waits| waits.is_away(now)) else { return Ok(()) };
        let token = waits.workers.token();
        if waits.workers.all_inside_for(HUNG, now) {
            return Err(Hung::Threads { token, threads: waits.workers.threads() });
        }
        let blocked = self.blocked.get(keyring.primary()).is_some_and(|since| now.saturating_duration_since(*since) > HUNG);
        if blocked { Err(Hung::Module { token }) } else { Ok(()) }
    }

    fn collect(&mut self, now: Instant) {
        self.probes.retain_mut(|probe| match probe.result.try_recv() {
            Ok(Ok(())) => {
                self.blocked.remove(&probe.key_id);
                false
            }
            Ok(Err(error)) => {
                if matches!(&error, KekError::Token(error) if error.problem == Problem::Hung) {
                    self.blocked.entry(probe.key_id).or_insert(now);
                } else {
                    self.blocked.remove(&probe.key_id);
                }
                self.health.failed(probe.key_id, &error, now);
                false
            }
            Err(TryRecvError::Closed) => {
                self.health.silent(probe.key_id, "a probe of it panicked", now);
                false
            }
            // Its thread is lost; another may find that the token works again, or get lost as well.
            Err(TryRecvError::Empty) if now.saturating_duration_since(probe.begun) > HUNG => {
                self.health.silent(probe.key_id, "a probe of it does not come back", now);
                false
            }
            Err(TryRecvError::Empty) => true,
        });
    }

    /// Whether version `at` was neither seen to work nor probed for as long as that may be.
    fn is_due(&self, keyring: &Keyring, at: usize, now: Instant) -> bool {
        let version = &keyring.versions()[at];
        let Some((waits, interval)) = version.waits().zip(interval(keyring, version)) else { return false };
        let probed = self.probed.get(version.key_id()).map(|at| now.saturating_duration_since(*at));
        [waits.last_good.age(now), probed].into_iter().all(|age| age.is_none_or(|age| age >= interval))
    }

    /// Begins a probe of version `at`, unless another one is in its token.
    fn begin(&mut self, keyring: &Arc<Keyring>, at: usize, now: Instant) {
        let version = &keyring.versions()[at];
        let Some(waits) = version.waits() else { return };
        let workers = Arc::downgrade(&waits.workers);
        if self.probes.iter().any(|probe| Weak::ptr_eq(&probe.workers, &workers)) {
            return;
        }
        let (tell, result) = oneshot::channel();
        let asked = keyring.clone();
        let interest = waits.workers.submit(move || {
            // Given up meanwhile, perhaps. A key notes itself that it works.
            let _ = tell.send(asked.versions()[at].probe());
        });
        let key_id = *version.key_id();
        self.probed.insert(key_id, now);
        self.probes.push(Probe { workers, key_id, begun: now, result, _interest: interest });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Kek;
    use crate::provider::waits::Limits;
    use crate::provider::waits::played::{Key, Plays, Token, error};

    const SOON: Duration = Duration::from_secs(20);

    /// A primary and `others` in one token, a prober, and the moment at which all of them were last seen to work.
    struct Played {
        token: Token,
        keys: Vec<Arc<Key>>,
        keyring: Arc<Keyring>,
        prober: Prober,
        start: Instant,
    }

    impl Played {
        fn new(threads: usize, others: usize, plays: Plays) -> Self {
            let token = Token::new(threads, Limits::default(), plays);
            let keys: Vec<Arc<Key>> = (0..=others).map(|_| token.key()).collect();
            let start = Instant::now() + Duration::from_millis(1);
            for key in &keys {
                key.waits().expect("waits").last_good.note(start);
            }
            let keyring = Arc::new(Keyring::played(keys.iter().map(|key| key.clone() as Arc<dyn Kek>).collect()));
            Self { token, keys, keyring, prober: Prober::new(Health::default()), start }
        }

        fn look(&mut self, seconds: u64) -> Result<(), Hung> {
            self.prober.look(&self.keyring, self.start + Duration::from_secs(seconds))
        }

        /// Looks until no probe is out.
        async fn collected(&mut self, seconds: u64) {
            let end = Instant::now() + SOON;
            while !self.prober.probes.is_empty() {
                assert!(Instant::now() < end, "a probe does not come back");
                self.prober.collect(self.start + Duration::from_secs(seconds));
                tokio::task::yield_now().await;
            }
        }

        async fn entered(&mut self) {
            tokio::time::timeout(SOON, self.token.entered.recv()).await.expect("a probe comes").expect("the key is there");
        }

        fn nobody_entered(&mut self) -> bool {
            self.token.entered.try_recv().is_err()
        }
    }

    #[tokio::test]
    async fn a_key_is_probed_when_nothing_was_heard_of_it_and_not_before() {
        let mut played = Played::new(2, 1, Plays::Works);
        played.look(9).expect("well");
        assert!(played.prober.probes.is_empty());
        played.look(10).expect("well");
        played.entered().await;
        played.collected(10).await;
        // It is seen to work by the clock, which stands before the moments of this test; so the time of the last probe counts.
        played.look(19).expect("well");
        assert!(played.prober.probes.is_empty() && played.nobody_entered());
        played.keys[1].waits().expect("waits").last_good.note(played.start + Duration::from_secs(15));
        played.look(24).expect("well");
        assert!(played.prober.probes.is_empty(), "a call of somebody else is as good");
        played.look(25).expect("well");
        assert_eq!(played.prober.probes[0].key_id, *played.keyring.primary());
        played.entered().await;
        played.collected(25).await;
        played.keys[1].waits().expect("waits").last_good.note(played.start + Duration::from_secs(59));
        played.look(60).expect("well");
        assert_eq!(played.prober.probes[0].key_id, *played.keyring.versions()[0].key_id(), "the other every minute");
        played.entered().await;
        assert_eq!(played.token.workers.calls().iter().map(|(_, count)| count).sum::<u64>(), 0, "no caller's call");
    }

    #[tokio::test]
    async fn one_probe_of_a_token_is_out_at_once_the_primary_first_and_each_has_its_turn() {
        let mut played = Played::new(8, 3, Plays::Hangs);
        let key_ids: Vec<KeyId> = played.keyring.versions().iter().map(|version| *version.key_id()).collect();
        played.look(70).expect("well");
        played.look(71).expect("well");
        played.entered().await;
        assert!(played.nobody_entered(), "a second");
        assert_eq!(played.prober.probes.iter().map(|probe| probe.key_id).collect::<Vec<_>>(), [key_ids[3]]);
        played.token.play(Plays::Works);
        played.collected(72).await;
        let mut order = Vec::new();
        for _ in 0..3 {
            played.look(73).expect("well");
            order.extend(played.prober.probes.iter().map(|probe| probe.key_id));
            played.entered().await;
            played.collected(73).await;
        }
        assert_eq!(order, key_ids[..3]);
        played.look(74).expect("well");
        assert!(played.prober.probes.is_empty());
    }

    #[tokio::test]
    async fn a_probe_that_fails_is_the_cause_and_the_next_good_one_ends_it() {
        let mut played = Played::new(1, 0, Plays::Away);
        played.look(10).expect("well");
        played.entered().await;
        played.collected(11).await;
        played.look(20).expect("well");
        played.entered().await;
        played.collected(21).await;
        let changes = played.prober.health.look(&played.keyring, played.start + Duration::from_secs(31));
        assert_eq!(changes.into_iter().map(|change| change.to).collect::<Vec<_>>(), [To::Away(error().to_string())]);
        played.token.play(Plays::Works);
        played.keys[0].waits().expect("waits").last_good.note(played.start + Duration::from_secs(32));
        let changes = played.prober.health.look(&played.keyring, played.start + Duration::from_secs(33));
        assert!(matches!(changes.as_slice(), [change] if matches!(change.to, To::Back(_))), "{changes:?}");
    }

    #[tokio::test]
    async fn a_plugin_whose_token_swallows_one_probe_after_the_other_ends_when_no_thread_is_left() {
        let mut played = Played::new(2, 0, Plays::Hangs);
        played.look(40).expect("one is out");
        played.entered().await;
        played.look(100).expect("it may come back");
        assert!(played.nobody_entered());
        // Threads are inside since they are, by the clock: by the moments of this test they have been there for long already.
        played.keys[0].waits().expect("waits").last_good.note(played.start + Duration::from_secs(80));
        played.look(101).expect("another thread is left");
        played.entered().await;
        assert_eq!(played.token.workers.figures(played.start + Duration::from_secs(101)).stuck, 2);
        played.look(110).expect("the primary was seen to work");
        let hung = played.look(111).expect_err("ends");
        assert!(matches!(hung, Hung::Threads { threads: 2, token } if token == played.token.workers.token()));
        played.token.play(Plays::Works);
    }

    #[tokio::test]
    async fn a_plugin_whose_module_cannot_be_started_anew_ends_when_the_primary_has_not_worked_for_that_long() {
        let mut played = Played::new(2, 0, Plays::Blocked);
        for seconds in (10..=70).step_by(10) {
            played.look(seconds).expect("it may still come back");
            played.entered().await;
            played.collected(seconds).await;
        }
        let hung = played.look(71).expect_err("the first one said so 61 s ago");
        assert!(matches!(hung, Hung::Module { .. }), "{hung}");
        played.keys[0].waits().expect("waits").last_good.note(played.start + Duration::from_secs(15));
        for seconds in [72, 80, 140] {
            played.look(seconds).expect("a call worked after it, so it counts from the next one");
            played.collected(seconds).await;
        }
        played.look(141).expect_err("that was 61 s ago again");
        played.token.play(Plays::Away);
        played.look(150).expect_err("nothing else is known yet");
        played.collected(150).await;
        played.look(151).expect("it is away, and that is all");
    }

    #[tokio::test]
    async fn a_keyring_is_looked_at_once_it_is_there() {
        let snapshots = Snapshots::default();
        let watching = tokio::spawn(watch(snapshots.clone(), Health::default()));
        let mut token = Token::new(1, Limits::default(), Plays::Works);
        snapshots.publish(Keyring::played(vec![token.key()]));
        tokio::time::timeout(SOON, token.entered.recv()).await.expect("is probed").expect("the key is there");
        assert!(!watching.is_finished());
        watching.abort();
    }
}
