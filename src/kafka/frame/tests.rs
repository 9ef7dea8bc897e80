use bytes::{BufMut, BytesMut};
use kafka_wire::{ApiVersionsResponse, MetadataRequest, ProduceRequest};
use kafka_wire_core::{DecodeError, KafkaEncode};
use proptest::prelude::*;

use super::*;
use crate::kafka::codec::{LENGTH_BYTES, decode, encode};

/// A request frame with length field, header and body.
fn request<Q: KafkaEncode>(key: i16, version: i16, body: &Q) -> Vec<u8> {
    let api = &table::find(key).unwrap().api;
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    frame.put_i16(key);
    frame.put_i16(version);
    frame.put_i32(77);
    frame.put_i16(2);
    frame.put_slice(b"me");
    if api.is_flexible(version) {
        frame.put_u8(0);
    }
    body.encode_into(&mut frame, ApiVersion::new(version)).unwrap();
    let length = i32::try_from(frame.len() - LENGTH_BYTES).unwrap();
    frame[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    frame.to_vec()
}

#[test]
fn a_request_is_known_by_its_first_bytes_and_then_decoded() {
    let frame = request(3, 12, &MetadataRequest::default());
    assert_eq!(decode_request(&frame).unwrap().api.name, "Metadata");
    let head = Head::read(&frame, 1 << 20).unwrap();
    let (call, _) = open(&head, Bytes::from(frame).slice(LENGTH_BYTES..), &Arc::default()).unwrap();
    assert_eq!((call.correlation, call.version), (77, 12));
    assert_eq!(call.client.as_deref(), Some("me"));
}

#[test]
fn frames_that_cannot_be_served_are_refused_by_their_head() {
    let read = |bytes: &[u8]| Head::read(bytes, 1_000);
    assert!(matches!(read(&[]), Err(FrameError::TooShort { .. })));
    assert!(matches!(read(&[0xff; 12]), Err(FrameError::TooShort { length: -1 })));
    assert!(matches!(read(b"GET / HTTP/1.1"), Err(FrameError::UnknownApi { .. })));
    let mut large = request(0, 9, &ProduceRequest::default());
    large[..4].copy_from_slice(&1_001_i32.to_be_bytes());
    assert!(matches!(read(&large), Err(FrameError::TooLarge { api: "Produce", .. })));
    let mut old = request(0, 3, &ProduceRequest::default());
    old[7] = 2;
    assert!(matches!(read(&old), Err(FrameError::Version { api: "Produce", version: 2 })));
}

#[test]
fn only_produce_may_be_large() {
    let mut frame = request(3, 1, &MetadataRequest::default());
    frame[..4].copy_from_slice(&(5 * 1024 * 1024_i32).to_be_bytes());
    let refused = Head::read(&frame, 100 * 1024 * 1024);
    assert!(matches!(refused, Err(FrameError::TooLarge { api: "Metadata", .. })));
}

#[test]
fn an_array_of_two_billion_topics_is_an_error_and_not_an_allocation() {
    let mut frame = request(3, 1, &MetadataRequest::default());
    let at = frame.len() - 4;
    frame[at..].copy_from_slice(&[0x7f, 0xff, 0xff, 0xf0]);
    assert!(matches!(decode_request(&frame), Err(FrameError::Malformed(_))));
}

/// A Produce of version 9, of one topic: as many partitions, each with as many bytes of records.
fn produce_of(partitions: u8, record_bytes: u8) -> Vec<u8> {
    let mut frame = request(0, 9, &ProduceRequest::default());
    // Behind acks and timeout: the topics, counted one higher, and the tagged fields.
    frame.truncate(frame.len() - 2);
    frame.extend_from_slice(&[2, 2, b't', partitions + 1]);
    for _ in 0..partitions {
        frame.extend_from_slice(&[0, 0, 0, 0, record_bytes + 1]);
        frame.extend(std::iter::repeat_n(7, usize::from(record_bytes)));
        frame.push(0);
    }
    frame.extend_from_slice(&[0, 0]);
    let length = i32::try_from(frame.len() - LENGTH_BYTES).unwrap();
    frame[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    frame
}

#[test]
fn a_produce_of_many_partitions_without_records_is_refused() {
    let small = decode_request(&produce_of(100, 68)).unwrap();
    assert_eq!(small.api.name, "Produce", "the smallest batches there are");
    assert!(decode_request(&produce_of(5, 0)).is_ok(), "a few are nobody's harm");
    let refused = decode_request(&produce_of(100, 0));
    assert!(matches!(refused, Err(FrameError::Malformed(DecodeError::LimitExceeded { .. }))));
}

#[test]
fn what_a_request_takes_is_bounded_by_what_was_set_aside_for_it() {
    // A thousand topics without names, each with an unknown tagged field: the most memory for the least bytes.
    let mut frame = request(3, 9, &MetadataRequest::default());
    let tail = frame.split_off(frame.len() - 4);
    assert_eq!(tail[3], 0, "three flags and no tagged fields");
    // In the place of the empty array a count of 1,000, one higher, as a varint.
    frame.pop();
    frame.extend_from_slice(&[0xe9, 0x07]);
    frame.extend(std::iter::repeat_n([1, 1, 9, 0], 1_000).flatten());
    frame.extend_from_slice(&tail);
    let length = i32::try_from(frame.len() - LENGTH_BYTES).unwrap();
    frame[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    let head = Head::read(&frame, 1 << 20).unwrap();
    let bytes = Bytes::from(frame).slice(LENGTH_BYTES..);
    let (call, mut body) = open(&head, bytes, &Arc::default()).unwrap();
    let (request, held) = decode::<MetadataRequest>(&mut body, call.version).unwrap();
    assert_eq!(request.topics.map(|topics| topics.len()), Some(1_000));
    assert!(held <= head.cost(), "{held} bytes, {} set aside", head.cost());
    assert!(held > 40 * head.length, "the case is a bad one");
}

#[test]
fn an_api_versions_from_the_future_is_let_through_to_be_told_so() {
    let mut frame = request(18, 4, &kafka_wire::ApiVersionsRequest::default());
    frame[7] = 99;
    assert_eq!(decode_request(&frame).unwrap().api.name, "ApiVersions");
}

#[test]
fn the_header_of_an_api_versions_answer_never_has_tagged_fields() {
    let mut call = Call {
        api: &table::find(18).unwrap().api,
        version: 3,
        correlation: 5,
        client: None,
        host: None,
        received: Instant::now(),
        pipeline: Arc::default(),
    };
    let flexible = encode(&call, &ApiVersionsResponse::default()).unwrap();
    // error code directly after the correlation id
    assert_eq!(flexible[4..10], [0, 0, 0, 5, 0, 0]);
    call.version = 0;
    let plain = encode(&call, &ApiVersionsResponse::default()).unwrap();
    assert_eq!(plain.len(), 4 + 4 + 2 + 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_request(&bytes);
    }

    #[test]
    fn no_body_behind_a_valid_head_makes_the_decoder_panic(
        row in 0..table::TABLE.len(),
        version in 0_i16..20,
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let api = &table::TABLE[row].api;
        let version = version % (api.max - api.served_from + 1) + api.served_from;
        let mut frame = Vec::new();
        frame.put_i32(i32::try_from(HEAD_BYTES + body.len()).unwrap());
        frame.put_i16(api.key);
        frame.put_i16(version);
        frame.put_i32(0);
        frame.extend_from_slice(&body);
        let _ = decode_request(&frame);
    }
}
