//! Accepts connections: who connects is checked by the kernel's word before a byte is read, and they are counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use super::authority::LegacyAuthority;
use super::quiet::QuietStream;
use super::{Settings, SocketSettings, grpc};
use crate::adoption::{Caller, Callers};
use crate::service::Service;

/// How long to wait when the system has no file handle left; the connections that wait stay in its queue.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves every admitted connection, noted in `callers`, until `stop` says so; returns when the last of them has ended.
pub(super) async fn serve(
    listener: UnixListener,
    settings: Settings,
    callers: Callers,
    service: Arc<Service>,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(settings.max_connections));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = next(&listener) => accepted,
            // Reaped as they end, so that the set does not grow; a panic of one is said by the runtime and ends that one.
            Some(_) = connections.join_next() => continue,
            _ = stop.changed() => break,
        };
        let Some(stream) = accepted else { continue };
        if let Some(Admitted { place, uid, pid }) = admit(&stream, &settings.socket, &places) {
            let caller = callers.connect(uid, pid, Instant::now());
            connections.spawn(connection(stream, place, caller, settings.legacy_clients, service.clone(), stop.clone()));
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(
    stream: UnixStream,
    _place: OwnedSemaphorePermit,
    caller: Arc<Caller>,
    legacy: bool,
    service: Arc<Service>,
    stop: watch::Receiver<bool>,
) {
    let ended = match QuietStream::new(stream) {
        Ok(stream) if legacy => grpc::serve(LegacyAuthority::new(stream), caller, service, stop).await,
        Ok(stream) => grpc::serve(stream, caller, service, stop).await,
        Err(error) => return tracing::error!(cause = %error, "a connection could not be served"),
    };
    // A peer that just goes away is an I/O error; only one that breaks the protocol is worth a line.
    if let Err(error) = ended
        && !error.is_io()
    {
        tracing::warn!(cause = %error, "connection ended");
    }
}

/// The next connection; nothing after a failure that was logged and waited out.
pub(super) async fn next(listener: &UnixListener) -> Option<UnixStream> {
    match listener.accept().await {
        Ok((stream, _)) => Some(stream),
        Err(error) => {
            tracing::error!(cause = %error, "accept failed");
            tokio::time::sleep(PAUSE).await;
            None
        }
    }
}

/// A connection that may stay.
pub(super) struct Admitted {
    /// Held while it lasts.
    pub(super) place: OwnedSemaphorePermit,
    /// User of the peer.
    uid: u32,
    /// Process of the peer, 0 if the kernel does not say.
    pid: i32,
}

/// A place for the peer of `stream`, or nothing after logging why not; a refused stream is closed by being dropped.
pub(super) fn admit(stream: &UnixStream, settings: &SocketSettings, places: &Arc<Semaphore>) -> Option<Admitted> {
    let peer = match stream.peer_cred() {
        Ok(peer) => peer,
        Err(error) => {
            tracing::warn!(cause = %error, "connection refused: the kernel does not say who it is");
            return None;
        }
    };
    let (uid, pid) = (peer.uid(), peer.pid().unwrap_or(0));
    if !settings.allow_uids.contains(&uid) {
        tracing::warn!(uid, pid, reason = "uid is not on the allow-list (socket.allow_uids)", "connection refused");
        return None;
    }
    let Ok(place) = places.clone().try_acquire_owned() else {
        tracing::warn!(uid, pid, reason = "too many connections (limits.connections)", "connection refused");
        return None;
    };
    tracing::info!(uid, pid, "connected");
    Some(Admitted { place, uid, pid })
}
