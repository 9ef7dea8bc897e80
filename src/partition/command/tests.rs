use super::*;
use crate::record::BatchBuilder;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn times(wall_ms: i64, log_ms: i64) -> Times {
    Times { wall_ms, log_ms }
}

const TRIM_EXAMPLE: Trim = Trim { log_start: 9, start: Position { offset: 8, index: 7, bytes: 6 } };

#[test]
fn the_bytes_of_commands_are_frozen() {
    let append = append_payload(times(1, 2), b"batch");
    assert_eq!(hex(&append), "0201000000000000000100000000000000026261746368");
    let trim = trim_payload(times(-1, 3), &TRIM_EXAMPLE);
    let expected = "0202ffffffffffffffff0000000000000003\
                    0000000000000009000000000000000800000000000000070000000000000006";
    assert_eq!(hex(&trim), expected);
    let level = level_payload(times(1, 2), 3);
    assert_eq!(hex(&level), "02030000000000000001000000000000000200000003");
}

#[test]
fn a_command_decodes_to_what_was_encoded() {
    let trim = Command::decode(&trim_payload(times(5, 4), &TRIM_EXAMPLE)).unwrap();
    assert_eq!(trim, Command::Trim { times: times(5, 4), trim: TRIM_EXAMPLE });

    let level = Command::decode(&level_payload(times(5, 4), 2)).unwrap();
    assert_eq!(level, Command::SetLevel { times: times(5, 4), level: 2 });

    let batch = BatchBuilder::new().producer(3, 1, 7).record(10, None, Some(b"v")).build();
    let payload = Bytes::from(append_payload(times(6, 7), &batch));
    assert_eq!(Command::batch_of(&payload).unwrap(), batch);
    let Command::Append { times: told, batch: facts } = Command::decode(&payload).unwrap() else {
        panic!("an append is not a trim");
    };
    assert_eq!((told, facts.offsets(), facts.bytes), (times(6, 7), 1, batch.len() as u64));
    assert_eq!((facts.header.producer_id, facts.header.base_sequence), (3, 7));
}

#[test]
fn a_trim_holds_no_batch() {
    assert_eq!(Command::batch_of(&Bytes::from(trim_payload(times(5, 4), &TRIM_EXAMPLE))), None);
    assert_eq!(Command::batch_of(&Bytes::new()), None);
}

#[test]
fn damaged_and_newer_commands_are_refused() {
    let batch = BatchBuilder::new().record(10, None, Some(b"v")).build();
    let (append, level) = (append_payload(times(6, 7), &batch), level_payload(times(5, 4), 2));
    for payload in [append, trim_payload(times(5, 4), &TRIM_EXAMPLE), level] {
        for cut in 0..payload.len() {
            assert!(Command::decode(&payload[..cut]).is_err(), "cut to {cut} bytes");
        }
        let longer = [payload.as_slice(), b"x"].concat();
        assert!(Command::decode(&longer).is_err());
        let mut newer = payload.clone();
        newer[0] = 3;
        assert_eq!(Command::decode(&newer), Err(CodecError::Version(3)));
        let mut unknown = payload;
        unknown[1] = 9;
        assert_eq!(Command::decode(&unknown), Err(CodecError::Kind(9)));
    }
}

#[test]
fn a_batch_that_would_take_no_offsets_is_refused() {
    let mut batch = BatchBuilder::new().record(10, None, Some(b"v")).build().to_vec();
    batch[23..27].copy_from_slice(&(-1_i32).to_be_bytes());
    assert!(Command::decode(&append_payload(times(0, 0), &batch)).is_err());
}
