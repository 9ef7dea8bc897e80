//! Keeps the order of an idempotent producer that has several batches under way on one connection.
//!
//! Sequence numbers are judged when a batch is applied, and a partition that has never heard of a producer takes
//! any first number (it may have forgotten it). So if the first of five batches in flight is refused, because this
//! broker does not lead for a moment, and the second finds it leading again, the second would be taken as the
//! beginning and the first, sent again, would come too late for ever. Therefore a connection remembers which
//! batch failed, and refuses what comes after it until it was sent again. Kafka is spared this by its own
//! single file per connection.
//!
//! The refusal is a plain "not now": sent again in order, the batch will do. It is never
//! OUT_OF_ORDER_SEQUENCE_NUMBER, which is the log's word for a producer that skipped something: librdkafka then
//! takes a new id for all its partitions, and under that what is in the log already is written twice.
//!
//! Answers leave in order, so a batch that comes a second time comes from a client that was told of what failed
//! before it. If that was not sent again by then it never will be, and nothing waits for it any more.
//!
//! Invariant: on one connection no batch of a producer enters a partition's log after a later one of the same epoch.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use quorate_storage::GroupId;

use super::error::ErrorCode;
use crate::record::Header;

/// Producers and partitions remembered per connection; only those with batches under way or a gap.
const STANDS_MAX: usize = 10_000;
/// Sequence numbers go from 2^31 - 1 on to 0.
const SEQUENCES: i64 = 1 << 31;

/// What one connection knows of the producers that use it.
#[derive(Debug, Default)]
pub(crate) struct Pipeline {
    /// Under a lock because the reading and the writing task of the connection both come here.
    stands: Mutex<HashMap<Key, Stand>>,
}

type Key = (GroupId, i64);

#[derive(Clone, Copy, Debug)]
struct Stand {
    producer_epoch: i16,
    /// The leader epoch in which the newest batch was begun.
    leader_epoch: i32,
    in_flight: u32,
    gap: Option<Gap>,
}

/// A batch that failed and was not sent again.
#[derive(Clone, Copy, Debug)]
struct Gap {
    /// The first sequence number of the earliest such batch.
    at: i32,
    /// That of the last batch that was refused after it.
    told: Option<i32>,
}

/// A batch under way; says how it ended.
#[derive(Debug)]
pub(crate) struct Ticket {
    pipeline: Arc<Pipeline>,
    key: Key,
    sequence: i32,
}

