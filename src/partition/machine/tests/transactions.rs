//! The rules by which batches and markers go with the transactions of their producers.

use super::*;
use crate::partition::aborted::{self, Aborted};
use crate::partition::attachments::Attachments;
use crate::partition::command::AppendPayload;
use crate::partition::producers;
use crate::record::EndMarker;

const DAY_MS: i64 = 86_400_000;
const TRANSACTIONAL: i16 = 0b1_0000;

/// A batch of a transaction: producer, epoch, first sequence.
fn data(id: i64, epoch: i16, sequence: i32) -> BatchBuilder {
    records(2, 50).attributes(TRANSACTIONAL).producer(id, epoch, sequence)
}

pub(super) fn beside(number: Option<u64>) -> Attachments {
    Attachments { transaction: number, ..Attachments::default() }
}

/// An entry of batches with the numbers of their transactions.
pub(super) fn numbered(log_ms: i64, batches: &[(Bytes, Option<u64>)]) -> Bytes {
    let mut payload = AppendPayload::with_capacity(0);
    for (batch, number) in batches {
        payload.push(batch, &beside(*number).encode());
    }
    payload.finish(Times { wall_ms: 0, log_ms })
}

impl Replica {
    fn send(&mut self, log_ms: i64, batch: Bytes, number: Option<u64>) -> BatchReply {
        match self.apply(Some(&numbered(log_ms, &[(batch, number)]))) {
            Reply::Appended(replies) => replies[0],
            other => panic!("not appended: {other:?}"),
        }
    }

    fn put(&mut self, batch: &BatchBuilder, number: u64) -> BatchReply {
        self.send(0, batch.build(), Some(number))
    }

    fn end(&mut self, (id, epoch): (i64, i16), number: u64, commit: bool) -> BatchReply {
        let batch = EndMarker { commit, coordinator_epoch: 4 }.batch(id, epoch, 90);
        self.send(0, batch, Some(number))
    }

    fn stable(&self) -> i64 {
        self.machine.last_stable_offset()
    }

    /// The row of an aborted transaction, by the place of its marker.
    fn aborted_at(&mut self, id: i64, marker: Place) -> Option<Aborted> {
        let key = aborted::key(id, marker);
        let payload = forget_payload(Times::default(), std::slice::from_ref(&key));
        self.apply(Some(&payload.into()));
        self.effects.keyed.get(&key).map(|row| Aborted::decode(&row).unwrap())
    }
}

fn refused(reason: NotInTransaction) -> BatchReply {
    BatchReply::Refused(Refusal::Transaction(reason))
}

fn is_duplicate(reply: BatchReply) -> bool {
    matches!(reply, BatchReply::Appended { duplicate: true, .. })
}

#[test]
fn the_stable_offset_is_that_of_the_oldest_open_transaction() {
    let mut replica = Replica::default();
    assert_eq!(replica.stable(), 0);
    base_offset(replica.append(0, &records(3, 0)));
    assert_eq!(replica.stable(), 3, "the end, with none open");
    base_offset(replica.put(&data(1, 0, 0), 10));
    base_offset(replica.put(&data(2, 0, 0), 11));
    base_offset(replica.put(&data(1, 0, 2), 10));
    base_offset(replica.append(0, &records(1, 0)));
    assert_eq!((replica.stable(), replica.machine.next_offset()), (3, 10));
    assert_eq!(base_offset(replica.end((1, 0), 10, true)), 10, "a marker takes an offset");
    assert_eq!(replica.stable(), 5);
    replica.machine = PartitionMachine::decode(&replica.machine.encode()).unwrap();
    assert_eq!(replica.stable(), 5);
    assert_eq!(replica.machine.summary().open_transactions, 1);
    base_offset(replica.end((2, 0), 11, false));
    assert_eq!(replica.stable(), replica.machine.next_offset());
    assert_eq!(replica.machine.summary().oldest_transaction_ms, None);
}

#[test]
fn a_batch_that_comes_after_its_transaction_has_ended_is_refused() {
    let mut replica = Replica::default();
    base_offset(replica.put(&data(1, 0, 0), 10));
    base_offset(replica.end((1, 0), 10, true));
    // The sequence is the next one, as in the classic flow; only the number tells that it comes too late.
    assert_eq!(replica.put(&data(1, 0, 2), 10), refused(NotInTransaction::Ended));
    assert_eq!(replica.put(&data(1, 0, 2), 9), refused(NotInTransaction::Ended));
    assert_eq!(replica.stable(), replica.machine.next_offset(), "it opened nothing");
    base_offset(replica.put(&data(1, 0, 2), 12));
}

