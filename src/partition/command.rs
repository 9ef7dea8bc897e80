//! What a partition's Raft entries say. The bytes are replicated and kept, so they are frozen.
//!
//! ```text
//!  version u8 = 5 │ kind u8 │ wall_ms i64 │ log_ms i64 │ Append: batches u32, then those
//!                                                      │ Trim:   log_start i64, offset i64, index u64, sub u32, bytes u64
//!                                                      │ SetLevel: level u32
//!                                                      │ Forget: keys u32, each: length u16, key of the keyed state
//!                                                      │ Clean:  offset i64, index u64, sub u32, bytes u64, tombstones_upto i64, rest_ms i64
//!                                                      │ SetStreams: on u8
//!                                                      │ CountOld: generation u32, from i64, upto i64, misplaced u32, batches u32, each:
//!                                                      │   offset i64, index u64, sub u32, stream keys (`attachments.rs`)
//!  a batch:       size u32 │ length u32 │ attachments (`attachments.rs`) │ one record batch v2 of `length` bytes, as sent
//! ```
//!
//! Every command carries its proposer's times, so that what depends on time is decided alike by all
//! replicas. A command of another version cannot be skipped, only refused; nor can an attachment with an unknown tag:
//! a replica that skipped what another one minds would decide otherwise.
//!
//! A batch's size is what it counts in positions, its length what it takes here. They are equal as long as nobody has
//! compacted the batch; then the size stays, so that positions agree between replicas of which one has compacted.
//!
//! Log time is carried as the time reached, not as what passed since the command before: commands under way
//! at once would each count the same wait, and one that is lost with its leader would lose its share.

use bytes::Bytes;

use super::aborted;
use super::attachments::{Attachments, StreamKeys};
use super::codec::{CodecError, Reader, Writer};
use super::keyed_rows;
use super::position::{Place, Position};
use super::producers::{self, Sequence};
use crate::record::{EndMarker, Header};

mod frames;

pub(super) use frames::{AppendPayload, FRAME_OVERHEAD, Frames};

const VERSION: u8 = 5;
const APPEND: u8 = 1;
const TRIM: u8 = 2;
const SET_LEVEL: u8 = 3;
const FORGET: u8 = 4;
const CLEAN: u8 = 5;
const SET_STREAMS: u8 = 6;
const COUNT_OLD: u8 = 7;
/// Bytes that every command begins with.
const PREFIX_BYTES: usize = 18;
const TRIM_BYTES: usize = PREFIX_BYTES + 36;
/// Keys that one command names at most. More than a leader puts into one, as with batches.
const FORGOTTEN_MAX: usize = 1 << 16;
/// Batches of older records that one command has at most.
const OLD_BATCHES_MAX: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    /// At least one batch. Each is accepted or refused by itself, in this order.
    Append {
        times: Times,
        batches: Vec<(Batch, Attachments)>,
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
    /// Frees the places of those of these keys whose values are over.
    Forget {
        times: Times,
        keys: Vec<Bytes>,
    },
    /// Decides what may be compacted.
    Clean {
        times: Times,
        clean: Clean,
    },
    /// Turns streams by key on or off.
    SetStreams {
        times: Times,
        on: bool,
    },
    /// Counts records that are older than the streams.
    CountOld {
        times: Times,
        old: OldRecords,
    },
}

/// Records from before streams were turned on, as a leader has read them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct OldRecords {
    pub(super) generation: u32,
    /// The offsets that were read.
    pub(super) from: i64,
    pub(super) upto: i64,
    /// Records that are in another partition than their key's, or have none.
    pub(super) misplaced: u32,
    pub(super) batches: Vec<OldBatch>,
}

/// Where a batch of them stands, and its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OldBatch {
    pub(super) offset: i64,
    pub(super) place: Place,
    pub(super) keys: StreamKeys,
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

