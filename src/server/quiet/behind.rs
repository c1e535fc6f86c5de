//! What a full socket has not taken yet, in order.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::os::unix::net::UnixStream;
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::register;
use crate::secret::SecretBytes;
use crate::server::grpc::CALLS;

/// Most bytes of one answer with all its frames: at most 1024 of ciphertext or plaintext, a key_id, and what gRPC adds.
const ANSWER: usize = 2 << 10;
/// Most bytes that wait, 2 MiB: a peer cannot leave more unread of the calls that it may have under way. An API server with as many is
/// answered some 100 bytes each.
pub(super) const MOST: usize = CALLS as usize * ANSWER;
/// Bytes that are made room for at once.
const PIECE: usize = 16 << 10;

/// Bytes that wait for room in a socket. They may be secret, and are wiped once written.
#[derive(Debug)]
pub(super) struct Behind {
    /// A second handle of the socket, which tells when there is room.
    writable: AsyncFd<UnixStream>,
    pieces: VecDeque<SecretBytes>,
    /// Bytes of the first piece that are written.
    written: usize,
    /// Bytes that wait, in all pieces.
    len: usize,
}

impl Behind {
    /// Nothing yet for `socket`, which is full.
    pub(super) fn of(socket: &UnixStream) -> io::Result<Self> {
        let writable = register(socket.try_clone()?, Interest::WRITABLE)?;
        Ok(Self { writable, pieces: VecDeque::new(), written: 0, len: 0 })
    }

    /// Takes over all of `bufs`, and returns how many bytes that is.
    ///
    /// Errors: more than [`MOST`] would wait; nothing was taken then.
    pub(super) fn append(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let taken: usize = bufs.iter().map(|buf| buf.len()).sum();
        if taken > MOST - self.len {
            tracing::warn!(waiting = self.len, "connection ended: its client does not read what it is answered");
            return Err(io::Error::other("the client does not read what it is answered"));
        }
        for buf in bufs {
            let mut left: &[u8] = buf;
            while !left.is_empty() {
                let piece = match self.pieces.back_mut() {
                    Some(piece) if piece.len() < PIECE => piece,
                    _ => {
                        self.pieces.push_back(SecretBytes::with_capacity(PIECE));
                        continue;
                    }
                };
                let (now, later) = left.split_at(left.len().min(PIECE - piece.len()));
                piece.extend(now);
                left = later;
            }
        }
        self.len += taken;
        Ok(taken)
    }

    /// Writes what there is room for; ready when nothing waits any more.
    pub(super) fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(piece) = self.pieces.front() {
            let rest = &piece.expose_secret()[self.written..];
            if rest.is_empty() {
                self.pieces.pop_front();
                self.written = 0;
                continue;
            }
            let mut guard = ready!(self.writable.poll_write_ready(cx))?;
            match guard.get_inner().write(rest) {
                Ok(n) => {
                    self.written += n;
                    self.len -= n;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
        Poll::Ready(Ok(()))
    }
}
