use proptest::prelude::*;

use super::*;
use crate::record::{BatchBuilder, stamp};

const NOW: i64 = 1_700_000_000_000;
const CREATE: TimestampRule =
    TimestampRule::Create { before_ms_max: i64::MAX, after_ms_max: 3_600_000 };

fn limits() -> Limits {
    let inflated_bytes_max = crate::record::INFLATED_BYTES_MAX;
    let (bytes_max, now_ms) = (1_048_588, NOW);
    let (timestamps, zstd, codec) = (CREATE, true, None);
    Limits { bytes_max, now_ms, timestamps, zstd, inflated_bytes_max, codec, keys: false }
}

fn two_records() -> BatchBuilder {
    BatchBuilder::new().record(NOW, Some(b"k"), Some(b"v1")).record(NOW - 5, None, Some(b"v2"))
}

/// Changes bytes of a batch and makes its checksum right again.
fn forge(batch: &Bytes, change: impl FnOnce(&mut [u8])) -> Bytes {
    let mut bytes = batch.to_vec();
    change(&mut bytes);
    let crc = checksum(&bytes);
    bytes[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
    Bytes::from(bytes)
}

#[test]
fn a_good_batch_is_kept_byte_for_byte_with_every_codec() {
    for codec in Codec::ALL {
        let batch = two_records().codec(codec).producer(5, 0, 7).build();
        let checked = check(batch.clone(), &limits()).unwrap();
        assert_eq!(checked.bytes(), &batch, "{codec:?}");
        assert_eq!((checked.record_count(), checked.header().last_sequence()), (2, 8));
    }
}

#[test]
fn a_topic_with_a_codec_of_its_own_has_every_batch_compressed_so() {
    let read = |batch: &Bytes| {
        let records = Records::open(batch.clone(), Projection::Everything).unwrap();
        let told = records.map(|it| it.map(|it| (it.timestamp, it.key, it.value)));
        told.collect::<Result<Vec<_>, _>>().unwrap()
    };
    for sent in Codec::ALL {
        let batch = two_records().codec(sent).producer(5, 0, 7).build();
        for codec in Codec::ALL {
            let limits = Limits { codec: Some(codec), ..limits() };
            let checked = check(batch.clone(), &limits).unwrap();
            let header = checked.header();
            assert_eq!(header.codec(), Some(codec), "{sent:?} {codec:?}");
            assert_eq!((header.record_count, header.producer_id, header.base_sequence), (2, 5, 7));
            assert_eq!(header.crc, checksum(checked.bytes()));
            assert_eq!(header.total_bytes(), Some(checked.len()));
            assert_eq!(read(checked.bytes()), read(&batch), "{sent:?} {codec:?}");
        }
    }
}

#[test]
fn what_no_longer_fits_when_it_is_compressed_otherwise_is_refused() {
    let batch = BatchBuilder::new().codec(Codec::Zstd).record(NOW, None, Some(&[0; 2_000_000]));
    for (codec, fits) in [(Codec::None, false), (Codec::Gzip, true), (Codec::Zstd, true)] {
        let limits = Limits { codec: Some(codec), ..limits() };
        let checked = check(batch.build(), &limits);
        let refused = matches!(checked, Err(BatchError::TooLarge { bytes_max: 1_048_588, .. }));
        assert_eq!((checked.is_ok(), refused), (fits, !fits), "{codec:?}");
    }
}

#[test]
fn anything_but_one_batch_is_refused() {
    let batch = two_records().build();
    let twice = Bytes::from([batch.as_ref(), batch.as_ref()].concat());
    assert!(matches!(check(twice, &limits()), Err(BatchError::NotOne)));
    assert!(matches!(check(Bytes::new(), &limits()), Err(BatchError::NotOne)));
    let cut = batch.slice(..batch.len() - 1);
    assert!(matches!(check(cut, &limits()), Err(BatchError::NotOne)));
    let old = forge(&batch, |bytes| bytes[16] = 1);
    assert!(matches!(check(old, &limits()), Err(BatchError::Magic { magic: 1 })));
}

#[test]
fn a_flipped_bit_is_a_checksum_error_wherever_the_checksum_reaches() {
    let batch = two_records().build();
    for at in CRC_AT..batch.len() {
        let mut bytes = batch.to_vec();
        bytes[at] ^= 1;
        let result = check(Bytes::from(bytes), &limits());
        assert!(matches!(result, Err(BatchError::Checksum)), "byte {at}");
    }
    let mut bytes = batch.to_vec();
    stamp(&mut bytes, 77, 3);
    assert!(check(Bytes::from(bytes), &limits()).is_ok(), "base offset and epoch are free");
}

#[test]
fn a_batch_larger_than_the_topic_allows_is_refused() {
    let batch = two_records().build();
    let exact = Limits { bytes_max: batch.len(), ..limits() };
    assert!(check(batch.clone(), &exact).is_ok());
    let less = Limits { bytes_max: batch.len() - 1, ..limits() };
    assert!(matches!(check(batch, &less), Err(BatchError::TooLarge { .. })));
}

#[test]
fn counts_must_agree_with_each_other_and_with_the_records() {
    let batch = two_records().build();
    let delta = forge(&batch, |bytes| bytes[26] = 5);
    assert!(matches!(check(delta, &limits()), Err(BatchError::Count { .. })));
    let none = BatchBuilder::new().build();
    assert!(matches!(check(none, &limits()), Err(BatchError::Count { .. })));
    let more = forge(&batch, |bytes| {
        bytes[26] = 2;
        bytes[60] = 3;
    });
    assert!(matches!(check(more, &limits()), Err(BatchError::Records(_))));
    let fewer = forge(&batch, |bytes| {
        bytes[26] = 0;
        bytes[60] = 1;
    });
    let result = check(fewer, &limits());
    assert!(matches!(result, Err(BatchError::Records(RecordError::Trailing))));
    // The second record's offset delta: its length, attributes and timestamp delta take three bytes.
    let first = usize::from(batch[HEADER_BYTES] / 2) + 1;
    let gap = forge(&batch, |bytes| bytes[HEADER_BYTES + first + 3] = 6);
    let result = check(gap, &limits());
    assert!(matches!(result, Err(BatchError::OffsetDelta { index: 1, found: 3 })), "{result:?}");
}

#[test]
fn control_batches_and_half_idempotent_batches_are_refused() {
    let control = two_records().attributes(0x20).build();
    assert!(matches!(check(control, &limits()), Err(BatchError::Control)));
    let no_sequence = two_records().producer(5, 0, -1).build();
    assert!(matches!(check(no_sequence, &limits()), Err(BatchError::Producer)));
    let no_epoch = two_records().producer(5, -1, 0).build();
    assert!(matches!(check(no_epoch, &limits()), Err(BatchError::Producer)));
}

#[test]
fn codecs_depend_on_the_version_of_the_request() {
    let zstd = two_records().codec(Codec::Zstd).build();
    let old = Limits { zstd: false, ..limits() };
    assert!(matches!(check(zstd, &old), Err(BatchError::Codec { id: 4 })));
    let unknown = forge(&two_records().build(), |bytes| bytes[22] = 6);
    assert!(matches!(check(unknown, &limits()), Err(BatchError::Codec { id: 6 })));
    let wrong = forge(&two_records().build(), |bytes| bytes[22] = 1);
    assert!(matches!(check(wrong, &limits()), Err(BatchError::Records(_))));
}

#[test]
fn log_append_time_puts_the_brokers_time_and_a_new_checksum() {
    let batch = two_records().codec(Codec::Lz4).build();
    let rule = Limits { timestamps: TimestampRule::LogAppend, now_ms: 42, ..limits() };
    let checked = check(batch.clone(), &rule).unwrap();
    assert!(checked.header().is_log_append_time());
    assert_eq!(checked.header().max_timestamp, 42);
    assert_eq!(checked.header().base_timestamp, NOW, "untouched, as Kafka leaves it");
    assert_eq!(checksum(checked.bytes()), checked.header().crc);
    assert_eq!(checked.bytes()[HEADER_BYTES..], batch[HEADER_BYTES..]);
    let mut records = Records::open(checked.bytes(), Projection::Heads).unwrap();
    assert!(records.all(|record| record.unwrap().timestamp == 42));
}

#[test]
fn create_time_is_bounded_on_both_sides() {
    let timestamps = TimestampRule::Create { before_ms_max: 1_000, after_ms_max: 500 };
    let rule = Limits { timestamps, ..limits() };
    let at = |time| check(BatchBuilder::new().record(time, None, None).build(), &rule);
    assert!(at(NOW - 1_000).is_ok() && at(NOW + 500).is_ok());
    assert!(at(-1).is_ok(), "a record without a time is accepted");
    assert!(matches!(at(NOW - 1_001), Err(BatchError::Timestamps { first: 0, .. })));
    assert!(matches!(at(NOW + 501), Err(BatchError::Timestamps { first: 0, .. })));
    let stamped = two_records().attributes(LOG_APPEND_TIME_BIT).build();
    assert!(matches!(check(stamped, &limits()), Err(BatchError::Timestamps { .. })));
}

#[test]
fn a_wrong_largest_timestamp_is_corrected() {
    let lie = forge(&two_records().build(), |bytes| {
        bytes[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&i64::MAX.to_be_bytes());
    });
    let checked = check(lie, &limits()).unwrap();
    assert_eq!(checked.bytes(), &two_records().build());
}

#[test]
fn a_bomb_is_refused_where_it_passes_the_bound() {
    // One record that claims 200 MiB, which is what follows: a few kilobytes of compressed zeros.
    let head: &[u8] = &[0x80, 0x80, 0x80, 0xc8, 0x01, 0, 0, 0, 1, 0xec, 0xff, 0xff, 0xc7, 0x01];
    let zeros = std::io::Read::take(std::io::repeat(0), 200 << 20);
    let packed = zstd::encode_all(std::io::Read::chain(head, zeros), 1).unwrap();
    let mut batch = BatchBuilder::new().codec(Codec::Zstd).record(NOW, None, None).build().to_vec();
    batch.truncate(HEADER_BYTES);
    batch.extend_from_slice(&packed);
    let length = i32::try_from(batch.len() - 12).unwrap();
    let batch = forge(&Bytes::from(batch), |bytes| {
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
    });
    let refused = check(batch, &limits());
    assert!(matches!(refused, Err(BatchError::Records(RecordError::TooLarge))), "{refused:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bytes_make_the_check_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = check(Bytes::from(bytes), &limits());
    }

    #[test]
    fn no_mutation_behind_a_valid_checksum_makes_the_check_panic(
        codec in 0_i16..5,
        changes in proptest::collection::vec((ATTRIBUTES_AT..200_usize, any::<u8>()), 1..8),
    ) {
        let codec = Codec::from_id(codec).unwrap();
        let batch = two_records().codec(codec).header("h", Some(b"x")).build();
        let forged = forge(&batch, |bytes| {
            for (at, value) in &changes {
                let at = at % (bytes.len() - ATTRIBUTES_AT) + ATTRIBUTES_AT;
                bytes[at] = *value;
            }
        });
        if let Ok(checked) = check(forged, &limits()) {
            let records = Records::open(checked.bytes(), Projection::Everything).unwrap();
            prop_assert_eq!(records.filter(Result::is_ok).count() as i32, checked.record_count());
        }
    }
}