/// What may be compacted, see `compaction.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clean {
    /// Of the records before it those may go that are superseded by another one before it. It lies between two entries.
    pub(super) upto: Position,
    /// Tombstones before this offset may go: they have been cleanable for `delete.retention.ms`.
    pub(super) tombstones_upto: i64,
    /// When the oldest record behind `upto` was appended, or before, by its leader's wall clock.
    pub(super) rest_ms: i64,
}

/// A batch as far as it is looked at when it is applied: its header, and the record of a control batch, no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) header: Header,
    /// Its size when it was appended: what it counts in positions.
    pub(super) size: u64,
    /// Of a control batch: how a transaction ended.
    pub(super) marker: Option<EndMarker>,
}

impl Command {
    /// Decodes the payload of an entry; looks at no record data.
    pub(super) fn decode(payload: &Bytes) -> Result<Self, CodecError> {
        let mut reader = Reader::new(payload);
        let (kind, times) = take_prefix(&mut reader)?;
        match kind {
            APPEND => Ok(Command::Append { times, batches: frames::decode(payload)? }),
            TRIM => {
                let (log_start, start) = (reader.i64()?, Position::decode(&mut reader)?);
                reader.end()?;
                Ok(Command::Trim { times, trim: Trim { log_start, start } })
            }
            SET_LEVEL => {
                let level = reader.u32()?;
                reader.end()?;
                let level = u16::try_from(level).map_err(|_| CodecError::Range("a level"))?;
                Ok(Command::SetLevel { times, level })
            }
            FORGET => {
                let count = reader.count(FORGOTTEN_MAX, 2)?;
                let key = |_| reader.short_bytes().map(|key| payload.slice_ref(key));
                let keys = (0..count).map(key).collect::<Result<_, _>>()?;
                reader.end()?;
                Ok(Command::Forget { times, keys })
            }
            CLEAN => {
                let upto = Position::decode(&mut reader)?;
                let (tombstones_upto, rest_ms) = (reader.i64()?, reader.i64()?);
                reader.end()?;
                let clean = Clean { upto, tombstones_upto, rest_ms };
                Ok(Command::Clean { times, clean })
            }
            SET_STREAMS => {
                let on = match reader.u8()? {
                    0 => false,
                    1 => true,
                    _ => return Err(CodecError::Range("whether there are streams")),
                };
                reader.end()?;
                Ok(Command::SetStreams { times, on })
            }
            COUNT_OLD => {
                let old = OldRecords::decode(&mut reader, payload)?;
                reader.end()?;
                Ok(Command::CountOld { times, old })
            }
            kind => Err(CodecError::Kind(kind)),
        }
    }

    /// Returns the keys of the keyed state that it reads or changes as the entry at `index`, some perhaps more than once.
    pub(super) fn needs(self, index: u64) -> Vec<Bytes> {
        let mut needs = Vec::new();
        match self {
            Self::Append { batches, .. } => {
                for (sub, (batch, attachments)) in (0..).zip(&batches) {
                    let claim = Sequence::of(&batch.header);
                    needs.extend(claim.map(|claim| producers::key(claim.producer_id)));
                    if let Some(marker) = batch.marker {
                        needs.push(producers::key(batch.header.producer_id));
                        let row = aborted::key(batch.header.producer_id, Place { index, sub });
                        needs.extend((!marker.commit).then_some(row));
                    }
                    keyed_rows::needs(attachments, &mut needs);
                }
            }
            Self::Forget { keys, .. } => needs = keys,
            Self::CountOld { old, .. } => {
                for batch in old.batches {
                    let stream_keys = Some(batch.keys);
                    keyed_rows::needs(
                        &Attachments { stream_keys, ..Default::default() },
                        &mut needs,
                    );
                }
            }
            Self::Trim { .. }
            | Self::SetLevel { .. }
            | Self::Clean { .. }
            | Self::SetStreams { .. } => {}
        }
        needs
    }
}