#[test]
fn a_marker_that_comes_again_takes_no_offset() {
    let mut replica = Replica::default();
    base_offset(replica.put(&data(1, 0, 0), 10));
    base_offset(replica.end((1, 0), 10, false));
    let end = replica.machine.next_offset();
    for number in [10, 9] {
        assert!(is_duplicate(replica.end((1, 0), number, false)));
        // The first one holds.
        assert!(is_duplicate(replica.end((1, 0), number, true)));
    }
    base_offset(replica.put(&data(1, 0, 2), 12));
    assert!(is_duplicate(replica.end((1, 0), 10, false)), "nor does it end the next one");
    assert_eq!((replica.machine.next_offset(), replica.stable()), (end + 2, end));
}

#[test]
fn a_transaction_without_records_here_is_noted_as_ended() {
    let mut replica = Replica::default();
    assert_eq!(base_offset(replica.end((1, 3), 10, true)), 0);
    assert_eq!(replica.machine.summary().producers, 1);
    assert_eq!(replica.put(&data(1, 3, 0), 10), refused(NotInTransaction::Ended));
    // Nothing is known of its sequence, which may have begun long ago.
    base_offset(replica.put(&data(1, 3, 57), 11));
    assert_eq!(replica.machine.summary().aborted_transactions, 0);
    base_offset(replica.end((2, 0), 12, false));
    assert_eq!(replica.machine.summary().aborted_transactions, 0, "it has nothing to leave out");
}

#[test]
fn a_marker_with_a_later_epoch_begins_the_sequence_anew() {
    let mut replica = Replica::default();
    base_offset(replica.put(&data(1, 4, 0), 10));
    base_offset(replica.end((1, 5), 10, true));
    let fenced = BatchReply::Refused(Refusal::InvalidProducerEpoch { current: 5 });
    assert_eq!(replica.put(&data(1, 4, 2), 11), fenced);
    assert_eq!(replica.put(&data(1, 4, 0), 10), fenced, "also what was taken");
    let gap = BatchReply::Refused(Refusal::OutOfOrderSequence { expected: 0 });
    assert_eq!(replica.put(&data(1, 5, 2), 11), gap);
    base_offset(replica.put(&data(1, 5, 0), 11));
    assert_eq!(replica.end((1, 4), 11, true), fenced, "a marker of an old epoch");
    base_offset(replica.end((1, 5), 11, true));
}

#[test]
fn with_the_same_epoch_the_sequence_goes_on_across_markers() {
    let mut replica = Replica::default();
    base_offset(replica.put(&data(1, 0, 0), 10));
    base_offset(replica.end((1, 0), 10, true));
    let gap = BatchReply::Refused(Refusal::OutOfOrderSequence { expected: 2 });
    assert_eq!(replica.put(&data(1, 0, 4), 11), gap);
    base_offset(replica.put(&data(1, 0, 2), 11));
    for (sequence, number, offset) in [(0, 10, 0), (2, 11, 3)] {
        let BatchReply::Appended { base_offset, duplicate: true, .. } =
            replica.put(&data(1, 0, sequence), number)
        else {
            panic!("a retry of what is in the log, ended or not");
        };
        assert_eq!(base_offset, offset);
    }
}

#[test]
fn a_producer_with_an_open_transaction_is_not_forgotten() {
    let mut replica = Replica::default();
    base_offset(replica.put(&data(1, 0, 0), 10));
    base_offset(replica.put(&data(2, 0, 0), 11));
    base_offset(replica.end((2, 0), 11, true));
    let keys = [1, 2].map(producers::key);
    let late = Times { wall_ms: 0, log_ms: 3 * DAY_MS };
    replica.apply(Some(&forget_payload(late, &keys).into()));
    assert_eq!(replica.machine.summary().producers, 1, "the other one is");
    assert_eq!(replica.machine.summary().oldest_transaction_ms, Some(3 * DAY_MS));
    let gap = BatchReply::Refused(Refusal::OutOfOrderSequence { expected: 2 });
    assert_eq!(replica.put(&data(1, 0, 9), 10), gap);
    assert!(is_duplicate(replica.put(&data(1, 0, 0), 10)));
    base_offset(replica.end((1, 0), 10, false));
    assert_eq!(replica.put(&data(1, 0, 2), 10), refused(NotInTransaction::Ended));
    let later = Times { wall_ms: 0, log_ms: 4 * DAY_MS + 1 };
    replica.apply(Some(&forget_payload(later, &keys).into()));
    assert_eq!(replica.machine.summary().producers, 0, "a day after it has ended");
}