impl Pipeline {
    /// Lets a batch in that is about to be handed to the log by the leader of `leader_epoch`.
    ///
    /// `known`: the partition has heard of the producer and will judge for itself. Then nothing is held back
    /// here, for what failed on this connection may have been sent again to another leader.
    /// `None` for producers without sequence numbers: they asked for no order.
    pub(crate) fn enter(
        self: &Arc<Self>,
        group: GroupId,
        leader_epoch: i32,
        header: &Header,
        known: bool,
    ) -> Result<Option<Ticket>, ErrorCode> {
        if !header.is_idempotent() {
            return Ok(None);
        }
        let key = (group, header.producer_id);
        let sequence = header.base_sequence;
        let mut stands = self.stands.lock();
        let stand = stand(&mut stands, key, leader_epoch, header.producer_epoch);
        stand.gap = stand.gap.filter(|gap| !known && !gap.was_given_up(sequence));
        if stand.gap.is_some_and(|gap| is_after(sequence, gap.at)) {
            stand.miss(sequence);
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        // What is under way belongs to a leadership that is over; how it ends is not known yet.
        if !known && stand.in_flight > 0 && stand.leader_epoch != leader_epoch {
            stand.miss(sequence);
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        stand.leader_epoch = leader_epoch;
        stand.in_flight += 1;
        stand.gap = stand.gap.filter(|gap| gap.at != sequence);
        Ok(Some(Ticket { pipeline: Arc::clone(self), key, sequence }))
    }

    /// Notes that a batch was refused before it could enter.
    pub(crate) fn refused(&self, group: GroupId, header: &Header) {
        if header.is_idempotent() {
            let key = (group, header.producer_id);
            let mut stands = self.stands.lock();
            stand(&mut stands, key, -1, header.producer_epoch).miss(header.base_sequence);
        }
    }

    fn end(&self, key: Key, missed: Option<i32>) {
        let mut stands = self.stands.lock();
        let Some(stand) = stands.get_mut(&key) else { return };
        stand.in_flight = stand.in_flight.saturating_sub(1);
        if let Some(sequence) = missed {
            stand.miss(sequence);
        }
        if stand.in_flight == 0 && stand.gap.is_none() {
            stands.remove(&key);
        }
    }
}

impl Ticket {
    /// The batch is in the log.
    pub(crate) fn passed(self) {
        self.pipeline.end(self.key, None);
    }

    /// The batch is not in the log, or may not be.
    pub(crate) fn failed(self) {
        self.pipeline.end(self.key, Some(self.sequence));
    }
}

impl Stand {
    fn miss(&mut self, sequence: i32) {
        match &mut self.gap {
            Some(gap) if is_after(sequence, gap.at) => {
                gap.told = gap.told.filter(|told| is_after(*told, sequence)).or(Some(sequence));
            }
            gap => *gap = Some(Gap { at: sequence, told: None }),
        }
    }
}

impl Gap {
    /// Whether the batch was refused before, since the gap is there.
    fn was_given_up(&self, sequence: i32) -> bool {
        is_after(sequence, self.at) && self.told.is_some_and(|told| !is_after(sequence, told))
    }
}

fn stand(
    stands: &mut HashMap<Key, Stand>,
    key: Key,
    leader_epoch: i32,
    producer_epoch: i16,
) -> &mut Stand {
    if stands.len() >= STANDS_MAX && !stands.contains_key(&key) {
        stands.retain(|_, stand| stand.in_flight > 0);
    }
    let new = Stand { producer_epoch, leader_epoch, in_flight: 0, gap: None };
    let stand = stands.entry(key).or_insert(new);
    if stand.producer_epoch != producer_epoch {
        // A new epoch begins at 0 again and owes nothing to the old one.
        (stand.producer_epoch, stand.gap) = (producer_epoch, None);
    }
    stand
}

fn is_after(sequence: i32, other: i32) -> bool {
    let distance = (i64::from(sequence) - i64::from(other)).rem_euclid(SEQUENCES);
    distance > 0 && distance < SEQUENCES / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::BatchBuilder;

    const GROUP: GroupId = GroupId(4);

    fn batch(epoch: i16, sequence: i32) -> Header {
        let batch = BatchBuilder::new().producer(9, epoch, sequence).record(0, None, None).build();
        Header::parse(&batch).unwrap()
    }

    #[test]
    fn what_follows_a_refused_batch_waits_for_it() {
        let pipeline = Arc::new(Pipeline::default());
        pipeline.refused(GROUP, &batch(0, 0));
        // Twice: what is sent again may be refused again, and then all that follows waits again.
        for _ in 0..2 {
            for sequence in 1..5 {
                let early = pipeline.enter(GROUP, 1, &batch(0, sequence), false).unwrap_err();
                assert_eq!(early, ErrorCode::NotLeaderOrFollower, "a retry in order is what helps");
            }
            pipeline.refused(GROUP, &batch(0, 0));
        }
        for sequence in 0..5 {
            pipeline.enter(GROUP, 1, &batch(0, sequence), false).unwrap().unwrap().passed();
        }
        assert!(pipeline.stands.lock().is_empty());
    }

    #[test]
    fn nothing_waits_for_a_batch_that_the_client_has_given_up() {
        let pipeline = Arc::new(Pipeline::default());
        pipeline.refused(GROUP, &batch(0, 0));
        for sequence in 1..4 {
            assert!(pipeline.enter(GROUP, 1, &batch(0, sequence), false).is_err());
        }
        // The second was told of the first and comes without it.
        for sequence in 1..4 {
            pipeline.enter(GROUP, 1, &batch(0, sequence), false).unwrap().unwrap().passed();
        }
        assert!(pipeline.stands.lock().is_empty());
    }

    #[test]
    fn a_batch_lost_with_its_leadership_holds_back_the_next() {
        let pipeline = Arc::new(Pipeline::default());
        let first = pipeline.enter(GROUP, 1, &batch(0, 0), false).unwrap().unwrap();
        let second = pipeline.enter(GROUP, 1, &batch(0, 1), false).unwrap().unwrap();
        let third = pipeline.enter(GROUP, 2, &batch(0, 2), false).unwrap_err();
        assert_eq!(third, ErrorCode::NotLeaderOrFollower, "how the first two end is not known");
        first.failed();
        second.failed();
        assert!(pipeline.enter(GROUP, 2, &batch(0, 3), false).is_err());
        assert!(pipeline.enter(GROUP, 2, &batch(0, 4), false).is_err());
        for sequence in 0..3 {
            pipeline.enter(GROUP, 2, &batch(0, sequence), false).unwrap().unwrap().passed();
        }
    }

    #[test]
    fn a_partition_that_knows_the_producer_judges_for_itself() {
        let pipeline = Arc::new(Pipeline::default());
        // Refused here, sent again to another leader, and now this broker leads.
        pipeline.refused(GROUP, &batch(0, 3));
        let ticket = pipeline.enter(GROUP, 1, &batch(0, 9), true).unwrap().unwrap();
        assert!(pipeline.enter(GROUP, 2, &batch(0, 10), true).is_ok());
        ticket.passed();
    }

    #[test]
    fn older_batches_and_newer_epochs_are_not_held_back() {
        let pipeline = Arc::new(Pipeline::default());
        pipeline.refused(GROUP, &batch(0, 5));
        assert!(pipeline.enter(GROUP, 1, &batch(0, 4), false).is_ok(), "a duplicate is answered");
        assert!(pipeline.enter(GROUP, 1, &batch(1, 7), false).is_ok());
        assert!(is_after(0, i32::MAX) && !is_after(i32::MAX, 0));
    }

    #[test]
    fn producers_without_sequences_are_not_remembered() {
        let pipeline = Arc::new(Pipeline::default());
        let plain = BatchBuilder::new().record(0, None, None).build();
        let plain = Header::parse(&plain).unwrap();
        pipeline.refused(GROUP, &plain);
        assert!(pipeline.enter(GROUP, 1, &plain, false).unwrap().is_none());
        assert!(pipeline.stands.lock().is_empty());
    }
}
