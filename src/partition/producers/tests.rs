use std::collections::BTreeMap;

use super::*;

fn claim(epoch: i16, first: i32, count: i32) -> Sequence {
    of(1, epoch, first, count)
}

fn of(producer_id: i64, epoch: i16, first: i32, count: i32) -> Sequence {
    let last = (1..count).fold(first, |sequence, _| following(sequence));
    Sequence { producer_id, epoch, first, last }
}

fn stored(base_offset: i64) -> Stored {
    Stored { base_offset, log_append_time: -1 }
}

/// Producers as the keyed state of a partition has them, and its log time.
#[derive(Default)]
struct Producers {
    stored: BTreeMap<i64, Bytes>,
    log_ms: i64,
}

impl Producers {
    fn known(&self, id: i64) -> Option<Producer> {
        let producer = Producer::decode(self.stored.get(&id)?).unwrap();
        (!producer.is_forgotten(self.log_ms)).then_some(producer)
    }

    fn judge(&self, claim: &Sequence) -> Verdict {
        claim.judge(self.known(claim.producer_id).as_ref())
    }

    fn remember(&mut self, claim: &Sequence, stored: Stored) {
        let known = self.known(claim.producer_id);
        let producer = Producer::after(known, claim, stored, (5, self.log_ms));
        assert_eq!(Producer::decode(&producer.encode()).unwrap(), producer);
        self.stored.insert(claim.producer_id, producer.encode());
    }
}

/// Accepts the batches in turn; the n-th gets base offset n.
fn after(batches: &[Sequence]) -> Producers {
    let mut producers = Producers::default();
    for (offset, batch) in (0..).zip(batches) {
        assert_eq!(producers.judge(batch), Verdict::Accept, "{batch:?}");
        producers.remember(batch, stored(offset));
    }
    producers
}

#[test]
fn batches_in_sequence_are_accepted() {
    after(&[claim(0, 0, 3), claim(0, 3, 1), claim(0, 4, 10), claim(0, 14, 1)]);
}

#[test]
fn an_unknown_producer_may_begin_anywhere() {
    assert_eq!(Producers::default().judge(&claim(3, 17, 1)), Verdict::Accept);
}

#[test]
fn a_gap_is_out_of_order() {
    let producers = after(&[claim(0, 0, 3)]);
    assert_eq!(producers.judge(&claim(0, 4, 1)), Verdict::OutOfOrder { expected: 3 });
    assert_eq!(
        producers.judge(&claim(0, 2, 2)),
        Verdict::OutOfOrder { expected: 3 },
        "half of it would be stored twice"
    );
}

#[test]
fn a_step_back_is_in_the_log_already() {
    let producers = after(&[claim(0, 0, 3)]);
    for part in [claim(0, 1, 1), claim(0, 0, 2), claim(0, 1, 2)] {
        assert_eq!(producers.judge(&part), Verdict::Outdated, "{part:?}");
    }
}

#[test]
fn what_was_never_seen_is_not_taken_for_stored() {
    // The producer was forgotten and went on; what comes from before may never have arrived.
    let producers = after(&[claim(0, 1000, 5), claim(0, 1005, 5)]);
    assert_eq!(producers.judge(&claim(0, 999, 1)), Verdict::OutOfOrder { expected: 1010 });
    assert_eq!(producers.judge(&claim(0, 998, 4)), Verdict::OutOfOrder { expected: 1010 });
    assert_eq!(producers.judge(&claim(0, 1000, 7)), Verdict::Outdated);
}

#[test]
fn the_last_five_batches_are_known_again() {
    let batches: Vec<Sequence> = (0..7).map(|n| claim(0, n * 2, 2)).collect();
    let producers = after(&batches);
    for (n, batch) in batches.iter().enumerate().skip(2) {
        assert_eq!(producers.judge(batch), Verdict::Duplicate(stored(n as i64)));
    }
    for batch in &batches[..2] {
        assert_eq!(producers.judge(batch), Verdict::Outdated, "in the log, but where?");
    }
}

#[test]
fn sequences_wrap_to_zero() {
    let last = claim(0, i32::MAX - 1, 2);
    assert_eq!(last.last, i32::MAX);
    let across = after(&[last, claim(0, 0, 1)]);
    assert_eq!(across.judge(&last), Verdict::Duplicate(stored(0)));
    // A batch that itself reaches over the end.
    let over = claim(0, i32::MAX, 3);
    assert_eq!(over.last, 1);
    let over = after(&[over, claim(0, 2, 1)]);
    assert_eq!(over.judge(&claim(0, i32::MAX, 3)), Verdict::Duplicate(stored(0)));
}

#[test]
fn a_new_epoch_begins_at_zero() {
    let mut producers = after(&[claim(4, 0, 1), claim(4, 1, 1)]);
    assert_eq!(producers.judge(&claim(5, 2, 1)), Verdict::OutOfOrder { expected: 0 });
    assert_eq!(producers.judge(&claim(5, 0, 1)), Verdict::Accept);
    producers.remember(&claim(5, 0, 1), stored(2));
    assert_eq!(producers.judge(&claim(4, 2, 1)), Verdict::Fenced { current: 5 });
    assert_eq!(
        producers.judge(&claim(4, 1, 1)),
        Verdict::Fenced { current: 5 },
        "what an old epoch wrote is not acknowledged to it any more"
    );
    assert_eq!(producers.judge(&claim(5, 1, 1)), Verdict::Accept);
    assert_eq!(producers.judge(&claim(5, 0, 1)), Verdict::Duplicate(stored(2)));
}

