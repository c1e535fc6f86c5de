//! Accepts connections: who connects is checked by the kernel's word before a byte is read, and they are counted.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};

use super::Settings;
use super::connection::Connection;

/// How long to wait when the system has no file handle left; the connections that wait stay in its queue.
const PAUSE: Duration = Duration::from_millis(100);

/// Hands every admitted connection to `connections`, until its receiver is gone.
pub(super) async fn accept(listener: UnixListener, settings: Settings, connections: mpsc::Sender<io::Result<Connection>>) {
    let places = Arc::new(Semaphore::new(settings.max_connections));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::error!(cause = %error, "accept failed");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Some(connection) = admit(stream, &settings, &places) else { continue };
        if connections.send(Ok(connection)).await.is_err() {
            return;
        }
    }
}

/// The connection, or nothing after logging why not; a refused stream is closed by being dropped.
fn admit(stream: UnixStream, settings: &Settings, places: &Arc<Semaphore>) -> Option<Connection> {
    let peer = match stream.peer_cred() {
        Ok(peer) => peer,
        Err(error) => {
            tracing::warn!(cause = %error, "connection refused: the kernel does not say who it is");
            return None;
        }
    };
    let (uid, pid) = (peer.uid(), peer.pid().unwrap_or(0));
    if !settings.socket.allow_uids.contains(&uid) {
        tracing::warn!(uid, pid, reason = "uid is not on the allow-list (socket.allow_uids)", "connection refused");
        return None;
    }
    let Ok(place) = places.clone().try_acquire_owned() else {
        tracing::warn!(uid, pid, reason = "too many connections (limits.connections)", "connection refused");
        return None;
    };
    tracing::info!(uid, pid, "connected");
    Some(Connection::new(stream, settings.legacy_clients, place))
}
