use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::metadata::{decode, encode};

fn transaction(producer_id: i64, epoch: i16, number: u64) -> OffsetsTransaction {
    OffsetsTransaction { producer_id, epoch, number }
}

fn key(incarnation: u64, partition: i32) -> OffsetKey {
    OffsetKey { incarnation, topic: Uuid::from_u128(5), partition }
}

fn kept(metadata: usize) -> Kept {
    Kept { offset: 3, metadata: "m".repeat(metadata), ..Kept::default() }
}

/// What it takes, counted anew.
fn counted<V: Weighed>(pending: &Pending<V>) -> usize {
    pending.open.keys().map(|producer_id| pending.bytes_of(*producer_id)).sum()
}

#[test]
fn a_number_is_taken_once_it_is_the_producers_latest_and_until_it_has_ended() {
    let mut pending = Pending::default();
    assert_eq!(pending.check(&transaction(1, 0, 5)), Ok(()));
    pending.keep(&transaction(1, 0, 5), key(0, 0), kept(0));
    assert_eq!(pending.check(&transaction(1, 0, 5)), Ok(()));
    assert_eq!(pending.check(&transaction(1, 0, 4)), Err(Refusal::Ended));
    assert_eq!(pending.check(&transaction(1, 0, 6)), Err(Refusal::Earlier), "5 has not ended");
    assert_eq!(pending.check(&transaction(2, 0, 1)), Ok(()), "another producer");
    assert_eq!(pending.end(1, 5, 0).len(), 1);
    assert_eq!(pending.check(&transaction(1, 0, 5)), Err(Refusal::Ended));
    assert_eq!(pending.check(&transaction(1, 9, 4)), Err(Refusal::Ended));
    assert_eq!(pending.check(&transaction(1, 0, 6)), Ok(()));
    assert_eq!(pending.end(1, 5, 0).len(), 0, "once");
}

#[test]
fn an_epoch_below_that_of_the_open_transaction_is_fenced() {
    let mut pending = Pending::default();
    pending.keep(&transaction(1, 3, 5), key(0, 0), kept(0));
    assert_eq!(pending.check(&transaction(1, 2, 5)), Err(Refusal::Fenced));
    assert_eq!(pending.check(&transaction(1, 2, 6)), Err(Refusal::Fenced));
    pending.keep(&transaction(1, 4, 5), key(0, 1), kept(0));
    assert_eq!(pending.check(&transaction(1, 3, 5)), Err(Refusal::Fenced));
    pending.end(1, 5, 0);
    assert_eq!(pending.check(&transaction(1, 2, 6)), Ok(()), "its coordinator fences");
}

#[test]
fn an_end_proves_that_what_came_before_has_ended() {
    let mut pending = Pending::default();
    pending.end(1, 5, 0);
    pending.end(1, 3, 9);
    assert!(pending.has_ended(1, 5));
    // Remembered no longer, so one that is late gets in. The next that ends clears it away.
    pending.forget(1);
    assert_eq!(pending.check(&transaction(1, 0, 5)), Ok(()));
    pending.keep(&transaction(1, 0, 5), key(0, 0), kept(0));
    assert_eq!(pending.end(1, 6, 1).len(), 0);
    assert_eq!((pending.bytes(), pending.has_group(0)), (0, false));
    // And an end of an earlier one does not touch a later one.
    pending.keep(&transaction(1, 0, 8), key(0, 0), kept(0));
    assert_eq!(pending.end(1, 7, 1).len(), 0);
    assert_eq!(pending.end(1, 8, 1).len(), 1);
}

#[test]
fn what_has_ended_is_remembered_for_so_many_producers_and_so_long() {
    let mut pending = Pending::<Kept>::default();
    let count = i64::try_from(ENDED_MAX).unwrap();
    for producer_id in 0..count {
        pending.end(producer_id, 1, producer_id);
    }
    // Who ends another one goes to the back.
    pending.end(0, 2, count);
    assert_eq!((pending.ended.len(), pending.has_ended(0, 2)), (ENDED_MAX, true));
    pending.end(count, 1, count);
    assert_eq!((pending.has_ended(1, 1), pending.has_ended(2, 1)), (false, true));
    assert_eq!(pending.ended.len(), ENDED_MAX);
    pending.forget(100);
    assert_eq!((pending.has_ended(99, 1), pending.has_ended(100, 1)), (false, true));
    pending.forget(count + 1);
    assert_eq!((pending.ended.len(), pending.ended_of.len()), (0, 0));
}