#[test]
fn a_producer_has_one_transaction_open_and_writes_nothing_beside_it() {
    let mut replica = Replica::default();
    base_offset(replica.put(&data(1, 0, 0), 10));
    let other = refused(NotInTransaction::OtherOpen { number: 10 });
    assert_eq!(replica.put(&data(1, 0, 2), 11), other);
    assert_eq!(replica.end((1, 0), 11, true), other);
    let plain = records(1, 0).producer(1, 0, 2);
    assert_eq!(replica.append(0, &plain), refused(NotInTransaction::Outside));
    let unnamed = refused(NotInTransaction::Unnamed);
    assert_eq!(replica.append(0, &data(1, 0, 2)), unnamed);
    assert_eq!(replica.put(&plain, 10), unnamed);
    assert_eq!(replica.put(&records(1, 0).attributes(TRANSACTIONAL), 10), unnamed, "nobody's");
    let marker = EndMarker { commit: true, coordinator_epoch: 0 }.batch(1, 0, 0);
    assert_eq!(replica.send(0, marker, None), unnamed);
    let raised = BatchReply::Refused(Refusal::InvalidProducerEpoch { current: 0 });
    assert_eq!(replica.put(&data(1, 1, 0), 10), raised, "a transaction has one epoch");
    assert_eq!((replica.machine.next_offset(), replica.stable()), (2, 0));
    base_offset(replica.end((1, 0), 10, true));
    base_offset(replica.append(0, &plain));
}

#[test]
fn open_transactions_are_bounded() {
    let mut replica = Replica::default();
    for id in 0..10_000 {
        base_offset(replica.put(&data(id, 0, 0), 10));
    }
    let full = refused(NotInTransaction::TooMany { max: 10_000 });
    assert_eq!(replica.put(&data(10_000, 0, 0), 10), full);
    base_offset(replica.put(&data(7, 0, 2), 10));
    let bytes = replica.machine.encode();
    assert!(bytes.len() < 600_000, "{}", bytes.len());
    replica.machine = PartitionMachine::decode(&bytes).unwrap();
    base_offset(replica.end((7, 0), 10, true));
    base_offset(replica.put(&data(10_000, 0, 0), 10));
}

#[test]
fn topics_with_streams_and_batches_with_conditions_take_no_part() {
    let mut replica = Replica::default();
    let mut conditional = beside(Some(10));
    conditional.expect_offset(0);
    let mut once = beside(Some(10));
    once.once(Bytes::from_static(b"key"), 1);
    for attachments in [conditional, once] {
        let mut payload = AppendPayload::with_capacity(0);
        payload.push(&data(1, 0, 0).build(), &attachments.encode());
        let reply = replica.apply(Some(&payload.finish(Times::default())));
        let expected = Refusal::NotTransactional { what: "a batch with conditions" };
        assert_eq!(reply, Reply::Appended(vec![BatchReply::Refused(expected)]));
    }
    base_offset(replica.put(&data(1, 0, 0), 10));
    replica.apply(Some(&streams_payload(Times::default(), true).into()));
    let expected = Refusal::NotTransactional { what: "a topic with streams" };
    assert_eq!(replica.put(&data(1, 0, 2), 10), BatchReply::Refused(expected));
    base_offset(replica.end((1, 0), 10, true));
    assert_eq!(replica.stable(), replica.machine.next_offset(), "what was open can end");
}

#[test]
fn what_was_aborted_is_noted_until_the_log_begins_behind_its_marker() {
    let mut replica = Replica::default();
    base_offset(replica.put(&data(1, 0, 0), 10));
    base_offset(replica.append(0, &records(1, 0)));
    let place = Place::of_entry(replica.index);
    assert_eq!(base_offset(replica.end((1, 0), 10, false)), 3);
    let behind = replica.machine.end;
    let expected = Some(Aborted { first_offset: 0, marker_offset: 3 });
    assert_eq!(replica.aborted_at(1, place), expected);
    base_offset(replica.put(&data(1, 0, 2), 11));
    let committed = Place::of_entry(replica.index);
    base_offset(replica.end((1, 0), 11, true));
    assert_eq!(replica.aborted_at(1, committed), None);
    let first = Position { offset: 3, place, bytes: behind.bytes - 78 };
    replica.trim(3, first);
    assert_eq!(replica.aborted_at(1, place), expected, "the marker is kept");
    replica.trim(4, behind);
    assert_eq!(replica.machine.summary().aborted_transactions, 1);
    assert_eq!(replica.aborted_at(1, place), None);
    assert_eq!(replica.machine.summary().aborted_transactions, 0);
}

#[test]
fn thousands_of_aborted_transactions_leave_the_checkpoint_small() {
    let mut replica = Replica::default();
    for number in 1..=5_000 {
        let sequence = i32::try_from(number - 1).unwrap() * 2;
        base_offset(replica.put(&data(1, 0, sequence), number));
        base_offset(replica.end((1, 0), number, false));
    }
    assert_eq!(replica.machine.summary().aborted_transactions, 5_000);
    assert!(replica.machine.encode().len() < 1_024, "{}", replica.machine.encode().len());
}

