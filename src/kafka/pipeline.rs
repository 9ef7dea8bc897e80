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
//! ```text
//! sent      1  2  3          1 is refused: a gap at 1
//!           │  └──┴─ refused as well, last_refused = 3
//! sent again   1             fills the gap; 2 and 3 follow
//! or           2             comes a second time: 1 was given up, and so is the gap
//! ```
//!
//! Answers leave in order, so a batch that comes a second time comes from a client that was told of what failed
//! before it. If that was not sent again by then it never will be, and nothing waits for it any more.
//!
//! Invariant: on one connection no batch of a producer enters a partition's log after a later one of the same epoch.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use quorate_storage::GroupId;

use super::error::ErrorCode;
use crate::record::Header;

/// Gaps remembered per connection of producers that have nothing under way; beyond that the oldest are forgotten.
/// What is under way is bounded by the memory for requests.
const GAPS_MAX: usize = 10_000;
/// Sequence numbers go from 2^31 - 1 on to 0.
const SEQUENCES: i64 = 1 << 31;

/// What one connection knows of the producers that use it.
#[derive(Debug, Default)]
pub(crate) struct Pipeline {
    /// Under a lock because the reading and the writing task of the connection both come here.
    states: Mutex<ProducerStates>,
}

/// The producers that have batches under way or a gap.
#[derive(Debug, Default)]
struct ProducerStates {
    by_key: HashMap<Key, ProducerState>,
    /// Those of them with a gap and nothing under way, the longest so first.
    idle: BTreeMap<u64, Key>,
    last_idle: u64,
}

type Key = (GroupId, i64);

#[derive(Clone, Copy, Debug)]
struct ProducerState {
    producer_epoch: i16,
    /// The leader epoch in which the newest batch was begun.
    leader_epoch: i32,
    in_flight: u32,
    gap: Option<Gap>,
    /// Its number among the idle; 0 while it is not among them.
    idle: u64,
}

/// A batch that failed and was not sent again.
#[derive(Clone, Copy, Debug)]
struct Gap {
    /// The first sequence number of the earliest batch that failed.
    at: i32,
    /// The first sequence number of the last batch that was refused because of this gap; none if none was.
    last_refused: Option<i32>,
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
        let mut states = self.states.lock();
        let state = states.state(key, leader_epoch, header.producer_epoch);
        let entered = state.enter(sequence, leader_epoch, known);
        states.settle(key);
        entered.map(|()| Some(Ticket { pipeline: Arc::clone(self), key, sequence }))
    }

    /// Notes that a batch was refused before it could enter.
    pub(crate) fn refused(&self, group: GroupId, header: &Header) {
        if header.is_idempotent() {
            let key = (group, header.producer_id);
            let mut states = self.states.lock();
            states.state(key, -1, header.producer_epoch).miss(header.base_sequence);
            states.settle(key);
        }
    }

    fn end(&self, key: Key, missed: Option<i32>) {
        let mut states = self.states.lock();
        let Some(state) = states.by_key.get_mut(&key) else { return };
        state.in_flight = state.in_flight.saturating_sub(1);
        if let Some(sequence) = missed {
            state.miss(sequence);
        }
        states.settle(key);
    }
}

impl ProducerStates {
    fn state(&mut self, key: Key, leader_epoch: i32, producer_epoch: i16) -> &mut ProducerState {
        let new = ProducerState { producer_epoch, leader_epoch, in_flight: 0, gap: None, idle: 0 };
        let state = self.by_key.entry(key).or_insert(new);
        if state.producer_epoch != producer_epoch {
            // A new epoch begins at 0 again and owes nothing to the old one.
            (state.producer_epoch, state.gap) = (producer_epoch, None);
        }
        state
    }

