//! What the keyed state of a partition remembers of producers, and when it stops.

use super::*;

const DAY_MS: i64 = 86_400_000;

fn after_ms(log_ms: i64) -> Times {
    Times { wall_ms: 0, log_ms }
}

impl Replica {
    /// Restores the machine from its bytes; the keyed state is on disk, as it were.
    fn restore(&mut self) {
        self.machine = PartitionMachine::decode(&self.machine.encode()).unwrap();
    }

    fn forget(&mut self, log_ms: i64, ids: &[i64]) {
        let keys: Vec<Bytes> = ids.iter().map(|id| crate::partition::producers::key(*id)).collect();
        let payload = forget_payload(after_ms(log_ms), &keys);
        assert_eq!(self.apply(Some(&payload.into())), Reply::Nothing);
    }
}

#[test]
fn producers_are_forgotten_by_log_time_alone() {
    let mut replica = Replica::default();
    let batch = records(1, 0).producer(1, 0, 0);
    base_offset(replica.append_at(Times { wall_ms: 0, log_ms: 5 }, &batch));
    for days in [8, -8, 0] {
        let times = Times { wall_ms: days * DAY_MS, log_ms: 5 + DAY_MS };
        base_offset(replica.append_at(times, &records(1, 0)));
        assert!(replica.machine.knows_producer(1), "{days} days by the wall clock");
    }
    // A leader that began to count earlier, or whose command was overtaken.
    base_offset(replica.append_at(Times { wall_ms: 0, log_ms: 3 }, &records(1, 0)));
    assert_eq!(replica.machine.log_ms(), 5 + DAY_MS, "it does not go back");
    replica.restore();
    assert_eq!(replica.machine.log_ms(), 5 + DAY_MS);
    let times = Times { wall_ms: 0, log_ms: 6 + DAY_MS };
    base_offset(replica.append_at(times, &batch));
    assert_eq!(replica.machine.summary().producers, 1);
}

/// However many come after them, and long after memory has forgotten them.
#[test]
fn nobody_is_forgotten_because_others_came() {
    const PRODUCERS: i64 = 20_000;
    let mut replica = Replica::default();
    let batch = |id, sequence| records(1, 0).producer(id, 0, sequence);
    for id in 0..PRODUCERS {
        base_offset(replica.append(0, &batch(id, 0)));
    }
    assert_eq!(replica.machine.summary().producers, PRODUCERS.unsigned_abs());
    assert!(!replica.machine.knows_producer(0), "not for certain, without a look at the disk");
    assert!(replica.machine.knows_producer(PRODUCERS - 1));
    for id in [0, 7, PRODUCERS - 1] {
        let BatchReply::Appended { base_offset, duplicate: true, .. } =
            replica.append(0, &batch(id, 0))
        else {
            panic!("the first batch of {id} is in the log");
        };
        assert_eq!(base_offset, id);
        let gap = replica.append(0, &batch(id, 5));
        assert_eq!(gap, BatchReply::Refused(Refusal::OutOfOrderSequence { expected: 1 }));
    }
    assert!(replica.machine.encode().len() < 1024, "{}", replica.machine.encode().len());
}

#[test]
fn a_producer_that_is_forgotten_is_new_and_counts_once() {
    let mut replica = Replica::default();
    let batch = records(1, 0).producer(1, 0, 0);
    base_offset(replica.append(0, &batch));
    base_offset(replica.append_at(after_ms(DAY_MS + 1), &batch));
    assert_eq!(replica.machine.summary().producers, 1);
    let entry = [records(1, 0).producer(2, 0, 0), records(1, 0).producer(2, 0, 1)];
    replica.append_all(after_ms(DAY_MS + 1), &entry);
    assert_eq!(replica.machine.summary().producers, 2);
}

#[test]
fn of_the_producers_that_are_named_those_go_that_were_silent_too_long() {
    let mut replica = Replica::default();
    for id in 0..4 {
        base_offset(replica.append(0, &records(1, 0).producer(id, 0, 0)));
    }
    // Number 1 wrote after somebody had found it silent.
    base_offset(replica.append_at(after_ms(DAY_MS), &records(1, 0).producer(1, 0, 1)));
    replica.forget(DAY_MS, &[0, 1, 2]);
    assert_eq!(replica.machine.summary().producers, 4, "a day to the millisecond");
    replica.forget(DAY_MS + 1, &[0, 1, 2, 2, 77]);
    assert_eq!(replica.machine.summary().producers, 2, "0 and 2 went, 3 was not named");
    replica.restore();
    let gap = replica.append_at(after_ms(DAY_MS + 1), &records(1, 0).producer(1, 0, 9));
    assert_eq!(gap, BatchReply::Refused(Refusal::OutOfOrderSequence { expected: 2 }));
    base_offset(replica.append_at(after_ms(DAY_MS + 1), &records(1, 0).producer(0, 0, 9)));
    assert_eq!(replica.machine.summary().producers, 3);
}

#[test]
fn a_producer_that_wrote_not_long_ago_is_answered_without_the_log() {
    let mut replica = Replica::default();
    let batch = records(2, 0).producer(5, 0, 0);
    base_offset(replica.append(0, &batch));
    let claim = Sequence { producer_id: 5, epoch: 0, first: 0, last: 1 };
    let stored = Stored { base_offset: 0, log_append_time: -1 };
    assert_eq!(replica.machine.duplicate(&claim), Some(stored));
    replica.append_at(after_ms(DAY_MS + 1), &records(1, 0));
    assert_eq!(replica.machine.duplicate(&claim), None, "forgotten by now");
    assert!(!replica.machine.knows_producer(5));
}
