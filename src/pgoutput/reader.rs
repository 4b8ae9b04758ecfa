//! Checked reads of the protocol's primitive types, all big-endian.

use super::error::DecodeError;

/// A cursor over one message. Every read is checked; an error names the message, the offset and what was expected.
pub(super) struct Reader<'a> {
    message: &'static str,
    whole: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// Reads `whole` from `offset` (1 after the tag).
    pub fn new(message: &'static str, whole: &'a [u8], offset: usize) -> Self {
        Reader { message, whole, offset }
    }

    pub fn offset(&self) -> usize {
        self.offset
    }

    /// An error about what stands at the cursor.
    pub fn expected(&self, expected: &'static str) -> DecodeError {
        self.expected_at(self.offset, expected)
    }

    pub fn expected_at(&self, offset: usize, expected: &'static str) -> DecodeError {
        DecodeError::Malformed { message: self.message, offset, expected }
    }

    fn rest(&self) -> &'a [u8] {
        self.whole.get(self.offset..).unwrap_or_default()
    }

    pub fn bytes(&mut self, count: usize, expected: &'static str) -> Result<&'a [u8], DecodeError> {
        let (taken, _) = self.rest().split_at_checked(count).ok_or_else(|| self.expected(expected))?;
        self.offset += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, expected: &'static str) -> Result<[u8; N], DecodeError> {
        let taken = *self.rest().first_chunk::<N>().ok_or_else(|| self.expected(expected))?;
        self.offset += N;
        Ok(taken)
    }

    pub fn u8(&mut self, expected: &'static str) -> Result<u8, DecodeError> {
        Ok(u8::from_be_bytes(self.array(expected)?))
    }

    pub fn u32(&mut self, expected: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.array(expected)?))
    }

    pub fn i32(&mut self, expected: &'static str) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.array(expected)?))
    }

    pub fn u64(&mut self, expected: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from_be_bytes(self.array(expected)?))
    }

    pub fn i64(&mut self, expected: &'static str) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.array(expected)?))
    }

    /// A 16-bit count, which is signed on the wire: a negative one is an error.
    pub fn count16(&mut self, expected: &'static str) -> Result<u16, DecodeError> {
        let at = self.offset;
        u16::try_from(i16::from_be_bytes(self.array(expected)?)).map_err(|_| self.expected_at(at, expected))
    }

    /// A 32-bit count or length, which is signed on the wire: a negative one is an error.
    pub fn count32(&mut self, expected: &'static str) -> Result<usize, DecodeError> {
        let at = self.offset;
        usize::try_from(self.i32(expected)?).map_err(|_| self.expected_at(at, expected))
    }

    /// A zero-terminated UTF-8 string (the session's client_encoding is UTF8).
    pub fn string(&mut self, expected: &'static str) -> Result<&'a str, DecodeError> {
        let length = self.rest().iter().position(|&b| b == 0).ok_or_else(|| self.expected(expected))?;
        let at = self.offset;
        let text = self.bytes(length, expected)?;
        self.offset += 1;
        std::str::from_utf8(text).map_err(|_| self.expected_at(at, expected))
    }

    /// The message must end here.
    pub fn end(&self) -> Result<(), DecodeError> {
        if self.rest().is_empty() { Ok(()) } else { Err(self.expected("the end of the message")) }
    }
}
