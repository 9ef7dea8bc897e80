//! Streams and conditions against a model that looks at all records there ever were.

use std::collections::BTreeMap;

use super::stream_model::{Answer, Model, Wanted, answer_of};
use super::*;
use crate::partition::attachments::{
    Attachments, ExpectedVersion, KeyRecord, KeyRecords, RecordKind, StreamKeys,
};
use crate::partition::command::{AppendPayload, OldBatch, OldRecords, old_records_payload};
use crate::partition::keyed_rows::Stream;
use crate::partition::stream_index::Row;

const KEYS: [&str; 4] = ["a", "b", "cc", ""];
const TAGS: [&str; 3] = ["x", "y", "zz"];

/// An entry of batches with what stands beside them.
pub(super) fn entry(times: Times, batches: &[(BatchBuilder, Attachments)]) -> Bytes {
    let mut payload = AppendPayload::with_capacity(0);
    for (batch, attachments) in batches {
        payload.push(&batch.build(), &attachments.encode());
    }
    payload.finish(times)
}

fn any_keys(rng: &mut StdRng, generation: u32, records: u32) -> StreamKeys {
    let mut keys = StreamKeys { generation, ..StreamKeys::default() };
    for delta in 0..records {
        let key = Bytes::from(KEYS[rng.random_range(0..KEYS.len())]);
        let kind = match rng.random_range(0..60) {
            0..8 => RecordKind::Tombstone,
            8 => RecordKind::Close,
            _ => RecordKind::Event,
        };
        let record = KeyRecord { delta, kind };
        match keys.keys.iter_mut().find(|of_key| of_key.key == key) {
            Some(of_key) => of_key.records.push(record),
            None => keys.keys.push(KeyRecords { key, records: vec![record] }),
        }
    }
    for tag in TAGS {
        if rng.random_range(0..3) == 0 {
            keys.tags.push((Bytes::from(tag), rng.random_range(0..records)));
        }
    }
    keys
}

fn any_conditions(rng: &mut StdRng, generation: u32, near: i64, attachments: &mut Attachments) {
    for _ in 0..rng.random_range(0..3) {
        match rng.random_range(0..6) {
            0 => attachments.expect_offset(near),
            1 => attachments.no_tag_after(
                generation,
                Bytes::from(TAGS[rng.random_range(0..TAGS.len())]),
                rng.random_range(-1..near.max(0) + 1),
            ),
            _ => {
                let expected = ExpectedVersion::of(rng.random_range(-3..6)).unwrap();
                let key = Bytes::from(KEYS[rng.random_range(0..KEYS.len())]);
                attachments.expect_version(generation, key, expected);
            }
        }
    }
}

/// A batch as a door might hand it over, also one that saw other streams than there are.
pub(super) fn any_appended(rng: &mut StdRng) -> (BatchBuilder, Attachments) {
    let generation = rng.random_range(0..4);
    let records_count = rng.random_range(1..4);
    let mut attachments = Attachments::default();
    if rng.random_range(0..4) > 0 {
        attachments.stream_keys = Some(any_keys(rng, generation, records_count));
    }
    let near = rng.random_range(0..200);
    any_conditions(rng, generation, near, &mut attachments);
    if rng.random_range(0..4) == 0 {
        let key = Bytes::from(vec![b'k'; rng.random_range(1..4)]);
        attachments.once(key, rng.random_range(0..2));
    }
    let batch = records(records_count as usize, 5);
    let batch = match rng.random_range(0..3) {
        0 => batch.producer(rng.random_range(0..3), 0, rng.random_range(0..6)),
        _ => batch,
    };
    (batch, attachments)
}

pub(super) fn any_old(rng: &mut StdRng, times: Times) -> Bytes {
    let (generation, from) = (rng.random_range(1..4), rng.random_range(0..4));
    let place = at(0, 0);
    let batches = vec![OldBatch { offset: from, place, keys: any_keys(rng, generation, 3) }];
    let upto = from + rng.random_range(0..5);
    old_records_payload(times, &OldRecords { generation, from, upto, misplaced: 1, batches }).into()
}

