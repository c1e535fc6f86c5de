//! What is stored at a revision: etcd's message `mvccpb.KeyValue`.
//!
//! ```text
//! 1 key bytes    2 create_revision    3 mod_revision    4 version    5 value bytes    6 lease
//! ```

use thiserror::Error;

use super::revision::Revision;

/// Why bytes are not a key with its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyValueFault {
    /// A field does not end within the message, or is of no kind that protobuf has.
    #[error("the message is cut short or damaged")]
    Message,
    /// No key, or an empty one.
    #[error("it names no key")]
    Key,
    /// It says that another revision made it.
    #[error("it says that revision {0} wrote it")]
    Revision(u64),
}

/// The fields that are needed, lent from the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct KeyValue<'a> {
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
    pub(super) mod_revision: u64,
}

impl<'a> KeyValue<'a> {
    /// Reads a message whole; none if it is empty. Fields of later releases are passed over.
    pub(super) fn parse(message: &'a [u8]) -> Result<Option<Self>, KeyValueFault> {
        let mut rest = message;
        let mut found = Self::default();
        while !rest.is_empty() {
            let tag = varint(&mut rest)?;
            match (tag >> 3, tag & 7) {
                (1, 2) => found.key = bytes(&mut rest)?,
                (5, 2) => found.value = bytes(&mut rest)?,
                (3, 0) => found.mod_revision = varint(&mut rest)?,
                (0 | 1 | 3 | 5, _) => return Err(KeyValueFault::Message),
                (_, 0) => drop(varint(&mut rest)?),
                (_, 1) => drop(take(&mut rest, 8)?),
                (_, 2) => drop(bytes(&mut rest)?),
                (_, 5) => drop(take(&mut rest, 4)?),
                _ => return Err(KeyValueFault::Message),
            }
        }
        Ok((!message.is_empty()).then_some(found))
    }

    /// Compares it with the revision that it is stored at. A deletion carries its key and nothing else.
    pub(super) fn checked(self, revision: Revision) -> Result<Self, KeyValueFault> {
        let expected = if revision.tombstone { 0 } else { revision.main };
        if self.key.is_empty() {
            return Err(KeyValueFault::Key);
        }
        if self.mod_revision != expected {
            return Err(KeyValueFault::Revision(self.mod_revision));
        }
        Ok(self)
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], KeyValueFault> {
    let (taken, left) = rest.split_at_checked(length).ok_or(KeyValueFault::Message)?;
    *rest = left;
    Ok(taken)
}

fn bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], KeyValueFault> {
    let length = usize::try_from(varint(rest)?).map_err(|_| KeyValueFault::Message)?;
    take(rest, length)
}

/// At most ten bytes of seven bits each; bits beyond the 64th are an error.
fn varint(rest: &mut &[u8]) -> Result<u64, KeyValueFault> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, left) = rest.split_first().ok_or(KeyValueFault::Message)?;
        *rest = left;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(KeyValueFault::Message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &[u8] = b"\x0a\x01k\x10\x03\x18\x96\x01\x20\x01\x2a\x02vv\x30\x05";

    #[test]
    fn the_fields_that_are_needed_are_read_and_the_others_passed_over() {
        let expected = KeyValue { key: b"k", value: b"vv", mod_revision: 150 };
        assert_eq!(KeyValue::parse(WHOLE), Ok(Some(expected)));
        let later = [WHOLE, b"\x3a\x01x\x41\0\0\0\0\0\0\0\0\x4d\0\0\0\0"].concat();
        assert_eq!(KeyValue::parse(&later), Ok(Some(expected)));
        assert_eq!(KeyValue::parse(b""), Ok(None));
    }

    #[test]
    fn a_message_cut_within_a_field_is_an_error() {
        let field_ends = [0, 3, 5, 8, 10, 14, 16];
        for end in 0..WHOLE.len() {
            let cut = KeyValue::parse(&WHOLE[..end]);
            assert_eq!(cut.is_ok(), field_ends.contains(&end), "{end} bytes: {cut:?}");
        }
    }

    #[test]
    fn hostile_numbers_and_kinds_are_errors() {
        let hostile: [&[u8]; 7] = [
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01k",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7fk",
            b"\x18\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
            b"\x00\x00",
            b"\x08\x01",
            b"\x1a\x01k",
            b"\x3b\x3c",
        ];
        for message in hostile {
            assert_eq!(KeyValue::parse(message), Err(KeyValueFault::Message), "{message:x?}");
        }
    }

    #[test]
    fn a_value_stored_at_another_revision_than_its_own_is_an_error() {
        let at = |main: u8, mark: &[u8]| {
            let key = [&[0, 0, 0, 0, 0, 0, 0, main, b'_', 0, 0, 0, 0, 0, 0, 0, 0], mark].concat();
            Revision::parse(&key).expect("a revision")
        };
        let value = KeyValue::parse(WHOLE).expect("whole").expect("not empty");
        assert_eq!(value.checked(at(150, b"")), Ok(value));
        assert_eq!(value.checked(at(149, b"")), Err(KeyValueFault::Revision(150)));
        assert_eq!(value.checked(at(150, b"t")), Err(KeyValueFault::Revision(150)));
        let deletion = KeyValue::parse(b"\x0a\x01k").expect("whole").expect("not empty");
        assert_eq!(deletion.checked(at(150, b"t")), Ok(deletion));
        let nameless = KeyValue::parse(b"\x18\x96\x01").expect("whole").expect("not empty");
        assert_eq!(nameless.checked(at(150, b"")), Err(KeyValueFault::Key));
    }
}
