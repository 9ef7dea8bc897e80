use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use quorate_raft::conformance;

use super::*;
use crate::partition::command::{
    Batch, Times, append_payload, clean_payload, forget_payload, level_payload, streams_payload,
    trim_payload,
};
use crate::partition::index::SPAN_BATCHES;
use crate::record::BatchBuilder;

mod producers;
mod restore;
mod stream_model;
mod streams;
mod transaction_model;
mod transactions;

/// A machine and the log it was fed, as a replica sees them.
#[derive(Default)]
struct Replica {
    machine: PartitionMachine,
    effects: Effects,
    index: u64,
    term: u64,
}

impl Replica {
    fn apply(&mut self, payload: Option<&Bytes>) -> Reply {
        let entry = Committed { index: self.index, term: self.term, payload };
        self.index += 1;
        conformance::name_keys::<PartitionMachine>(entry, &mut self.effects);
        self.machine.apply(entry, &mut self.effects)
    }

    fn append(&mut self, now_ms: i64, batch: &BatchBuilder) -> BatchReply {
        self.append_at(Times { wall_ms: now_ms, log_ms: 0 }, batch)
    }

    fn append_at(&mut self, times: Times, batch: &BatchBuilder) -> BatchReply {
        self.append_all(times, std::slice::from_ref(batch))[0]
    }

    /// Appends the batches in one entry.
    fn append_all(&mut self, times: Times, batches: &[BatchBuilder]) -> Vec<BatchReply> {
        match self.apply(Some(&entry_of(times, batches))) {
            Reply::Appended(replies) => {
                assert_eq!(replies.len(), batches.len(), "each has an answer of its own");
                replies
            }
            other => panic!("not appended: {other:?}"),
        }
    }

    fn trim(&mut self, log_start: i64, start: Position) -> Reply {
        self.apply(Some(&trim_payload(Times::default(), &Trim { log_start, start }).into()))
    }

    /// Appends until the machine has cut a point; returns it.
    fn cut(&mut self, now_ms: i64) -> Position {
        let points = self.effects.puts.len();
        while self.effects.puts.len() == points {
            self.append(now_ms, &records(1, now_ms));
        }
        self.machine.open.start
    }
}

fn records(count: usize, timestamp: i64) -> BatchBuilder {
    (0..count).fold(BatchBuilder::new(), |batch, _| batch.record(timestamp, None, Some(b"value")))
}

fn entry_of(times: Times, batches: &[BatchBuilder]) -> Bytes {
    let batches: Vec<Bytes> = batches.iter().map(BatchBuilder::build).collect();
    append_payload(times, batches.iter().map(AsRef::as_ref))
}

fn at(index: u64, sub: u32) -> Place {
    Place { index, sub }
}

fn base_offset(reply: BatchReply) -> i64 {
    match reply {
        BatchReply::Appended { base_offset, duplicate: false, .. } => base_offset,
        other => panic!("not appended: {other:?}"),
    }
}

#[test]
fn offsets_are_dense_whatever_raft_writes_in_between() {
    let mut replica = Replica::default();
    replica.apply(None);
    assert_eq!(base_offset(replica.append(0, &records(3, 0))), 0);
    assert_eq!(replica.apply(None), Reply::Nothing);
    assert_eq!(base_offset(replica.append(0, &records(2, 0))), 3);
    assert_eq!(replica.machine.next_offset(), 5);
    assert_eq!((replica.machine.log_start(), replica.machine.needed_from()), (0, 1));
}

#[test]
fn what_is_not_appended_takes_no_offset() {
    let mut replica = Replica::default();
    let first = records(2, 0).producer(9, 1, 0);
    assert_eq!(base_offset(replica.append(0, &first)), 0);

    let again = replica.append(0, &first);
    let original = BatchReply::Appended {
        base_offset: 0,
        log_append_time: -1,
        log_start: 0,
        duplicate: true,
        version: -1,
    };
    assert_eq!(again, original);
    let gap = replica.append(0, &records(1, 0).producer(9, 1, 5));
    assert_eq!(gap, BatchReply::Refused(Refusal::OutOfOrderSequence { expected: 2 }));
    let old = replica.append(0, &records(1, 0).producer(9, 0, 0));
    assert_eq!(old, BatchReply::Refused(Refusal::InvalidProducerEpoch { current: 1 }));

    assert_eq!(replica.machine.next_offset(), 2);
    assert_eq!(base_offset(replica.append(0, &records(1, 0).producer(9, 1, 2))), 2);
}

