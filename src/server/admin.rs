//! The second socket, for people and monitoring: metrics, the alarm, who writes with which key, what was refused, how the tokens do,
//! this node's acknowledgement. It unwraps nothing and changes nothing.
//!
//! HTTP/1.1 over a Unix socket, beside the first one and with the same checks of who connects: `curl --unix-socket PATH http://x/metrics`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::alarm::Alarm;
use super::{SocketSettings, accept};
use crate::acknowledgement;
use crate::adoption::{Callers, page};
use crate::health::Health;
use crate::health::page::Page;
use crate::keyring::Keyring;
use crate::keyring::document::NodeName;
use crate::service::Snapshots;
use crate::wraps::Wraps;

/// Most connections at once.
const CONNECTIONS: usize = 16;
/// How long one connection may take in all.
const LIMIT: Duration = Duration::from_secs(10);

/// What is shown.
#[derive(Clone)]
pub(super) struct Admin {
    pub(super) snapshots: Snapshots,
    pub(super) alarm: Alarm,
    pub(super) callers: Callers,
    pub(super) health: Health,
    /// How often keys in tokens have wrapped.
    pub(super) wraps: Arc<Wraps>,
    pub(super) node: Option<NodeName>,
    /// Whether it is a development keyring that is served.
    pub(super) development: bool,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct VersionLabels {
    version: u32,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TokenLabels {
    token: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabels {
    token: String,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ThreadLabels {
    token: String,
    state: &'static str,
}

/// Answers until it is dropped.
pub(super) async fn serve(listener: UnixListener, settings: SocketSettings, admin: Admin) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Some(stream) = accept::next(&listener).await else { continue };
        if let Some(admitted) = accept::admit(&stream, &settings, &places) {
            tokio::spawn(answer(stream, admitted.place, admin.clone()));
        }
    }
}

async fn answer(stream: UnixStream, _place: OwnedSemaphorePermit, admin: Admin) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = admin.respond(request.method().as_str(), request.uri().path());
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(LIMIT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // A client that breaks off or dawdles is no concern of anybody but itself.
    let _ = tokio::time::timeout(LIMIT, connection).await;
}

impl Admin {
    fn respond(&self, method: &str, path: &str) -> Response<String> {
        let (status, body) = match (method, path) {
            ("GET", "/metrics") => (StatusCode::OK, self.metrics()),
            ("GET", "/state") => (StatusCode::OK, self.state()),
            ("GET", "/adoption") => (StatusCode::OK, page::write(&self.callers, Instant::now())),
            ("GET", "/refused") => (StatusCode::OK, self.callers.refused(Instant::now()).write()),
            ("GET", "/tokens") => (StatusCode::OK, self.tokens().write()),
            ("GET", "/acknowledgement") => match (self.snapshots.current(), &self.node) {
                (_, None) => (StatusCode::NOT_FOUND, "this plugin has no `node` in its configuration\n".into()),
                (None, _) => (StatusCode::SERVICE_UNAVAILABLE, "keyring is not ready yet\n".into()),
                (Some(keyring), Some(node)) => (StatusCode::OK, acknowledgement::write(&keyring, node)),
            },
            _ => (StatusCode::NOT_FOUND, "there are /metrics, /state, /adoption, /refused, /tokens and /acknowledgement\n".into()),
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        response
    }

    /// One line for each thing, as `name value`.
    fn state(&self) -> String {
        let build = if cfg!(debug_assertions) { "debug" } else { "release" };
        let mut text = format!("build {} {build}\n", env!("CARGO_PKG_VERSION"));
        text.push_str(if self.development { "development yes\n" } else { "development no\n" });
        match self.snapshots.current() {
            Some(keyring) => {
                text.push_str(&format!(
                    "ready yes\nkey_id {}\nkeyring {}\ngeneration {}\nhead {}\nversions {}\n",
                    keyring.primary_name(),
                    keyring.id(),
                    keyring.generation(),
                    keyring.head(),
                    keyring.versions().len()
                ));
            }
            None => text.push_str("ready no\n"),
        }
        if let Some(cause) = self.alarm.cause() {
            text.push_str(&format!("alarm {}\n", cause.replace(char::is_control, " ")));
        }
        text
    }

    fn tokens(&self) -> Page {
        self.snapshots.current().map(|keyring| Page::of(&keyring, &self.health, Instant::now())).unwrap_or_default()
    }

    fn metrics(&self) -> String {
        let mut registry = Registry::with_prefix("keywright");
        let gauge = |registry: &mut Registry, name, help, value: i64| {
            let gauge = Gauge::<i64>::default();
            gauge.set(value);
            registry.register(name, help, gauge);
        };
        let keyring = self.snapshots.current();
        gauge(&mut registry, "ready", "Whether calls are answered", keyring.is_some().into());
        let alarm = "Whether the keyring file did not load and an older one goes on serving";
        gauge(&mut registry, "keyring_reload_failed", alarm, self.alarm.cause().is_some().into());
        if let Some(keyring) = keyring {
            let generation = i64::try_from(keyring.generation()).unwrap_or(i64::MAX);
            gauge(&mut registry, "keyring_generation", "Generation of the keyring that serves", generation);
            let versions = Family::<StateLabels, Gauge>::default();
            for version in keyring.versions() {
                versions.get_or_create(&StateLabels { state: version.state().name() }).inc();
            }
            registry.register("key_versions", "Key versions by state", versions);
            if keyring.waiting().next().is_some() {
                self.token_metrics(&keyring, &mut registry);
            }
        }
        let refused = Family::<VersionLabels, Counter>::default();
        for count in self.callers.refused(Instant::now()).counts {
            refused.get_or_create(&VersionLabels { version: count.key_id.version.number() }).inc_by(count.times);
        }
        registry.register("decrypts_refused", "Decrypts of a disabled or destroyed version since the start, by its number", refused);
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
        text
    }

    /// As many values as there are keys in tokens, and tokens with keys.
    fn token_metrics(&self, keyring: &Keyring, registry: &mut Registry) {
        let page = Page::of(keyring, &self.health, Instant::now());
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let [up, queued, refused] = [(); 3].map(|()| Family::<TokenLabels, Gauge>::default());
        let calls = Family::<CallLabels, Counter>::default();
        let threads = Family::<ThreadLabels, Gauge>::default();
        for token in &page.tokens {
            let name = || token.name.clone();
            up.get_or_create(&TokenLabels { token: name() }).set(token.up.into());
            refused.get_or_create(&TokenLabels { token: name() }).set((!token.pin).into());
            queued.get_or_create(&TokenLabels { token: name() }).set(count(token.figures.queued));
            for (outcome, times) in token.calls {
                calls.get_or_create(&CallLabels { token: name(), result: outcome.name() }).inc_by(times);
            }
            let figures = token.figures;
            for (state, number) in [("most", figures.threads), ("busy", figures.busy), ("stuck", figures.stuck)] {
                threads.get_or_create(&ThreadLabels { token: name(), state }).set(count(number));
            }
        }
        registry.register("token_up", "Whether a token works, as the keys in it show", up);
        registry.register("token_pin_latched", "Whether the PIN of a token was refused and is not tried again before it changes", refused);
        registry.register("token_calls", "Calls of a token since the start, by what they came to; late: a caller's time was over", calls);
        registry.register(
            "token_threads",
            "Threads that may wait for a token: the most there may be, in a call, in one for over 10 s",
            threads,
        );
        registry.register("token_queued", "Calls that wait for one of these threads", queued);
        let wraps = Family::<VersionLabels, Gauge>::default();
        for (key_id, count) in self.wraps.counts() {
            wraps.get_or_create(&VersionLabels { version: key_id.version.number() }).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        registry.register("key_wraps", "Wraps by a key in a token on this node, at most; its limit is 4294967296 on all of them", wraps);
        let [good, away] = [(); 2].map(|()| Family::<VersionLabels, Gauge>::default());
        for key in &page.keys {
            let labels = VersionLabels { version: key.key_id.version.number() };
            // Never: as long as the plugin knows of, which no number says; the series is not there.
            if let Some(age) = key.good {
                good.get_or_create(&labels).set(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
            }
            away.get_or_create(&labels).set(key.away.is_some().into());
        }
        registry.register("key_last_good_seconds", "Time since a key in a token was last seen to work, by its version", good);
        registry.register("key_away", "Whether a key in a token does not work, by its version", away);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::waits::played::{Plays, Token, error, name};
    use crate::provider::waits::{Limits, Outcome};

    #[test]
    fn a_key_in_a_token_is_shown_in_text_and_metrics_and_one_in_memory_adds_nothing() {
        let now = Instant::now();
        let snapshots = Snapshots::default();
        let admin = Admin {
            snapshots: snapshots.clone(),
            alarm: Alarm::default(),
            callers: Callers::new(now),
            health: Health::default(),
            wraps: Arc::new(crate::wraps::Wraps::new(std::path::Path::new("/nonexistent"))),
            node: None,
            development: true,
        };
        let page = |path| admin.respond("GET", path).into_body();
        assert_eq!((page("/tokens").as_str(), page("/metrics").contains("keywright_token_")), ("", false));
        let token = Token::new(4, Limits::default(), Plays::Works);
        let [other, primary] = [token.key(), token.key()];
        crate::provider::Kek::waits(primary.as_ref()).expect("waits").last_good.note(now);
        snapshots.publish(Keyring::played(vec![other, primary]));
        let keyring = snapshots.current().expect("is published");
        admin.health.failed(*keyring.versions()[0].key_id(), &error().into(), now);
        admin.health.look(&keyring, now);
        token.workers.count(Outcome::Late);
        let metrics = page("/metrics");
        let token = name();
        for line in [
            format!("keywright_token_up{{token=\"{token}\"}} 1"),
            format!("keywright_token_pin_latched{{token=\"{token}\"}} 0"),
            format!("keywright_token_calls_total{{token=\"{token}\",result=\"late\"}} 1"),
            format!("keywright_token_threads{{token=\"{token}\",state=\"most\"}} 4"),
            format!("keywright_token_threads{{token=\"{token}\",state=\"stuck\"}} 0"),
            format!("keywright_token_queued{{token=\"{token}\"}} 0"),
            "keywright_key_last_good_seconds{version=\"2\"} 0".into(),
            "keywright_key_away{version=\"1\"} 1".into(),
            "keywright_key_away{version=\"2\"} 0".into(),
        ] {
            assert!(metrics.lines().any(|known| known == line), "no {line} in\n{metrics}");
        }
        assert!(!metrics.contains("keywright_key_last_good_seconds{version=\"1\"}"), "never seen to work");
        let page = Page::read(&page("/tokens")).expect("a page");
        assert_eq!(page.keys.iter().map(|key| key.away.is_some()).collect::<Vec<_>>(), [true, false]);
    }
}
