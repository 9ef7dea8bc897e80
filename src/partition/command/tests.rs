use super::*;
use crate::partition::attachments::{ExpectedVersion, KeyRecord, KeyRecords, RecordKind};
use crate::record::BatchBuilder;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn times(wall_ms: i64, log_ms: i64) -> Times {
    Times { wall_ms, log_ms }
}

const TRIM_EXAMPLE: Trim = Trim {
    log_start: 9,
    start: Position { offset: 8, place: Place { index: 7, sub: 5 }, bytes: 6 },
};

const CLEAN_EXAMPLE: Clean = Clean {
    upto: Position { offset: 9, place: Place { index: 7, sub: 0 }, bytes: 6 },
    tombstones_upto: 8,
    rest_ms: 5,
};

fn batch(sequence: i32) -> Bytes {
    BatchBuilder::new().producer(3, 1, sequence).record(10, None, Some(b"v")).build()
}

fn append(batches: &[Bytes]) -> Bytes {
    append_payload(times(6, 7), batches.iter().map(AsRef::as_ref))
}

#[test]
fn the_bytes_of_commands_are_frozen() {
    let append = append_payload(times(1, 2), [&b"batch"[..], b"other"]);
    let expected = concat!(
        "050100000000000000010000000000000002", // version, kind, times
        "00000002",                             // batches
        "0000000500000005",                     // size, length
        "00",                                   // attachments
        "6261746368",                           // the batch
        "0000000500000005006f74686572",
    );
    assert_eq!(hex(&append), expected);
    let trim = trim_payload(times(-1, 3), &TRIM_EXAMPLE);
    let expected = "0502ffffffffffffffff00000000000000030000000000000009\
                    00000000000000080000000000000007000000050000000000000006";
    assert_eq!(hex(&trim), expected);
    let level = level_payload(times(1, 2), 3);
    assert_eq!(hex(&level), "05030000000000000001000000000000000200000003");
    let forget = forget_payload(times(1, 2), &[Bytes::from_static(b"pq")]);
    assert_eq!(hex(&forget), "0504000000000000000100000000000000020000000100027071");
    let on = streams_payload(times(1, 2), true);
    assert_eq!(hex(&on), "05060000000000000001000000000000000201");
    let clean = clean_payload(times(1, 2), &CLEAN_EXAMPLE);
    let expected = "050500000000000000010000000000000002\
                    0000000000000009000000000000000700000000000000000000000600000000000000080000000000000005";
    assert_eq!(hex(&clean), expected);
}

#[test]
fn a_command_decodes_to_what_was_encoded() {
    let trim = decode(&trim_payload(times(5, 4), &TRIM_EXAMPLE)).unwrap();
    assert_eq!(trim, Command::Trim { times: times(5, 4), trim: TRIM_EXAMPLE });

    let level = decode(&level_payload(times(5, 4), 2)).unwrap();
    assert_eq!(level, Command::SetLevel { times: times(5, 4), level: 2 });

    let keys = vec![Bytes::from_static(b"a"), Bytes::new()];
    let forget = decode(&forget_payload(times(5, 4), &keys)).unwrap();
    assert_eq!(forget, Command::Forget { times: times(5, 4), keys });

    let off = decode(&streams_payload(times(5, 4), false)).unwrap();
    assert_eq!(off, Command::SetStreams { times: times(5, 4), on: false });

    let old = old_example();
    let decoded = decode(&old_records_payload(times(5, 4), &old)).unwrap();
    assert_eq!(decoded, Command::CountOld { times: times(5, 4), old });

    let clean = decode(&clean_payload(times(5, 4), &CLEAN_EXAMPLE)).unwrap();
    assert_eq!(clean, Command::Clean { times: times(5, 4), clean: CLEAN_EXAMPLE });

    let sent = [batch(7), batch(8)];
    let payload = append(&sent);
    let Command::Append { times: told, batches } = Command::decode(&payload).unwrap() else {
        panic!("an append is not a trim");
    };
    assert_eq!(told, times(6, 7));
    for (((found, _), sent), sequence) in batches.iter().zip(&sent).zip(7..) {
        assert_eq!((found.offsets(), found.size), (1, sent.len() as u64));
        assert_eq!((found.header.producer_id, found.header.base_sequence), (3, sequence));
    }
    let mut frames = Frames::of(&payload).unwrap().unwrap();
    assert_eq!(frames.count(), 2);
    for (sub, sent) in (0..).zip(&sent) {
        let frame = frames.pass(&payload).unwrap().unwrap();
        assert_eq!((frame.sub, frame.bytes), (sub, sent.as_ref()));
    }
    assert!(frames.pass(&payload).unwrap().is_none());
}

