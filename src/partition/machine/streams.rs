//! Streams by key: how many records each key has had, and which tags were used last where.
//!
//! A partition has streams while its topic wants them. Turned on, they get a new generation and are empty; records that are
//! applied from then on are counted as they come. Those from before are counted by what the leader reads of them and
//! puts into the log, piece by piece ([`Streams::count`]). A version is the sum of both numbers, so neither waits for
//! the other; until the older records are all counted no condition on versions or tags is judged.
//!
//! ```text
//!    log start        built_upto         begun                end
//!   ─────┼── counted ────┼── not yet ──────┼── counted at apply ──┼──
//!         region 0: numbers 1, 2, ...        region 1: numbers 1, 2, ...      version = of region 0 + number
//! ```
//!
//! Rows of streams and tags are keyed state; which record has which number is written beside the log (`stream_index.rs`),
//! and never read here.

use quorate_raft::{Effects, Keyed};
use quorate_storage::mutant;

use super::Refusal;
use crate::partition::attachments::{
    Condition, Conditions, ExpectedVersion, KeyRecord, StreamKeys,
};
use crate::partition::codec::{CodecError, Reader, Writer};
use crate::partition::command::OldRecords;
use crate::partition::keyed_rows::{Stream, Tag};
use crate::partition::position::Place;
use crate::partition::stream_index::{self, Region, Row};

/// See the file's header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::partition) struct Streams {
    /// Raised each time they are turned on; 0: they never were.
    pub(in crate::partition) generation: u32,
    pub(in crate::partition) on: bool,
    /// Records from this offset on are counted when they are applied.
    pub(in crate::partition) begun: i64,
    /// Records before this offset are counted.
    pub(in crate::partition) built_upto: i64,
    /// How many streams there are.
    pub(in crate::partition) count: u64,
    /// Records from before that are in another partition than their key's, or have no key.
    pub(in crate::partition) misplaced: u64,
}

/// What a condition is judged on, besides the keyed state.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before {
    pub(super) end: i64,
    pub(super) log_start: i64,
}

/// Why a batch was refused that came with conditions or belongs to streams. Nothing of it is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unmet {
    #[error("the partition ends at another offset (current={current})")]
    EndOffset { current: i64 },
    #[error("the key has another version (current={current})")]
    Version { current: i64 },
    #[error("a record at a later offset has the tag (current={current})")]
    Tag { current: i64 },
    #[error("records from the offset on are not all kept, the log starts at {log_start}")]
    Trimmed { log_start: i64 },
    #[error("the stream is closed (current={current})")]
    Closed { current: i64 },
    #[error("the topic has no streams")]
    NoStreams,
    #[error("the versions of older records are still being counted")]
    Building,
}

impl Streams {
    /// Returns whether versions and tags are known.
    pub(in crate::partition) fn is_ready(&self) -> bool {
        self.on && self.built_upto >= self.begun
    }

    /// Turns them on or off. `end`: of the log; `start`: the first record that is kept.
    pub(super) fn set(&mut self, on: bool, (start, end): (i64, i64), effects: &mut Effects) {
        if on == self.on {
            return;
        }
        let generation = self.generation;
        if on {
            let generation = generation.checked_add(1).expect("not turned on four billion times");
            *self =
                Self { generation, on, begun: end, built_upto: start.min(end), ..Self::default() };
        } else {
            effects.deletes.push(stream_index::all_of(generation));
            *self = Self { generation, ..Self::default() };
        }
    }

    /// Judges what came beside a batch. `Err`: the number of the condition that does not hold, or of the key whose stream
    /// is closed, and why.
    pub(super) fn judge(
        &self,
        keys: Option<&StreamKeys>,
        conditions: &Conditions,
        before: Before,
        keyed: &Keyed,
    ) -> Result<(), Refusal> {
        for (number, condition) in (0_u32..).zip(&conditions.all) {
            let is_streams = !matches!(condition, Condition::EndOffset(_));
            let met = if is_streams && !self.on {
                Err(Unmet::NoStreams)
            } else if is_streams && !self.is_ready() {
                Err(Unmet::Building)
            } else if is_streams && conditions.generation != self.generation {
                return Err(Refusal::StreamsChanged);
            } else {
                self.judge_one(condition, before, keyed)
            };
            met.map_err(|unmet| Refusal::Condition { number, unmet })?;
        }
        if !self.on {
            return Ok(());
        }
        let keys = keys.filter(|keys| keys.generation == self.generation);
        // It was checked when there were none, or others, and what it says cannot be counted.
        let keys = keys.ok_or(Refusal::StreamsChanged)?;
        for (number, of_key) in (0_u32..).zip(&keys.keys) {
            if let Some(stream) = Stream::stored_in(keyed, self.generation, &of_key.key)
                && is_closed(&stream)
            {
                let unmet = Unmet::Closed { current: stream.version() };
                return Err(Refusal::Stream { number, unmet });
            }
        }
        Ok(())
    }

