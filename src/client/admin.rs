//! Asks the second socket of a running plugin: one GET, one answer.

use std::io;
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::UnixStream;

const LIMIT: Duration = Duration::from_secs(3);
const MAX_ANSWER: usize = 1 << 20;

/// Why there was no answer.
#[derive(Debug, Error)]
pub enum AdminError {
    /// Nobody answers there.
    #[error("connect: {0}")]
    Connect(#[from] io::Error),
    /// The connection broke, or the answer is not HTTP.
    #[error("{0}")]
    Broken(String),
    /// It took too long.
    #[error("no answer within {}", humantime::format_duration(LIMIT))]
    Silent,
    /// It answered that it cannot.
    #[error("{text}")]
    Answered {
        /// HTTP status.
        status: u16,
        /// What it said.
        text: String,
    },
}

/// The text at `path` of the second socket at `socket`. Blocks, at most three seconds.
pub fn get(socket: &Path, path: &str) -> Result<String, AdminError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(fetch(socket, path))
}

/// The same for who waits for other things too.
pub async fn fetch(socket: &Path, path: &str) -> Result<String, AdminError> {
    tokio::time::timeout(LIMIT, ask(socket, path)).await.map_err(|_| AdminError::Silent)?
}

/// Whether the plugin serves this generation of its keyring; a change of the file reaches it within a second.
pub async fn serves(socket: &Path, generation: u64) -> Result<bool, AdminError> {
    let line = format!("generation {generation}");
    Ok(fetch(socket, "/state").await?.lines().any(|known| known == line))
}

async fn ask(socket: &Path, path: &str) -> Result<String, AdminError> {
    let broken = |e: &dyn std::fmt::Display| AdminError::Broken(e.to_string());
    let stream = TokioIo::new(UnixStream::connect(socket).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.map_err(|e| broken(&e))?;
    let request = Request::get(path).header("host", "localhost").body(Empty::<Bytes>::new()).map_err(|e| broken(&e))?;
    // Moved in, so that the connection ends with the answer.
    let answer = async move {
        let response = sender.send_request(request).await.map_err(|e| broken(&e))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(|e| broken(&e))?.to_bytes();
        let text = String::from_utf8(body.to_vec()).map_err(|e| broken(&e))?;
        if status.is_success() { Ok(text) } else { Err(AdminError::Answered { status: status.as_u16(), text: text.trim().to_owned() }) }
    };
    // Both to their end: a connection that has ended has its last answer still to be read. One that broke makes the answer an error.
    tokio::join!(answer, connection).0
}
