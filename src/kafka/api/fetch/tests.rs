use std::time::Instant as StdInstant;

use bytes::Bytes;

use super::look::Read;
use super::*;
use crate::kafka::codec;
use crate::kafka::route::Refused;
use crate::kafka::table;
use crate::partition::Records;

fn call(version: i16) -> Call {
    let api = &table::find(1).unwrap().api;
    Call {
        api,
        version,
        correlation: 1,
        client: None,
        host: None,
        received: StdInstant::now(),
        pipeline: Arc::default(),
    }
}

fn terms(version: i16, read_committed: bool) -> FetchOptions {
    FetchOptions { version, bytes_min: 1, bytes_max: 100, deadline: Instant::now(), read_committed }
}

fn records(bytes: &'static [u8]) -> PartitionRead {
    uncommitted(read(bytes, 9))
}

/// As who reads all there is finds them, while a transaction is open from offset 7 on.
fn uncommitted(records: Records) -> PartitionRead {
    PartitionRead::Records(Read { records, aborted: None })
}

/// As who reads what is committed finds them.
fn committed(records: Records, aborted: Vec<partition::AbortedTransaction>) -> PartitionRead {
    let records = Records { readable_upto: records.last_stable_offset, ..records };
    PartitionRead::Records(Read { records, aborted: Some(aborted) })
}

fn read(bytes: &'static [u8], next_offset: i64) -> Records {
    let bytes = Bytes::from_static(bytes);
    Records {
        bytes,
        high_watermark: 9,
        last_stable_offset: 7,
        readable_upto: 9,
        log_start: 2,
        next_offset,
        bytes_before: 0,
    }
}

fn aborted() -> partition::AbortedTransaction {
    partition::AbortedTransaction { producer_id: 3, first_offset: 2 }
}

/// Partitions that may give ten bytes each.
fn look(seen: Vec<PartitionRead>) -> ReadPass {
    let mut look = ReadPass { seen: Vec::new(), permit: None, counted: 0, full: false };
    seen.into_iter().for_each(|seen| look.take(seen, 10, 100));
    look
}

#[test]
fn nothing_is_zero_bytes_and_never_null() {
    let row = row(0, records(b""), &call(11), &terms(11, false));
    assert_eq!(row.records, Some(Bytes::new()));
    assert_eq!(row.aborted_transactions, None);
    assert_eq!((row.high_watermark, row.last_stable_offset, row.log_start_offset), (9, 7, 2));
}

#[test]
fn a_read_committed_consumer_is_told_of_the_aborted_transactions_and_never_nothing() {
    let told = |aborted| {
        let row = row(0, committed(read(b"x", 7), aborted), &call(11), &terms(11, true));
        assert_eq!((row.high_watermark, row.last_stable_offset), (9, 7));
        let rows = row.aborted_transactions.unwrap();
        rows.iter().map(|it| (it.producer_id, it.first_offset)).collect::<Vec<_>>()
    };
    assert_eq!(told(vec![]), []);
    assert_eq!(told(vec![aborted()]), [(3, 2)]);
}

#[test]
fn what_is_not_committed_yet_is_nothing_that_the_limits_left_no_room_for() {
    let all = || committed(read(b"abc", 7), vec![]);
    assert!(!look(vec![all()]).is_enough(4), "up to the last stable offset there is no more");
    let cut = || committed(read(b"abc", 6), vec![]);
    assert!(look(vec![cut()]).is_enough(4));
    let PartitionRead::Records(read) = committed(read(b"abc", 7), vec![aborted(); 2]) else {
        panic!("these are records");
    };
    assert_eq!(read.bytes(), 3 + 2 * 64, "the list takes memory, too");
}

