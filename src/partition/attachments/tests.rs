use super::*;
use crate::record::{BatchBuilder, CheckedBatch, Limits, check, partition_for_key};

fn checked(batch: &BatchBuilder) -> CheckedBatch {
    check(batch.build(), &Limits::wide(0)).unwrap()
}

const RULES: KeyRules = KeyRules { generation: 3, partitions: 1, partition: 0 };

fn of(batch: &BatchBuilder) -> Result<(Attachments, Vec<i32>), AttachmentError> {
    Attachments::of(&checked(batch), Some(RULES))
}

fn event(batch: BatchBuilder, key: &str) -> BatchBuilder {
    batch.record(0, Some(key.as_bytes()), Some(b"v"))
}

fn header(batch: BatchBuilder, name: &str, value: &str) -> BatchBuilder {
    batch.header(name, Some(value.as_bytes()))
}

fn versions(attachments: &Attachments) -> Vec<(&[u8], i64)> {
    let all = attachments.conditions.all.iter();
    all.filter_map(|condition| match condition {
        Condition::Version { key, expected } => Some((&key[..], expected.number())),
        _ => None,
    })
    .collect()
}

#[test]
fn keys_come_once_with_all_their_records() {
    let mut batch = event(event(event(BatchBuilder::new(), "a"), "b"), "a");
    batch = batch.record(0, Some(b"b"), None);
    batch = batch.record(0, Some(b"a"), None).header("quorate-close", None);
    let (attachments, _) = of(&batch).unwrap();
    let keys = attachments.stream_keys.unwrap();
    assert_eq!(keys.generation, 3);
    let found: Vec<_> = keys
        .keys
        .iter()
        .map(|it| {
            (&it.key[..], it.records.iter().map(|it| (it.delta, it.kind)).collect::<Vec<_>>())
        })
        .collect();
    let (event, tombstone, close) = (RecordKind::Event, RecordKind::Tombstone, RecordKind::Close);
    let a = vec![(0, event), (2, event), (4, close)];
    assert_eq!(found, [(&b"a"[..], a), (b"b", vec![(1, event), (3, tombstone)])]);
}

#[test]
fn what_a_batch_tells_is_read_as_it_was_written() {
    let plain = event(BatchBuilder::new(), "a");
    let conditional = header(plain.clone(), "quorate-expected-version", "4");
    let tagged = header(plain.clone(), "quorate-tag", "t");
    let by_offset = header(plain.clone(), "quorate-expected-offset", "7");
    for batch in [&plain, &conditional, &tagged, &by_offset] {
        for rules in [Some(RULES), None] {
            let Ok((told, _)) = Attachments::of(&checked(batch), rules) else { continue };
            let bytes = Bytes::from(told.encode());
            let read = Attachments::decode(&mut Reader::new(&bytes), &bytes).unwrap();
            assert_eq!(read, told, "{rules:?}");
        }
    }
}

#[test]
fn what_is_expected_before_a_record_is_expected_of_the_batch_less_what_it_adds_itself() {
    let mut batch = header(event(BatchBuilder::new(), "a"), "quorate-expected-version", "4");
    batch = header(event(batch, "b"), "quorate-expected-version", "-1");
    batch = header(event(batch, "a"), "quorate-expected-version", "5");
    batch = header(event(batch, "a"), "quorate-expected-version", "-2");
    batch = header(event(batch, "b"), "quorate-expected-offset", "19");
    let (attachments, origins) = of(&batch).unwrap();
    assert_eq!(versions(&attachments), [(&b"a"[..], 4), (b"b", -1), (b"a", 4)]);
    assert_eq!(attachments.conditions.all.last(), Some(&Condition::EndOffset(15)));
    assert_eq!(origins, [0, 1, 2, 4]);
}

#[test]
fn what_cannot_hold_behind_the_batchs_own_records_is_refused_at_once() {
    let twice = |value| {
        let first = event(BatchBuilder::new(), "a");
        header(event(first, "a"), "quorate-expected-version", value)
    };
    for wrong in ["0", "-1"] {
        let refused = of(&twice(wrong)).unwrap_err();
        assert!(matches!(refused, AttachmentError::Contradiction { record: 1, .. }), "{wrong}");
    }
    for right in ["1", "7", "-2", "-3"] {
        assert!(of(&twice(right)).is_ok(), "{right}");
    }
    let deleted = BatchBuilder::new().record(0, Some(b"a"), None);
    let after = |value| header(event(deleted.clone(), "a"), "quorate-expected-version", value);
    assert!(of(&after("-1")).is_ok(), "deleted by the record before");
    assert!(of(&after("-3")).is_err());
    let early = header(event(event(BatchBuilder::new(), "a"), "a"), "quorate-expected-offset", "0");
    assert!(matches!(of(&early), Err(AttachmentError::Contradiction { record: 1, .. })));
    let closed = BatchBuilder::new().record(0, Some(b"a"), None).header("quorate-close", None);
    assert!(matches!(of(&event(closed, "a")), Err(AttachmentError::Contradiction { .. })));
    let tagged = header(event(BatchBuilder::new(), "a"), "quorate-tag", "t");
    let own = header(event(tagged, "b"), "quorate-no-tag-after", "5 t");
    assert!(matches!(of(&own), Err(AttachmentError::Contradiction { record: 1, .. })));
}

