//! A model of streams and conditions that looks at all records there ever were.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::*;
use crate::partition::attachments::{ExpectedVersion, KeyRecords, RecordKind, StreamKeys};

/// All records there ever were, and what was answered.
#[derive(Default)]
pub(super) struct Model {
    /// Key, kind and tags of every record by its offset.
    pub(super) records: Vec<(Bytes, RecordKind, Vec<Bytes>)>,
    /// Of each producer: the sequences that are in the log, and where.
    pub(super) producers: BTreeMap<i64, Vec<(i32, i32, i64)>>,
    once: BTreeMap<Bytes, (u64, i64, i64)>,
}

impl Model {
    pub(super) fn of(&self, key: &Bytes) -> Vec<(i64, RecordKind)> {
        let all = (0..).zip(&self.records);
        all.filter(|(_, (of, ..))| of == key)
            .map(|(offset, (_, kind, _))| (offset, *kind))
            .collect()
    }

    pub(super) fn version(&self, key: &Bytes) -> i64 {
        i64::try_from(self.of(key).len()).unwrap()
    }

    fn exists(&self, key: &Bytes) -> bool {
        self.of(key).last().is_some_and(|(_, kind)| *kind == RecordKind::Event)
    }

    fn is_closed(&self, key: &Bytes) -> bool {
        self.of(key).iter().any(|(_, kind)| *kind == RecordKind::Close)
    }

    /// What a batch is answered: a duplicate's or a new offset and version, or the number of what does not hold.
    pub(super) fn append(
        &mut self,
        keys: &StreamKeys,
        conditions: &[Wanted],
        claim: Option<(i64, i32)>,
        once: Option<(Bytes, u64)>,
    ) -> Answer {
        let count = keys.keys.iter().map(|it| it.records.len()).sum::<usize>();
        let count = i32::try_from(count).unwrap();
        if let Some((id, first)) = claim {
            let known = self.producers.entry(id).or_default();
            let same = known.iter().find(|it| (it.0, it.1) == (first, first + count - 1));
            if let Some((.., offset)) = same {
                return Answer::Again(*offset, -1);
            }
            let expected = known.last().map_or(0, |last| last.1 + 1);
            if !known.is_empty() && first != expected {
                return Answer::BadSequence;
            }
        }
        if let Some((key, fingerprint)) = &once
            && let Some((known, offset, version)) = self.once.get(key)
        {
            let same = known == fingerprint;
            return if same { Answer::Again(*offset, *version) } else { Answer::Reused };
        }
        for (number, wanted) in (0..).zip(conditions) {
            if let Some(unmet) = self.judge(wanted) {
                return Answer::Unmet(number, unmet);
            }
        }
        for (number, of_key) in (0..).zip(&keys.keys) {
            if self.is_closed(&of_key.key) {
                return Answer::Closed(number);
            }
        }
        let base = i64::try_from(self.records.len()).unwrap();
        for delta in 0..count.unsigned_abs() {
            let has = |of_key: &&KeyRecords| of_key.records.iter().any(|it| it.delta == delta);
            let of_key = keys.keys.iter().find(has).unwrap();
            let kind = of_key.records.iter().find(|it| it.delta == delta).unwrap().kind;
            let tags = keys.tags.iter().filter(|(_, last)| *last == delta);
            let tags = tags.map(|(tag, _)| tag.clone()).collect();
            self.records.push((of_key.key.clone(), kind, tags));
        }
        let version = self.version(&keys.keys[0].key);
        if let Some((id, first)) = claim {
            self.producers.entry(id).or_default().push((first, first + count - 1, base));
        }
        if let Some((key, fingerprint)) = once {
            self.once.insert(key, (fingerprint, base, version));
        }
        Answer::New(base, version)
    }

    fn judge(&self, wanted: &Wanted) -> Option<Unmet> {
        match wanted {
            Wanted::End(offset) => {
                let current = i64::try_from(self.records.len()).unwrap();
                (current != *offset).then_some(Unmet::EndOffset { current })
            }
            Wanted::Version(key, expected) => {
                let current = self.version(key);
                if self.is_closed(key) {
                    return Some(Unmet::Closed { current });
                }
                let holds = match expected {
                    ExpectedVersion::Exactly(version) => *version == current,
                    ExpectedVersion::NoStream => !self.exists(key),
                    ExpectedVersion::Any => true,
                    ExpectedVersion::Stream => self.exists(key),
                };
                (!holds).then_some(Unmet::Version { current })
            }
            Wanted::NoTag(tag, offset) => {
                let tagged = (0_i64..).zip(&self.records).filter(|(_, it)| it.2.contains(tag));
                let last = tagged.map(|(at, _)| at).last().filter(|last| last > offset);
                last.map(|current| Unmet::Tag { current })
            }
        }
    }
}

pub(super) enum Wanted {
    End(i64),
    Version(Bytes, ExpectedVersion),
    NoTag(Bytes, i64),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    New(i64, i64),
    Again(i64, i64),
    BadSequence,
    Reused,
    Unmet(u32, Unmet),
    Closed(u32),
}

pub(super) fn answer_of(reply: BatchReply) -> Answer {
    match reply {
        BatchReply::Appended { base_offset, version, duplicate: false, .. } => {
            Answer::New(base_offset, version)
        }
        BatchReply::Appended { base_offset, version, .. } => Answer::Again(base_offset, version),
        BatchReply::Refused(Refusal::OutOfOrderSequence { .. } | Refusal::DuplicateSequence) => {
            Answer::BadSequence
        }
        BatchReply::Refused(Refusal::IdempotencyKeyReused) => Answer::Reused,
        BatchReply::Refused(Refusal::Condition { number, unmet }) => Answer::Unmet(number, unmet),
        BatchReply::Refused(Refusal::Stream { number, .. }) => Answer::Closed(number),
        other => panic!("{other:?}"),
    }
}