#[test]
fn every_version_can_express_every_outcome() {
    for version in 4..=18 {
        let leader = Some(Leader { id: 2, epoch: 5 });
        let moved =
            PartitionRead::Refused(Refused { code: ErrorCode::NotLeaderOrFollower, leader });
        let mut rows = vec![
            row(0, records(b"abc"), &call(version), &terms(version, false)),
            row(1, moved, &call(version), &terms(version, true)),
            row(
                3,
                committed(read(b"abc", 7), vec![aborted()]),
                &call(version),
                &terms(version, true),
            ),
        ];
        if version >= LEADERS_FROM {
            let diverged = PartitionRead::Diverged {
                epoch: 1,
                end_offset: 3,
                high_watermark: 9,
                stable: 7,
                log_start: 0,
            };
            rows.push(row(2, diverged, &call(version), &terms(version, false)));
        }
        assert_eq!((rows[1].error_code, rows[1].high_watermark), (6, -1));
        let mut topic = topic_row(&TopicKey::Name(Arc::from("t")), rows.remove(0));
        topic.partitions.extend(rows);
        let mut answer = FetchResponse::default();
        answer.responses.push(topic);
        codec::encode(&call(version), &answer).unwrap();
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
fn a_partition_that_had_more_than_it_may_give_counts_as_full() {
    let cut = || uncommitted(read(b"abcdefg", 5));
    assert!(look(vec![records(b""), cut()]).is_enough(10));
    assert!(!look(vec![records(b""), cut()]).is_enough(11), "the other one may have more");
    let mut full = look(vec![]);
    full.take(cut(), 10, 8);
    assert!(full.is_enough(1_000), "no further batch fits into the answer");
}

#[test]
fn a_partition_named_twice_is_read_once_as_it_is_named_last() {
    let key = |index| PartitionKey::new(TopicKey::Name(Arc::from("t")), index);
    let wanted =
        |offset| PartitionFetch { offset, bytes_max: 1, leader_epoch: -1, fetched_epoch: -1 };
    let named = vec![(key(0), wanted(5)), (key(1), wanted(6)), (key(0), wanted(7))];
    assert_eq!(once(named), [(key(0), wanted(7)), (key(1), wanted(6))]);
}

#[test]
fn pieces_are_what_the_codec_writes_in_one() {
    for version in 4..=18 {
        let call = call(version);
        let row = |index, seen| row(index, seen, &call, &terms(version, index == 1));
        let leader = Some(Leader { id: 2, epoch: 5 });
        let moved = || Refused { code: ErrorCode::NotLeaderOrFollower, leader };
        let large: &'static [u8] = Box::leak(vec![7; 20_000].into_boxed_slice());
        let mut answer = FetchResponse::default();
        (answer.session_id, answer.throttle_time_ms) = (i32::from(version >= 7) * 77, 3);
        assert_eq!(joined(&call, &answer), codec::encode(&call, &answer).unwrap(), "{version}");
        for (name, rows) in [
            ("one", vec![row(0, records(b"abc"))]),
            ("aborted", vec![row(1, committed(read(b"abc", 7), vec![aborted(); 3]))]),
            ("none", vec![row(0, records(b""))]),
            ("more", (0..200).map(|n| row(n, records(&large[..n as usize * 100]))).collect()),
            (
                "mixed",
                vec![
                    row(0, PartitionRead::Refused(moved())),
                    row(1, records(large)),
                    row(2, PartitionRead::Refused(moved())),
                ],
            ),
        ] {
            let id = uuid::Uuid::from_u128(9);
            let key = if version >= TOPIC_IDS_FROM {
                TopicKey::Id(id)
            } else {
                TopicKey::Name(Arc::from(name))
            };
            let mut topic = topic_row(&key, PartitionData::default());
            topic.partitions = rows;
            answer.responses.push(topic);
            if version >= ENDPOINTS_FROM {
                answer.node_endpoints.push(NodeEndpoint::default());
            }
            let whole = codec::encode(&call, &answer).unwrap();
            assert_eq!(joined(&call, &answer), whole, "version {version}, {name}");
        }
    }
}

fn joined(call: &Call, answer: &FetchResponse) -> Bytes {
    let pieces = encode::pieces(call, answer.clone()).unwrap();
    Bytes::from(pieces.concat())
}

#[test]
fn records_are_not_copied_into_the_answer() {
    let call = call(16);
    let bytes = Bytes::from(vec![7; 100_000]);
    let seen = Records { bytes: bytes.clone(), ..read(b"", 9) };
    let mut answer = FetchResponse::default();
    let row = row(0, uncommitted(seen), &call, &terms(16, false));
    answer.responses.push(topic_row(&TopicKey::Id(uuid::Uuid::nil()), row));
    let pieces = encode::pieces(&call, answer).unwrap();
    assert!(pieces.iter().any(|piece| piece.as_ptr() == bytes.as_ptr()));
    let beside: usize = pieces.iter().map(Bytes::len).sum::<usize>() - bytes.len();
    assert!(beside < 200, "{beside} bytes beside the records");
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
