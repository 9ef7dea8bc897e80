//! What polls were answered about the ends of logs.

use crate::history::{Edn, Mop, Op, keyword};

/// One answer to a poll about a key.
pub(super) struct Answer {
    pub key: i64,
    /// Who answered, -1 if that is not noted.
    pub broker: i64,
    pub epoch: i64,
    pub start: i64,
    /// The high watermark, if it is noted.
    pub high: Option<i64>,
    /// Where the consumer goes on.
    pub next: i64,
}

pub(super) fn reads(mops: &[Mop]) -> impl Iterator<Item = (i64, i64, i64)> + '_ {
    let polls = mops.iter().filter_map(|mop| match mop {
        Mop::Poll(Some(read)) => Some(read),
        _ => None,
    });
    polls.flatten().flat_map(|(key, records)| records.iter().map(|(at, value)| (*key, *at, *value)))
}

pub(super) fn answers(op: &Op) -> Vec<Answer> {
    let Some(Edn::Vector(list)) = op.extra.get("fetched") else { return Vec::new() };
    let number = |map: &Edn, name: &str| match map {
        Edn::Map(map) => match map.get(&keyword(name)) {
            Some(Edn::Integer(number)) => Some(*number),
            _ => None,
        },
        _ => None,
    };
    let answer = |it: &Edn| {
        let (key, epoch) = (number(it, "key")?, number(it, "epoch")?);
        let (start, next) = (number(it, "log-start")?, number(it, "next")?);
        let (broker, high) = (number(it, "broker").unwrap_or(-1), number(it, "high-watermark"));
        Some(Answer { key, broker, epoch, start, high, next })
    };
    list.iter().filter_map(answer).collect()
}