impl OldRecords {
    fn decode(reader: &mut Reader<'_>, whole: &Bytes) -> Result<Self, CodecError> {
        let generation = reader.u32()?;
        let (from, upto, misplaced) = (reader.i64()?, reader.i64()?, reader.u32()?);
        let count = reader.count(OLD_BATCHES_MAX, 32)?;
        let mut batches = Vec::with_capacity(count);
        for _ in 0..count {
            let (offset, place) = (reader.i64()?, Place::decode(reader)?);
            batches.push(OldBatch { offset, place, keys: StreamKeys::decode(reader, whole)? });
        }
        Ok(Self { generation, from, upto, misplaced, batches })
    }
}

/// Encodes an append of some batches without attachments, each copied once.
pub(super) fn append_payload<'a>(
    times: Times,
    batches: impl IntoIterator<Item = &'a [u8]>,
) -> Bytes {
    let mut payload = AppendPayload::with_capacity(0);
    batches.into_iter().for_each(|batch| payload.push(batch, &Attachments::default().encode()));
    payload.finish(times)
}

/// Encodes a trim.
pub(super) fn trim_payload(times: Times, trim: &Trim) -> Vec<u8> {
    let mut writer = Writer::with_capacity(TRIM_BYTES);
    put_prefix(&mut writer, TRIM, times);
    writer.i64(trim.log_start);
    trim.start.encode(&mut writer);
    writer.finish()
}

/// Encodes a change of the level.
pub(super) fn level_payload(times: Times, level: u16) -> Vec<u8> {
    let mut writer = Writer::with_capacity(PREFIX_BYTES + 4);
    put_prefix(&mut writer, SET_LEVEL, times);
    writer.u32(level.into());
    writer.finish()
}

/// Encodes a command that forgets keys.
pub(super) fn forget_payload(times: Times, keys: &[Bytes]) -> Vec<u8> {
    let mut writer = Writer::with_capacity(PREFIX_BYTES + 4 + keys.len() * 16);
    put_prefix(&mut writer, FORGET, times);
    writer.count(keys.len());
    keys.iter().for_each(|key| writer.short_bytes(key));
    writer.finish()
}

/// Encodes that streams are turned on or off.
pub(super) fn streams_payload(times: Times, on: bool) -> Vec<u8> {
    let mut writer = Writer::with_capacity(PREFIX_BYTES + 1);
    put_prefix(&mut writer, SET_STREAMS, times);
    writer.u8(u8::from(on));
    writer.finish()
}

/// Encodes what was read of older records.
pub(super) fn old_records_payload(times: Times, old: &OldRecords) -> Vec<u8> {
    let mut writer = Writer::with_capacity(PREFIX_BYTES + 28 + old.batches.len() * 64);
    put_prefix(&mut writer, COUNT_OLD, times);
    writer.u32(old.generation);
    writer.i64(old.from);
    writer.i64(old.upto);
    writer.u32(old.misplaced);
    writer.count(old.batches.len());
    for OldBatch { offset, place, keys } in &old.batches {
        writer.i64(*offset);
        place.encode(&mut writer);
        keys.encode(&mut writer);
    }
    writer.finish()
}

/// Encodes a decision about compaction.
pub(super) fn clean_payload(times: Times, clean: &Clean) -> Vec<u8> {
    let mut writer = Writer::with_capacity(PREFIX_BYTES + 44);
    put_prefix(&mut writer, CLEAN, times);
    clean.upto.encode(&mut writer);
    writer.i64(clean.tombstones_upto);
    writer.i64(clean.rest_ms);
    writer.finish()
}

fn put_prefix(writer: &mut Writer, kind: u8, times: Times) {
    writer.u8(VERSION);
    writer.u8(kind);
    writer.i64(times.wall_ms);
    writer.i64(times.log_ms);
}

fn take_prefix(reader: &mut Reader<'_>) -> Result<(u8, Times), CodecError> {
    let version = reader.u8()?;
    if version != VERSION {
        return Err(CodecError::Version(version));
    }
    let kind = reader.u8()?;
    Ok((kind, Times { wall_ms: reader.i64()?, log_ms: reader.i64()? }))
}

impl Batch {
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
