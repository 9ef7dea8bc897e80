use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::partition::command::{Frames, Times};

const SMALL: &[u8] = &[7; 80];

fn sent(bytes: &[u8]) -> Sent<'_> {
    Sent { bytes, attachments: &[0], entry_bytes: ENTRY_BYTES }
}

fn proposed(pushed: Pushed<u32>) -> Vec<u32> {
    match pushed {
        Pushed::Propose(entry) => entry.waiters,
        other => panic!("not to be proposed: {other:?}"),
    }
}

/// An accumulator with as many entries under way as may be, each of one batch.
fn busy() -> Accumulator<u32> {
    let mut accumulator = Accumulator::default();
    for number in 0..5 {
        assert_eq!(proposed(accumulator.push(1, 0, sent(SMALL), number)), [number]);
        assert!(matches!(accumulator.next(), Next::Idle));
    }
    accumulator
}

fn next(accumulator: &mut Accumulator<u32>) -> Vec<u32> {
    match accumulator.next() {
        Next::Propose(entry) => entry.waiters,
        other => panic!("nothing to propose: {other:?}"),
    }
}

#[test]
fn a_batch_goes_at_once_until_five_entries_are_under_way() {
    let mut accumulator = busy();
    assert!(matches!(accumulator.push(1, 0, sent(SMALL), 4), Pushed::Drive));
    for number in 5..9 {
        assert!(matches!(accumulator.push(1, 0, sent(SMALL), number), Pushed::Waits));
    }
    assert!(matches!(accumulator.next(), Next::Wait));
    assert!(accumulator.landed(), "who drives is told of the slot");
    assert_eq!(next(&mut accumulator), [4, 5, 6, 7, 8], "what has waited goes together");
    assert!(matches!(accumulator.next(), Next::Idle));
    assert!(!accumulator.landed(), "nobody drives");
    assert_eq!(proposed(accumulator.push(1, 0, sent(SMALL), 9)), [9]);
}

#[test]
fn what_comes_while_another_is_proposed_waits_for_that() {
    let mut accumulator = Accumulator::default();
    assert_eq!(proposed(accumulator.push(1, 0, sent(SMALL), 0)), [0]);
    for number in 1..4 {
        assert!(matches!(accumulator.push(1, 0, sent(SMALL), number), Pushed::Wake));
    }
    assert_eq!(next(&mut accumulator), [1, 2, 3]);
    assert!(matches!(accumulator.next(), Next::Idle));
}

#[test]
fn a_full_entry_waits_for_no_slot() {
    let mut accumulator = busy();
    let large = vec![7; ENTRY_BYTES];
    assert_eq!(
        proposed(accumulator.push(1, 0, sent(&large), 4)),
        [4],
        "nothing could be added to it"
    );
    assert!(matches!(accumulator.next(), Next::Idle));
    assert!(matches!(accumulator.push(1, 0, sent(SMALL), 5), Pushed::Drive));
    assert!(matches!(accumulator.next(), Next::Wait));
    let pushed = accumulator.push(1, 0, sent(&large), 6);
    assert!(matches!(pushed, Pushed::Wake), "the one before it is closed");
    assert_eq!(next(&mut accumulator), [5]);
    assert_eq!(next(&mut accumulator), [6]);
    assert!(matches!(accumulator.next(), Next::Idle));
}

#[test]
fn entries_are_bounded_in_batches_and_bytes() {
    let mut accumulator = busy();
    for number in 0..ENTRY_BATCHES + 1 {
        drop(accumulator.push(1, 0, sent(&[7; 1]), number));
    }
    assert_eq!(next(&mut accumulator).len(), ENTRY_BATCHES as usize);
    assert!(matches!(accumulator.next(), Next::Wait));
    accumulator.give_up(1);
    for number in 0..100 {
        drop(accumulator.push(1, 0, sent(&[7; 10_000]), number));
    }
    let Next::Propose(entry) = accumulator.next() else { panic!("an entry is closed") };
    assert!((ENTRY_BYTES - 10_100..=ENTRY_BYTES + 100).contains(&entry.payload.len()));
}