#[test]
fn a_payload_takes_no_more_than_was_said_of_it() {
    let mut payload = AppendPayload::with_capacity(batch(0).len());
    payload.push(&batch(0), &[0]);
    assert_eq!(payload.len(), FRAME_OVERHEAD + batch(0).len());
    payload.push(&batch(1), &[0]);
    let bytes = (payload.count(), payload.len());
    assert_eq!((2, payload.finish(times(0, 0)).len()), bytes);
}

#[test]
fn a_trim_holds_no_batch() {
    assert!(Frames::of(&trim_payload(times(5, 4), &TRIM_EXAMPLE)).unwrap().is_none());
    assert!(Frames::of(&[]).is_err());
}

#[test]
fn damaged_and_newer_commands_are_refused() {
    let appends = append(&[batch(0), batch(1)]).to_vec();
    let level = level_payload(times(5, 4), 2);
    let forget = forget_payload(times(5, 4), &[Bytes::from_static(b"a")]);
    let old = old_records_payload(times(5, 4), &old_example());
    let beside = beside(&any_attachments()).to_vec();
    for payload in [appends, trim_payload(times(5, 4), &TRIM_EXAMPLE), level, forget, old, beside] {
        for cut in 0..payload.len() {
            assert!(decode(&payload[..cut]).is_err(), "cut to {cut} bytes");
        }
        let longer = [payload.as_slice(), b"x"].concat();
        assert!(decode(&longer).is_err());
        let mut newer = payload.clone();
        newer[0] = 6;
        assert_eq!(decode(&newer), Err(CodecError::Version(6)));
        let mut unknown = payload;
        unknown[1] = 9;
        assert_eq!(decode(&unknown), Err(CodecError::Kind(9)));
    }
}

#[test]
fn an_attachment_that_is_not_known_is_refused_and_not_skipped() {
    let mut payload = append(&[batch(0)]).to_vec();
    payload[30] = 1;
    payload.splice(31..31, [0x12, 0x34, 0, 0, 0, 1, b'x']);
    assert_eq!(decode(&payload), Err(CodecError::Attachment(0x1234)));
    assert!(Frames::of(&payload).unwrap().unwrap().pass(&payload).is_err());
}

#[test]
fn counts_and_sizes_that_cannot_be_are_refused() {
    let payload = append(&[batch(0)]);
    let with = |at: usize, field: u32| {
        let mut changed = payload.to_vec();
        changed[at..at + 4].copy_from_slice(&field.to_be_bytes());
        decode(&changed)
    };
    let length = u32::try_from(batch(0).len()).unwrap();
    assert!(with(18, 1).is_ok() && with(22, length + 1).is_ok(), "a compacted batch");
    for count in [0, 2, u32::MAX] {
        assert!(with(18, count).is_err(), "{count} batches");
    }
    assert!(with(22, length - 1).is_err(), "larger than when it was appended");
    for wrong in [0, length - 1, length + 1, u32::MAX] {
        assert!(with(26, wrong).is_err(), "a length of {wrong}");
    }
}

#[test]
fn a_batch_that_would_take_no_offsets_is_refused() {
    let mut batch = batch(0).to_vec();
    batch[23..27].copy_from_slice(&(-1_i32).to_be_bytes());
    assert!(Command::decode(&append_payload(times(0, 0), [batch.as_slice()])).is_err());
}

