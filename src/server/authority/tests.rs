//! The patch and the wrapper against streams made by an HPACK encoder that is not ours, and against streams of real clients.
//!
//! What is expected is mostly the stream that the same encoder makes of the patched value: lengths stay, so it must agree byte for byte.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use httlib_hpack::Encoder;
use tokio::io::{AsyncRead, ReadBuf};

use super::{AuthorityPatch, LegacyAuthority};

mod broken;
mod connection;
mod forms;
mod random;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const SETTINGS: u8 = 0x4;
const CONTINUATION: u8 = 0x9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// What the two generations of grpc-go send.
const PATHS: [&str; 2] = ["/var/run/kms.sock", "%2Fvar%2Frun%2Fkms.sock"];

fn patched(authority: &str) -> String {
    authority.replace(['%', '/'], "-")
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).expect("short").to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A connection that says `frames` after what every client says first.
fn client(frames: &[Vec<u8>]) -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frames.concat()].concat()
}

/// A header block with every pseudo header of a request, `:authority` by its index, in Huffman code, into the dynamic table.
fn request(authority: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    let (huffman, indexed) = (Encoder::HUFFMAN_VALUE, Encoder::WITH_INDEXING);
    let mut encoder = Encoder::default();
    encoder.encode_indexed_name(4, b"/v2.KeyManagementService/Status".to_vec(), huffman | indexed, &mut block).expect("encodes");
    encoder.encode_indexed_name(1, authority.as_bytes().to_vec(), huffman | indexed, &mut block).expect("encodes");
    encoder.encode_indexed_name(31, b"application/grpc".to_vec(), huffman | indexed, &mut block).expect("encodes");
    block
}

/// Everything in one piece.
fn whole(stream: &[u8]) -> Vec<u8> {
    let mut bytes = stream.to_vec();
    AuthorityPatch::new().patch(&mut bytes);
    bytes
}

/// In pieces of these sizes, over and over, as the documentation of [`AuthorityPatch::patch`] says.
fn in_pieces(stream: &[u8], sizes: &[usize]) -> Vec<u8> {
    let (mut patch, mut done, mut waiting) = (AuthorityPatch::new(), Vec::new(), Vec::new());
    let (mut rest, mut sizes) = (stream, sizes.iter().cycle());
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(rest.len().min(*sizes.next().expect("not empty")));
        waiting.extend_from_slice(piece);
        let is_final = patch.patch(&mut waiting);
        done.extend(waiting.drain(..is_final));
        assert!(waiting.len() <= AuthorityPatch::MAX_PENDING);
        rest = later;
    }
    done.extend(waiting);
    done
}

/// Through the wrapper: the peer sends pieces of some sizes, the reader has buffers of others.
fn through(stream: &[u8], sizes: &[usize], buffers: &[usize]) -> Vec<u8> {
    let mut wrapper = LegacyAuthority::new(Pieces { rest: stream, sizes: sizes.iter().cycle(), paused: false });
    let mut read = Vec::new();
    for room in buffers.iter().cycle() {
        // What is there already belongs to the caller and must stay.
        let mut bytes = vec![b'%'; 3 + room];
        let mut buf = ReadBuf::new(&mut bytes);
        buf.set_filled(3);
        match Pin::new(&mut wrapper).poll_read(&mut Context::from_waker(Waker::noop()), &mut buf) {
            Poll::Pending => assert_eq!(buf.filled(), b"%%%", "pending, so nothing was read"),
            Poll::Ready(result) => {
                result.expect("reads");
                let new = buf.filled().strip_prefix(b"%%%").expect("still there");
                if new.is_empty() {
                    break;
                }
                read.extend_from_slice(new);
            }
        }
    }
    read
}

/// A peer that sends pieces of these sizes, over and over, and lets every other read wait.
struct Pieces<'a> {
    rest: &'a [u8],
    sizes: std::iter::Cycle<std::slice::Iter<'a, usize>>,
    paused: bool,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        this.paused = !this.paused;
        if this.paused {
            return Poll::Pending;
        }
        let size = *this.sizes.next().expect("not empty");
        let (piece, later) = this.rest.split_at(size.min(this.rest.len()).min(buf.remaining()));
        buf.put_slice(piece);
        this.rest = later;
        Poll::Ready(Ok(()))
    }
}