#[test]
fn batches_of_two_terms_share_no_entry_and_a_term_is_given_up_as_a_whole() {
    let mut accumulator = busy();
    for (number, term) in [(4, 1), (5, 1), (6, 3), (7, 3)] {
        drop(accumulator.push(term, 0, sent(SMALL), number));
    }
    let over = accumulator.give_up(1);
    assert_eq!(over.into_iter().flat_map(|entry| entry.waiters).collect::<Vec<_>>(), [4, 5]);
    assert!(accumulator.landed());
    let Next::Propose(entry) = accumulator.next() else { panic!("a slot is free") };
    assert_eq!((entry.term, entry.waiters), (3, vec![6, 7]));
}

#[test]
fn the_entry_has_the_wall_clock_of_its_last_batch_and_all_of_them_in_order() {
    let mut accumulator = busy();
    let batches: Vec<Vec<u8>> = (0..9).map(|n| vec![n; 61 + usize::from(n)]).collect();
    for (wall_ms, batch) in (100..).zip(&batches) {
        drop(accumulator.push(1, wall_ms, sent(batch), 0));
    }
    accumulator.landed();
    let Next::Propose(entry) = accumulator.next() else { panic!("a slot is free") };
    assert_eq!(entry.wall_ms, 108);
    let payload = entry.payload.finish(Times::default());
    let mut frames = Frames::of(&payload).unwrap().unwrap();
    for batch in &batches {
        assert_eq!(frames.pass(&payload).unwrap().unwrap().bytes, batch);
    }
    assert!(frames.pass(&payload).unwrap().is_none());
}

/// Whatever comes, goes and lands in between: every batch is proposed once and in order, one proposer at a time, and
/// nothing waits that nobody will look at.
#[test]
fn nothing_is_lost_doubled_overtaken_or_forgotten() {
    for seed in 0..300 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut accumulator = Accumulator::default();
        let (mut given, mut seen, mut under_way) = (0, 0, 0_usize);
        // Whether somebody proposes, and whether that one sleeps until it is woken.
        let (mut proposing, mut asleep) = (false, false);
        let take = |entry: Entry<u32>, seen: &mut u32| {
            for number in entry.waiters {
                assert_eq!(number, *seen, "seed {seed}: in order");
                *seen += 1;
            }
        };
        for step in 0.. {
            if step > 1_500 && under_way == 0 && (asleep || !proposing) {
                break;
            }
            match rng.random_range(0..3) {
                0 if step < 1_500 => {
                    let bytes = if rng.random_range(0..20) == 0 { 200_000 } else { 100 };
                    match accumulator.push(1, 0, sent(&vec![0; bytes]), given) {
                        Pushed::Propose(entry) => {
                            assert!(!proposing, "seed {seed}: two propose");
                            (proposing, asleep, under_way) = (true, false, under_way + 1);
                            take(entry, &mut seen);
                        }
                        Pushed::Drive => {
                            assert!(!proposing, "seed {seed}: two propose");
                            (proposing, asleep) = (true, false);
                        }
                        Pushed::Wake => asleep = false,
                        Pushed::Waits => assert!(proposing, "seed {seed}: nobody looks"),
                    }
                    given += 1;
                }
                1 if proposing && !asleep => match accumulator.next() {
                    Next::Propose(entry) => {
                        take(entry, &mut seen);
                        under_way += 1;
                    }
                    Next::Wait => asleep = true,
                    Next::Idle => proposing = false,
                },
                2 if under_way > 0 => {
                    under_way -= 1;
                    asleep &= !accumulator.landed();
                }
                _ => {}
            }
        }
        assert_eq!((seen, proposing), (given, false), "seed {seed}");
    }
}