#[test]
fn pipelined_batches_are_judged_in_the_order_of_the_log() {
    let mut replica = Replica::default();
    // The second overtook the first: it is refused, and so are all that build on it.
    let batch = |sequence| records(1, 0).producer(1, 0, sequence);
    base_offset(replica.append(0, &batch(0)));
    for overtaking in 2..5 {
        let refused = BatchReply::Refused(Refusal::OutOfOrderSequence { expected: 1 });
        assert_eq!(replica.append(0, &batch(overtaking)), refused);
    }
    for (sequence, offset) in (1..5).zip(1..) {
        assert_eq!(base_offset(replica.append(0, &batch(sequence))), offset);
    }
}

#[test]
fn a_retry_is_answered_with_the_original_offset_after_a_restore_and_a_new_term() {
    let mut replica = Replica::default();
    base_offset(replica.append(0, &records(7, 0)));
    let batch = records(2, 0).attributes(0b1000).producer(5, 0, 0);
    let first = replica.append(0, &batch);
    assert_eq!(base_offset(first), 7);
    replica.machine = PartitionMachine::decode(&replica.machine.encode()).unwrap();
    replica.term += 1;
    replica.apply(None);
    base_offset(replica.append(0, &records(1, 0)));
    let BatchReply::Appended { base_offset, duplicate, .. } = replica.append(0, &batch) else {
        panic!("a duplicate is a success");
    };
    assert_eq!((base_offset, duplicate), (7, true));
}

#[test]
fn log_append_time_is_told_also_of_duplicates() {
    let mut replica = Replica::default();
    let batch = records(1, 1234).attributes(0b1000).producer(5, 0, 0);
    for _ in 0..2 {
        let BatchReply::Appended { log_append_time, .. } = replica.append(0, &batch) else {
            panic!("a duplicate is a success");
        };
        assert_eq!(log_append_time, 1234);
    }
}

#[test]
fn the_batches_of_an_entry_are_judged_one_by_one_in_order() {
    let mut replica = Replica::default();
    let batch = |sequence| records(2, 0).producer(1, 0, sequence);
    let entry = [batch(0), records(1, 0), batch(2), batch(0), batch(9), batch(4)];
    let replies = replica.append_all(Times::default(), &entry);
    let offsets: Vec<_> = [0, 1, 2, 5].into_iter().map(|at| base_offset(replies[at])).collect();
    assert_eq!(offsets, [0, 2, 3, 5]);
    let BatchReply::Appended { base_offset: 0, duplicate: true, .. } = replies[3] else {
        panic!("a duplicate of what is in the same entry: {:?}", replies[3]);
    };
    let gap = Refusal::OutOfOrderSequence { expected: 4 };
    assert_eq!(replies[4], BatchReply::Refused(gap));
    assert_eq!(replica.machine.next_offset(), 7);
    assert_eq!(replica.machine.end.place, at(1, 0), "behind the entry");
    let page = replica.machine.rejected.page_in_memory();
    assert_eq!(page.skip(at(0, 3)), Some(at(0, 5)));
    assert_eq!((page.skip(at(0, 2)), page.skip(at(0, 5))), (None, None));
}

#[test]
fn positions_count_the_size_that_a_batch_was_appended_with() {
    let times = Times::default();
    let whole = entry_of(times, &[records(3, 0), records(1, 0)]);
    let mut replica = Replica::default();
    replica.apply(Some(&whole));
    // The first lost its records to compaction on this replica and kept its offsets.
    let [first, second] = [records(3, 0), records(1, 0)].map(|batch| batch.build().to_vec());
    let mut header = first[..61].to_vec();
    header[8..12].copy_from_slice(&49_i32.to_be_bytes());
    let mut compacted = append_payload(times, [&header[..], &second[..]]).to_vec();
    compacted[22..26].copy_from_slice(&u32::try_from(first.len()).unwrap().to_be_bytes());
    let mut other = Replica::default();
    other.apply(Some(&compacted.into()));
    assert_eq!(other.machine.end, replica.machine.end);
    assert_eq!(other.machine.end.bytes, (first.len() + second.len()) as u64);
}

