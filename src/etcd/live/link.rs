//! One TCP connection to a member, with TLS where the endpoint says so.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{self, pki_types::ServerName};

use super::endpoint::Endpoint;
use super::error::Refusal;
use crate::etcd::tls::{Tls, TlsFault};

/// How long a server may take to complain.
const LISTEN: Duration = Duration::from_secs(1);

/// The error that ended the TLS of a connection.
///
/// In TLS 1.3 a server speaks of our certificate only after the handshake, when the layers above read for the first time; they keep no
/// more of it than a text. So it is noted here.
#[derive(Debug, Clone, Default)]
pub(super) struct Fault(Arc<Mutex<Option<rustls::Error>>>);

impl Fault {
    fn note(&self, error: &io::Error) {
        if let Some(error) = library_error(error) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
        }
    }

    /// What was noted, sorted.
    pub(super) fn sorted(&self, identified: bool) -> Option<TlsFault> {
        let error = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        error.as_ref().map(|error| TlsFault::of(error, identified))
    }
}

fn library_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

/// The connection, plain or not.
pub(super) enum Link {
    /// http.
    Plain(TcpStream),
    /// https. Boxed, for it is a kilobyte.
    Tls(Box<TlsStream<TcpStream>>, Fault),
}

/// Dials and shakes hands; the caller limits the time.
pub(super) async fn dial(endpoint: &Endpoint, tls: Option<&Tls>, fault: Fault) -> Result<Link, Refusal> {
    let stream = TcpStream::connect((endpoint.host(), endpoint.port())).await.map_err(Refusal::of_dial)?;
    // Questions are small and waited for.
    stream.set_nodelay(true).map_err(Refusal::Unreachable)?;
    let (true, Some(tls)) = (endpoint.is_tls(), tls) else { return Ok(Link::Plain(stream)) };
    let name = ServerName::try_from(endpoint.host().to_owned()).map_err(|_| Refusal::Tls(TlsFault::WrongName))?;
    match TlsConnector::from(Arc::clone(&tls.config)).connect(name, stream).await {
        Ok(stream) => Ok(Link::Tls(Box::new(stream), fault)),
        Err(error) => Err(match library_error(&error) {
            Some(known) => Refusal::Tls(TlsFault::of(known, tls.identified)),
            // Whoever does not speak TLS takes its greeting for nonsense and closes.
            None if error.kind() == io::ErrorKind::UnexpectedEof => Refusal::Tls(TlsFault::NotTls),
            None => Refusal::Lost(format!("during the TLS handshake: {error}")),
        }),
    }
}

/// What a server says of our certificate to who only listens.
///
/// Who has begun to speak may never read it: a server that closes with bytes unread resets the connection, and its last words are lost. So
/// after a connection that was lost before any answer, another one is made that says nothing.
pub(super) async fn complaint(endpoint: &Endpoint, tls: &Tls) -> Option<TlsFault> {
    let fault = Fault::default();
    let listening = async {
        let mut link = dial(endpoint, Some(tls), fault.clone()).await.ok()?;
        // An error is noted on the way.
        let mut byte = [0];
        let _ = std::future::poll_fn(|context| Pin::new(&mut link).poll_read(context, &mut ReadBuf::new(&mut byte))).await;
        fault.sorted(tls.identified)
    };
    tokio::time::timeout(LISTEN, listening).await.ok().flatten()
}

impl AsyncRead for Link {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream, fault) => {
                let read = Pin::new(stream.as_mut()).poll_read(context, buffer);
                if let Poll::Ready(Err(error)) = &read {
                    fault.note(error);
                }
                read
            }
        }
    }
}

impl AsyncWrite for Link {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream, _) => Pin::new(stream.as_mut()).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream, _) => Pin::new(stream.as_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream, _) => Pin::new(stream.as_mut()).poll_shutdown(context),
        }
    }
}