fn any_wanted(rng: &mut StdRng, model: &Model) -> Wanted {
    let end = i64::try_from(model.records.len()).unwrap();
    match rng.random_range(0..8) {
        0 => Wanted::End(end - rng.random_range(0..2)),
        1 | 2 => {
            let tag = Bytes::from(TAGS[rng.random_range(0..TAGS.len())]);
            Wanted::NoTag(tag, rng.random_range(-1..=end))
        }
        _ => {
            let key = Bytes::from(KEYS[rng.random_range(0..KEYS.len())]);
            let near = model.version(&key) - rng.random_range(0..2);
            let expected = match rng.random_range(0..6) {
                0 => ExpectedVersion::NoStream,
                1 => ExpectedVersion::Stream,
                2 => ExpectedVersion::Any,
                _ => ExpectedVersion::Exactly(near.max(0)),
            };
            Wanted::Version(key, expected)
        }
    }
}

/// Appends at random; returns which answers came.
fn run_beside_model(seed: u64) -> BTreeMap<&'static str, u32> {
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut replica, mut model) = (Replica::default(), Model::default());
    replica.apply(Some(&streams_payload(Times::default(), true).into()));
    let mut seen = BTreeMap::new();
    for step in 0..300 {
        if rng.random_range(0..10) == 0 {
            replica.machine = PartitionMachine::decode(&replica.machine.encode()).unwrap();
        }
        let mut batches = Vec::new();
        let mut expected = Vec::new();
        for _ in 0..rng.random_range(1..4) {
            let count = rng.random_range(1..4);
            let keys = any_keys(&mut rng, 1, count);
            let wanted: Vec<_> =
                (0..rng.random_range(0..3)).map(|_| any_wanted(&mut rng, &model)).collect();
            let mut attachments =
                Attachments { stream_keys: Some(keys.clone()), ..Default::default() };
            for wanted in &wanted {
                match wanted {
                    Wanted::End(offset) => attachments.expect_offset(*offset),
                    Wanted::Version(key, expected) => {
                        attachments.expect_version(1, key.clone(), *expected);
                    }
                    Wanted::NoTag(tag, offset) => attachments.no_tag_after(1, tag.clone(), *offset),
                }
            }
            let mut batch = records(count as usize, 5);
            let claim = (rng.random_range(0..3) == 0).then(|| {
                let id = rng.random_range(0..3);
                let next = model.producers.get(&id).and_then(|known| known.last());
                let (again, next) = next.map_or((0, 0), |last| (last.0, last.1 + 1));
                (id, if rng.random_range(0..4) == 0 { again } else { next })
            });
            if let Some((id, first)) = claim {
                batch = batch.producer(id, 0, first);
            }
            let once = (rng.random_range(0..4) == 0).then(|| {
                (Bytes::from(format!("k{}", rng.random_range(0..40))), rng.random_range(0..2))
            });
            if let Some((key, fingerprint)) = &once {
                attachments.once(key.clone(), *fingerprint);
            }
            expected.push(model.append(&keys, &wanted, claim, once));
            batches.push((batch, attachments));
        }
        let Reply::Appended(replies) = replica.apply(Some(&entry(Times::default(), &batches)))
        else {
            panic!("an append")
        };
        let answers: Vec<_> = replies.into_iter().map(answer_of).collect();
        assert_eq!(answers, expected, "seed {seed} step {step}");
        for answer in answers {
            *seen.entry(name(&answer)).or_default() += 1;
        }
        assert_eq!(replica.machine.next_offset(), i64::try_from(model.records.len()).unwrap());
    }
    check_index(&mut replica, &model);
    seen
}

fn name(answer: &Answer) -> &'static str {
    match answer {
        Answer::New(..) => "new",
        Answer::Again(..) => "again",
        Answer::BadSequence => "bad sequence",
        Answer::Reused => "reused",
        Answer::Unmet(_, Unmet::EndOffset { .. }) => "end",
        Answer::Unmet(_, Unmet::Version { .. }) => "version",
        Answer::Unmet(_, Unmet::Tag { .. }) => "tag",
        Answer::Unmet(..) | Answer::Closed(_) => "closed",
    }
}

/// The rows that were written tell of each version where it is.
fn check_index(replica: &mut Replica, model: &Model) {
    let rows: BTreeMap<Vec<u8>, Bytes> = replica
        .effects
        .puts
        .iter()
        .filter(|put| crate::partition::stream_index::is_row(&put.key))
        .map(|put| (put.key.clone(), put.value.clone()))
        .collect();
    assert_eq!(rows.len(), model.records.len());
    let mut rows = rows.iter();
    let mut by_length: Vec<_> = KEYS.iter().map(|key| Bytes::from(*key)).collect();
    by_length.sort_by_key(|key| (key.len(), key.clone()));
    for key in by_length {
        for (offset, _) in model.of(&key) {
            let (_, value) = rows.next().unwrap();
            let row = Row::decode(value).unwrap();
            assert_eq!(row.offset, offset, "of {key:?}");
        }
    }
}