#[test]
fn a_term_becomes_an_epoch_with_its_first_entry() {
    let mut replica = Replica { term: 3, ..Replica::default() };
    replica.apply(None);
    base_offset(replica.append(0, &records(4, 0)));
    replica.term = 8;
    assert_eq!(replica.machine.epochs().latest(), 3);
    replica.apply(None);
    assert_eq!(replica.machine.epochs().latest(), 8);
    assert_eq!(replica.machine.epochs().end_of(3, 4), (3, 4));
}

#[test]
fn points_are_cut_by_bytes_by_batches_and_by_time() {
    let offset = |replica: &Replica| replica.machine.open.start.offset;

    let mut by_batches = Replica::default();
    by_batches.cut(0);
    assert_eq!(offset(&by_batches), i64::from(SPAN_BATCHES));

    let mut by_bytes = Replica::default();
    let large = BatchBuilder::new().record(0, None, Some(&[0; 100_000]));
    for _ in 0..4 {
        base_offset(by_bytes.append(0, &large));
    }
    assert_eq!((by_bytes.effects.puts.len(), offset(&by_bytes)), (1, 3));

    let mut by_time = Replica::default();
    base_offset(by_time.append(5_000, &records(1, 0)));
    base_offset(by_time.append(4_999 + SPAN_MS, &records(1, 0)));
    assert!(by_time.effects.puts.is_empty());
    base_offset(by_time.append(5_000 + SPAN_MS, &records(1, 0)));
    assert_eq!((by_time.effects.puts.len(), offset(&by_time)), (1, 2));
}

#[test]
fn entries_without_a_batch_cut_no_points() {
    let mut replica = Replica::default();
    base_offset(replica.append(0, &records(1, 0).producer(1, 0, 0)));
    for _ in 0..1000 {
        replica.apply(None);
        replica.append(0, &records(1, 0).producer(1, 0, 0));
    }
    assert!(replica.effects.puts.is_empty());
    let at = replica.index;
    base_offset(replica.append(0, &records(1, 0)));
    assert_eq!(
        replica.machine.open.start,
        Position { offset: 1, place: Place::of_entry(at), bytes: 73 }
    );
}

#[test]
fn a_trim_moves_the_log_start_and_what_is_needed() {
    let mut replica = Replica::default();
    let point = replica.cut(0);
    base_offset(replica.append(0, &records(10, 0)));
    let before = replica.machine.summary().bytes;
    let log_start = point.offset;
    assert_eq!(replica.trim(log_start, point), Reply::Trimmed { log_start });
    assert_eq!(replica.machine.log_start(), log_start);
    assert_eq!(replica.machine.needed_from(), point.place.index);
    assert_eq!(replica.machine.summary().bytes, before - point.bytes);
    assert_eq!(replica.effects.deletes, index::deletes(Position::default(), point));
    assert_eq!(replica.effects.deletes.len(), 1, "blocks stay");
}

#[test]
fn a_trim_into_a_batch_keeps_the_whole_batch() {
    let mut replica = Replica::default();
    let at = replica.machine.end;
    base_offset(replica.append(0, &records(10, 0)));
    replica.trim(4, at);
    assert_eq!((replica.machine.log_start(), replica.machine.needed_from()), (4, 0));
}

#[test]
fn a_trim_inside_an_entry_keeps_the_entry_and_forgets_what_is_before() {
    let mut replica = Replica::default();
    base_offset(replica.append(0, &records(1, 0)));
    let batch = |sequence| records(2, 0).producer(1, 0, sequence);
    let entry = [batch(0), batch(7), batch(2), batch(7), batch(4)];
    replica.append_all(Times::default(), &entry);
    let third = replica.machine.recent(3).unwrap();
    assert_eq!((third.offset, third.place), (3, at(1, 2)));
    let before = replica.machine.summary().bytes;
    assert_eq!(replica.trim(4, third), Reply::Trimmed { log_start: 4 });
    assert_eq!(replica.machine.needed_from(), 1, "the entry is still needed");
    assert_eq!(replica.machine.summary().bytes, before - third.bytes);
    let page = replica.machine.rejected.page_in_memory();
    assert_eq!((page.skip(at(1, 1)), page.skip(at(1, 3))), (None, Some(at(1, 4))));
    assert_eq!(replica.machine.recent(2), None);
    // Of two trims into the same entry the one further back comes too late.
    let first = Position { offset: 1, place: at(1, 0), bytes: 69 };
    assert_eq!(replica.trim(1, first), Reply::Trimmed { log_start: 4 });
    assert_eq!(replica.machine.start, third);
}