    fn judge_one(&self, condition: &Condition, before: Before, keyed: &Keyed) -> Result<(), Unmet> {
        match condition {
            Condition::EndOffset(expected) if *expected == before.end => Ok(()),
            Condition::EndOffset(_) => Err(Unmet::EndOffset { current: before.end }),
            Condition::Version { key, expected } => {
                let stream = Stream::stored_in(keyed, self.generation, key).unwrap_or_default();
                let (current, exists) = (stream.version(), stream.is_visible());
                let holds = match expected {
                    ExpectedVersion::Exactly(version) => *version == current,
                    ExpectedVersion::NoStream => !exists,
                    ExpectedVersion::Any => true,
                    ExpectedVersion::Stream => exists,
                };
                if is_closed(&stream) {
                    Err(Unmet::Closed { current })
                } else if holds {
                    Ok(())
                } else {
                    Err(Unmet::Version { current })
                }
            }
            // What was trimmed may have had it.
            Condition::NoTagAfter { offset, .. } if *offset < before.log_start - 1 => {
                Err(Unmet::Trimmed { log_start: before.log_start })
            }
            Condition::NoTagAfter { tag, offset } => {
                let last = Tag::stored_in(keyed, self.generation, tag).map(|tag| tag.last_offset);
                let last = last.filter(|last| *last >= before.log_start && last > offset);
                last.map_or(Ok(()), |current| Err(Unmet::Tag { current }))
            }
        }
    }

    /// Counts the records of a batch that was accepted. `at`: its first offset and its place. Returns the version of its
    /// first key.
    pub(super) fn appended(
        &mut self,
        keys: &StreamKeys,
        at: (i64, Place),
        effects: &mut Effects,
    ) -> i64 {
        self.count_batch(keys, at, Region::Since, effects);
        let first = keys.keys.first().map(|of_key| &of_key.key);
        let first = first.and_then(|key| Stream::stored_in(&effects.keyed, self.generation, key));
        first.map_or(-1, |stream| stream.version())
    }

    /// Counts older records that the leader has read.
    pub(super) fn count(&mut self, old: &OldRecords, effects: &mut Effects) {
        // Two leaders may have read the same.
        let is_next = self.on && old.generation == self.generation && old.from == self.built_upto;
        if !is_next || old.upto <= old.from || old.upto > self.begun {
            return;
        }
        for batch in &old.batches {
            self.count_batch(&batch.keys, (batch.offset, batch.place), Region::Before, effects);
        }
        self.built_upto = old.upto;
        self.misplaced = self.misplaced.saturating_add(old.misplaced.into());
    }

    fn count_batch(
        &mut self,
        keys: &StreamKeys,
        (offset, place): (i64, Place),
        region: Region,
        effects: &mut Effects,
    ) {
        for of_key in &keys.keys {
            let stored = Stream::stored_in(&effects.keyed, self.generation, &of_key.key);
            self.count += u64::from(stored.is_none());
            let mut stream = stored.unwrap_or_default();
            for KeyRecord { delta, kind } in &of_key.records {
                let number = stream.add(region, *kind);
                let row = Row { offset: offset + i64::from(*delta), place, delta: *delta };
                effects.puts.push(row.put(self.generation, region, &of_key.key, number));
                if region == Region::Since || stream.last_offset < row.offset {
                    stream.last_offset = row.offset;
                }
            }
            stream.store(&mut effects.keyed, self.generation, &of_key.key);
        }
        for (tag, delta) in &keys.tags {
            let last_offset = offset + i64::from(*delta);
            let known = Tag::stored_in(&effects.keyed, self.generation, tag);
            if known.is_none_or(|known| known.last_offset < last_offset) {
                Tag { last_offset }.store(&mut effects.keyed, self.generation, tag);
            }
        }
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.u32(self.generation);
        writer.u8(u8::from(self.on));
        writer.i64(self.begun);
        writer.i64(self.built_upto);
        writer.u64(self.count);
        writer.u64(self.misplaced);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let generation = reader.u32()?;
        let on = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(CodecError::Range("whether there are streams")),
        };
        let (begun, built_upto) = (reader.i64()?, reader.i64()?);
        if built_upto < 0 || begun < built_upto {
            return Err(CodecError::Range("how far streams are counted"));
        }
        let (count, misplaced) = (reader.u64()?, reader.u64()?);
        Ok(Self { generation, on, begun, built_upto, count, misplaced })
    }
}

fn is_closed(stream: &Stream) -> bool {
    stream.closed && !mutant::on("closed-stream-takes-more")
}

impl Unmet {
    /// Returns what is there instead; -1 where that is nothing.
    pub fn current(self) -> i64 {
        match self {
            Self::EndOffset { current }
            | Self::Version { current }
            | Self::Tag { current }
            | Self::Closed { current } => current,
            Self::Trimmed { .. } | Self::NoStreams | Self::Building => -1,
        }
    }
}
