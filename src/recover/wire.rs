//! Protobuf on the wire, borrowed: what a reader of stored objects needs of it, and no copy of any value.

use thiserror::Error;

/// Why bytes are no protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("it is cut short, or no protobuf message")]
pub struct WireError;

/// The value of one field.
#[derive(Clone, Copy)]
pub enum Field<'a> {
    /// A varint, or a fixed number of 32 or 64 bits.
    Number(u64),
    /// Text, bytes or a message.
    Bytes(&'a [u8]),
}

/// The fields of a message in their order, with their numbers; ends after the first error.
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Of `message`.
    pub fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn field(&mut self) -> Result<(u64, Field<'a>), WireError> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Field::Number(self.varint()?),
            1 => Field::Number(u64::from_le_bytes(self.chunk()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| WireError)?;
                let (bytes, rest) = self.rest.split_at_checked(length).ok_or(WireError)?;
                self.rest = rest;
                Field::Bytes(bytes)
            }
            5 => Field::Number(u32::from_le_bytes(self.chunk()?).into()),
            _ => return Err(WireError),
        };
        match tag >> 3 {
            0 => Err(WireError),
            number => Ok((number, value)),
        }
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (chunk, rest) = self.rest.split_first_chunk().ok_or(WireError)?;
        self.rest = rest;
        Ok(*chunk)
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(WireError)?;
            self.rest = rest;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 {
                return Err(WireError);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Field<'a>), WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(message: &[u8]) -> Result<Vec<(u64, u64)>, WireError> {
        let value = |field| match field {
            (number, Field::Number(value)) => (number, value),
            (number, Field::Bytes(bytes)) => (number, bytes.len() as u64),
        };
        Fields::of(message).map(|field| field.map(value)).collect()
    }

    #[test]
    fn every_kind_of_field_is_read_and_groups_are_refused() {
        assert_eq!(numbers(b"\x08\x96\x01\x12\x03abc\x1d\x07\0\0\0\x21\x08\0\0\0\0\0\0\0"), Ok(vec![(1, 150), (2, 3), (3, 7), (4, 8)]));
        for bad in [&b"\x0b"[..], b"\x00\x01", b"\x0e\x01"] {
            assert_eq!(numbers(bad), Err(WireError), "{bad:x?}");
        }
    }

    #[test]
    fn a_message_cut_anywhere_or_with_a_hostile_length_is_an_error() {
        let message = b"\x12\x03abc\x1d\x07\0\0\0\x08\x96\x01";
        for length in [1, 2, 3, 4, 6, 8, 9, 11, 12] {
            assert_eq!(numbers(&message[..length]), Err(WireError), "{length} bytes");
        }
        assert_eq!(numbers(b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01abc"), Err(WireError));
        assert_eq!(numbers(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), Err(WireError), "65 bits");
        assert_eq!(numbers(b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"), Err(WireError), "eleven bytes");
    }
}
