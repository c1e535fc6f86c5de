//! One header block, byte by byte: the representations of HPACK (RFC 7541 section 6) with neither the static nor the dynamic table.
//!
//! What must be known is only where each string begins and ends, and whether its name is `:authority`. That is the case for name index 1
//! (RFC 7541 Appendix A) and for a name spelled out; a name that is taken from the dynamic table is not recognised, see the module above.

use super::huffman::Symbol;

/// Index of `:authority` in the static table.
const NAME_INDEX: u32 = 1;
/// The name spelled out.
const NAME: &[u8] = b":authority";
/// The name spelled out in Huffman code; a string has one encoding only (RFC 7541 section 5.2: the padding is fixed too).
const NAME_HUFFMAN: &[u8] = &[0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f];

/// What follows the first byte of an integer may have at most this many bytes (RFC 7541 section 5.1 asks for a limit).
/// It is the limit of h2, which stands behind: up to 2^28, far beyond any header list that h2 takes.
const MAX_CONTINUED: u8 = 4;

/// The header block is none, or is stranger than what we follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotUnderstood;

/// Which string of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Its name.
    Name,
    /// Its value; `patched` if the name was `:authority`.
    Value { patched: bool },
}

/// What an integer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// An indexed field or a table size: the representation ends with it.
    Whole,
    /// Name index of a literal, 0 if the name is spelled out.
    NameIndex,
    /// Length in bytes of a string.
    Length { part: Part, huffman: bool },
}

/// What the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The first of a representation.
    Representation,
    /// A further one of an integer (RFC 7541 section 5.1), the `seen`th.
    Integer { meaning: Meaning, value: u32, seen: u8 },
    /// The first of a string's length (RFC 7541 section 5.2).
    Length(Part),
    /// One of a name that was like `:authority` for the first `alike` bytes, or is not (`None`).
    Name { left: u32, huffman: bool, alike: Option<usize> },
    /// One of a value.
    Value { left: u32, huffman: bool, patched: bool },
}

/// The place in a header block. Constant size whatever the peer sends.
#[derive(Debug)]
pub(super) struct Block {
    next: Next,
    /// The symbol of Huffman code that the last byte broke off, inside a value that is patched.
    symbol: Symbol,
    /// Where, in the bytes given to [`Block::step`], that symbol begins, if it may have to change once it is whole.
    open: Option<usize>,
}

impl Block {
    /// Before the first byte.
    pub(super) const fn new() -> Self {
        Self { next: Next::Representation, symbol: Symbol::NEW, open: None }
    }

    /// Whether the block may end here: not inside a representation.
    pub(super) fn may_end(&self) -> bool {
        self.next == Next::Representation
    }

    /// The first byte that a later one may change.
    pub(super) fn open(&self) -> Option<usize> {
        self.open
    }

    /// Tells that the bytes before `open` are gone from those given to [`Block::step`]: what stood at `open` now stands at 0.
    pub(super) fn rebase(&mut self) {
        self.open = self.open.map(|_| 0);
    }

    /// Takes the byte at `at`; changes it, and bits of the one at `open`, if they are of a `%` or `/` that is to be a `-`.
    pub(super) fn step(&mut self, bytes: &mut [u8], at: usize) -> Result<(), NotUnderstood> {
        let byte = bytes[at];
        self.next = match self.next {
            Next::Representation => match byte {
                0x80.. => Meaning::Whole.first(byte, 7),     // indexed, section 6.1
                0x40.. => Meaning::NameIndex.first(byte, 6), // literal with incremental indexing, section 6.2.1
                0x20.. => Meaning::Whole.first(byte, 5),     // table size update, section 6.3
                _ => Meaning::NameIndex.first(byte, 4),      // literal without indexing, or never indexed, sections 6.2.2 and 6.2.3
            },
            Next::Integer { meaning, value, seen } => meaning.further(byte, value, seen)?,
            Next::Length(part) => Meaning::Length { part, huffman: byte & 0x80 != 0 }.first(byte, 7),
            Next::Name { left, huffman, alike } => {
                let name = if huffman { NAME_HUFFMAN } else { NAME };
                let alike = alike.filter(|n| name.get(*n) == Some(&byte)).map(|n| n + 1);
                match left - 1 {
                    0 => Next::Length(Part::Value { patched: alike == Some(name.len()) }),
                    left => Next::Name { left, huffman, alike },
                }
            }
            Next::Value { left, huffman, patched } => {
                let last = left == 1;
                match (patched, huffman) {
                    (false, _) => {}
                    (true, false) => {
                        if matches!(byte, b'%' | b'/') {
                            bytes[at] = b'-';
                        }
                    }
                    (true, true) => self.step_huffman(bytes, at, last),
                }
                if last { Next::Representation } else { Next::Value { left: left - 1, huffman, patched } }
            }
        };
        Ok(())
    }

    /// Takes a byte of a value in Huffman code: the end of one symbol, perhaps whole ones, perhaps the beginning of another.
    fn step_huffman(&mut self, bytes: &mut [u8], at: usize, last: bool) {
        let byte = bytes[at];
        // A symbol that was broken off and is not open cannot be one that is flipped, so its beginning does not matter.
        let mut begin = self.open.unwrap_or(at);
        for below in (0..8).rev() {
            if self.symbol.is_new() {
                begin = at;
            }
            if let Some(flips) = self.symbol.push(byte >> below & 1 == 1) {
                // The symbol has 6 bits and ends with `below` bits of this byte unused: what does not fit here is of the byte before.
                let [before, here] = (u16::from(flips) << below).to_be_bytes();
                bytes[at] ^= here;
                bytes[begin] ^= before;
            }
        }
        if last {
            // What is left is padding.
            self.symbol = Symbol::NEW;
        }
        self.open = self.symbol.may_be_patched().then_some(begin);
    }
}

impl Meaning {
    /// After the first byte of the integer, the low `prefix` bits of `byte`.
    fn first(self, byte: u8, prefix: u8) -> Next {
        let full = u32::from(u8::MAX >> (8 - prefix));
        match u32::from(byte) & full {
            value if value == full => Next::Integer { meaning: self, value, seen: 0 },
            value => self.then(value),
        }
    }

    /// After a further byte of the integer, seven bits of it and the sign that there are more.
    fn further(self, byte: u8, value: u32, seen: u8) -> Result<Next, NotUnderstood> {
        // At most 28 bits and the prefix: fits by far.
        let value = value + (u32::from(byte & 0x7f) << (7 * seen));
        match (byte & 0x80 != 0, seen + 1) {
            (false, _) => Ok(self.then(value)),
            (true, MAX_CONTINUED) => Err(NotUnderstood),
            (true, seen) => Ok(Next::Integer { meaning: self, value, seen }),
        }
    }

    /// After the whole integer.
    fn then(self, value: u32) -> Next {
        match self {
            Self::Whole => Next::Representation,
            Self::NameIndex if value == 0 => Next::Length(Part::Name),
            Self::NameIndex => Next::Length(Part::Value { patched: value == NAME_INDEX }),
            Self::Length { part: Part::Name, .. } if value == 0 => Next::Length(Part::Value { patched: false }),
            Self::Length { part: Part::Name, huffman } => Next::Name { left: value, huffman, alike: Some(0) },
            Self::Length { part: Part::Value { .. }, .. } if value == 0 => Next::Representation,
            Self::Length { part: Part::Value { patched }, huffman } => Next::Value { left: value, huffman, patched },
        }
    }
}
