//! A history as numbers over time: how many operations ended how, and how long they took.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::history::{Body, Kind, Op, Process};

/// A picture has room for so many columns.
const MOST_BUCKETS: u64 = 600;
const SECOND: u64 = 1_000_000_000;

/// Operations that ended in a span of time.
#[derive(Clone, Default)]
pub struct Bucket {
    pub sent: u64,
    /// Polls and questions that succeeded.
    pub other: u64,
    pub info: u64,
    pub fail: u64,
    /// Of what succeeded and is timed, in milliseconds.
    pub p50: Option<f64>,
    pub p99: Option<f64>,
}

/// How operations of one kind ended, and their latency in milliseconds if they succeeded.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counts {
    pub ok: u64,
    pub info: u64,
    pub fail: u64,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub max_ms: Option<f64>,
}

/// Of the whole history.
#[derive(Debug, Default, Serialize)]
pub struct Totals {
    pub seconds: f64,
    pub operations: u64,
    /// By `:f`.
    pub by_kind: BTreeMap<String, Counts>,
}

pub struct Series {
    pub totals: Totals,
    /// Length of a bucket in nanoseconds.
    pub width: u64,
    pub buckets: Vec<Bucket>,
    /// What latencies are of: sends, where there are any, as a poll waits on purpose.
    pub timed: &'static str,
    /// When final reads began, if the history says so.
    pub healed: Option<u64>,
    pub end: u64,
}

/// An operation that has ended.
struct Ended<'a> {
    f: &'a str,
    kind: Kind,
    at: u64,
    took_ms: f64,
}

impl Series {
    pub fn of(history: &[Op]) -> Series {
        let ended = ended(history);
        let end = history.last().map_or(0, |op| op.time);
        let width = SECOND * (end / SECOND / MOST_BUCKETS + 1);
        let sends = ended.iter().any(|op| op.f == "send" && op.kind == Kind::Ok);
        let count = usize::try_from(end / width + 1).unwrap_or(1);
        let mut buckets = vec![Bucket::default(); count];
        let mut latencies = vec![Vec::new(); count];
        for op in &ended {
            let at = usize::try_from(op.at / width).unwrap_or(0).min(count - 1);
            let bucket = &mut buckets[at];
            match (op.kind, op.f) {
                (Kind::Ok, "send" | "txn") => bucket.sent += 1,
                (Kind::Ok, _) => bucket.other += 1,
                (Kind::Info, _) => bucket.info += 1,
                (Kind::Fail, _) => bucket.fail += 1,
                (Kind::Invoke, _) => {}
            }
            if op.kind == Kind::Ok && (op.f == "send" || !sends) {
                latencies[at].push(op.took_ms);
            }
        }
        for (bucket, mut latencies) in buckets.iter_mut().zip(latencies) {
            latencies.sort_by(f64::total_cmp);
            bucket.p50 = quantile(&latencies, 0.5);
            bucket.p99 = quantile(&latencies, 0.99);
        }
        Series {
            totals: totals(&ended, end),
            width,
            buckets,
            timed: if sends { "sends" } else { "operations" },
            healed: healed(history),
            end,
        }
    }
}

/// Operations of clients that tell something of the brokers: not what a client only does to itself.
fn ended(history: &[Op]) -> Vec<Ended<'_>> {
    let mut began: HashMap<Process, u64> = HashMap::new();
    let mut ended = Vec::new();
    for op in history.iter().filter(|op| op.process != Process::Nemesis) {
        if op.kind == Kind::Invoke {
            began.insert(op.process, op.time);
            continue;
        }
        let began = began.remove(&op.process).unwrap_or(op.time);
        let f = match &op.body {
            Body::Send(_) => "send",
            Body::Poll(_) => "poll",
            Body::Txn(_) => "txn",
            Body::Other(f, _) => f,
            _ => continue,
        };
        let took_ms = op.time.saturating_sub(began) as f64 / 1e6;
        ended.push(Ended { f, kind: op.kind, at: op.time, took_ms });
    }
    ended
}

fn totals(ended: &[Ended<'_>], end: u64) -> Totals {
    let mut by_kind: BTreeMap<String, Counts> = BTreeMap::new();
    let mut latencies: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for op in ended {
        let counts = by_kind.entry(op.f.to_owned()).or_default();
        match op.kind {
            Kind::Ok => {
                counts.ok += 1;
                latencies.entry(op.f).or_default().push(op.took_ms);
            }
            Kind::Info => counts.info += 1,
            Kind::Fail | Kind::Invoke => counts.fail += 1,
        }
    }
    for (f, mut latencies) in latencies {
        latencies.sort_by(f64::total_cmp);
        if let Some(counts) = by_kind.get_mut(f) {
            counts.p50_ms = quantile(&latencies, 0.5);
            counts.p99_ms = quantile(&latencies, 0.99);
            counts.max_ms = latencies.last().copied();
        }
    }
    Totals { seconds: end as f64 / 1e9, operations: ended.len() as u64, by_kind }
}

/// Of sorted numbers, the one at or above which the rest is.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    Some(sorted[(last as f64 * share).round() as usize])
}

fn healed(history: &[Op]) -> Option<u64> {
    let mut nemesis = history.iter().filter(|op| op.process == Process::Nemesis);
    let healed = nemesis.find(|op| matches!(&op.body, Body::Other(f, _) if f == "healed"));
    healed.map(|op| op.time)
}