#[test]
fn what_a_group_has_pending_is_told_and_dropped_with_it() {
    let mut pending = Pending::default();
    pending.keep(&transaction(1, 0, 5), key(0, 2), kept(0));
    pending.keep(&transaction(1, 0, 5), key(7, 0), kept(0));
    pending.keep(&transaction(2, 0, 6), key(7, 0), kept(0));
    pending.keep(&transaction(2, 0, 6), key(7, -1), kept(0));
    let partitions = |pending: &Pending<Kept>, incarnation| {
        pending.of_group(incarnation).into_iter().map(|(_, it)| it).collect::<Vec<_>>()
    };
    assert_eq!((partitions(&pending, 7), partitions(&pending, 0)), (vec![-1, 0], vec![2]));
    pending.drop_offset(key(7, 0));
    assert_eq!((partitions(&pending, 7), pending.keys(1, 5).count()), (vec![-1], 1));
    pending.drop_group(7);
    assert_eq!((partitions(&pending, 7), pending.has_group(7)), (vec![], false));
    assert_eq!(pending.keys(2, 6).count(), 0);
    assert_eq!(pending.end(1, 5, 0).into_keys().collect::<Vec<_>>(), [key(0, 2)]);
}

#[test]
fn the_bytes_are_counted_exactly_whatever_happens() {
    for seed in 0..100 {
        let rng = &mut StdRng::seed_from_u64(seed);
        let mut pending = Pending::default();
        for step in 0..200 {
            let (producer_id, number) = (rng.random_range(0..4), rng.random_range(0..step + 1));
            let it = transaction(producer_id, rng.random_range(0..3), number);
            let key = key(rng.random_range(0..3), rng.random_range(0..4));
            match rng.random_range(0..10) {
                0 => drop(pending.end(producer_id, number, step.cast_signed())),
                1 => pending.drop_offset(key),
                2 if rng.random_range(0..5) == 0 => pending.drop_group(key.incarnation),
                3 => pending.forget(step.cast_signed() - 9),
                _ if pending.check(&it).is_ok() => {
                    pending.keep(&it, key, kept(rng.random_range(0..50)));
                }
                _ => {}
            }
            assert_eq!(pending.bytes(), counted(&pending), "seed {seed}");
            let weights = pending.weights();
            assert_eq!((weights.bytes(), counted(&weights)), (pending.bytes(), pending.bytes()));
            assert!(pending.open.values().all(|open| !open.offsets.is_empty()));
        }
        // What is not encoded is found again.
        let mut decoded: Pending<Kept> = decode(&encode(&pending)).unwrap();
        assert!(decoded.complete(|_| true));
        assert_eq!(decoded, pending, "seed {seed}");
    }
}

#[test]
fn a_state_that_was_never_encoded_is_refused() {
    let complete = |change: fn(&mut Pending<Kept>)| {
        let mut pending = Pending::default();
        pending.keep(&transaction(1, 0, 5), key(0, 2), kept(0));
        pending.end(2, 6, 0);
        change(&mut pending);
        let mut decoded: Pending<Kept> = decode(&encode(&pending)).unwrap();
        decoded.complete(|incarnation| incarnation == 0)
    };
    assert!(complete(|_| {}));
    assert!(!complete(|it| it.keep(&transaction(1, 0, 5), key(1, 2), kept(0))), "no such group");
    assert!(!complete(|it| it.open.get_mut(&1).unwrap().offsets.clear()));
    assert!(!complete(|it| {
        it.ended.insert(9, Ended { producer_id: 2, number: 7, ended_ms: 0 });
    }));
    assert!(!complete(|it| {
        it.ended.insert(u64::MAX, Ended { producer_id: 3, number: 7, ended_ms: 0 });
    }));
}
