//! The second socket, for people and monitoring: metrics, the alarm, who writes with which key, what was refused,
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
use crate::keyring::document::NodeName;
use crate::service::Snapshots;

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
    pub(super) node: Option<NodeName>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct VersionLabels {
    version: u32,
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
            ("GET", "/acknowledgement") => match (self.snapshots.current(), &self.node) {
                (_, None) => (StatusCode::NOT_FOUND, "this plugin has no `node` in its configuration\n".into()),
                (None, _) => (StatusCode::SERVICE_UNAVAILABLE, "keyring is not ready yet\n".into()),
                (Some(keyring), Some(node)) => (StatusCode::OK, acknowledgement::write(&keyring, node)),
            },
            _ => (StatusCode::NOT_FOUND, "there are /metrics, /state, /adoption, /refused and /acknowledgement\n".into()),
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        response
    }

    /// One line for each thing, as `name value`.
    fn state(&self) -> String {
        let mut text = String::new();
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
}
