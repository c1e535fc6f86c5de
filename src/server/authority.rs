//! Lets in clients that send the path of the socket as `:authority`: KMS v1 clients, and KMS v2 clients up to Kubernetes 1.31.
//!
//! grpc-go 1.54, for one, sends `/var/run/kms.sock`, and grpc-go 1.65 `%2Fvar%2Frun%2Fkms.sock`; it changed in July 2023. The first is
//! no authority in the sense of RFC 3986 section 3.2, and the `http` crate refuses both, so that h2 resets the stream with
//! PROTOCOL_ERROR before a line of ours runs. With the option `legacy_clients` every connection is read through [`LegacyAuthority`],
//! which replaces `%` and `/` in the value by `-`. Nothing in KMS depends on the authority: it is neither logged nor compared.
//!
//! Why it can be done in place: in HPACK's Huffman code (RFC 7541 Appendix B) all three characters have 6 bits, so that a string keeps its
//! length in either coding, and with it every frame, and the sizes of the entries in both dynamic tables (RFC 7541 section 4.1). A later
//! request that names the entry by its index gets the patched value from h2's table.
//!
//! What stays refused, as without the option: an authority with other forbidden characters; an authority literal whose name is taken from
//! the dynamic table (grpc-go takes it from the static one, RFC 7541 Appendix A); clients whose header blocks break the rules. All real
//! checks are h2's, which stands behind and reads every byte; at worst the patch changes nothing.
//!
//! `patch` walks frames, `block` walks the fields of a header block, `huffman` finds the ends of symbols.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

mod block;
mod huffman;
mod patch;
#[cfg(test)]
mod tests;

pub use patch::AuthorityPatch;

/// A connection whose reading side passes through [`AuthorityPatch`]; writing is the inner connection's.
///
/// Reads go straight into the caller's buffer and are patched there. Only bytes that are not final yet, at most
/// [`AuthorityPatch::MAX_PENDING`] of a header block, are kept here: no byte of a message is, and so no byte of a DEK source. They wait
/// for a byte that the client must send anyway, being inside a string of a header block, which h2 does not act on before it is whole. If
/// the client breaks off there, they are handed on unchanged before the end of the stream.
#[derive(Debug)]
pub struct LegacyAuthority<S> {
    inner: S,
    patch: AuthorityPatch,
    /// Bytes read and not handed on, in front; one more has room for a read when the caller's buffer is too small.
    kept: Box<[u8; AuthorityPatch::MAX_PENDING + 1]>,
    /// How many they are.
    len: usize,
    /// How many of them are final.
    is_final: usize,
}

impl<S> LegacyAuthority<S> {
    /// Reads `inner` from the beginning of a connection.
    pub fn new(inner: S) -> Self {
        Self { inner, patch: AuthorityPatch::new(), kept: Box::new([0; AuthorityPatch::MAX_PENDING + 1]), len: 0, is_final: 0 }
    }

    /// Hands on what is final of the bytes kept, as much as fits.
    fn hand_on(&mut self, buf: &mut ReadBuf<'_>) {
        let n = self.is_final.min(buf.remaining());
        buf.put_slice(&self.kept[..n]);
        self.kept.copy_within(n..self.len, 0);
        self.len -= n;
        self.is_final -= n;
    }
}

impl<S: AsyncRead + Unpin> LegacyAuthority<S> {
    /// Reads behind the bytes kept, in the caller's buffer, which has room for more than those.
    fn poll_read_in_place(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        buf.put_slice(&self.kept[..self.len]);
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if !matches!(read, Poll::Ready(Ok(()))) {
            buf.set_filled(before);
            return read;
        }
        let bytes = &mut buf.filled_mut()[before..];
        if bytes.len() == self.len {
            self.patch.give_up();
            self.len = 0;
            return Poll::Ready(Ok(()));
        }
        let is_final = self.patch.patch(bytes);
        let rest = &bytes[is_final..];
        self.kept[..rest.len()].copy_from_slice(rest);
        self.len = rest.len();
        buf.set_filled(before + is_final);
        Poll::Ready(Ok(()))
    }

    /// Reads one byte behind those kept, which the caller's buffer has no room for. One only, as it is certain to be of the header block.
    fn poll_read_one(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut one = ReadBuf::new(&mut self.kept[self.len..=self.len]);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut one))?;
        if one.filled().is_empty() {
            self.patch.give_up();
            self.is_final = self.len;
        } else {
            self.len += 1;
            self.is_final = self.patch.patch(&mut self.kept[..self.len]);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LegacyAuthority<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        // To hand on nothing would mean the end of the stream. At most MAX_PENDING turns, since each reads a byte or more.
        loop {
            this.hand_on(buf);
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
            if this.len < buf.remaining() {
                ready!(this.poll_read_in_place(cx, buf))?;
                if this.len == 0 {
                    return Poll::Ready(Ok(()));
                }
            } else {
                ready!(this.poll_read_one(cx))?;
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LegacyAuthority<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
