//! What a partition's Raft entries say. The bytes are replicated and kept, so they are frozen.
//!
//! ```text
//!  version u8 = 2 │ kind u8 │ wall_ms i64 │ log_ms i64 │ Append: one record batch v2, as sent
//!                                                      │ Trim:   log_start i64, offset i64, index u64, bytes u64
//!                                                      │ SetLevel: level u32
//! ```
//!
//! Every command carries its proposer's times, so that what depends on time is decided alike by all
//! replicas. A command of another version cannot be skipped, only refused.
//!
//! Log time is carried as the time reached, not as what passed since the command before: commands under way
//! at once would each count the same wait, and one that is lost with its leader would lose its share.

use bytes::Bytes;

use super::codec::{CodecError, Reader, Writer};
use super::position::Position;
use crate::record::Header;

const VERSION: u8 = 2;
const APPEND: u8 = 1;
const TRIM: u8 = 2;
const SET_LEVEL: u8 = 3;
/// Bytes before the batch of an append.
pub(super) const PREFIX_BYTES: usize = 18;
const TRIM_BYTES: usize = PREFIX_BYTES + 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Append {
        times: Times,
        batch: Batch,
    },
    Trim {
        times: Times,
        trim: Trim,
    },
    /// Raises the level by whose rules what follows is applied (`level.rs`).
    SetLevel {
        times: Times,
        level: u16,
    },
}

/// When a command was proposed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Times {
    /// The leader's wall clock, in milliseconds since 1970: the age of what carries no time of its own.
    pub(super) wall_ms: i64,
    /// The partition's log time, in milliseconds during which a leader was in office; see `log_time.rs`.
    pub(super) log_ms: i64,
}

/// Moves the log start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trim {
    /// The first offset that stays.
    pub(super) log_start: i64,
    /// Where the batch that holds it begins. The proposer looked it up in its own log, which agrees
    /// with every replica's because only applied entries are ever looked up.
    pub(super) start: Position,
}

/// A batch as far as it is looked at when it is applied: its header, never its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) header: Header,
    /// Size in the log and on the wire.
    pub(super) bytes: u64,
}

impl Command {
    /// Decodes the payload of an entry; looks at no record data.
    pub(super) fn decode(payload: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(payload);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(CodecError::Version(version));
        }
        let kind = reader.u8()?;
        let times = Times { wall_ms: reader.i64()?, log_ms: reader.i64()? };
        match kind {
            APPEND => Ok(Command::Append { times, batch: Batch::of(reader.rest())? }),
            TRIM => {
                let trim = Trim {
                    log_start: reader.i64()?,
                    start: Position {
                        offset: reader.i64()?,
                        index: reader.u64()?,
                        bytes: reader.u64()?,
                    },
                };
                reader.end()?;
                Ok(Command::Trim { times, trim })
            }
            SET_LEVEL => {
                let level = reader.u32()?;
                reader.end()?;
                let level = u16::try_from(level).map_err(|_| CodecError::Range("a level"))?;
                Ok(Command::SetLevel { times, level })
            }
            kind => Err(CodecError::Kind(kind)),
        }
    }

    /// Returns whether the payload is an append, and if so the batch in it, sharing the memory.
    pub(super) fn batch_of(payload: &Bytes) -> Option<Bytes> {
        (payload.get(1) == Some(&APPEND)).then(|| payload.slice(PREFIX_BYTES..))
    }
}

/// Starts the payload of an append; the batch follows in the same buffer, copied once.
pub(super) fn append_payload(times: Times, batch: &[u8]) -> Vec<u8> {
    let mut writer = start(APPEND, times, PREFIX_BYTES + batch.len());
    writer.bytes(batch);
    writer.finish()
}

/// Encodes a trim.
pub(super) fn trim_payload(times: Times, trim: &Trim) -> Vec<u8> {
    let mut writer = start(TRIM, times, TRIM_BYTES);
    writer.i64(trim.log_start);
    writer.i64(trim.start.offset);
    writer.u64(trim.start.index);
    writer.u64(trim.start.bytes);
    writer.finish()
}

/// Encodes a change of the level.
pub(super) fn level_payload(times: Times, level: u16) -> Vec<u8> {
    let mut writer = start(SET_LEVEL, times, PREFIX_BYTES + 4);
    writer.u32(level.into());
    writer.finish()
}

fn start(kind: u8, times: Times, bytes: usize) -> Writer {
    let mut writer = Writer::with_capacity(bytes);
    writer.u8(VERSION);
    writer.u8(kind);
    writer.i64(times.wall_ms);
    writer.i64(times.log_ms);
    writer
}

impl Batch {
    /// Reads the header of a batch that was checked before it was proposed.
    pub(super) fn of(batch: &[u8]) -> Result<Self, CodecError> {
        let header = Header::parse(batch).ok_or(CodecError::Short)?;
        if header.total_bytes() != Some(batch.len()) {
            return Err(CodecError::Range("a batch's length"));
        }
        if header.last_offset_delta < 0 {
            return Err(CodecError::Range("a batch's last offset delta"));
        }
        let bytes = u64::try_from(batch.len()).map_err(|_| CodecError::Range("a batch's size"))?;
        Ok(Self { header, bytes })
    }

    /// Returns how many offsets the batch takes. Not its record count: a batch that lost records to
    /// compaction keeps its place.
    pub(super) fn offsets(&self) -> i64 {
        i64::from(self.header.last_offset_delta) + 1
    }

    /// Returns the time the log gave its records, -1 when they kept their producer's.
    pub(super) fn log_append_time(&self) -> i64 {
        if self.header.is_log_append_time() { self.header.max_timestamp } else { -1 }
    }
}

#[cfg(test)]
mod tests;
