//! The client's side of an HTTP/2 connection, frame by frame (RFC 9113 sections 3.4, 4.1, 6.2 and 6.10).

use super::block::{Block, NotUnderstood};

/// What a client says first.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of a frame header.
const FRAME_HEADER: usize = 9;

const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;

const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// Bytes of the priority fields.
const PRIORITY_LEN: u32 = 5;

/// What the next byte is.
#[derive(Debug, Clone, Copy)]
enum Next {
    /// One of the preface.
    Preface(usize),
    /// One of a frame header, of which `len` bytes are here.
    FrameHeader { bytes: [u8; FRAME_HEADER], len: usize },
    /// The length of the padding of a HEADERS frame.
    PadLength { left: u32, priority: u32, end: bool },
    /// One of a frame with a part of a header block: first `priority` bytes, then the part, then the padding.
    Fragment { priority: u32, fragment: u32, padding: u32, end: bool },
    /// One of a frame of no interest.
    Skipped { left: u32 },
    /// Anything: the rest of the connection is left alone.
    Ignored,
}

impl Next {
    const FRAME: Self = Self::FrameHeader { bytes: [0; FRAME_HEADER], len: 0 };
}

/// Follows the bytes that a client sends on one connection and makes `%` and `/` in `:authority` a `-`, in place.
///
/// Invariants: no byte is added, removed or moved. No byte changes outside the value of a literal `:authority`. What is changed does not
/// depend on how the bytes were cut into pieces. Patching a patched connection changes nothing. At the first thing that it does not
/// understand it stops for the rest of the connection, and changes nothing more. It needs constant space and time in
/// proportion to the bytes; no bytes make it panic.
#[derive(Debug)]
pub struct AuthorityPatch {
    next: Next,
    block: Block,
    /// The stream whose header block is not at its end: only its CONTINUATION may follow (RFC 9113 section 6.10).
    unfinished: Option<u32>,
    /// How many bytes of those seen were not final; the next call gets them again.
    pending: usize,
}

impl AuthorityPatch {
    /// Most bytes that are not final at any time. A symbol of 6 bits stands in two bytes at most; between them there may be the padding of
    /// a HEADERS frame and the header of a CONTINUATION. Further CONTINUATION frames, empty ones, are tolerated while they fit in.
    pub const MAX_PENDING: usize = 1 + u8::MAX as usize + FRAME_HEADER;

    /// At the beginning of a connection.
    pub const fn new() -> Self {
        Self { next: Next::Preface(0), block: Block::new(), unfinished: None, pending: 0 }
    }

    /// Patches the next bytes of the connection and returns how many of them are final.
    ///
    /// The rest, at most [`AuthorityPatch::MAX_PENDING`] bytes, may change with the bytes that follow: keep them, and begin the next call's
    /// `bytes` with them. Something always follows them in a connection that is not broken off, since they are in the middle of a string.
    pub fn patch(&mut self, bytes: &mut [u8]) -> usize {
        debug_assert!(bytes.len() >= self.pending, "the bytes that were not final come again");
        let mut at = self.pending;
        while at < bytes.len() {
            at = match self.step(bytes, at) {
                Ok(at) if self.block.open().is_none_or(|open| at - open <= Self::MAX_PENDING) => at,
                _ => {
                    self.give_up();
                    break;
                }
            };
        }
        let is_final = self.block.open().unwrap_or(bytes.len());
        self.pending = bytes.len() - is_final;
        self.block.rebase();
        is_final
    }

    /// Leaves the rest of the connection alone; bytes that were not final are so now, as they are.
    pub fn give_up(&mut self) {
        *self = Self { next: Next::Ignored, ..Self::new() };
    }

    /// Takes what stands at `at`, one byte or more, and returns where the next begins.
    fn step(&mut self, bytes: &mut [u8], at: usize) -> Result<usize, NotUnderstood> {
        let byte = bytes[at];
        self.next = match self.next {
            Next::Ignored => return Ok(bytes.len()),
            Next::Skipped { left } => {
                // The frames with the data pass here: not one byte of them is looked at.
                let here = u32::try_from(bytes.len() - at).unwrap_or(u32::MAX).min(left);
                self.next = if here == left { Next::FRAME } else { Next::Skipped { left: left - here } };
                return Ok(at + here as usize);
            }
            Next::Preface(n) if PREFACE[n] != byte => return Err(NotUnderstood),
            Next::Preface(n) => {
                if n + 1 == PREFACE.len() {
                    Next::FRAME
                } else {
                    Next::Preface(n + 1)
                }
            }
            Next::FrameHeader { mut bytes, len } => {
                bytes[len] = byte;
                if len + 1 == FRAME_HEADER { self.frame(bytes)? } else { Next::FrameHeader { bytes, len: len + 1 } }
            }
            Next::PadLength { left, priority, end } => {
                let padding = u32::from(byte);
                let fragment = (left - 1).checked_sub(priority + padding).ok_or(NotUnderstood)?;
                self.fragment(priority, fragment, padding, end)?
            }
            Next::Fragment { priority, fragment, padding, end } => {
                if priority > 0 {
                    self.fragment(priority - 1, fragment, padding, end)?
                } else if fragment > 0 {
                    self.block.step(bytes, at)?;
                    self.fragment(priority, fragment - 1, padding, end)?
                } else {
                    self.fragment(priority, fragment, padding - 1, end)?
                }
            }
        };
        Ok(at + 1)
    }

    /// After a frame header.
    fn frame(&mut self, header: [u8; FRAME_HEADER]) -> Result<Next, NotUnderstood> {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = header;
        let left = u32::from_be_bytes([0, l0, l1, l2]);
        let stream = u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff;
        let end = flags & END_HEADERS != 0;
        match (self.unfinished, kind) {
            (None, HEADERS) => {
                self.unfinished = Some(stream);
                let priority = if flags & PRIORITY != 0 { PRIORITY_LEN } else { 0 };
                if flags & PADDED != 0 {
                    if left == 0 { Err(NotUnderstood) } else { Ok(Next::PadLength { left, priority, end }) }
                } else {
                    self.fragment(priority, left.checked_sub(priority).ok_or(NotUnderstood)?, 0, end)
                }
            }
            (Some(unfinished), CONTINUATION) if unfinished == stream => self.fragment(0, left, 0, end),
            (Some(_), _) | (None, CONTINUATION) => Err(NotUnderstood),
            (None, _) if left == 0 => Ok(Next::FRAME),
            (None, _) => Ok(Next::Skipped { left }),
        }
    }

    /// What follows in a frame with a part of a header block, of which so much is left; at its end the next frame.
    fn fragment(&mut self, priority: u32, fragment: u32, padding: u32, end: bool) -> Result<Next, NotUnderstood> {
        if priority + fragment + padding > 0 {
            return Ok(Next::Fragment { priority, fragment, padding, end });
        }
        if end {
            self.unfinished = None;
            if !self.block.may_end() {
                return Err(NotUnderstood);
            }
        }
        Ok(Next::FRAME)
    }
}

impl Default for AuthorityPatch {
    fn default() -> Self {
        Self::new()
    }
}
