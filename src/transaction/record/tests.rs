use uuid::Uuid;

use super::*;

const COMMIT: TransactionResult = TransactionResult::Commit;
const ABORT: TransactionResult = TransactionResult::Abort;
const FRESH: i64 = 900;

fn now(index: u64) -> Now {
    let log_ms = i64::try_from(index).unwrap() * 1_000;
    Now { index, log_ms, wall_ms: 1_700_000_000_000, has_room: true }
}

fn part(number: i32) -> Part {
    Part::Partition(Uuid::from_u128(1), number)
}

/// A producer that has been given its first epoch.
fn empty() -> Record {
    Record::new(7, 60_000, None, now(1))
}

/// One whose transaction has the number 10.
fn ongoing() -> Record {
    let mut record = empty();
    assert_eq!(record.enlist((7, 0), &[part(0)], Enlist::Add, now(10)), Ok(Answer::Number(10)));
    record
}

fn prepared(result: TransactionResult, bumps: bool) -> Record {
    let mut record = ongoing();
    let answer = record.end((7, 0), result, bumps, None, now(20));
    assert_eq!(answer, Ok(Answer::Producer(7, i16::from(bumps))));
    record
}

fn completed(result: TransactionResult, bumps: bool) -> Record {
    let mut record = prepared(result, bumps);
    assert_eq!(record.complete(10, now(30)), Ok(Answer::Done));
    assert_eq!(record.state, State::Completed(result));
    record
}

/// Checks that something is refused and changes nothing.
fn refused(record: &mut Record, error: TransactionError, ask: impl FnOnce(&mut Record) -> Judged) {
    let before = record.clone();
    assert_eq!(ask(record), Err(error));
    assert_eq!(*record, before);
}