#[test]
fn tags_come_once_with_their_last_record() {
    let mut batch = header(event(BatchBuilder::new(), "a"), "quorate-tag", "x");
    batch = header(header(event(batch, "a"), "quorate-tag", "x"), "quorate-tag", "y z");
    batch = header(event(batch, "a"), "quorate-no-tag-after", "-1 other one");
    let (attachments, origins) = of(&batch).unwrap();
    let tags = attachments.stream_keys.unwrap().tags;
    assert_eq!(tags, [(Bytes::from_static(b"x"), 1), (Bytes::from_static(b"y z"), 1)]);
    let tag = Bytes::from_static(b"other one");
    assert_eq!(attachments.conditions.all, [Condition::NoTagAfter { tag, offset: -1 }]);
    assert_eq!(origins, [2]);
}

#[test]
fn headers_that_say_nothing_sensible_are_refused_and_never_passed_over() {
    let long = "t".repeat(TAG_BYTES_MAX + 1);
    let wrong = [
        ("quorate-expected-version", "seven"),
        ("quorate-expected-version", ""),
        ("quorate-expected-version", "-4"),
        ("quorate-expected-version", "9223372036854775808"),
        ("quorate-expected-offset", "-1"),
        ("quorate-expected-versions", "7"),
        ("quorate-no-such", "7"),
        ("quorate-no-tag-after", "7"),
        ("quorate-no-tag-after", "7 "),
        ("quorate-no-tag-after", "-2 t"),
        ("quorate-tag", ""),
        ("quorate-tag", &long),
        ("quorate-close", ""),
    ];
    for (name, value) in wrong {
        let refused = of(&header(event(BatchBuilder::new(), "a"), name, value));
        assert!(
            matches!(refused, Err(AttachmentError::Malformed { record: 0, .. })),
            "{name} {value}"
        );
    }
    let twice = header(event(BatchBuilder::new(), "a"), "quorate-expected-version", "1");
    let twice = header(twice, "quorate-expected-version", "1");
    assert!(of(&twice).is_err());
    let other = header(event(BatchBuilder::new(), "a"), "quorateish", "1");
    assert!(of(&other).is_ok());
    let many = (0..=CONDITIONS_MAX).fold(event(BatchBuilder::new(), "a"), |batch, number| {
        header(batch, "quorate-no-tag-after", &format!("0 t{number}"))
    });
    assert!(matches!(of(&many), Err(AttachmentError::TooMany { .. })));
}

#[test]
fn keys_of_streams_are_there_and_short_and_in_their_partition() {
    let refused = of(&BatchBuilder::new().record(0, None, Some(b"v"))).unwrap_err();
    assert_eq!(refused.record(), Some(0));
    assert!(of(&event(BatchBuilder::new(), "")).is_err());
    assert!(of(&event(BatchBuilder::new(), &"k".repeat(STREAM_KEY_BYTES_MAX))).is_ok());
    assert!(of(&event(BatchBuilder::new(), &"k".repeat(STREAM_KEY_BYTES_MAX + 1))).is_err());
    let partition = partition_for_key(b"k", 7);
    let batch = checked(&event(BatchBuilder::new(), "k"));
    for at in 0..7 {
        let rules = KeyRules { generation: 1, partitions: 7, partition: at };
        match Attachments::of(&batch, Some(rules)) {
            Ok(_) => assert_eq!(at, partition),
            Err(AttachmentError::WrongPartition { partition: right, .. }) => {
                assert!(at != partition && right == partition);
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn without_streams_only_an_offset_can_be_expected() {
    let of = |batch: BatchBuilder| Attachments::of(&checked(&batch), None);
    let plain = || BatchBuilder::new().record(0, None, Some(b"v"));
    let (attachments, _) = of(header(plain(), "quorate-expected-offset", "7")).unwrap();
    assert_eq!(attachments.conditions.all, [Condition::EndOffset(7)]);
    assert_eq!(attachments.stream_keys, None);
    assert!(of(header(plain(), "quorate-tag", "t")).is_ok());
    for (name, value) in
        [("quorate-expected-version", "7"), ("quorate-no-tag-after", "0 t"), ("quorate-close", "")]
    {
        let refused = of(header(plain(), name, value));
        assert!(matches!(refused, Err(AttachmentError::NoStreams { record: 0, .. })), "{name}");
    }
}

#[test]
fn the_gate_sees_whether_there_may_be_conditions_in_any_codec() {
    use crate::record::Codec;
    for codec in Codec::ALL {
        let plain = event(BatchBuilder::new().codec(codec), "a").header("trace", Some(b"1"));
        assert!(!checked(&plain.clone().header("quorat", None)).has_reserved(), "{codec:?}");
        assert!(checked(&event(plain, "b").header("quorate-", None)).has_reserved(), "{codec:?}");
    }
}
