//! Fixed-width fields, big-endian, for what is replicated or kept on disk.
//!
//! Written by hand and not derived: a derive changes the bytes when a field moves, and these bytes must
//! mean the same to every replica of every version. Decoding allocates nothing a count in the input
//! could inflate.

/// Appends fields to a buffer.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

/// Takes fields off the front of a buffer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

/// Bytes that are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum CodecError {
    #[error("the bytes end before the value does")]
    Short,
    #[error("{0} bytes follow the value")]
    Trailing(usize),
    #[error("version {0} is not one this broker knows")]
    Version(u8),
    #[error("kind {0} is unknown")]
    Kind(u8),
    #[error("an attachment has the tag {0}, which this broker does not know")]
    Attachment(u16),
    #[error("a count of {count} exceeds {max}")]
    TooMany { count: usize, max: usize },
    #[error("{0} is out of its range")]
    Range(&'static str),
}

impl Writer {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn i16(&mut self, value: i16) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.bytes(&value.to_be_bytes());
    }

    /// Writes how many items follow; everything counted here is bounded far below `u32::MAX`.
    pub(super) fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).expect("counted things are bounded by constants"));
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Writes a number that is mostly small: seven bits a byte, the lowest first.
    pub(super) fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.u8((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.u8((value & 0x7f) as u8);
    }

    /// Writes at most 64 KiB with their length before them.
    pub(super) fn short_bytes(&mut self, bytes: &[u8]) {
        self.u16(u16::try_from(bytes.len()).expect("what is written so is bounded by constants"));
        self.bytes(bytes);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(CodecError::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, CodecError> {
        self.take().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, CodecError> {
        self.take().map(u16::from_be_bytes)
    }

    pub(super) fn i16(&mut self) -> Result<i16, CodecError> {
        self.take().map(i16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, CodecError> {
        self.take().map(u32::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, CodecError> {
        self.take().map(i32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, CodecError> {
        self.take().map(u64::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, CodecError> {
        self.take().map(i64::from_be_bytes)
    }

    /// Reads how many items follow: at most `max`, and no more than fit into the remaining bytes at
    /// `item_bytes` each.
    pub(super) fn count(&mut self, max: usize, item_bytes: usize) -> Result<usize, CodecError> {
        let count = usize::try_from(self.u32()?).map_err(|_| CodecError::Range("a count"))?;
        if count > max {
            return Err(CodecError::TooMany { count, max });
        }
        if count.saturating_mul(item_bytes) > self.0.len() {
            return Err(CodecError::Short);
        }
        Ok(count)
    }

    pub(super) fn varint(&mut self) -> Result<u64, CodecError> {
        let mut value = 0_u64;
        for at in 0..10 {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if at == 9 && bits > 1 {
                break;
            }
            value |= bits << (7 * at);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(CodecError::Range("a number"))
    }

    pub(super) fn bytes(&mut self, length: usize) -> Result<&'a [u8], CodecError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(CodecError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Reads bytes with a length of two bytes before them.
    pub(super) fn short_bytes(&mut self) -> Result<&'a [u8], CodecError> {
        let length = self.u16()?;
        self.bytes(usize::from(length))
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(super) fn end(self) -> Result<(), CodecError> {
        if self.0.is_empty() { Ok(()) } else { Err(CodecError::Trailing(self.0.len())) }
    }
}
