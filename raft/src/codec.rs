//! Values as bytes, big endian, and reading them from bytes nobody vouches for.
//!
//! Reading never panics and never allocates for a count it has not compared with a bound.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::error::DecodeError;
use crate::ids::{CommittedLeaderId, LeaderId, LogId, Vote};

/// Appends values.
pub(crate) trait Put {
    fn u8(&mut self, value: u8);
    fn u16(&mut self, value: u16);
    fn u32(&mut self, value: u32);
    fn u64(&mut self, value: u64);
    fn u128(&mut self, value: u128);
    fn text(&mut self, value: &str);
    fn vote(&mut self, vote: &Vote);
    fn opt_log_id(&mut self, id: Option<&LogId>);
}

impl Put for BytesMut {
    fn u8(&mut self, value: u8) {
        self.put_u8(value);
    }
    fn u16(&mut self, value: u16) {
        self.put_u16(value);
    }
    fn u32(&mut self, value: u32) {
        self.put_u32(value);
    }
    fn u64(&mut self, value: u64) {
        self.put_u64(value);
    }
    fn u128(&mut self, value: u128) {
        self.put_u128(value);
    }
    fn text(&mut self, value: &str) {
        let mut end = value.len().min(usize::from(u16::MAX));
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        self.put_u16(end as u16);
        self.extend_from_slice(&value.as_bytes()[..end]);
    }
    fn vote(&mut self, vote: &Vote) {
        self.put_u64(vote.leader_id.term);
        self.put_u64(vote.leader_id.voted_for);
        self.put_u8(u8::from(vote.committed));
    }
    fn opt_log_id(&mut self, id: Option<&LogId>) {
        self.put_u8(u8::from(id.is_some()));
        if let Some(id) = id {
            self.put_u64(id.leader_id.term);
            self.put_u64(id.index);
        }
    }
}

/// Reads values, or says that they are not there.
pub(crate) struct Get(Bytes);

impl Get {
    pub fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    fn need(&self, length: usize) -> Result<(), DecodeError> {
        if self.0.len() >= length {
            Ok(())
        } else {
            Err(DecodeError(format!("{length} bytes wanted, {} left", self.0.len())))
        }
    }

    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.need(1).map(|()| self.0.get_u8())
    }
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.need(2).map(|()| self.0.get_u16())
    }
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.need(4).map(|()| self.0.get_u32())
    }
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.need(8).map(|()| self.0.get_u64())
    }
    pub fn u128(&mut self) -> Result<u128, DecodeError> {
        self.need(16).map(|()| self.0.get_u128())
    }

    /// A flag; anything but 0 and 1 is refused.
    pub fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(DecodeError(format!("{other} is not a flag"))),
        }
    }

    /// A count that is at most `max` and that the remaining bytes could hold.
    pub fn count(&mut self, max: u32) -> Result<u32, DecodeError> {
        let count = self.u32()?;
        if count <= max && count as usize <= self.0.len() {
            Ok(count)
        } else {
            Err(DecodeError(format!("a count of {count} is out of bounds")))
        }
    }

    /// The next bytes, shared with the frame they came in.
    pub fn bytes(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        self.need(length).map(|()| self.0.split_to(length))
    }

    pub fn text(&mut self) -> Result<String, DecodeError> {
        let length = usize::from(self.u16()?);
        let bytes = self.bytes(length)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| DecodeError("text is not UTF-8".into()))
    }

    pub fn vote(&mut self) -> Result<Vote, DecodeError> {
        let leader_id = LeaderId { term: self.u64()?, voted_for: self.u64()? };
        Ok(Vote { leader_id, committed: self.flag()? })
    }

    pub fn log_id(&mut self) -> Result<LogId, DecodeError> {
        let term = self.u64()?;
        Ok(LogId::new(CommittedLeaderId::new(term), self.u64()?))
    }

    pub fn opt_log_id(&mut self) -> Result<Option<LogId>, DecodeError> {
        if self.flag()? { self.log_id().map(Some) } else { Ok(None) }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Everything that is left.
    pub fn rest(self) -> Bytes {
        self.0
    }

    /// Refuses trailing bytes: they mean that the two sides disagree about the format.
    pub fn end(self) -> Result<(), DecodeError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(DecodeError(format!("{} trailing bytes", self.0.len())))
        }
    }
}

pub(crate) fn encode_vote(vote: &Vote) -> Bytes {
    let mut out = BytesMut::with_capacity(17);
    out.vote(vote);
    out.freeze()
}

pub(crate) fn decode_vote(bytes: Bytes) -> Result<Vote, DecodeError> {
    let mut input = Get::new(bytes);
    let vote = input.vote()?;
    input.end()?;
    Ok(vote)
}