#[test]
fn versions_tags_and_answers_are_those_of_a_model_that_sees_all_records() {
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in 0..60 {
        for (name, count) in run_beside_model(seed) {
            *seen.entry(name).or_default() += count;
        }
    }
    assert_eq!(seen.len(), 8, "{seen:?}");
    assert!(seen.values().all(|count| *count > 100), "{seen:?}");
}

fn of_key(key: &'static str, generation: u32) -> Attachments {
    let records = vec![KeyRecord { delta: 0, kind: RecordKind::Event }];
    let keys = vec![KeyRecords { key: Bytes::from(key), records }];
    let stream_keys = Some(StreamKeys { generation, keys, tags: Vec::new() });
    Attachments { stream_keys, ..Attachments::default() }
}

fn append(replica: &mut Replica, attachments: &Attachments) -> BatchReply {
    append_of(replica, records(1, 0), attachments)
}

fn append_of(replica: &mut Replica, batch: BatchBuilder, attachments: &Attachments) -> BatchReply {
    let payload = entry(Times::default(), &[(batch, attachments.clone())]);
    match replica.apply(Some(&payload)) {
        Reply::Appended(replies) => replies[0],
        other => panic!("{other:?}"),
    }
}

fn turn(replica: &mut Replica, on: bool) {
    replica.apply(Some(&streams_payload(Times::default(), on).into()));
}

fn expecting(key: &'static str, generation: u32, expected: i64) -> Attachments {
    let mut attachments = of_key(key, generation);
    let expected = ExpectedVersion::of(expected).unwrap();
    attachments.expect_version(generation, Bytes::from(key), expected);
    attachments
}

/// A producer whose answer was lost asks again; what it expected is not true any more, because it was done.
#[test]
fn a_retry_of_what_was_appended_is_no_conflict_with_itself() {
    let mut replica = Replica::default();
    turn(&mut replica, true);
    let batch = || records(1, 0).producer(4, 0, 0);
    for (number, duplicate) in [(0, false), (1, true), (2, true)] {
        let reply = append_of(&mut replica, batch(), &expecting("a", 1, -1));
        let BatchReply::Appended { base_offset: 0, duplicate: found, .. } = reply else {
            panic!("try {number}: {reply:?}")
        };
        assert_eq!(found, duplicate);
        replica.restore_machine();
    }
    let conflict = append_of(&mut replica, records(1, 0).producer(4, 0, 1), &expecting("a", 1, -1));
    let unmet = Unmet::Version { current: 1 };
    assert_eq!(conflict, BatchReply::Refused(Refusal::Condition { number: 0, unmet }));
    let next = append_of(&mut replica, records(1, 0).producer(4, 0, 1), &expecting("a", 1, 1));
    assert_eq!(base_offset(next), 1, "the refused one took no sequence number");
}

#[test]
fn older_records_are_counted_before_any_version_is_judged() {
    let mut replica = Replica::default();
    for _ in 0..3 {
        base_offset(append(&mut replica, &Attachments::default()));
    }
    let off = append(&mut replica, &expecting("a", 0, 0));
    let none = Refusal::Condition { number: 0, unmet: Unmet::NoStreams };
    assert_eq!(off, BatchReply::Refused(none));
    turn(&mut replica, true);
    let unchecked = append(&mut replica, &Attachments::default());
    assert_eq!(unchecked, BatchReply::Refused(Refusal::StreamsChanged), "it brought no keys");
    base_offset(append(&mut replica, &of_key("a", 1)));
    let building = append(&mut replica, &expecting("a", 1, 1));
    let unmet = Unmet::Building;
    assert_eq!(building, BatchReply::Refused(Refusal::Condition { number: 0, unmet }));

    let old = |from, upto, key| {
        let keys = of_key(key, 1).stream_keys.unwrap();
        let batches = vec![OldBatch { offset: from, place: at(0, 0), keys }];
        OldRecords { generation: 1, from, upto, misplaced: 0, batches }
    };
    let count = |replica: &mut Replica, old: &OldRecords| {
        replica.apply(Some(&old_records_payload(Times::default(), old).into()));
    };
    count(&mut replica, &old(0, 2, "a"));
    count(&mut replica, &old(0, 2, "a"));
    count(&mut replica, &old(1, 3, "a"));
    assert!(!replica.machine.streams().is_ready());
    count(&mut replica, &old(2, 3, "b"));
    assert!(replica.machine.streams().is_ready());
    let wrong = append(&mut replica, &expecting("a", 1, 1));
    let unmet = Unmet::Version { current: 2 };
    assert_eq!(wrong, BatchReply::Refused(Refusal::Condition { number: 0, unmet }));
    base_offset(append(&mut replica, &expecting("a", 1, 2)));
    base_offset(append(&mut replica, &expecting("b", 1, 1)));
    assert_eq!(replica.machine.streams().count, 2);

    turn(&mut replica, false);
    base_offset(append(&mut replica, &of_key("a", 1)));
    turn(&mut replica, true);
    assert_eq!(replica.machine.streams().generation, 2);
    let stale = append(&mut replica, &of_key("a", 1));
    assert_eq!(stale, BatchReply::Refused(Refusal::StreamsChanged));
}