    /// Keeps to the bounds after a producer's stand has changed.
    fn settle(&mut self, key: Key) {
        let Some(state) = self.by_key.get_mut(&key) else { return };
        let is_idle = state.in_flight == 0 && state.gap.is_some();
        if is_idle && state.idle == 0 {
            self.last_idle += 1;
            state.idle = self.last_idle;
            self.idle.insert(state.idle, key);
        } else if !is_idle {
            self.idle.remove(&std::mem::take(&mut state.idle));
        }
        if state.in_flight == 0 && state.gap.is_none() {
            self.by_key.remove(&key);
        }
        if self.idle.len() > GAPS_MAX
            && let Some((_, longest)) = self.idle.pop_first()
        {
            self.by_key.remove(&longest);
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

impl ProducerState {
    fn enter(&mut self, sequence: i32, leader_epoch: i32, known: bool) -> Result<(), ErrorCode> {
        self.gap = self.gap.filter(|gap| !known && !gap.was_given_up(sequence));
        let misses_one = self.gap.is_some_and(|gap| is_after(sequence, gap.at));
        // What is under way belongs to a leadership that is over; how it ends is not known yet.
        let is_unsure = !known && self.in_flight > 0 && self.leader_epoch != leader_epoch;
        if misses_one || is_unsure {
            self.miss(sequence);
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        self.leader_epoch = leader_epoch;
        self.in_flight += 1;
        self.gap = self.gap.filter(|gap| gap.at != sequence);
        Ok(())
    }

    fn miss(&mut self, sequence: i32) {
        match &mut self.gap {
            Some(gap) if is_after(sequence, gap.at) => {
                gap.last_refused = gap
                    .last_refused
                    .filter(|last_refused| is_after(*last_refused, sequence))
                    .or(Some(sequence));
            }
            gap => *gap = Some(Gap { at: sequence, last_refused: None }),
        }
    }
}

impl Gap {
    /// Whether the batch was refused before, since the gap is there.
    fn was_given_up(&self, sequence: i32) -> bool {
        is_after(sequence, self.at)
            && self.last_refused.is_some_and(|last_refused| !is_after(sequence, last_refused))
    }
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
        assert!(pipeline.states.lock().by_key.is_empty());
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
        assert!(pipeline.states.lock().by_key.is_empty());
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

    fn batch_of(producer: i64, sequence: i32) -> Header {
        let batch =
            BatchBuilder::new().producer(producer, 0, sequence).record(0, None, None).build();
        Header::parse(&batch).unwrap()
    }

    #[test]
    fn gaps_are_forgotten_one_by_one_the_oldest_first() {
        let pipeline = Arc::new(Pipeline::default());
        let count = i64::try_from(GAPS_MAX).unwrap();
        for producer in 0..count + 2 {
            pipeline.refused(GROUP, &batch_of(producer, 0));
        }
        assert_eq!(pipeline.states.lock().by_key.len(), GAPS_MAX);
        assert!(pipeline.enter(GROUP, 1, &batch_of(1, 1), false).is_ok(), "forgotten");
        let kept = pipeline.enter(GROUP, 1, &batch_of(2, 1), false);
        assert_eq!(kept.unwrap_err(), ErrorCode::NotLeaderOrFollower);
    }

    /// Looking at all of them for each further one would take minutes.
    #[test]
    fn many_producers_under_way_cost_each_of_them_nothing() {
        let pipeline = Arc::new(Pipeline::default());
        let headers: Vec<Header> = (0..200_000).map(|id| batch_of(id, 0)).collect();
        let begun = std::time::Instant::now();
        let enter = |header| pipeline.enter(GROUP, 1, header, false).unwrap().unwrap();
        let tickets: Vec<Ticket> = headers.iter().map(enter).collect();
        assert_eq!(pipeline.states.lock().by_key.len(), tickets.len());
        tickets.into_iter().for_each(Ticket::passed);
        assert!(pipeline.states.lock().by_key.is_empty());
        assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
    }

    #[test]
    fn producers_without_sequences_are_not_remembered() {
        let pipeline = Arc::new(Pipeline::default());
        let plain = BatchBuilder::new().record(0, None, None).build();
        let plain = Header::parse(&plain).unwrap();
        pipeline.refused(GROUP, &plain);
        assert!(pipeline.enter(GROUP, 1, &plain, false).unwrap().is_none());
        assert!(pipeline.states.lock().by_key.is_empty());
    }
}