fn ending(record: &Record) -> Ending {
    match record.state {
        State::Prepared(ending) => ending,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_new_instance_of_a_producer_gets_the_next_epoch() {
    for mut record in [empty(), completed(COMMIT, false), completed(ABORT, false)] {
        assert_eq!(record.init(5_000, None, FRESH, now(40)), Ok(Answer::Producer(7, 1)));
        assert_eq!((record.state, record.timeout_ms), (State::Empty, 5_000));
        refused(&mut record, TransactionError::ProducerFenced, |it| {
            it.enlist((7, 0), &[part(1)], Enlist::Add, now(41))
        });
    }
}

#[test]
fn a_new_instance_ends_what_the_one_before_left_open_and_fences_it() {
    let mut record = ongoing();
    assert_eq!(record.init(5_000, None, FRESH, now(20)), Ok(Answer::Aborting));
    let expected = Ending { result: ABORT, producer_id: 7, epoch: 1, fences: true };
    assert_eq!(ending(&record), expected);
    refused(&mut record, TransactionError::ProducerFenced, |it| {
        it.end((7, 0), COMMIT, false, None, now(21))
    });
    refused(&mut record, TransactionError::Concurrent, |it| it.init(5_000, None, FRESH, now(21)));
    record.complete(10, now(30)).unwrap();
    assert_eq!(record.init(5_000, None, FRESH, now(31)), Ok(Answer::Producer(7, 2)));
}

#[test]
fn who_comes_with_its_own_epoch_goes_on_and_a_retry_is_answered_alike() {
    let mut record = completed(ABORT, false);
    for at in [40, 41] {
        let answer = record.init(60_000, Some((7, 0)), FRESH, now(at));
        assert_eq!(answer, Ok(Answer::Producer(7, 1)));
    }
    assert_eq!(record.init(60_000, Some((7, 1)), FRESH, now(42)), Ok(Answer::Producer(7, 2)));
    refused(&mut record, TransactionError::ProducerFenced, |it| {
        it.init(60_000, Some((7, 0)), FRESH, now(43))
    });
}

#[test]
fn a_retry_is_fenced_once_another_instance_came() {
    let mut record = completed(ABORT, false);
    record.init(60_000, Some((7, 0)), FRESH, now(40)).unwrap();
    record.init(60_000, None, FRESH, now(41)).unwrap();
    for asked_as in [(7, 0), (7, 1), (8, 2), (FRESH, 0)] {
        refused(&mut record, TransactionError::ProducerFenced, |it| {
            it.init(60_000, Some(asked_as), FRESH, now(42))
        });
    }
}

#[test]
fn a_producer_that_aborts_by_init_keeps_its_place() {
    let mut record = ongoing();
    assert_eq!(record.init(60_000, Some((7, 0)), FRESH, now(20)), Ok(Answer::Aborting));
    record.complete(10, now(30)).unwrap();
    assert_eq!(record.init(60_000, Some((7, 0)), FRESH, now(31)), Ok(Answer::Producer(7, 1)));
}

#[test]
fn a_zombie_with_an_older_epoch_ends_nothing_by_init() {
    let mut record = completed(ABORT, false);
    record.init(60_000, None, FRESH, now(40)).unwrap();
    record.enlist((7, 1), &[part(0)], Enlist::Add, now(41)).unwrap();
    refused(&mut record, TransactionError::ProducerFenced, |it| {
        it.init(60_000, Some((7, 0)), FRESH, now(42))
    });
}

#[test]
fn when_epochs_are_used_up_init_takes_a_fresh_id() {
    let mut record = empty();
    record.epoch = EPOCH_LAST;
    let answer = record.init(60_000, Some((7, EPOCH_LAST)), FRESH, now(2));
    assert_eq!(answer, Ok(Answer::Producer(FRESH, 0)));
    let retry = record.init(60_000, Some((7, EPOCH_LAST)), FRESH + 1, now(3));
    assert_eq!(retry, Ok(Answer::Producer(FRESH, 0)));
    refused(&mut record, TransactionError::InvalidProducerId, |it| {
        it.enlist((7, EPOCH_LAST), &[part(0)], Enlist::Add, now(4))
    });
}

#[test]
fn the_epoch_for_fencing_is_given_to_nobody() {
    let mut record = empty();
    record.epoch = EPOCH_LAST;
    record.enlist((7, EPOCH_LAST), &[part(0)], Enlist::Add, now(10)).unwrap();
    let own = Some((7, EPOCH_LAST));
    assert_eq!(record.init(60_000, own, FRESH, now(20)), Ok(Answer::Aborting));
    assert_eq!(ending(&record).epoch, i16::MAX);
    record.complete(10, now(30)).unwrap();
    assert_eq!(record.init(60_000, own, FRESH, now(31)), Ok(Answer::Producer(FRESH, 0)));
}

#[test]
fn a_transaction_has_the_index_of_the_entry_that_began_it_as_its_number() {
    let mut record = ongoing();
    assert_eq!(record.enlist((7, 0), &[part(1)], Enlist::Add, now(11)), Ok(Answer::Number(10)));
    assert_eq!(record.enlist((7, 0), &[part(0)], Enlist::Add, now(12)), Ok(Answer::Number(10)));
    assert_eq!(record.parts.partitions().len(), 2);
    record.end((7, 0), COMMIT, false, None, now(20)).unwrap();
    record.complete(10, now(30)).unwrap();
    assert_eq!(record.enlist((7, 0), &[part(1)], Enlist::Add, now(40)), Ok(Answer::Number(40)));
    assert_eq!(record.parts.partitions(), [(Uuid::from_u128(1), 1)]);
}

#[test]
fn what_is_verified_must_be_in_the_transaction() {
    let mut record = ongoing();
    let verify =
        |number| move |it: &mut Record| it.enlist((7, 0), &[part(number)], Enlist::Verify, now(50));
    assert_eq!(verify(0)(&mut record), Ok(Answer::Number(10)));
    refused(&mut record, TransactionError::InvalidState, verify(1));
    for mut record in [empty(), prepared(COMMIT, false), completed(COMMIT, false)] {
        refused(&mut record, TransactionError::InvalidState, verify(0));
    }
}

#[test]
fn nothing_is_added_while_an_end_is_prepared() {
    for (mut record, epoch) in [(prepared(COMMIT, false), 0), (prepared(COMMIT, true), 1)] {
        refused(&mut record, TransactionError::Concurrent, |it| {
            it.enlist((7, epoch), &[part(0)], Enlist::Add, now(21))
        });
    }
}

#[test]
fn only_the_producer_itself_adds() {
    let mut record = ongoing();
    let asked = [
        ((8, 0), TransactionError::InvalidProducerId),
        ((7, 1), TransactionError::ProducerFenced),
        ((7, -1), TransactionError::ProducerFenced),
    ];
    for (producer, error) in asked {
        refused(&mut record, error, |it| it.enlist(producer, &[part(1)], Enlist::Add, now(11)));
    }
}

#[test]
fn a_transaction_has_no_more_than_20000_partitions() {
    let mut record = ongoing();
    let many: Vec<Part> = (0..20_001).map(part).collect();
    refused(&mut record, TransactionError::TooLarge, |it| {
        it.enlist((7, 0), &many, Enlist::Add, now(11))
    });
    let most = &many[..20_000];
    assert_eq!(record.enlist((7, 0), most, Enlist::Add, now(12)), Ok(Answer::Number(10)));
    assert!(crate::metadata::encode(&record).len() < 1 << 20, "a value of the keyed state");
}

#[test]
fn no_more_than_so_many_transactions_are_open() {
    let full = Now { has_room: false, ..now(11) };
    refused(&mut empty(), TransactionError::NotAvailable, |it| {
        it.enlist((7, 0), &[part(1)], Enlist::Add, full)
    });
    let answer = ongoing().enlist((7, 0), &[part(1)], Enlist::Add, full);
    assert_eq!(answer, Ok(Answer::Number(10)));
}

#[test]
fn in_the_classic_flow_the_epoch_stays_and_an_end_may_be_repeated() {
    for result in [COMMIT, ABORT] {
        let other = if result == COMMIT { ABORT } else { COMMIT };
        let mut record = prepared(result, false);
        assert_eq!(ending(&record), Ending { result, producer_id: 7, epoch: 0, fences: false });
        for _ in ["prepared", "completed"] {
            let again = record.end((7, 0), result, false, None, now(21));
            assert_eq!(again, Ok(Answer::Producer(7, 0)));
            refused(&mut record, TransactionError::InvalidState, |it| {
                it.end((7, 0), other, false, None, now(21))
            });
            let _ = record.complete(10, now(30));
        }
    }
}

#[test]
fn with_an_epoch_of_its_own_each_end_raises_it_and_may_be_repeated() {
    for result in [COMMIT, ABORT] {
        let other = if result == COMMIT { ABORT } else { COMMIT };
        let mut record = prepared(result, true);
        assert_eq!(ending(&record), Ending { result, producer_id: 7, epoch: 1, fences: false });
        for _ in ["prepared", "completed"] {
            let again = record.end((7, 0), result, true, None, now(21));
            assert_eq!(again, Ok(Answer::Producer(7, 1)));
            refused(&mut record, TransactionError::InvalidState, |it| {
                it.end((7, 0), other, true, None, now(21))
            });
            let _ = record.complete(10, now(30));
        }
        record.enlist((7, 1), &[part(0)], Enlist::Add, now(40)).unwrap();
        refused(&mut record, TransactionError::ProducerFenced, |it| {
            it.end((7, 0), result, true, None, now(41))
        });
    }
}

#[test]
fn the_end_of_the_next_transaction_waits_for_that_of_the_one_before() {
    let mut record = prepared(COMMIT, true);
    refused(&mut record, TransactionError::Concurrent, |it| {
        it.end((7, 1), ABORT, true, None, now(21))
    });
}

#[test]
fn an_empty_transaction_can_be_aborted_with_an_epoch_of_its_own_alone() {
    for (mut record, epoch) in [(empty(), 0), (completed(COMMIT, true), 1)] {
        refused(&mut record, TransactionError::InvalidState, |it| {
            it.end((7, epoch), COMMIT, true, None, now(40))
        });
        for _ in ["first", "again"] {
            let answer = record.end((7, epoch), ABORT, true, None, now(41));
            assert_eq!(answer, Ok(Answer::Producer(7, epoch + 1)));
        }
        assert_eq!(record.state, State::Completed(ABORT), "there is nobody to be told");
    }
    for result in [COMMIT, ABORT] {
        refused(&mut empty(), TransactionError::InvalidState, |it| {
            it.end((7, 0), result, false, None, now(40))
        });
    }
}

#[test]
fn when_epochs_are_used_up_an_end_brings_a_fresh_id() {
    let mut record = ongoing();
    record.epoch = EPOCH_LAST;
    let last = (7, EPOCH_LAST);
    refused(&mut record, TransactionError::NotAvailable, |it| {
        it.end(last, COMMIT, true, None, now(20))
    });
    for (fresh_id, at) in [(FRESH, 20), (FRESH + 1, 21)] {
        let answer = record.end(last, COMMIT, true, Some(fresh_id), now(at));
        assert_eq!(answer, Ok(Answer::Producer(FRESH, 0)));
    }
    assert_eq!((ending(&record).producer_id, ending(&record).epoch), (7, i16::MAX));
    record.complete(10, now(30)).unwrap();
    let answer = record.enlist((FRESH, 0), &[part(0)], Enlist::Add, now(31));
    assert_eq!(answer, Ok(Answer::Number(31)));
}

#[test]
fn only_the_producer_itself_ends() {
    for mut record in [ongoing(), prepared(COMMIT, false), completed(COMMIT, false)] {
        for bumps in [false, true] {
            refused(&mut record, TransactionError::InvalidProducerId, |it| {
                it.end((8, 0), COMMIT, bumps, None, now(40))
            });
            refused(&mut record, TransactionError::ProducerFenced, |it| {
                it.end((7, 5), COMMIT, bumps, None, now(40))
            });
        }
    }
}

#[test]
fn a_transaction_whose_time_is_over_is_aborted_and_its_producer_fenced() {
    let mut record = ongoing();
    // It began at 10 s and may take 60 s.
    refused(&mut record, TransactionError::InvalidState, |it| it.abort(Some(10), true, now(69)));
    refused(&mut record, TransactionError::InvalidState, |it| it.abort(Some(9), true, now(70)));
    assert_eq!(record.abort(Some(10), true, now(70)), Ok(Answer::Done));
    assert_eq!(ending(&record), Ending { result: ABORT, producer_id: 7, epoch: 1, fences: true });
    refused(&mut record, TransactionError::ProducerFenced, |it| {
        it.end((7, 0), COMMIT, true, None, now(71))
    });
    refused(&mut record, TransactionError::Concurrent, |it| it.abort(None, false, now(71)));
}

#[test]
fn an_operator_aborts_whatever_is_open_at_any_time() {
    let mut record = ongoing();
    assert_eq!(record.abort(None, false, now(11)), Ok(Answer::Done));
    record.complete(10, now(12)).unwrap();
    refused(&mut record, TransactionError::InvalidState, |it| it.abort(None, false, now(13)));
}

#[test]
fn a_completion_names_what_it_completes() {
    let mut record = prepared(COMMIT, false);
    refused(&mut record, TransactionError::InvalidState, |it| it.complete(9, now(30)));
    record.complete(10, now(30)).unwrap();
    assert_eq!(record.parts, Parts::default());
    refused(&mut record, TransactionError::InvalidState, |it| it.complete(10, now(31)));
    record.enlist((7, 0), &[part(0)], Enlist::Add, now(40)).unwrap();
    record.end((7, 0), ABORT, false, None, now(41)).unwrap();
    refused(&mut record, TransactionError::InvalidState, |it| it.complete(10, now(42)));
}

#[test]
fn nothing_that_is_open_is_over() {
    assert!(completed(COMMIT, false).is_over(30_001) && !completed(COMMIT, false).is_over(30_000));
    assert!(!ongoing().is_over(i64::MAX) && !prepared(ABORT, true).is_over(i64::MAX));
}

#[test]
fn what_is_shown_is_the_transaction_and_not_what_comes_behind_it() {
    let shown = ongoing().describe("t", 12_500, true);
    assert_eq!((shown.producer_id, shown.epoch, shown.open_ms), (7, 0, 2_500));
    assert_eq!((shown.start_ms, shown.partitions.len()), (1_700_000_000_000, 1));
    let mut record = ongoing();
    record.epoch = EPOCH_LAST;
    record.end((7, EPOCH_LAST), COMMIT, true, Some(FRESH), now(20)).unwrap();
    let shown = record.describe("t", 21_000, false);
    assert_eq!((shown.producer_id, shown.epoch), (7, i16::MAX));
    assert_eq!(shown.state, super::super::TransactionState::PrepareCommit);
    let shown = completed(ABORT, false).describe("t", 99_000, true);
    assert_eq!((shown.start_ms, shown.open_ms, shown.partitions.len()), (-1, -1, 0));
}