#[test]
fn a_trim_never_goes_back_nor_beyond_the_end() {
    let mut replica = Replica::default();
    let first = replica.machine.end;
    base_offset(replica.append(0, &records(10, 0)));
    let end = replica.machine.end;
    assert_eq!(replica.trim(10, end), Reply::Trimmed { log_start: 10 });
    assert_eq!(replica.trim(4, first), Reply::Trimmed { log_start: 10 }, "a late older one");
    assert_eq!(replica.trim(11, end), Reply::Trimmed { log_start: 10 }, "beyond the end");
    assert_eq!(replica.machine.needed_from(), end.place.index);
    assert_eq!(base_offset(replica.append(0, &records(1, 0))), 10, "offsets go on");
}

#[test]
fn an_empty_log_sheds_its_blank_entries() {
    let mut replica = Replica::default();
    for _ in 0..10 {
        replica.apply(None);
    }
    let end = replica.machine.end;
    assert_eq!(replica.trim(0, end), Reply::Trimmed { log_start: 0 });
    assert_eq!(replica.machine.needed_from(), 10);
}

#[test]
fn the_newest_batch_is_known_until_it_is_trimmed() {
    let mut replica = Replica::default();
    for timestamp in [50, 90, 90, 70] {
        base_offset(replica.append(0, &records(2, timestamp)));
    }
    let newest = replica.machine.newest().unwrap();
    assert_eq!((newest.timestamp, newest.at.offset), (90, 2), "the first of equals");
    let end = replica.machine.end;
    replica.trim(8, end);
    assert_eq!(replica.machine.newest(), None);
}

#[test]
fn recent_batches_are_found_without_a_walk() {
    let mut replica = Replica::default();
    for _ in 0..100 {
        base_offset(replica.append(0, &records(2, 0)));
    }
    let recent = |offset| replica.machine.recent(offset).map(|at| (at.offset, at.place.index));
    assert_eq!(recent(199), Some((198, 99)));
    assert_eq!(recent(136), Some((136, 68)));
    assert_eq!(recent(135), None);
    assert_eq!(recent(200), None, "nothing is there yet");
}

#[test]
fn recent_entries_are_found_when_their_batches_are_too_many() {
    let mut replica = Replica::default();
    let entry: Vec<_> = (0..100).map(|_| records(1, 0)).collect();
    for _ in 0..3 {
        replica.append_all(Times::default(), &entry);
    }
    let recent = |offset| replica.machine.recent(offset).map(|it| (it.offset, it.place));
    assert_eq!(recent(299), Some((299, at(2, 99))));
    assert_eq!(recent(268), Some((268, at(2, 68))));
    assert_eq!(recent(267), Some((200, at(2, 0))), "where its entry begins");
    assert_eq!(recent(100), Some((100, at(1, 0))));
    assert_eq!(recent(300), None);
}

#[test]
fn points_are_cut_inside_entries() {
    let mut replica = Replica::default();
    let entry: Vec<_> = (0..300).map(|_| records(1, 0)).collect();
    replica.append_all(Times::default(), &entry);
    assert_eq!(replica.effects.puts.len(), 2);
    let open = replica.machine.open.start;
    assert_eq!((open.offset, open.place), (256, at(0, 256)));
}

/// A replica that is given the records of an empty log is given none: its log begins behind the checkpoint.
#[test]
fn the_first_batch_of_an_empty_log_is_where_it_begins() {
    let mut replica = Replica::default();
    base_offset(replica.append(0, &records(3, 0)));
    let all = replica.machine.view().end;
    replica.trim(all.offset, all);
    (0..5).for_each(|_| drop(replica.apply(None)));
    assert_eq!(replica.machine.view().start, all);
    let at = replica.machine.view().end;
    let found = [(); 2].map(|()| base_offset(replica.append(0, &records(2, 0))));
    assert_eq!(found, [3, 5]);
    assert_eq!((replica.machine.view().start, replica.machine.needed_from()), (at, at.place.index));
}

