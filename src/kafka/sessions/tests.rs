use super::*;

fn key(index: i32) -> PartitionKey {
    PartitionKey::new(TopicKey::Name(Arc::from("t")), index)
}

fn want(index: i32, offset: i64) -> (PartitionKey, PartitionFetch) {
    (key(index), PartitionFetch { offset, bytes_max: 100, leader_epoch: -1, fetched_epoch: -1 })
}

fn request(id: i32, epoch: i32, wanted: Vec<(PartitionKey, PartitionFetch)>) -> Request {
    Request { id, epoch, by_topic_id: false, wanted, forgotten: vec![] }
}

fn quiet(high_watermark: i64) -> Outcome {
    Outcome {
        failed: false,
        has_records: false,
        high_watermark,
        stable: high_watermark,
        log_start: 0,
        notable: false,
    }
}

fn records(high_watermark: i64) -> Outcome {
    Outcome { has_records: true, ..quiet(high_watermark) }
}

fn failed() -> Outcome {
    Outcome { failed: true, high_watermark: -1, ..quiet(-1) }
}

/// A session over partitions 0, 1 and 2 with everything told.
fn open(sessions: &Sessions) -> i32 {
    let plan = sessions.begin(request(0, 0, vec![want(0, 0), want(1, 0), want(2, 0)]), 0).unwrap();
    plan.finish(sessions, &[quiet(5), quiet(5), quiet(5)], 0).id
}

fn order(plan: &Plan) -> Vec<i32> {
    plan.wanted.iter().map(|(key, _)| key.index).collect()
}

#[test]
fn a_first_fetch_opens_a_session_and_names_everything() {
    let sessions = Sessions::new(10);
    let plan = sessions.begin(request(0, 0, vec![want(0, 0), want(1, 7)]), 0).unwrap();
    let finished = plan.finish(&sessions, &[quiet(1), failed()], 0);
    assert_ne!(finished.id, 0);
    assert_eq!(finished.included, [true, true]);
}

#[test]
fn a_fetch_without_a_session_leaves_none() {
    let sessions = Sessions::new(10);
    let plan = sessions.begin(request(0, -1, vec![want(0, 0)]), 0).unwrap();
    assert_eq!(plan.finish(&sessions, &[quiet(1)], 0), Finished { id: 0, included: vec![true] });
}

#[test]
fn an_incremental_answer_names_only_what_changed() {
    let sessions = Sessions::new(10);
    let id = open(&sessions);
    let plan = sessions.begin(request(id, 1, vec![]), 0).unwrap();
    assert_eq!(order(&plan), [0, 1, 2]);
    let finished = plan.finish(&sessions, &[quiet(5), quiet(6), failed()], 0);
    assert_eq!(finished, Finished { id, included: vec![false, true, true] });
    // Recovery is told even though nothing else changed.
    let plan = sessions.begin(request(id, 2, vec![]), 0).unwrap();
    let finished = plan.finish(&sessions, &[quiet(5), quiet(6), quiet(5)], 0);
    assert_eq!(finished.included, [false, false, true]);
    let plan = sessions.begin(request(id, 3, vec![]), 0).unwrap();
    let trimmed = Outcome { log_start: 3, ..quiet(5) };
    let diverged = Outcome { notable: true, ..quiet(5) };
    assert_eq!(
        plan.finish(&sessions, &[trimmed, quiet(6), diverged], 0).included,
        [true, false, true]
    );
    // Of a transaction that goes on the marker is still to come, and so is all behind its beginning.
    let plan = sessions.begin(request(id, 4, vec![]), 0).unwrap();
    let open = Outcome { stable: 4, ..quiet(6) };
    assert_eq!(
        plan.finish(&sessions, &[trimmed, open, quiet(5)], 0).included,
        [false, true, false]
    );
}

#[test]
fn what_returned_records_is_read_last_next_time() {
    let sessions = Sessions::new(10);
    let id = open(&sessions);
    let plan = sessions.begin(request(id, 1, vec![]), 0).unwrap();
    plan.finish(&sessions, &[records(9), quiet(5), quiet(5)], 0);
    let plan = sessions.begin(request(id, 2, vec![want(1, 44)]), 0).unwrap();
    assert_eq!(order(&plan), [1, 2, 0]);
    assert_eq!(plan.wanted[0].1.offset, 44, "a named partition is updated where it stands");
}