#[test]
fn a_command_says_which_keys_it_is_about() {
    let of = |payload: &[u8]| decode(payload).unwrap().needs(9);
    let plain = BatchBuilder::new().record(10, None, Some(b"v")).build();
    let producer = producers::key(3);
    assert_eq!(of(&append(&[batch(0), plain, batch(1)])), [producer.clone(), producer]);
    let keys = [Bytes::from_static(b"x"), Bytes::from_static(b"y")];
    assert_eq!(of(&forget_payload(times(0, 0), &keys)), keys);
    assert_eq!(of(&trim_payload(times(0, 0), &TRIM_EXAMPLE)), Vec::<Bytes>::new());
    assert_eq!(of(&level_payload(times(0, 0), 2)), Vec::<Bytes>::new());
    let named: Vec<Vec<u8>> =
        of(&beside(&any_attachments())).iter().map(|it| it.to_vec()).collect();
    let expected: [&[u8]; 7] = [
        b"p\0\0\0\0\0\0\0\x03",
        b"s\0\0\0\x07k",
        b"s\0\0\0\x07l",
        b"t\0\0\0\x07tag",
        b"s\0\0\0\x07k",
        b"t\0\0\0\x07other",
        b"ionce",
    ];
    assert_eq!(named, expected);
    assert_eq!(of(&old_records_payload(times(0, 0), &old_example())).len(), 3);
    // Of a marker its producer, and where the transaction is noted if it was aborted.
    let marker = |commit| EndMarker { commit, coordinator_epoch: 0 }.batch(3, 1, 5);
    assert_eq!(of(&append(&[marker(true)])), [producers::key(3)]);
    let row = aborted::key(3, Place { index: 9, sub: 1 });
    let producer = producers::key(3);
    assert_eq!(of(&append(&[batch(0), marker(false)])), [producer.clone(), producer, row]);
}

fn decode(bytes: &[u8]) -> Result<Command, CodecError> {
    Command::decode(&Bytes::copy_from_slice(bytes))
}

fn any_keys() -> StreamKeys {
    let record = |delta, kind| KeyRecord { delta, kind };
    let of = |key: &'static [u8], records| KeyRecords { key: Bytes::from_static(key), records };
    StreamKeys {
        generation: 7,
        keys: vec![
            of(b"k", vec![record(0, RecordKind::Event), record(2, RecordKind::Close)]),
            of(b"l", vec![record(1, RecordKind::Tombstone)]),
        ],
        tags: vec![(Bytes::from_static(b"tag"), 1)],
    }
}

fn old_example() -> OldRecords {
    let place = Place { index: 5, sub: 1 };
    let batches = vec![OldBatch { offset: 3, place, keys: any_keys() }];
    OldRecords { generation: 7, from: 3, upto: 9, misplaced: 2, batches }
}

fn any_attachments() -> Attachments {
    let mut attachments = Attachments { stream_keys: Some(any_keys()), ..Default::default() };
    attachments.expect_offset(9);
    attachments.expect_version(7, Bytes::from_static(b"k"), ExpectedVersion::NoStream);
    attachments.no_tag_after(7, Bytes::from_static(b"other"), -1);
    attachments.once(Bytes::from_static(b"once"), 11);
    attachments.in_transaction(0x1234);
    attachments
}

/// An append of one batch with something beside it.
fn beside(attachments: &Attachments) -> Bytes {
    let mut payload = AppendPayload::with_capacity(0);
    payload.push(&batch(0), &attachments.encode());
    payload.finish(times(6, 7))
}

#[test]
fn what_stands_beside_a_batch_is_read_as_it_was_written_and_its_bytes_are_frozen() {
    let attachments = any_attachments();
    let Command::Append { batches, .. } = decode(&beside(&attachments)).unwrap() else {
        panic!("no append");
    };
    assert_eq!(batches[0].1, attachments);
    let expected = concat!(
        "04",           // attachments
        "00010000002f", // stream keys
        "00000007",     // generation
        "00000002",     // keys
        "00016b",       // k
        "00000002000000000000000a",
        "00016c", // l
        "0000000100000005",
        "000000010003746167", // tags
        "00000001",
        "00020000002d",                             // conditions
        "0000000700000003",                         // generation, how many
        "010000000000000009",                       // end offset
        "0200016bffffffffffffffff",                 // version
        "0300056f74686572ffffffffffffffff",         // tag
        "00030000000e00046f6e6365000000000000000b", // idempotency key
        "0004000000080000000000001234",             // transaction
    );
    assert_eq!(hex(&attachments.encode()), expected);
    assert_eq!(Attachments::pass(&attachments.encode()), Ok(attachments.encode().len()));
}

#[test]
fn a_walk_passes_what_stands_beside_a_batch() {
    let mut payload = AppendPayload::with_capacity(0);
    payload.push(&batch(0), &any_attachments().encode());
    payload.push(&batch(1), &[0]);
    let payload = payload.finish(times(6, 7));
    let mut frames = Frames::of(&payload).unwrap().unwrap();
    for sequence in 0..2 {
        assert_eq!(frames.pass(&payload).unwrap().unwrap().bytes, batch(sequence));
    }
    assert!(frames.pass(&payload).unwrap().is_none());
}