#[test]
fn the_bytes_of_a_checkpoint_are_frozen() {
    let mut replica = Replica { term: 2, ..Replica::default() };
    replica.apply(None);
    replica.append(7, &records(1, 5).producer(3, 1, 0));
    replica.append(8, &records(1, 5).producer(3, 1, 0));
    let hex: String = replica.machine.encode().iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = concat!(
        "0800000000",                                               // version, level
        "0000000000000000",                                         // log start
        "00000000000000000000000000000001000000000000000000000000", // start
        "00000000000000010000000000000003000000000000000000000049", // end
        "00000000000000000000000000000001000000000000000000000000", // open span: start
        "00000000000000070000000200000000000000050000000000000005", // opened, passed, ages
        "0000000000000007",                                         // ... last append
        "000000008000000000000000000000008000000000000000",         // open blocks
        "0000000000000000",                                         // log time
        "0100000000000000050000000000000001",                       // newest: time, end offset
        "00000000000000000000000000000001000000000000000000000000", // ... where
        "00000001000000020000000000000000",                         // epochs
        "00000001000000000000000200000000000000000000000300000000", // rejected: runs
        "00000000000000000000000000000000",                         // ... blocks
        "0000000000000001",                                         // producers
        "00000000000000000000000000000000000000000000000000000000", // compacted: up to
        "0000000000000000",                                         // ... its tombstones
        "01000000000000000700000000", // ... since when more is there, decisions
        "00000000000000000000000000000000000000000000000000", // streams: generation, on, begun, built
        "000000000000000000000000",                           // ... how many, misplaced
        "0000000000000000",                                   // aborted transactions
        "00000000",                                           // open transactions
    );
    assert_eq!(hex, expected);
}

#[test]
fn a_level_in_the_log_changes_the_rules_behind_it_and_is_never_lowered() {
    let mut replica = Replica::default();
    let spans = |replica: &mut Replica| {
        let (first, second) = (replica.cut(0).place.index, replica.cut(0).place.index);
        second - first
    };
    let before = spans(&mut replica);
    assert_eq!((replica.machine.level(), before), (1, u64::from(SPAN_BATCHES)));
    for level in [2, 1] {
        replica.apply(Some(&level_payload(Times::default(), level).into()));
        assert_eq!(replica.machine.level(), 2, "after {level}");
    }
    assert_eq!(spans(&mut replica), before / 2);
    let mut restored = PartitionMachine::decode(&replica.machine.encode()).unwrap();
    assert_eq!(restored.level(), 2);
    std::mem::swap(&mut replica.machine, &mut restored);
    assert_eq!(
        spans(&mut replica),
        before / 2,
        "the rules are of the log, wherever it was restored"
    );
}

#[test]
fn a_checkpoint_of_a_level_that_this_release_does_not_know_is_refused_in_words() {
    let level = crate::metadata::Levels::supported().highest + 1;
    let machine = PartitionMachine { level, ..PartitionMachine::default() };
    let words = PartitionMachine::decode(&machine.encode()).unwrap_err().to_string();
    assert!(words.contains("finalized at feature level 3"), "{words}");
    let known = PartitionMachine { level: level - 1, ..PartitionMachine::default() };
    assert!(PartitionMachine::decode(&known.encode()).is_ok());
}

#[test]
fn damaged_checkpoints_are_refused() {
    let mut replica = Replica::default();
    replica.cut(0);
    let bytes = replica.machine.encode();
    for cut in 0..bytes.len() {
        assert!(PartitionMachine::decode(&bytes[..cut]).is_err(), "cut to {cut} bytes");
    }
    assert!(PartitionMachine::decode(&[&bytes[..], b"x"].concat()).is_err());
    let mut newer = bytes.clone();
    newer[0] = 9;
    assert!(PartitionMachine::decode(&newer).is_err());
    let mut beyond = bytes;
    beyond[5] = 1;
    assert!(PartitionMachine::decode(&beyond).is_err(), "a log start above the end");
}

#[test]
fn no_input_makes_a_checkpoint_decoder_panic() {
    let mut rng = StdRng::seed_from_u64(1);
    let mut replica = Replica::default();
    replica.cut(0);
    replica.append(0, &records(1, 0).producer(1, 0, 0));
    let bytes = replica.machine.encode();
    for _ in 0..20_000 {
        let mut damaged = bytes.clone();
        let at = rng.random_range(0..damaged.len());
        damaged[at] = rng.random();
        if let Ok(machine) = PartitionMachine::decode(&damaged) {
            assert!(machine.log_start() <= machine.next_offset());
            machine.summary();
        }
    }
}
