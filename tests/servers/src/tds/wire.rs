//! Little-endian reading and writing of what TDS messages are made of: integers, counted strings, UTF-16 text.

use crate::tds::failure::Failure;

/// What is left to read of one message.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next byte, left in place.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.first().copied()
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], Failure> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or_else(|| {
            Failure::protocol(format!("{length} more bytes were expected, {} are left", self.bytes.len()))
        })?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Failure> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Failure> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Failure> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u16_be(&mut self) -> Result<u16, Failure> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Failure> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Failure> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A length in 16 bits.
    pub(crate) fn length16(&mut self) -> Result<usize, Failure> {
        Ok(usize::from(self.u16()?))
    }

    /// A length in 32 bits.
    pub(crate) fn length32(&mut self) -> Result<usize, Failure> {
        let length = self.u32()?;
        usize::try_from(length).map_err(|_| Failure::protocol(format!("a length of {length} bytes")))
    }

    /// `units` UTF-16 code units.
    pub(crate) fn utf16(&mut self, units: usize) -> Result<String, Failure> {
        utf16(self.take(units * 2)?)
    }

    /// `B_VARCHAR`: a count of UTF-16 units in one byte, and the units.
    pub(crate) fn b_varchar(&mut self) -> Result<String, Failure> {
        let units = usize::from(self.u8()?);
        self.utf16(units)
    }
}

/// Decodes UTF-16LE; a half unit or an unpaired surrogate is a violation.
pub(crate) fn utf16(bytes: &[u8]) -> Result<String, Failure> {
    if !bytes.len().is_multiple_of(2) {
        return Err(Failure::protocol("UTF-16 text of an odd number of bytes".to_owned()));
    }
    let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    String::from_utf16(&units)
        .map_err(|_| Failure::protocol("UTF-16 text with an unpaired surrogate".to_owned()))
}

/// UTF-16LE of a text.
pub(crate) fn utf16_bytes(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// Writing at the end of a message.
pub(crate) trait Put {
    fn put(&mut self, bytes: &[u8]);

    fn put_u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    fn put_u16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }

    fn put_u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }

    /// `B_VARCHAR`; what is past 255 units is cut off.
    fn put_b_varchar(&mut self, text: &str) {
        let units: Vec<u16> = text.encode_utf16().take(usize::from(u8::MAX)).collect();
        self.put_u8(u8::try_from(units.len()).unwrap_or(u8::MAX));
        units.iter().for_each(|unit| self.put_u16(*unit));
    }

    /// `US_VARCHAR`; what is past 16,000 units is cut off, so that the token around it holds it.
    fn put_us_varchar(&mut self, text: &str) {
        let units: Vec<u16> = text.encode_utf16().take(16_000).collect();
        self.put_u16(u16::try_from(units.len()).unwrap_or(u16::MAX));
        units.iter().for_each(|unit| self.put_u16(*unit));
    }

    /// Bytes after their count in two bytes, as the bodies of tokens are written.
    fn put_counted(&mut self, body: &[u8]) {
        // The strings in it are cut to less than this, and nothing else in such a body is long.
        self.put_u16(u16::try_from(body.len()).expect("the body of a token is below 64 KiB"));
        self.put(body);
    }
}

impl Put for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}