#[test]
fn a_trim_may_pass_a_transaction_that_is_open() {
    let mut replica = Replica::default();
    base_offset(replica.put(&data(1, 0, 0), 10));
    base_offset(replica.append(0, &records(5, 0)));
    let end = replica.machine.end;
    replica.trim(7, end);
    assert_eq!((replica.stable(), replica.machine.log_start()), (7, 7));
    base_offset(replica.put(&data(1, 0, 2), 10));
    assert_eq!(replica.stable(), 7, "it is still open");
    replica.machine = PartitionMachine::decode(&replica.machine.encode()).unwrap();
    let place = Place::of_entry(replica.index);
    base_offset(replica.end((1, 0), 10, false));
    let expected = Some(Aborted { first_offset: 0, marker_offset: 9 });
    assert_eq!((replica.aborted_at(1, place), replica.stable()), (expected, 10));
}

#[test]
fn the_number_of_a_transaction_is_known_while_it_is_open_or_about_to_begin() {
    let mut replica = Replica::default();
    let of = |replica: &Replica, epoch| replica.machine.transaction_of(1, epoch);
    assert_eq!(of(&replica, 0), None);
    replica.machine.note_transaction(1, 0, 10);
    assert_eq!((of(&replica, 0), of(&replica, 1)), (Some(10), None));
    base_offset(replica.put(&data(1, 0, 0), 10));
    assert_eq!((of(&replica, 0), of(&replica, 1)), (Some(10), None));
    base_offset(replica.end((1, 0), 10, true));
    assert_eq!(of(&replica, 0), None);
    replica.machine.note_transaction(1, 0, 10);
    assert_eq!(of(&replica, 0), None, "an answer that came too late");
    assert!(replica.machine.has_ended(1, 10) && !replica.machine.has_ended(1, 11));
    // After a restart nobody remembers; then the batch is refused, and what was noted is forgotten.
    replica.machine = PartitionMachine::decode(&replica.machine.encode()).unwrap();
    replica.machine.note_transaction(1, 0, 10);
    assert_eq!(of(&replica, 0), Some(10));
    assert_eq!(replica.put(&data(1, 0, 2), 10), refused(NotInTransaction::Ended));
    assert_eq!(of(&replica, 0), None);
    replica.machine.note_transaction(1, 0, 11);
    assert_eq!(of(&replica, 0), Some(11));
}

#[test]
fn nothing_is_compacted_that_is_not_decided() {
    let mut replica = Replica::default();
    base_offset(replica.append(0, &records(1, 0)));
    let before = replica.machine.end;
    base_offset(replica.put(&data(1, 0, 0), 10));
    let end = replica.machine.end;
    let mut clean = |upto: Position| {
        let clean = Clean { upto, tombstones_upto: 0, rest_ms: 0 };
        replica.apply(Some(&clean_payload(Times::default(), &clean).into()));
        replica.machine.cleaned().upto.offset
    };
    assert_eq!((clean(end), clean(before)), (0, 1));
}

#[test]
fn the_time_of_a_marker_is_that_of_no_record() {
    let mut replica = Replica::default();
    base_offset(replica.put(&data(1, 0, 0), 10));
    base_offset(replica.end((1, 0), 10, true));
    assert_eq!(replica.machine.newest().map(|newest| newest.timestamp), Some(50));
    assert_eq!(replica.machine.view().open.timestamp_max, 50);
}

#[test]
fn the_bytes_of_a_producer_and_of_an_open_transaction_are_frozen() {
    let mut replica = Replica::default();
    base_offset(replica.put(&data(3, 1, 0), 10));
    base_offset(replica.end((3, 2), 10, true));
    let open = data(3, 2, 0).build();
    base_offset(replica.send(7, open, Some(12)));
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let row = replica.effects.keyed.get(&producers::key(3)).unwrap();
    let expected = concat!(
        "0002",                                             // epoch
        "0000000000000007",                                 // log time
        "0000000000000032",                                 // timestamp
        "00000002",                                         // sequence numbers without a gap
        "000000000000000a",                                 // the number that ended last
        "00000004",                                         // the coordinator's epoch
        "0101",                                             // begins at 0, batches
        "00000000000000010000000000000003ffffffffffffffff", // sequence, offset, time
    );
    assert_eq!(hex(&row), expected);
    let bytes = replica.machine.encode();
    let expected = concat!(
        "0000000000000000",                         // aborted transactions
        "00000001",                                 // open ones
        "000000000000000300020000",                 // producer, epoch
        "00000000000c",                             // number
        "0000000000000003000000000000000200000000", // first offset, where
    );
    let found = hex(&bytes);
    assert!(found.contains(expected), "{found}");
    assert!(found.ends_with("0000000000000007"), "since when: {found}");
    // One that begins behind the end of the log.
    let mut damaged = bytes.clone();
    let at = damaged.len() - 36;
    damaged[at] = 1;
    assert!(PartitionMachine::decode(&damaged).is_err());
}
