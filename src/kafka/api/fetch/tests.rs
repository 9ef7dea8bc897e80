use std::time::Instant as StdInstant;

use bytes::Bytes;

use super::*;
use crate::kafka::frame;
use crate::kafka::route::Refused;
use crate::kafka::table;
use crate::partition::Records;

fn call(version: i16) -> Call {
    let api = table::find(1).unwrap();
    Call {
        api,
        version,
        correlation: 1,
        client: None,
        received: StdInstant::now(),
        pipeline: Arc::default(),
    }
}

fn terms(version: i16, read_committed: bool) -> Terms {
    Terms { version, bytes_min: 1, bytes_max: 100, deadline: Instant::now(), read_committed }
}

fn records(bytes: &'static [u8]) -> Seen {
    let bytes = Bytes::from_static(bytes);
    Seen::Records(Records { bytes, high_watermark: 9, log_start: 2, next_offset: 9 })
}

fn look(seen: Vec<Seen>) -> Look {
    Look { seen, room: None }
}

#[test]
fn nothing_is_zero_bytes_and_never_null() {
    let row = row(0, records(b""), &call(11), &terms(11, false));
    assert_eq!(row.records, Some(Bytes::new()));
    assert_eq!(row.aborted_transactions, None);
    assert_eq!((row.high_watermark, row.last_stable_offset, row.log_start_offset), (9, 9, 2));
}

#[test]
fn a_read_committed_consumer_gets_an_empty_list_of_aborted_transactions() {
    let row = row(0, records(b"x"), &call(11), &terms(11, true));
    assert_eq!(row.aborted_transactions, Some(vec![]));
}

#[test]
fn every_version_can_express_every_outcome() {
    for version in 4..=18 {
        let leader = Some(Leader { id: 2, epoch: 5 });
        let moved = Seen::Refused(Refused { code: ErrorCode::NotLeaderOrFollower, leader });
        let mut rows = vec![
            row(0, records(b"abc"), &call(version), &terms(version, false)),
            row(1, moved, &call(version), &terms(version, true)),
        ];
        if version >= LEADERS_FROM {
            let diverged =
                Seen::Diverged { epoch: 1, end_offset: 3, high_watermark: 9, log_start: 0 };
            rows.push(row(2, diverged, &call(version), &terms(version, false)));
        }
        assert_eq!((rows[1].error_code, rows[1].high_watermark), (6, -1));
        let mut topic = topic_row(&TopicKey::Name(Arc::from("t")), rows.remove(0));
        topic.partitions.extend(rows);
        let mut answer = FetchResponse::default();
        answer.responses.push(topic);
        frame::encode(&call(version), &answer).unwrap();
    }
}

#[test]
fn an_error_or_enough_bytes_ends_the_wait() {
    assert!(look(vec![]).is_enough(1), "no partitions");
    assert!(!look(vec![records(b""), records(b"")]).is_enough(1));
    assert!(look(vec![records(b""), records(b"")]).is_enough(0));
    assert!(look(vec![records(b"ab"), records(b"c")]).is_enough(3));
    assert!(!look(vec![records(b"ab")]).is_enough(3));
    assert!(look(vec![records(b""), ErrorCode::NotLeaderOrFollower.into()]).is_enough(3));
}

#[test]
fn old_versions_fetch_without_sessions() {
    let mut request = FetchRequest::default();
    request.session_id = 5;
    request.session_epoch = 5;
    let old = session_request(request.clone(), 6);
    assert_eq!((old.id, old.epoch), (0, -1));
    let new = session_request(request, 7);
    assert_eq!((new.id, new.epoch), (5, 5));
}
