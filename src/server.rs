//! The life of the socket: bound at once, peers checked, keys proved, calls answered, drained at the end.
//!
//! Until the primary is proved every call fails `Unavailable`, and the service manager hears READY only then. A keyring that does
//! not load ends the process; nothing is ever made in its place.

mod accept;
mod admin;
mod alarm;
pub mod authority;
mod grpc;
mod probe;
mod quiet;
mod reload;
mod socket;

pub use probe::Hung;
pub use socket::{MAX_PATH as MAX_SOCKET_PATH, SocketError, SocketSettings, check_path as check_socket_path, is_socket};

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::adoption::Callers;
use crate::entropy::OsEntropy;
use crate::health::Health;
use crate::keyring::document::NodeName;
use crate::log::Log;
use crate::service::{Service, Snapshots};
use crate::source::{Source, SourceError};
use crate::unseal::Seal;
use crate::wraps::Wraps;
use admin::Admin;
use alarm::Alarm;
use socket::Socket;

/// Who connects while the keyring is still loading waits this long in the queue of the socket before a call is answered `Unavailable`:
/// most keyrings load in less, and a good answer a moment later serves better than a refusal and a retry.
const PATIENCE: Duration = Duration::from_millis(25);
/// How long a keyring that is being loaded when the plugin is to end may take: a local one takes milliseconds, a login in a token a second.
const LOGIN: Duration = Duration::from_secs(3);
/// How long what is not for callers stands back once the keys answer: on one core, threads and another socket cost the first answer some 3 % of its time.
const CALLERS_FIRST: Duration = Duration::from_millis(3);

/// How to serve.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where, and who may connect.
    pub socket: SocketSettings,
    /// Where metrics and acknowledgements are had; mode, group and uids are those of `socket`.
    pub admin_path: PathBuf,
    /// Name of this control-plane node, where there are several.
    pub node: Option<NodeName>,
    /// Serve KMS v1 beside v2.
    pub v1: bool,
    /// Accept clients that send the path of the socket as `:authority`.
    pub legacy_clients: bool,
    /// Most connections at once.
    pub max_connections: usize,
    /// How long calls in flight may take to end after SIGTERM.
    pub drain: Duration,
}

/// Why serving did not begin, or ended.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The socket could not be had.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The keyring did not load.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The system refused something that does not depend on us.
    #[error("{step}: {source}")]
    System {
        /// What was attempted.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Calls hang in the module of the primary's token, and only another process comes out of that.
    #[error(transparent)]
    Hung(#[from] Hung),
    /// The gRPC server stopped although nobody asked it to.
    #[error("the gRPC server stopped: {0}")]
    Stopped(String),
}

/// What the person who started the plugin is told once it answers.
#[derive(Debug, Clone)]
pub struct Ready {
    /// Where it listens.
    pub socket: PathBuf,
    /// The primary.
    pub key_id: String,
}

/// Serves the keyring of `source` until SIGTERM or SIGINT, and every later state of it; `announce` is called once, when every call is
/// answered.
///
/// Errors: see [`ServeError`]. The socket is gone from its folder when this returns.
pub async fn serve(settings: Settings, log: Log, source: Source, announce: impl FnOnce(&Ready)) -> Result<(), ServeError> {
    let system = |step| move |source| ServeError::System { step, source };
    let mut stop = Stop::new().map_err(system("listen for signals"))?;
    let socket = Socket::bind(&settings.socket)?;
    tracing::info!(socket = %settings.socket.path.display(), mode = format_args!("{:04o}", settings.socket.mode), "listening");

    let (snapshots, alarm, callers) = (Snapshots::default(), Alarm::default(), Callers::new(Instant::now()));
    let (health, wraps) = (Health::default(), Arc::new(Wraps::new(&source.state_dir)));
    let service = Arc::new(Service::new(snapshots.clone(), Box::new(OsEntropy), log.clone(), settings.v1).counting(wraps.clone()));
    let listener = socket.listener().map_err(system("listen"))?;

    let development = source.seal == Seal::InsecureDevelopment;
    let source = Arc::new(source);
    let loaded = source.identity();
    let mut loading = tokio::task::spawn_blocking({
        let source = source.clone();
        move || source.load(None, &OsEntropy)
    });
    let early = tokio::time::timeout(PATIENCE, &mut loading).await.ok();
    if early.is_none() {
        log.begin().map_err(system("start the writer of the log"))?;
    }
    let (drain, draining) = tokio::sync::watch::channel(false);
    let mut serving = tokio::spawn(accept::serve(listener, settings.clone(), callers.clone(), service, draining));
    let loading = async {
        match early {
            Some(loaded) => loaded,
            None => loading.await,
        }
    };
    tokio::pin!(loading);
    let keyring = tokio::select! {
        loaded = &mut loading => loaded.map_err(|e| ServeError::Stopped(format!("loading the keyring panicked: {e}")))??,
        () = stop.wait() => {
            // A login that is cut off counts as a refused PIN: it is let end, if it ends.
            let _ = tokio::time::timeout(LOGIN, loading).await;
            return Ok(());
        }
    };
    let ready = Ready { socket: settings.socket.path.clone(), key_id: keyring.primary_name().to_owned() };
    let (versions, generation) = (keyring.versions().len(), keyring.generation());
    snapshots.publish(keyring);
    // Calls are answered from here on, and those that waited come first: the log and the second socket are for people.
    tokio::time::sleep(CALLERS_FIRST).await;
    log.begin().map_err(system("start the writer of the log"))?;
    let admin_settings = SocketSettings { path: settings.admin_path.clone(), ..settings.socket.clone() };
    let binding = tokio::task::spawn_blocking({
        let settings = admin_settings.clone();
        move || Socket::bind(&settings)
    });
    let admin_socket = binding.await.map_err(|e| ServeError::Stopped(format!("binding the second socket panicked: {e}")))??;
    let admin = Admin {
        snapshots: snapshots.clone(),
        alarm: alarm.clone(),
        callers,
        health: health.clone(),
        wraps,
        node: settings.node.clone(),
        development,
    };
    let administering = tokio::spawn(admin::serve(admin_socket.listener().map_err(system("listen"))?, admin_settings, admin));
    tracing::info!(key_id = %ready.key_id, versions, generation, "ready");
    let mut probing = tokio::spawn(probe::watch(snapshots.clone(), health));
    let watching = tokio::spawn(reload::watch(source, snapshots, alarm, loaded));
    // Without a service manager this does nothing.
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!(cause = %error, "the service manager could not be told READY");
    }
    announce(&ready);

    tokio::select! {
        () = stop.wait() => {}
        ended = &mut serving => return Err(ServeError::Stopped(format!("{ended:?}"))),
        ended = &mut probing => {
            let error = ended.map_or_else(|e| ServeError::Stopped(format!("the probes panicked: {e}")), ServeError::Hung);
            tracing::error!(cause = %error, "ends, so that it is started anew");
            return Err(error);
        }
    }
    tracing::info!("draining");
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    watching.abort();
    probing.abort();
    administering.abort();
    drop((socket, admin_socket));
    // It holds the other end until it has ended.
    let _ = drain.send(true);
    tokio::select! {
        _ = &mut serving => {}
        () = tokio::time::sleep(settings.drain) => tracing::warn!(seconds = settings.drain.as_secs(), "calls in flight were cut off"),
        () = stop.wait() => tracing::warn!("a second signal: calls in flight were cut off"),
    }
    tracing::info!("stopped");
    Ok(())
}

/// SIGTERM and SIGINT.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
