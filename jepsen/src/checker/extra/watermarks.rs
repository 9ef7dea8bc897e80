//! What leaders say about a partition never goes back: `high-watermark-regressed`, `log-start-regressed`,
//! `stable-offset-regressed`, `leader-epoch-regressed`, `two-leaders`, `read-past-high-watermark`, `read-past-stable`.
//!
//! Polls note each answer under `:fetched`. Within an epoch, an answer to a question asked after another
//! answer had come says at least as much. From one epoch to a later one it does not even matter when: a leader
//! serves only what it has committed, and whoever leads after it has all of that. An older leader that does not know
//! yet may still answer with what it had.

use std::collections::{BTreeMap, HashMap};

use super::{list, number};
use crate::checker::Findings;
use crate::checker::analysis::Analysis;
use crate::history::Edn;

#[derive(Clone, Copy)]
struct Answer {
    /// Positions in the history.
    asked: u64,
    answered: u64,
    broker: i64,
    epoch: i64,
    high: i64,
    start: i64,
    /// The last stable offset, if it is noted.
    stable: Option<i64>,
    /// Whether only what is committed was asked for.
    committed: bool,
    next: i64,
}

pub fn check(analysis: &Analysis<'_>, found: &mut Findings) {
    for (key, answers) in answers(analysis) {
        for answer in &answers {
            within(key, answer, found);
        }
        leaders(key, &answers, found);
        monotone(key, "high-watermark-regressed", &answers, |answer| answer.high, found);
        monotone(key, "log-start-regressed", &answers, |answer| answer.start, found);
        let stable = |answer: &Answer| answer.stable.unwrap_or(i64::MIN);
        let noted: Vec<Answer> = answers.iter().filter(|it| it.stable.is_some()).copied().collect();
        monotone(key, "stable-offset-regressed", &noted, stable, found);
        epochs(key, &answers, found);
    }
}

fn answers(analysis: &Analysis<'_>) -> BTreeMap<i64, Vec<Answer>> {
    let mut answers: BTreeMap<i64, Vec<Answer>> = BTreeMap::new();
    for (position, op) in analysis.ops.iter().enumerate() {
        let asked = analysis.other[position].map_or(op.index, |begin| analysis.index_of(begin));
        for fetched in list(op.extra.get("fetched")) {
            if let Some((key, answer)) = answer(fetched, asked, op.index) {
                answers.entry(key).or_default().push(answer);
            }
        }
    }
    answers
}

fn answer(fetched: &Edn, asked: u64, answered: u64) -> Option<(i64, Answer)> {
    let answer = Answer {
        asked,
        answered,
        broker: number(fetched, "broker")?,
        epoch: number(fetched, "epoch")?,
        high: number(fetched, "high-watermark")?,
        start: number(fetched, "log-start")?,
        stable: number(fetched, "stable"),
        committed: number(fetched, "committed") == Some(1),
        next: number(fetched, "next")?,
    };
    Some((number(fetched, "key")?, answer))
}

/// `next` is the offset after the last record of the answer.
fn within(key: i64, answer: &Answer, found: &mut Findings) {
    let Answer { broker, high, start, stable, committed, next, answered, .. } = *answer;
    if next > high {
        let case =
            || format!("key {key}: broker {broker} served up to {next}, high watermark {high}");
        found.invalid("read-past-high-watermark", case, [answered]);
    }
    let stable = stable.unwrap_or(high);
    if stable > high {
        let case = || {
            format!("key {key}: broker {broker} has stable offset {stable}, high watermark {high}")
        };
        found.invalid("stable-past-high-watermark", case, [answered]);
    }
    if committed && next > stable {
        let case = || {
            format!("key {key}: broker {broker} served as committed up to {next}, stable {stable}")
        };
        found.invalid("read-past-stable", case, [answered]);
    }
    if start > high {
        let case =
            || format!("key {key}: broker {broker} has log start {start}, high watermark {high}");
        found.invalid("log-start-past-high-watermark", case, [answered]);
    }
}

fn leaders(key: i64, answers: &[Answer], found: &mut Findings) {
    let mut leader: HashMap<i64, Answer> = HashMap::new();
    for answer in answers {
        let first = leader.entry(answer.epoch).or_insert(*answer);
        if first.broker != answer.broker {
            let case = || {
                let (epoch, one, other) = (answer.epoch, first.broker, answer.broker);
                format!("key {key}: brokers {one} and {other} both lead in epoch {epoch}")
            };
            found.invalid("two-leaders", case, [first.answered, answer.answered]);
        }
    }
}

/// Compares each answer with the highest of all that came before it: earlier epochs, and earlier in its own.
fn monotone(
    key: i64,
    anomaly: &str,
    answers: &[Answer],
    value: fn(&Answer) -> i64,
    found: &mut Findings,
) {
    let mut by_epoch: BTreeMap<i64, Vec<&Answer>> = BTreeMap::new();
    for answer in answers {
        by_epoch.entry(answer.epoch).or_default().push(answer);
    }
    let mut earlier: Option<Answer> = None;
    for (_, mut answers) in by_epoch {
        let best_of_epoch = answers.iter().copied().copied().max_by_key(value);
        answers.sort_by_key(|answer| answer.asked);
        let mut answered = answers.clone();
        answered.sort_by_key(|answer| answer.answered);
        let mut answered = answered.into_iter().peekable();
        let mut best = earlier;
        for answer in answers {
            while let Some(done) = answered.next_if(|done| done.answered < answer.asked) {
                best = higher(best, *done, value);
            }
            if let Some(best) = best.filter(|best| value(best) > value(answer)) {
                let case = || {
                    format!(
                        "key {key}: {} by broker {} in epoch {}, after {} by broker {} in epoch {}",
                        value(answer),
                        answer.broker,
                        answer.epoch,
                        value(&best),
                        best.broker,
                        best.epoch
                    )
                };
                found.invalid(anomaly, case, [best.answered, answer.answered]);
            }
        }
        if let Some(of_epoch) = best_of_epoch {
            earlier = higher(earlier, of_epoch, value);
        }
    }
}

fn higher(best: Option<Answer>, other: Answer, value: fn(&Answer) -> i64) -> Option<Answer> {
    match best {
        Some(best) if value(&best) >= value(&other) => Some(best),
        _ => Some(other),
    }
}

/// A broker that has led in one epoch never leads in an earlier one again.
fn epochs(key: i64, answers: &[Answer], found: &mut Findings) {
    let mut by_broker: BTreeMap<i64, Vec<&Answer>> = BTreeMap::new();
    for answer in answers {
        by_broker.entry(answer.broker).or_default().push(answer);
    }
    for (broker, mut answers) in by_broker {
        answers.sort_by_key(|answer| answer.asked);
        let mut answered = answers.clone();
        answered.sort_by_key(|answer| answer.answered);
        let mut answered = answered.into_iter().peekable();
        let mut best: Option<&Answer> = None;
        for answer in answers {
            while let Some(done) = answered.next_if(|done| done.answered < answer.asked) {
                if best.is_none_or(|best| best.epoch < done.epoch) {
                    best = Some(done);
                }
            }
            if let Some(best) = best.filter(|best| best.epoch > answer.epoch) {
                let case = || {
                    let (epoch, after) = (answer.epoch, best.epoch);
                    format!("key {key}: broker {broker} answers in epoch {epoch} after {after}")
                };
                found.invalid("leader-epoch-regressed", case, [best.answered, answer.answered]);
            }
        }
    }
}
