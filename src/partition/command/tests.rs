use super::*;
use crate::partition::position::Place;
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
        "030100000000000000010000000000000002", // version, kind, times
        "00000002",                             // batches
        "0000000500000005",                     // size, length
        "00",                                   // attachments
        "6261746368",                           // the batch
        "0000000500000005006f74686572",
    );
    assert_eq!(hex(&append), expected);
    let trim = trim_payload(times(-1, 3), &TRIM_EXAMPLE);
    let expected = "0302ffffffffffffffff00000000000000030000000000000009\
                    00000000000000080000000000000007000000050000000000000006";
    assert_eq!(hex(&trim), expected);
    let level = level_payload(times(1, 2), 3);
    assert_eq!(hex(&level), "03030000000000000001000000000000000200000003");
    let forget = forget_payload(times(1, 2), &[3]);
    assert_eq!(hex(&forget), "030400000000000000010000000000000002000000010000000000000003");
    let clean = clean_payload(times(1, 2), &CLEAN_EXAMPLE);
    let expected = "030500000000000000010000000000000002\
                    0000000000000009000000000000000700000000000000000000000600000000000000080000000000000005";
    assert_eq!(hex(&clean), expected);
}

#[test]
fn a_command_decodes_to_what_was_encoded() {
    let trim = Command::decode(&trim_payload(times(5, 4), &TRIM_EXAMPLE)).unwrap();
    assert_eq!(trim, Command::Trim { times: times(5, 4), trim: TRIM_EXAMPLE });

    let level = Command::decode(&level_payload(times(5, 4), 2)).unwrap();
    assert_eq!(level, Command::SetLevel { times: times(5, 4), level: 2 });

    let forget = Command::decode(&forget_payload(times(5, 4), &[7, 0])).unwrap();
    assert_eq!(forget, Command::Forget { times: times(5, 4), producers: vec![7, 0] });

    let clean = Command::decode(&clean_payload(times(5, 4), &CLEAN_EXAMPLE)).unwrap();
    assert_eq!(clean, Command::Clean { times: times(5, 4), clean: CLEAN_EXAMPLE });

    let sent = [batch(7), batch(8)];
    let payload = append(&sent);
    let Command::Append { times: told, batches } = Command::decode(&payload).unwrap() else {
        panic!("an append is not a trim");
    };
    assert_eq!(told, times(6, 7));
    for ((found, sent), sequence) in batches.iter().zip(&sent).zip(7..) {
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
    payload.push(&batch(0));
    assert_eq!(payload.len(), FRAME_OVERHEAD + batch(0).len());
    payload.push(&batch(1));
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
    let forget = forget_payload(times(5, 4), &[1, 2]);
    for payload in [appends, trim_payload(times(5, 4), &TRIM_EXAMPLE), level, forget] {
        for cut in 0..payload.len() {
            assert!(Command::decode(&payload[..cut]).is_err(), "cut to {cut} bytes");
        }
        let longer = [payload.as_slice(), b"x"].concat();
        assert!(Command::decode(&longer).is_err());
        let mut newer = payload.clone();
        newer[0] = 4;
        assert_eq!(Command::decode(&newer), Err(CodecError::Version(4)));
        let mut unknown = payload;
        unknown[1] = 9;
        assert_eq!(Command::decode(&unknown), Err(CodecError::Kind(9)));
    }
}

#[test]
fn an_attachment_that_is_not_known_is_refused_and_not_skipped() {
    let mut payload = append(&[batch(0)]).to_vec();
    payload[30] = 1;
    payload.splice(31..31, [0x12, 0x34, 0, 0, 0, 1, b'x']);
    assert_eq!(Command::decode(&payload), Err(CodecError::Attachment(0x1234)));
    assert!(Frames::of(&payload).unwrap().unwrap().pass(&payload).is_err());
}

#[test]
fn counts_and_sizes_that_cannot_be_are_refused() {
    let payload = append(&[batch(0)]);
    let with = |at: usize, field: u32| {
        let mut changed = payload.to_vec();
        changed[at..at + 4].copy_from_slice(&field.to_be_bytes());
        Command::decode(&changed)
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
fn a_command_says_which_producers_it_is_about() {
    let of = |payload: &[u8]| Command::decode(payload).unwrap().producers();
    let plain = BatchBuilder::new().record(10, None, Some(b"v")).build();
    assert_eq!(of(&append(&[batch(0), plain, batch(1)])), [3, 3]);
    assert_eq!(of(&forget_payload(times(0, 0), &[5, 9])), [5, 9]);
    assert_eq!(of(&trim_payload(times(0, 0), &TRIM_EXAMPLE)), [0; 0]);
    assert_eq!(of(&level_payload(times(0, 0), 2)), [0; 0]);
}