#[test]
fn what_is_over_is_freed_by_name_and_nothing_else() {
    const DAY_MS: i64 = 86_400_000;
    let mut replica = Replica::default();
    turn(&mut replica, true);
    let mut attachments = of_key("a", 1);
    attachments.stream_keys.as_mut().unwrap().tags.push((Bytes::from("x"), 0));
    attachments.once(Bytes::from("once"), 1);
    base_offset(append(&mut replica, &attachments));
    let names: Vec<Bytes> = [&b"s\0\0\0\x01a"[..], b"t\0\0\0\x01x", b"ionce", b"q"]
        .into_iter()
        .map(Bytes::from_static)
        .collect();
    let left = |replica: &mut Replica, log_ms| {
        let times = Times { wall_ms: 0, log_ms };
        replica.apply(Some(&forget_payload(times, &names).into()));
        names.iter().filter(|name| replica.effects.keyed.get(name).is_some()).count()
    };
    assert_eq!(left(&mut replica, DAY_MS), 3, "nothing is over");
    let end = replica.machine.view().end;
    replica.trim(end.offset, end);
    assert_eq!(left(&mut replica, DAY_MS), 2, "the tag's record is trimmed; a version stays");
    assert_eq!(left(&mut replica, DAY_MS + 1), 1, "the idempotency key had its day");
    let again = append(&mut replica, &expecting("a", 1, 1));
    assert_eq!(base_offset(again), 1, "versions outlive their records");
    turn(&mut replica, false);
    assert_eq!(left(&mut replica, DAY_MS + 1), 0);
}

#[test]
fn a_tag_is_not_judged_where_its_records_are_trimmed() {
    let mut replica = Replica::default();
    turn(&mut replica, true);
    for _ in 0..3 {
        base_offset(append(&mut replica, &of_key("a", 1)));
    }
    let end = replica.machine.view().end;
    replica.trim(2, Position { offset: 2, ..end });
    let after = |offset| {
        let mut attachments = of_key("a", 1);
        attachments.no_tag_after(1, Bytes::from("x"), offset);
        attachments
    };
    let log_start = replica.machine.log_start();
    let refused = append(&mut replica, &after(log_start - 2));
    let unmet = Unmet::Trimmed { log_start };
    assert_eq!(refused, BatchReply::Refused(Refusal::Condition { number: 0, unmet }));
    base_offset(append(&mut replica, &after(log_start - 1)));
}

#[test]
fn the_bytes_of_a_streams_row_are_frozen() {
    let mut replica = Replica::default();
    turn(&mut replica, true);
    let mut attachments = of_key("a", 1);
    attachments.stream_keys.as_mut().unwrap().tags.push((Bytes::from("x"), 0));
    attachments.once(Bytes::from("o"), 7);
    base_offset(append(&mut replica, &attachments));
    let keyed = &replica.effects.keyed;
    let row = keyed.get(b"s\0\0\0\x01a").unwrap();
    assert_eq!(&row[..], [0, 0, 1, 0, 0, 0]);
    assert_eq!(Stream::decode(&row).unwrap().version(), 1);
    assert_eq!(&keyed.get(b"t\0\0\0\x01x").unwrap()[..], [0; 8]);
    let once = keyed.get(b"io").unwrap();
    let expected = [[0; 8], 7_u64.to_be_bytes(), [0; 8], [0xff; 8], 1_u64.to_be_bytes()].concat();
    assert_eq!(&once[..], expected);
}

impl Replica {
    /// Restores the machine from its bytes; the keyed state is on disk, as it were.
    fn restore_machine(&mut self) {
        self.machine = PartitionMachine::decode(&self.machine.encode()).unwrap();
    }
}
