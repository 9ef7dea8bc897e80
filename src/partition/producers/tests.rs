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

/// Accepts the batches in turn; the n-th gets base offset n.
fn after(batches: &[Sequence]) -> Producers {
    let mut producers = Producers::default();
    for (offset, batch) in (0..).zip(batches) {
        assert_eq!(producers.judge(batch), Verdict::Accept, "{batch:?}");
        producers.remember(batch, stored(offset), 0);
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
fn a_gap_and_a_step_back_are_out_of_order() {
    let producers = after(&[claim(0, 0, 3)]);
    assert_eq!(producers.judge(&claim(0, 4, 1)), Verdict::OutOfOrder { expected: 3 });
    assert_eq!(producers.judge(&claim(0, 1, 1)), Verdict::OutOfOrder { expected: 3 });
    assert_eq!(
        producers.judge(&claim(0, 0, 2)),
        Verdict::OutOfOrder { expected: 3 },
        "the same beginning with another end is no duplicate"
    );
}

#[test]
fn the_last_five_batches_are_known_again() {
    let batches: Vec<Sequence> = (0..7).map(|n| claim(0, n * 2, 2)).collect();
    let producers = after(&batches);
    for (n, batch) in batches.iter().enumerate().skip(2) {
        assert_eq!(producers.judge(batch), Verdict::Duplicate(stored(n as i64)));
    }
    for batch in &batches[..2] {
        assert_eq!(producers.judge(batch), Verdict::OutOfOrder { expected: 14 });
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
    producers.remember(&claim(5, 0, 1), stored(2), 0);
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
    assert_eq!(producers.judge(&of(1, 0, 1, 1)), Verdict::OutOfOrder { expected: 5 });
}

#[test]
fn a_producer_silent_for_a_day_is_forgotten() {
    let mut producers = Producers::default();
    producers.remember(&of(1, 0, 0, 1), stored(0), 1_000_000);
    producers.remember(&of(2, 0, 0, 1), stored(1), 1_000_000 + EXPIRATION_MS);
    producers.sweep(1_000_000 + EXPIRATION_MS);
    assert_eq!(producers.len(), 2, "a day to the millisecond is not too long");
    producers.sweep(1_000_001 + EXPIRATION_MS);
    assert_eq!(producers.len(), 2, "not looked for again so soon");
    producers.sweep(1_000_000 + EXPIRATION_MS + SWEEP_MS);
    assert_eq!(producers.len(), 1);
    assert_eq!(producers.judge(&of(1, 0, 9, 1)), Verdict::Accept, "it may go on where it is");
}

#[test]
fn a_clock_that_goes_back_forgets_nobody() {
    let mut producers = Producers::default();
    producers.sweep(10 * EXPIRATION_MS);
    producers.remember(&of(1, 0, 0, 1), stored(0), 10 * EXPIRATION_MS);
    producers.sweep(0);
    producers.sweep(SWEEP_MS);
    assert_eq!(producers.len(), 1);
}

#[test]
fn beyond_the_bound_the_longest_silent_are_forgotten() {
    let mut producers = Producers::default();
    let count = i64::try_from(PRODUCERS_MAX).unwrap();
    for id in 0..count {
        producers.remember(&of(id, 0, 0, 1), stored(id), 0);
    }
    producers.remember(&of(0, 0, 1, 1), stored(count), 0);
    producers.remember(&of(count, 0, 0, 1), stored(count + 1), 0);
    assert_eq!(producers.len(), PRODUCERS_MAX - EVICTED + 1);
    assert!(producers.known.contains_key(&0), "it has just written");
    assert!(!producers.known.contains_key(&1));
    assert!(producers.known.contains_key(&count));
}

#[test]
fn all_of_it_survives_encoding() {
    let mut producers = after(&[of(1, 0, 0, 5), of(2, 7, i32::MAX, 2), of(1, 0, 5, 1)]);
    producers.sweep(77);
    let mut writer = Writer::default();
    producers.encode(&mut writer);
    let bytes = writer.finish();
    let mut reader = Reader::new(&bytes);
    assert_eq!(Producers::decode(&mut reader).unwrap(), producers);
    reader.end().unwrap();
    for cut in 0..bytes.len() {
        assert!(Producers::decode(&mut Reader::new(&bytes[..cut])).is_err());
    }
}
