//! What was decided about the compaction of a partition.
//!
//! The leader decides how far records may be compacted and which tombstones may go; every replica does it in its own time
//! (`compaction.rs`), and none goes beyond what was decided. A tombstone may go once it has been cleanable for
//! `delete.retention.ms` (KIP-534). Kafka writes when that is into the batch; here the log says when each decision was
//! made, so replicas that compacted at different times agree, and batches stay as they are.
//!
//! Time is log time, which no clock that is set moves.

use crate::partition::codec::{CodecError, Reader, Writer};
use crate::partition::command::Clean;
use crate::partition::position::Position;

/// Decisions that are remembered until their tombstones may go. Beyond that neighbours are joined, and the tombstones of the
/// earlier one wait for the later.
const HORIZONS_MAX: usize = 32;

/// See the file's header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::partition) struct Cleaned {
    /// Of the records before it those may go that are superseded by another one before it.
    pub(in crate::partition) upto: Position,
    /// Tombstones before this offset may go.
    pub(in crate::partition) tombstones_upto: i64,
    /// When the first record behind `upto` was appended, or before, by its leader's wall clock.
    pub(in crate::partition) dirty_ms: Option<i64>,
    /// In ascending order, all of them above `tombstones_upto`.
    horizons: Vec<Horizon>,
}

/// Tombstones before an offset are cleanable since then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Horizon {
    upto: i64,
    log_ms: i64,
}

impl Cleaned {
    /// Notes that a batch was appended.
    pub(super) fn appended(&mut self, wall_ms: i64) {
        self.dirty_ms.get_or_insert(wall_ms);
    }

    /// Takes a decision, made at `log_ms`. `all`: there is nothing behind it.
    pub(super) fn decide(&mut self, clean: &Clean, log_ms: i64, all: bool) {
        if clean.upto.offset > self.upto.offset {
            self.upto = clean.upto;
            self.dirty_ms = (!all).then_some(clean.rest_ms);
            self.horizons.push(Horizon { upto: clean.upto.offset, log_ms });
            if self.horizons.len() > HORIZONS_MAX {
                self.join_nearest();
            }
        }
        let passed = clean.tombstones_upto.min(self.upto.offset);
        if passed > self.tombstones_upto {
            self.tombstones_upto = passed;
            self.horizons.retain(|horizon| horizon.upto > passed);
        }
    }

    /// Joins the two decisions that lie closest in time.
    fn join_nearest(&mut self) {
        let apart = |at: &usize| self.horizons[*at + 1].log_ms - self.horizons[*at].log_ms;
        if let Some(at) = (0..self.horizons.len() - 1).min_by_key(apart) {
            self.horizons.remove(at);
        }
    }

    /// Returns before which offset tombstones have been cleanable for `retention_ms` by now.
    pub(in crate::partition) fn expired(&self, now_log_ms: i64, retention_ms: i64) -> i64 {
        let is_over =
            |horizon: &&Horizon| horizon.log_ms.saturating_add(retention_ms) <= now_log_ms;
        let last = self.horizons.iter().rfind(is_over);
        last.map_or(self.tombstones_upto, |horizon| horizon.upto)
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        self.upto.encode(writer);
        writer.i64(self.tombstones_upto);
        writer.u8(u8::from(self.dirty_ms.is_some()));
        writer.i64(self.dirty_ms.unwrap_or_default());
        writer.count(self.horizons.len());
        for Horizon { upto, log_ms } in &self.horizons {
            writer.i64(*upto);
            writer.i64(*log_ms);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let (upto, tombstones_upto) = (Position::decode(reader)?, reader.i64()?);
        let (is_dirty, dirty_ms) = (reader.u8()?, reader.i64()?);
        let count = reader.count(HORIZONS_MAX, 16)?;
        let horizon =
            |reader: &mut Reader<'_>| Ok(Horizon { upto: reader.i64()?, log_ms: reader.i64()? });
        let horizons = (0..count).map(|_| horizon(reader)).collect::<Result<Vec<_>, _>>()?;
        let ordered = horizons.is_sorted_by(|a, b| a.upto < b.upto)
            && horizons.first().is_none_or(|first| first.upto > tombstones_upto)
            && horizons.last().is_none_or(|last| last.upto <= upto.offset)
            && (0..=upto.offset).contains(&tombstones_upto);
        if !ordered || is_dirty > 1 {
            return Err(CodecError::Range("what was decided about compaction"));
        }
        let dirty_ms = (is_dirty == 1).then_some(dirty_ms);
        Ok(Self { upto, tombstones_upto, dirty_ms, horizons })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::position::Place;

    fn clean(offset: i64, tombstones_upto: i64) -> Clean {
        let index = u64::try_from(offset).unwrap();
        let upto = Position { offset, place: Place::of_entry(index), bytes: index * 10 };
        Clean { upto, tombstones_upto, rest_ms: 7 }
    }

    fn decoded(cleaned: &Cleaned) -> Result<Cleaned, CodecError> {
        let mut writer = Writer::with_capacity(64);
        cleaned.encode(&mut writer);
        let bytes = writer.finish();
        let mut reader = Reader::new(&bytes);
        let decoded = Cleaned::decode(&mut reader)?;
        reader.end()?;
        Ok(decoded)
    }

    #[test]
    fn tombstones_wait_from_when_they_became_cleanable() {
        let mut cleaned = Cleaned::default();
        cleaned.appended(5);
        cleaned.appended(6);
        assert_eq!(cleaned.dirty_ms, Some(5));
        cleaned.decide(&clean(10, 0), 100, false);
        cleaned.decide(&clean(20, 0), 200, true);
        assert_eq!((cleaned.upto.offset, cleaned.dirty_ms), (20, None));
        let expired = |cleaned: &Cleaned, now| cleaned.expired(now, 50);
        assert_eq!([149, 150, 249, 250].map(|now| expired(&cleaned, now)), [0, 10, 10, 20]);
        cleaned.decide(&clean(20, 10), 260, true);
        assert_eq!((cleaned.tombstones_upto, expired(&cleaned, 0)), (10, 10));
        // An older decision, of a leader that was deposed, changes nothing.
        let before = cleaned.clone();
        cleaned.decide(&clean(15, 5), 300, false);
        assert_eq!(cleaned, before);
        assert_eq!(decoded(&cleaned), Ok(cleaned));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_never_lets_a_tombstone_go_early() {
        let mut cleaned = Cleaned::default();
        let made: Vec<(i64, i64)> = (1..200).map(|n| (n * 10, n * n)).collect();
        for (upto, log_ms) in &made {
            cleaned.decide(&clean(*upto, 0), *log_ms, true);
            assert!(cleaned.horizons.len() <= HORIZONS_MAX);
        }
        for now in (0..60_000).step_by(97) {
            let right = made.iter().rfind(|(_, at)| at + 50 <= now).map_or(0, |(upto, _)| *upto);
            assert!(cleaned.expired(now, 50) <= right, "at {now}");
        }
        assert_eq!(cleaned.expired(i64::MAX, 50), 1_990);
        assert_eq!(decoded(&cleaned), Ok(cleaned));
    }

    #[test]
    fn bytes_that_make_no_sense_are_refused() {
        let mut wrong = Cleaned::default();
        wrong.horizons.push(Horizon { upto: 1, log_ms: 0 });
        assert!(decoded(&wrong).is_err(), "a horizon above all that is clean");
        let wrong = Cleaned { tombstones_upto: 1, ..Cleaned::default() };
        assert!(decoded(&wrong).is_err(), "tombstones above all that is clean");
    }
}
