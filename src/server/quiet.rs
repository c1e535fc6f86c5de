//! A Unix stream that is woken by the kernel only when there is something to do, and that always takes what is written to it.
//!
//! tokio's own stream asks to be woken when it can be written to as well, and a Unix socket tells that at every read of the other end: one
//! useless wake-up for every answer. Here that is asked for only while the socket is full.
//!
//! What a full socket has no room for waits here, so that a peer that does not read can never keep us from reading. It must not: h2 reads
//! nothing while it cannot write the answer to a PING or a SETTINGS, and grpc-go 1.82 (Kubernetes 1.37) reads nothing while it cannot
//! write what it has to say of 100 calls that were answered. A thousand calls at once made each wait for the other, for ever. A peer that
//! leaves more unread than all the answers that it may wait for is hung up on.

mod behind;

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use behind::Behind;

/// A connected stream; not blocking.
#[derive(Debug)]
pub(super) struct QuietStream {
    readable: AsyncFd<UnixStream>,
    /// What the peer has yet to make room for, while the socket is full.
    behind: Option<Behind>,
}

impl QuietStream {
    /// Takes over a stream of the runtime that this is called in.
    pub(super) fn new(stream: tokio::net::UnixStream) -> io::Result<Self> {
        Ok(Self { readable: register(stream.into_std()?, Interest::READABLE)?, behind: None })
    }

    /// Writes what waits; ready when nothing does any more. Else the task of `cx` is woken when there is room.
    fn poll_catch_up(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(behind) = &mut self.behind {
            ready!(behind.poll_write_out(cx))?;
            self.behind = None;
        }
        Poll::Ready(Ok(()))
    }

    /// The same without waiting for it. Whatever is asked of the stream does this first: so the task is woken, and comes here again, as
    /// long as anything waits.
    fn catch_up(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.poll_catch_up(cx) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => Ok(()),
        }
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
        this.catch_up(cx)?;
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

    /// Always ready: what the socket does not take waits. An error is the socket's, or says that too much waits.
    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.catch_up(cx)?;
        if let Some(behind) = &mut this.behind {
            return Poll::Ready(behind.append(bufs));
        }
        loop {
            match this.readable.get_ref().write_vectored(bufs) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    // The flush that follows asks to be woken.
                    return Poll::Ready(this.behind.insert(Behind::of(this.readable.get_ref())?).append(bufs));
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Ready although bytes may wait here, as others do in the socket: h2 would not read before.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.get_mut().catch_up(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_catch_up(cx))?;
        match self.readable.get_ref().shutdown(Shutdown::Write) {
            Err(e) if e.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            other => Poll::Ready(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Far more than anything here takes.
    const LIMIT: Duration = Duration::from_secs(30);

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|n| (n % 251) as u8).collect()
    }

    fn pair() -> (QuietStream, tokio::net::UnixStream) {
        let (near, far) = tokio::net::UnixStream::pair().expect("pair");
        (QuietStream::new(near).expect("registers"), far)
    }

    #[tokio::test]
    async fn more_bytes_than_the_socket_holds_arrive_whole_and_in_order_both_ways() {
        let bytes = bytes(behind::MOST);
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
        tokio::time::timeout(LIMIT, near.read_exact(&mut back)).await.expect("in time").expect("reads");
        assert!(back == bytes, "changed on the way back");
        echo.await.expect("ends");
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_holds_up_neither_reads_nor_writes_until_too_much_waits() {
        let (mut near, mut far) = pair();
        let bytes = bytes(2 * behind::MOST);
        let both_ways = async {
            let mut sent = 0;
            for piece in bytes.chunks(1009) {
                if near.write_all(piece).await.is_err() {
                    break;
                }
                sent += piece.len();
                far.write_all(b"x").await.expect("writes");
                assert_eq!(near.read_u8().await.expect("reads"), b'x');
            }
            sent
        };
        let sent = tokio::time::timeout(LIMIT, both_ways).await.expect("nothing here waits for the peer to read");
        assert!((behind::MOST..bytes.len()).contains(&sent), "{sent} bytes wait");

        // Written when there is room, although nobody does more than read.
        let reading = tokio::spawn(async move { near.read(&mut [0; 8]).await });
        let mut got = vec![0; sent];
        tokio::time::timeout(LIMIT, far.read_exact(&mut got)).await.expect("in time").expect("reads");
        assert!(got == bytes[..sent], "changed while it waited");
        drop(far);
        assert_eq!(reading.await.expect("ends").expect("reads"), 0);
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
        let sent = bytes(1_000_000);
        near.write_all(&sent).await.expect("writes");
        let closing = tokio::spawn(async move { near.shutdown().await.map(|()| near) });
        let mut got = Vec::new();
        tokio::time::timeout(LIMIT, far.read_to_end(&mut got)).await.expect("in time").expect("reads");
        assert!(got == sent, "what waited comes before the end");
        closing.await.expect("ends").expect("shuts down");
    }
}
