//! The patch of `:authority`: lengths stay, pieces do not matter, patching twice is patching once; and of requests that a decoder which is
//! not ours understands, nothing but the authority differs.

#![no_main]

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use keywright::server::authority::{AuthorityPatch, LegacyAuthority};
use libfuzzer_sys::fuzz_target;
use loona_hpack::Decoder;
use tokio::io::{AsyncRead, ReadBuf};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the bytes behind the choices are.
mod kind {
    /// The stream from its first byte on, if none of the others is set.
    pub const MASK: u8 = 0x3;
    /// What follows on what every client says first.
    pub const FRAMES: u8 = 0x1;
    // Else a header block, put into frames with:
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

// Eight bytes of choices: the sizes of the pieces in which the peer sends (two, in turn) and of the buffers with which we read (likewise;
// 0 stands for 1), the kind of stream, after how many bytes a header block is cut and cut again, and the length of its padding.
fuzz_target!(|input: &[u8]| {
    let Some((&[piece, next_piece, buffer, next_buffer, kind, cut, next_cut, padding], bytes)) = input.split_first_chunk::<8>() else {
        return;
    };
    let (pieces, buffers) = ([piece, next_piece], [buffer, next_buffer]);
    let (stream, places) = match kind & kind::MASK {
        0 => (bytes.to_vec(), Vec::new()),
        kind::FRAMES => ([PREFACE, bytes].concat(), Vec::new()),
        _ => frames([cut, next_cut], (kind & kind::PADDED != 0).then_some(padding), kind & kind::PRIORITY != 0, bytes),
    };
    let mut expected = stream.clone();
    AuthorityPatch::new().patch(&mut expected);
    assert_eq!(expected.len(), stream.len());

    let mut again = expected.clone();
    AuthorityPatch::new().patch(&mut again);
    assert_eq!(again, expected, "patching twice");

    assert_eq!(in_pieces(&stream, pieces), expected, "in pieces");
    assert_eq!(through(&stream, pieces, buffers), expected, "through the wrapper");

    for (at, (before, after)) in stream.iter().zip(&expected).enumerate() {
        assert!(before == after || places.is_empty() || places.contains(&at), "byte {at} is not of the block");
    }
    if stream == expected {
        return;
    }
    let blocks = [&stream, &expected].map(|stream| places.iter().map(|at| stream[*at]).collect());
    if let [Some(before), Some(after)] = blocks.map(decode) {
        assert_eq!(before.len(), after.len());
        for ((name, before), (name_after, after)) in before.into_iter().zip(after) {
            assert_eq!(name, name_after);
            let patched: Vec<u8> = before.iter().map(|byte| if b"%/".contains(byte) { b'-' } else { *byte }).collect();
            // An authority whose name is taken from the dynamic table is left alone.
            assert!(after == before || name == b":authority" && after == patched, "{name:?}: {before:?} became {after:?}");
        }
    }
});

/// A stream with one header block, and where its bytes are.
fn frames(cuts: [u8; 2], padding: Option<u8>, priority: bool, block: &[u8]) -> (Vec<u8>, Vec<usize>) {
    let (mut stream, mut places) = (PREFACE.to_vec(), Vec::new());
    let first = usize::from(cuts[0]).min(block.len());
    let second = (first + usize::from(cuts[1])).min(block.len());
    for (n, part) in [&block[..first], &block[first..second], &block[second..]].into_iter().enumerate() {
        let (mut front, mut back, mut flags) = (Vec::new(), Vec::new(), if n == 2 { 0x4 } else { 0 });
        if n == 0 {
            if let Some(padding) = padding {
                flags |= 0x8;
                front.push(padding);
                back = vec![b'/'; usize::from(padding)];
            }
            if priority {
                flags |= 0x20;
                front.extend(b"/%/%/");
            }
        }
        let len = u32::try_from(front.len() + part.len() + back.len()).expect("short");
        stream.extend(&len.to_be_bytes()[1..]);
        stream.extend([if n == 0 { 0x1 } else { 0x9 }, flags, 0, 0, 0, 1]);
        stream.extend(front);
        places.extend(stream.len()..stream.len() + part.len());
        stream.extend(part);
        stream.extend(back);
    }
    (stream, places)
}

fn in_pieces(stream: &[u8], sizes: [u8; 2]) -> Vec<u8> {
    let (mut patch, mut done, mut waiting) = (AuthorityPatch::new(), Vec::new(), Vec::new());
    let mut rest = stream;
    for size in sizes.into_iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, later) = rest.split_at(rest.len().min(usize::from(size).max(1)));
        waiting.extend_from_slice(piece);
        let is_final = patch.patch(&mut waiting);
        done.extend(waiting.drain(..is_final));
        assert!(waiting.len() <= AuthorityPatch::MAX_PENDING);
        rest = later;
    }
    done.extend(waiting);
    done
}

fn through(stream: &[u8], sizes: [u8; 2], buffers: [u8; 2]) -> Vec<u8> {
    let mut wrapper = LegacyAuthority::new(Pieces { rest: stream, sizes, turn: 0 });
    let mut read = Vec::new();
    for size in buffers.into_iter().cycle() {
        let mut bytes = [0; 256];
        let mut buf = ReadBuf::new(&mut bytes[..usize::from(size).max(1)]);
        let polled = Pin::new(&mut wrapper).poll_read(&mut Context::from_waker(Waker::noop()), &mut buf);
        assert!(matches!(polled, Poll::Ready(Ok(()))));
        if buf.filled().is_empty() {
            break;
        }
        read.extend_from_slice(buf.filled());
    }
    read
}

/// A peer that sends pieces of these sizes in turn.
struct Pieces<'a> {
    rest: &'a [u8],
    sizes: [u8; 2],
    turn: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let size = usize::from(this.sizes[this.turn]).max(1);
        this.turn ^= 1;
        let (piece, later) = this.rest.split_at(size.min(this.rest.len()).min(buf.remaining()));
        buf.put_slice(piece);
        this.rest = later;
        Poll::Ready(Ok(()))
    }
}

/// Names and values of a block, if it is one.
fn decode(block: Vec<u8>) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    Decoder::new().decode(&block).ok()
}
