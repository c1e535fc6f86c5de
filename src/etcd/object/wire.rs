//! Protobuf's wire format: tags, varints and lengths, each checked against what is left.

use super::ObjectError;

/// Groups in groups that are followed, as many as the Go library follows.
const MAX_DEPTH: usize = 10_000;

/// One field. What its number means is the caller's business.
pub(super) enum Field<'a> {
    /// Number and bytes of a field with a length.
    Bytes(u64, &'a [u8]),
    /// Number and value.
    Varint(u64, u64),
    /// Of a kind that no field of ours has.
    Other,
}

/// Reads fields from the front of what is left.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next field; `None` at the end.
    pub(super) fn next_field(&mut self) -> Result<Option<Field<'a>>, ObjectError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let (number, kind) = self.tag()?;
        let field = match kind {
            0 => Field::Varint(number, self.varint()?),
            2 => Field::Bytes(number, self.prefixed()?),
            other => {
                self.skip(number, other)?;
                Field::Other
            }
        };
        Ok(Some(field))
    }

    /// Number and wire type of the field that follows.
    fn tag(&mut self) -> Result<(u64, u64), ObjectError> {
        let tag = self.varint()?;
        let number = tag >> 3;
        if number == 0 || number >= 1 << 29 { Err(ObjectError::Malformed) } else { Ok((number, tag & 7)) }
    }

    fn varint(&mut self) -> Result<u64, ObjectError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(ObjectError::Malformed)?;
            self.0 = rest;
            // The tenth byte has room for one bit.
            if shift == 63 && byte > 1 {
                return Err(ObjectError::Malformed);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(ObjectError::Malformed)
    }

    fn prefixed(&mut self) -> Result<&'a [u8], ObjectError> {
        let length = usize::try_from(self.varint()?).map_err(|_| ObjectError::Malformed)?;
        self.take(length)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], ObjectError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(ObjectError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Passes over the value of an unknown field: 64 bits, a group, or 32 bits.
    fn skip(&mut self, number: u64, kind: u64) -> Result<(), ObjectError> {
        match kind {
            1 => self.take(8).map(drop),
            3 => self.skip_group(number),
            5 => self.take(4).map(drop),
            // The end of a group that did not begin, or a type that does not exist.
            _ => Err(ObjectError::Malformed),
        }
    }

    /// Passes over everything up to the end of the group `number`. The open groups stand in a list, so that a hostile value cannot
    /// exhaust the stack.
    fn skip_group(&mut self, number: u64) -> Result<(), ObjectError> {
        let mut open = vec![number];
        while let Some(&innermost) = open.last() {
            match self.tag()? {
                (number, 4) if number == innermost => {
                    open.pop();
                }
                (number, 3) if open.len() < MAX_DEPTH => open.push(number),
                (_, 0) => drop(self.varint()?),
                (_, 1) => drop(self.take(8)?),
                (_, 2) => drop(self.prefixed()?),
                (_, 5) => drop(self.take(4)?),
                _ => return Err(ObjectError::Malformed),
            }
        }
        Ok(())
    }
}