#[test]
fn partitions_are_added_and_forgotten() {
    let sessions = Sessions::new(10);
    let id = open(&sessions);
    let change = Request { forgotten: vec![key(0), key(9)], ..request(id, 1, vec![want(3, 0)]) };
    assert_eq!(order(&sessions.begin(change, 0).unwrap()), [1, 2, 3]);
    let rest = Request { forgotten: vec![key(1), key(2), key(3)], ..request(id, 2, vec![]) };
    let plan = sessions.begin(rest, 0).unwrap();
    assert_eq!(plan.finish(&sessions, &[], 0).id, 0, "an empty session ends");
    let gone = sessions.begin(request(id, 3, vec![]), 0).unwrap_err();
    assert_eq!(gone, ErrorCode::FetchSessionIdNotFound);
}

#[test]
fn epochs_must_follow_each_other_and_wrap_to_one() {
    let sessions = Sessions::new(10);
    let id = open(&sessions);
    let error = |result: Result<Plan, ErrorCode>| result.unwrap_err();
    let skipped = error(sessions.begin(request(id, 2, vec![]), 0));
    assert_eq!(skipped, ErrorCode::InvalidFetchSessionEpoch);
    assert!(sessions.begin(request(id, 1, vec![]), 0).is_ok());
    let repeated = error(sessions.begin(request(id, 1, vec![]), 0));
    assert_eq!(repeated, ErrorCode::InvalidFetchSessionEpoch);
    let mode = Request { by_topic_id: true, ..request(id, 2, vec![]) };
    assert_eq!(error(sessions.begin(mode, 0)), ErrorCode::FetchSessionTopicIdError);
    let mut session = Session::new(false);
    session.next_epoch = i32::MAX;
    session.advance(i32::MAX, false).unwrap();
    assert_eq!(session.next_epoch, 1);
}

#[test]
fn closing_and_starting_over_forget_the_old_session() {
    let sessions = Sessions::new(10);
    for epoch in [-1, 0] {
        let id = open(&sessions);
        sessions.begin(request(id, epoch, vec![want(0, 0)]), 0).unwrap();
        let gone = sessions.begin(request(id, 1, vec![]), 0).unwrap_err();
        assert_eq!(gone, ErrorCode::FetchSessionIdNotFound);
    }
    assert_eq!(sessions.table.lock().partitions, 0);
}

#[test]
fn a_full_table_refuses_or_forgets_the_one_unused_longest() {
    let sessions = Sessions::new(2);
    let first = open(&sessions);
    let second = open(&sessions);
    assert_eq!(open(&sessions), 0, "both were used just now");
    sessions.begin(request(second, 1, vec![]), EVICT_AFTER_MS).unwrap();
    let plan = sessions.begin(request(0, 0, vec![want(0, 0)]), EVICT_AFTER_MS).unwrap();
    let third = plan.finish(&sessions, &[quiet(0)], EVICT_AFTER_MS).id;
    assert_ne!(third, 0);
    assert!(sessions.begin(request(first, 1, vec![]), EVICT_AFTER_MS).is_err());
    assert!(sessions.begin(request(second, 2, vec![]), EVICT_AFTER_MS).is_ok());
    assert_eq!(sessions.table.lock().partitions, 4);
}

#[test]
fn a_session_that_would_grow_beyond_its_bound_is_forgotten() {
    let sessions = Sessions::new(10);
    let id = open(&sessions);
    let most = i32::try_from(SESSION_PARTITIONS_MAX).unwrap();
    let wanted = |range: std::ops::Range<i32>| range.map(|index| want(index, 0)).collect();
    let plan = sessions.begin(request(id, 1, wanted(0..most)), 0).unwrap();
    assert_eq!(plan.wanted.len(), SESSION_PARTITIONS_MAX);
    assert_eq!(sessions.partitions_of(id), SESSION_PARTITIONS_MAX);
    let beyond = sessions.begin(request(id, 2, wanted(most..most + 1)), 0).unwrap_err();
    assert_eq!(beyond, ErrorCode::FetchSessionIdNotFound);
    let table = sessions.table.lock();
    assert_eq!((table.partitions, table.by_id.len(), table.by_use.len()), (0, 0, 0));
}

#[test]
fn sessions_that_grow_share_one_bound() {
    let sessions = Sessions::new(100);
    let id = open(&sessions);
    sessions.table.lock().partitions = PARTITIONS_MAX;
    assert!(sessions.begin(request(id, 1, vec![want(1, 7)]), 0).is_ok(), "it does not grow");
    let grown = sessions.begin(request(id, 2, vec![want(3, 0)]), 0).unwrap_err();
    assert_eq!(grown, ErrorCode::FetchSessionIdNotFound);
    assert_eq!(sessions.table.lock().partitions, PARTITIONS_MAX - 3);
}
