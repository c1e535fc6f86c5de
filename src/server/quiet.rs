//! A Unix stream that is woken by the kernel only when there is something to do.
//!
//! tokio's own stream asks to be woken when it can be written to as well, and a Unix socket tells that at every read of the other end: one
//! useless wake-up for every answer. Here that is asked for only while the socket is full.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

/// A connected stream; not blocking.
#[derive(Debug)]
pub(super) struct QuietStream {
    readable: AsyncFd<UnixStream>,
    /// A second handle of the same socket, while it is full.
    full: Option<AsyncFd<UnixStream>>,
}

impl QuietStream {
    /// Takes over a stream of the runtime that this is called in.
    pub(super) fn new(stream: tokio::net::UnixStream) -> io::Result<Self> {
        Ok(Self { readable: register(stream.into_std()?, Interest::READABLE)?, full: None })
    }
}

#[expect(
    deprecated,
    reason = "the other way is unsafe, for types that give away their handle; a UnixStream of the standard library owns its own"
)]
fn register(stream: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    AsyncFd::with_interest(stream, interest)
}

impl AsyncRead for QuietStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let mut guard = ready!(this.readable.poll_read_ready(cx))?;
            let room = buf.initialize_unfilled();
            let len = room.len();
            match guard.get_inner().read(room) {
                Ok(read) => {
                    // Less than there was room for: the socket is empty now, and the next byte will wake us.
                    if 0 < read && read < len {
                        guard.clear_ready();
                    }
                    buf.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }
}

impl AsyncWrite for QuietStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            if let Some(full) = &this.full {
                // Writable again, or broken, which the write will say.
                ready!(full.poll_write_ready(cx))?.retain_ready();
                this.full = None;
            }
            match this.readable.get_ref().write_vectored(bufs) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    let handle = this.readable.get_ref().try_clone()?;
                    this.full = Some(register(handle, Interest::WRITABLE)?);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is kept here.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.readable.get_ref().shutdown(Shutdown::Write) {
            Err(e) if e.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            other => Poll::Ready(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn pair() -> (QuietStream, tokio::net::UnixStream) {
        let (near, far) = tokio::net::UnixStream::pair().expect("pair");
        (QuietStream::new(near).expect("registers"), far)
    }

    #[tokio::test]
    async fn more_bytes_than_the_socket_holds_arrive_whole_and_in_order_both_ways() {
        let bytes: Vec<u8> = (0..4_000_000u32).map(|n| (n % 251) as u8).collect();
        let (mut near, mut far) = pair();
        let sent = bytes.clone();
        let echo = tokio::spawn(async move {
            let mut got = vec![0; sent.len()];
            far.read_exact(&mut got).await.expect("reads");
            assert!(got == sent, "changed on the way out");
            far.write_all(&got).await.expect("writes");
        });
        near.write_all(&bytes).await.expect("writes");
        let mut back = vec![0; bytes.len()];
        near.read_exact(&mut back).await.expect("reads");
        assert!(back == bytes, "changed on the way back");
        echo.await.expect("ends");
    }

    #[tokio::test]
    async fn the_end_of_the_other_side_is_the_end_of_the_stream() {
        let (mut near, far) = pair();
        drop(far);
        assert_eq!(near.read(&mut [0; 8]).await.expect("reads"), 0);
        assert!(near.write_all(&[0; 8]).await.is_err());
    }

    #[tokio::test]
    async fn a_shutdown_reaches_the_other_side() {
        let (mut near, mut far) = pair();
        near.write_all(b"last").await.expect("writes");
        near.shutdown().await.expect("shuts down");
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.expect("reads");
        assert_eq!(got, b"last");
    }
}
