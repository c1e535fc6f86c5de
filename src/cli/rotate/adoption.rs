//! Whether every API server writes with the primary: by the calls that this node's plugin saw, by the API servers' own metrics, or by the time
//! that has passed since any of them was told another key.

use std::time::{Duration, Instant};

use super::super::place::Named;
use crate::adoption::page::{self, Page};
use crate::client::admin::{self, AdminError};
use crate::config;
use crate::key_id::KeyId;
use crate::keyring::document::{Document, StateLabel};
use crate::kube::servers::Servers;
use crate::kube::{self, KubeError};
use crate::scan::evidence::Adoption;

/// How long an API server goes on writing with a seed after the last Status that named its key (kubernetes-kms: 3 min since 1.27).
const COASTING: Duration = Duration::from_secs(180);
/// How long the plugin may take to follow a step that was taken just before. It looks at the file four times a second.
const RELOAD: Duration = Duration::from_secs(3);
const RELOAD_PAUSE: Duration = Duration::from_millis(100);
/// Time between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// What can be asked.
pub(super) struct Sources<'a> {
    pub(super) named: &'a Named,
    pub(super) document: &'a Document,
    /// `timeout` of the KMS provider.
    pub(super) timeout: Duration,
    /// Where the API servers are. They are listed at each look: one may have started since.
    pub(super) kubernetes: &'a kube::Options,
}

impl Sources<'_> {
    fn primary(&self) -> Option<KeyId> {
        self.document.versions.iter().find(|v| v.state == StateLabel::Primary).map(|v| v.key_id)
    }

    /// What is known now.
    pub(super) async fn look(&self) -> Adoption {
        let Some(primary) = self.primary() else { return Adoption::Missing("the keyring has no primary".into()) };
        let servers = Servers::list(self.kubernetes).await;
        let local = self.local(primary).await;
        let several = match &servers {
            Ok(servers) => servers.count() > 1,
            // Nobody can be asked: the keyring says how many nodes there are.
            Err(KubeError::NoKubeconfig) => self.document.nodes.len() > 1,
            // Whoever has a kubeconfig means a cluster, and how many API servers that has is not known.
            Err(_) => true,
        };
        match (local, servers) {
            // This node's plugin has only this node's API server.
            (Ok(how), _) if !several => Adoption::Shown(how),
            (local, Ok(servers)) => match (servers.adoption(primary, COASTING + self.timeout).await, local) {
                (Ok(how), _) => Adoption::Shown(how),
                (Err(missing), Err(here)) if !several => Adoption::Missing(format!("{here}; {missing}")),
                (Err(missing), _) => Adoption::Missing(missing),
            },
            (Err(missing), Err(KubeError::NoKubeconfig)) => Adoption::Missing(missing),
            (_, Err(why)) => Adoption::Missing(format!("which API servers the cluster has is not known: {why}")),
        }
    }

    /// Looks again and again until it is shown, at most for `limit`; `waiting` is told what is missing.
    pub(super) async fn wait(&self, limit: Duration, waiting: &mut dyn FnMut(&str)) -> Adoption {
        let end = Instant::now() + limit;
        loop {
            match self.look().await {
                Adoption::Missing(missing) if Instant::now() < end => waiting(&missing),
                known => return known,
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn local(&self, primary: KeyId) -> Result<String, String> {
        let socket = config::admin_path(&self.named.socket);
        let silent = |e: AdminError| format!("the plugin of this node does not say who writes with which key: {e}");
        let generation = self.document.generation;
        let end = Instant::now() + RELOAD;
        while !admin::serves(&socket, generation).await.map_err(silent)? {
            if Instant::now() >= end {
                return Err(format!("the plugin of this node does not serve generation {generation} yet"));
            }
            tokio::time::sleep(RELOAD_PAUSE).await;
        }
        let now = Instant::now();
        let page = page::read(&admin::fetch(&socket, "/adoption").await.map_err(silent)?, now)
            .ok_or("the plugin of this node is of another release")?;
        decide(&page, primary, self.timeout, now)
    }
}

/// By the calls of one plugin.
fn decide(page: &Page, primary: KeyId, timeout: Duration, now: Instant) -> Result<String, String> {
    let writers: Vec<_> =
        page.callers.iter().filter(|caller| !caller.ours && (caller.calls.encrypted.is_some() || caller.calls.named.is_some())).collect();
    let adopted = writers.iter().filter(|caller| caller.calls.adopted(now, timeout) == Some(primary)).count();
    if adopted > 0 && adopted == writers.len() {
        return Ok(format!("seen on {adopted} connections"));
    }
    let other = page.named.iter().filter(|(key_id, _)| *key_id != primary).map(|(_, at)| *at).max();
    let quiet = now.saturating_duration_since(other.map_or(page.started, |at| at.max(page.started)));
    let needed = COASTING + timeout;
    if quiet >= needed {
        return Ok(format!("no other key was named for {} s", quiet.as_secs()));
    }
    let left = humantime::format_duration(Duration::from_secs((needed - quiet).as_secs() + 1));
    let waiting: Vec<_> =
        writers.iter().filter(|caller| caller.calls.adopted(now, timeout) != Some(primary)).map(|caller| caller.pid.to_string()).collect();
    let who = match waiting[..] {
        [] => "no API server has asked for it yet".to_owned(),
        _ => format!("the API server of pid {} has not shown that it writes with it", waiting.join(", ")),
    };
    Err(format!("{primary} is not adopted: {who}; at the latest in {left} none can write with another key"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adoption::Callers;

    const TIMEOUT: Duration = Duration::from_secs(3);

    fn key_id(version: u32) -> KeyId {
        format!("kw1.0101010101010101.{version}.00000000000000000000000000000000").parse().expect("valid")
    }

    fn decided(callers: &Callers, now: Instant) -> Result<String, String> {
        let page = page::read(&page::write(callers, now), now).expect("a page");
        decide(&page, key_id(2), TIMEOUT, now)
    }

    #[test]
    fn it_is_shown_when_every_writer_has_adopted_the_primary_and_not_before() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let callers = Callers::new(start);
        let [one, other] = [callers.connect(0, 7, start), callers.connect(0, 8, start)];
        for caller in [&one, &other] {
            caller.encrypt(Some(key_id(1)), at(1));
            caller.status(key_id(1), at(2));
        }
        one.status(key_id(2), at(60));
        one.encrypt(Some(key_id(2)), at(60));
        one.status(key_id(2), at(80));
        let missing = decided(&callers, at(90)).expect_err("the other one writes with the old key");
        assert!(missing.contains("pid 8"), "{missing}");
        other.status(key_id(2), at(91));
        other.encrypt(Some(key_id(2)), at(91));
        assert!(decided(&callers, at(92)).is_err(), "what was asked for is not what was taken");
        other.status(key_id(2), at(111));
        assert!(decided(&callers, at(112)).is_err());
        assert_eq!(decided(&callers, at(114)), Ok("seen on 2 connections".into()));
    }

    #[test]
    fn who_never_shows_it_is_waited_out_from_the_last_time_that_another_key_was_named() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let callers = Callers::new(start);
        let reconnected = callers.connect(0, 7, start);
        reconnected.status(key_id(1), at(10));
        reconnected.status(key_id(2), at(70));
        assert!(decided(&callers, at(192)).is_err());
        assert_eq!(decided(&callers, at(193)), Ok("no other key was named for 183 s".into()));
        assert!(decided(&Callers::new(at(100)), at(200)).is_err(), "a plugin that has just started knows nothing");
        assert!(decided(&Callers::new(at(100)), at(283)).is_ok());
    }
}