#[test]
fn producers_do_not_mix() {
    let producers = after(&[of(1, 0, 0, 5), of(2, 0, 0, 1)]);
    assert_eq!(producers.judge(&of(2, 0, 1, 1)), Verdict::Accept);
    assert_eq!(producers.judge(&of(1, 0, 6, 1)), Verdict::OutOfOrder { expected: 5 });
}

#[test]
fn a_producer_silent_for_a_day_is_forgotten() {
    let mut producers = Producers { log_ms: 1_000, ..Producers::default() };
    producers.remember(&of(1, 0, 0, 1), stored(0));
    producers.log_ms += EXPIRATION_MS;
    producers.remember(&of(2, 0, 0, 1), stored(1));
    assert!(producers.known(1).is_some(), "a day to the millisecond is not too long");
    producers.log_ms += 1;
    assert!(producers.known(1).is_none() && producers.known(2).is_some());
    assert_eq!(producers.judge(&of(1, 0, 9, 1)), Verdict::Accept, "it may go on where it is");
    producers.remember(&of(1, 0, 9, 1), stored(2));
    assert_eq!(
        producers.judge(&of(1, 0, 0, 1)),
        Verdict::OutOfOrder { expected: 10 },
        "nothing of before is known"
    );
}

#[test]
fn who_writes_is_not_silent() {
    let mut producers = Producers::default();
    for hour in 0..72 {
        producers.log_ms = i64::from(hour) * 3_600_000;
        producers.remember(&of(1, 0, hour, 1), stored(i64::from(hour)));
    }
    assert_eq!(producers.judge(&of(1, 0, 72, 1)), Verdict::Accept);
    assert_eq!(producers.judge(&of(1, 0, 0, 1)), Verdict::Outdated);
}

/// A producer as it sees itself.
struct Honest {
    next: i32,
    /// What it stored since it was last forgotten.
    stored: Vec<(Sequence, Stored)>,
}

/// Whatever producers do and whenever they are forgotten: a batch in the log of a producer that is known is
/// never accepted again, and one that is not is never taken for stored.
#[test]
fn a_batch_is_stored_once_and_never_denied() {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    for seed in 0..50 {
        let rng = &mut StdRng::seed_from_u64(seed);
        let mut producers = Producers::default();
        let mut honest: Vec<Honest> =
            (0..8).map(|_| Honest { next: i32::MAX - 40, stored: Vec::new() }).collect();
        let mut offset = 0;
        for _ in 0..2_000 {
            if rng.random_range(0..20) == 0 {
                producers.log_ms += rng.random_range(0..EXPIRATION_MS / 2);
            }
            let id = rng.random_range(0..honest.len());
            let known = producers.known(id as i64).is_some();
            if !known {
                honest[id].stored.clear();
            }
            let claim = match honest[id].stored.len() {
                len if len > 0 && rng.random_range(0..3) == 0 => {
                    honest[id].stored[rng.random_range(len.saturating_sub(9)..len)].0
                }
                _ => {
                    let skipped = i32::from(rng.random_range(0..10) == 0);
                    let first = honest[id].next.checked_add(skipped).unwrap_or(0);
                    of(id as i64, 0, first, rng.random_range(1..4))
                }
            };
            let is_stored = honest[id].stored.iter().find(|(it, _)| *it == claim);
            match producers.judge(&claim) {
                Verdict::Accept => {
                    assert!(is_stored.is_none(), "seed {seed}: {claim:?} twice");
                    let at = stored(offset);
                    offset += 1;
                    producers.remember(&claim, at);
                    honest[id].stored.push((claim, at));
                    honest[id].next = following(claim.last);
                }
                Verdict::Duplicate(at) => assert!(honest[id].stored.contains(&(claim, at))),
                Verdict::Outdated => assert!(is_stored.is_some(), "seed {seed}: {claim:?} is not"),
                Verdict::OutOfOrder { .. } => assert!(known),
                Verdict::Fenced { .. } => panic!("there is one epoch"),
            }
        }
    }
}

#[test]
fn damaged_states_are_refused() {
    let producers = after(&[of(1, 7, i32::MAX, 2), of(1, 7, 1, 5), of(1, 7, 6, 1)]);
    let bytes = &producers.stored[&1];
    for cut in 0..bytes.len() {
        assert!(Producer::decode(&bytes[..cut]).is_err());
    }
    assert!(Producer::decode(&[bytes, &b"x"[..]].concat()).is_err());
}

#[test]
fn keys_are_in_the_order_of_ids_and_lead_back_to_them() {
    let ids = [0, 1, 255, 256, 1 << 40, i64::MAX];
    assert!(ids.map(key).is_sorted());
    assert_eq!(ids.map(|id| id_of(&key(id))), ids.map(Some));
    for other in [&b""[..], b"p", b"p1234567", b"q12345678", b"p123456789"] {
        assert_eq!(id_of(other), None);
    }
}
