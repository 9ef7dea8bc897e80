//! What a run showed of what it is about, beyond that its faults bit: a leader that is cut off proves nothing if it did
//! not lead, nor does a power cut that took nothing.
//!
//! Signs come from outside the brokers' logic: what they say of themselves over HTTP at the moment they are struck,
//! what lies on their disks, what clients saw.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::client::At;
use crate::history::{Body, Kind, Mop, Op};
use crate::sandbox::Cluster;

/// How long before a broker was struck a send counts as one that it was at.
const JUST_BEFORE_NS: u64 = 2_000_000_000;
/// What every process of a broker logs first.
const STARTS: &str = "broker starts";

/// Something that a scenario is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Sign {
    /// Partitions that a broker led, by its own account, when it was struck.
    Led,
    /// Of these, those whose sends had been acknowledged until then.
    LedAndWritten,
    /// Of these, those that another broker led before the struck one was well again.
    LedByAnother,
    /// Clients' requests that a struck leader answered before it was well again.
    AnsweredMeanwhile,
    /// Bytes of write-ahead logs that went with the power.
    UnsyncedLost,
    /// Replicas that came back when nobody had the entries any more that they were to get next, and have them all now:
    /// only a snapshot can have helped them.
    SnapshotsInstalled,
    /// How often the process of the broker with the fewest began anew.
    RestartsOfEach,
    /// Records deleted on request.
    Deletions,
    /// Rounds in which clients that knew nothing were served by all leaders while a link was cut.
    FreshlyServed,
    /// Idle connections that brokers let stay.
    IdleConnections,
    /// Sends that brokers refused while disks were nearly full, and deletions that they did.
    RefusedForRoom,
    DeletedWithoutRoom,
}

impl Sign {
    pub fn words(self) -> &'static str {
        match self {
            Sign::Led => "partitions led by brokers when they were struck",
            Sign::LedAndWritten => "of them, with sends acknowledged until then",
            Sign::LedByAnother => "of them, led by another broker meanwhile",
            Sign::AnsweredMeanwhile => "requests answered by struck leaders meanwhile",
            Sign::UnsyncedLost => "unsynced bytes of write-ahead logs lost with the power",
            Sign::SnapshotsInstalled => "replicas caught up by a snapshot",
            Sign::RestartsOfEach => "restarts of the broker that had fewest",
            Sign::Deletions => "deletions of records",
            Sign::FreshlyServed => "rounds of fresh clients that were served with a link cut",
            Sign::IdleConnections => "idle connections held",
            Sign::RefusedForRoom => "sends refused while disks were nearly full",
            Sign::DeletedWithoutRoom => "deletions while disks were nearly full",
        }
    }
}

/// What was seen; see the module.
#[derive(Default)]
pub struct Evidence {
    counts: BTreeMap<Sign, u64>,
    /// When a broker was struck and what it led.
    struck: Vec<(u64, Vec<String>)>,
    /// Replicas that only a snapshot could catch up, and the least index it has: broker, partition, index.
    overtaken: BTreeMap<(u64, String), u64>,
}

impl Evidence {
    pub fn add(&mut self, sign: Sign, count: usize) {
        *self.counts.entry(sign).or_default() += count as u64;
    }

    pub fn of(&self, sign: Sign) -> u64 {
        self.counts.get(&sign).copied().unwrap_or(0)
    }

    /// A broker that leads these partitions is about to be struck.
    pub(super) fn struck(&mut self, now_ns: u64, led: Vec<String>) {
        self.add(Sign::Led, led.len());
        self.struck.push((now_ns, led));
    }

    /// The entries up to this index are gone, and the replica lacks some of them.
    pub(super) fn overtaken(&mut self, broker: u64, partition: String, purged: u64) {
        let index = self.overtaken.entry((broker, partition)).or_default();
        *index = purged.max(*index);
    }

    /// What the brokers show once everything is healed.
    pub(super) fn ask(&mut self, cluster: &Cluster) {
        let admin = cluster.admin();
        for broker in admin.brokers() {
            for group in admin.groups(broker).unwrap_or_default() {
                let Some(partition) = group.partition else { continue };
                let caught_up = |least: &u64| group.purged_index >= Some(*least);
                if self.overtaken.get(&(broker.id, partition)).is_some_and(caught_up) {
                    self.add(Sign::SnapshotsInstalled, 1);
                }
            }
        }
        let first = cluster.brokers().iter().filter(|broker| broker.id <= cluster.spec().brokers);
        let starts = first.map(|broker| {
            let log = std::fs::read_to_string(&broker.log).unwrap_or_default();
            log.matches(STARTS).count().saturating_sub(1)
        });
        self.add(Sign::RestartsOfEach, starts.min().unwrap_or(0));
    }

    /// What clients saw.
    pub(super) fn read(&mut self, history: &[Op], keys: &[(i64, At)]) {
        let names: BTreeMap<i64, String> =
            keys.iter().map(|(key, at)| (*key, at.to_string())).collect();
        let ok = || history.iter().filter(|op| op.kind == Kind::Ok);
        let mut written = 0;
        for (at, led) in &self.struck {
            let just_before = at.saturating_sub(JUST_BEFORE_NS)..*at;
            let sends = ok()
                .filter(|op| just_before.contains(&op.time))
                .filter(|op| matches!(op.body, Body::Send(_) | Body::Txn(_)));
            let sent_to = sends.flat_map(Op::mops).filter_map(|mop| match mop {
                Mop::Send { key, .. } => names.get(key),
                Mop::Poll(_) => None,
            });
            let sent_to: BTreeSet<&String> = sent_to.collect();
            written += led.iter().filter(|partition| sent_to.contains(partition)).count();
        }
        self.add(Sign::LedAndWritten, written);
        let deletion = |op: &&Op| matches!(&op.body, Body::Other(f, _) if f == "delete-records");
        self.add(Sign::Deletions, ok().filter(deletion).count());
    }

    /// In words, for the report.
    pub fn cases(&self) -> Vec<String> {
        let seen = self.counts.iter().filter(|(_, count)| **count > 0);
        seen.map(|(sign, count)| format!("{count} {}", sign.words())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Process, Sent};

    fn sent(key: i64, kind: Kind, time: u64) -> Op {
        let mops = vec![Mop::Send { key, value: 1, sent: Sent::At(0) }];
        let (process, body, extra) = (Process::Client(1), Body::Send(mops), BTreeMap::new());
        Op { index: 0, time, process, kind, body, extra }
    }

    #[test]
    fn a_partition_was_written_if_a_send_was_acknowledged_just_before_its_leader_was_struck() {
        const NOW: u64 = 10 * JUST_BEFORE_NS;
        let keys = [(1, At::new("t", 0)), (2, At::new("t", 1))];
        let written = |op: Op| {
            let mut evidence = Evidence::default();
            evidence.struck(NOW, vec!["t-0".to_owned(), "t-2".to_owned()]);
            evidence.read(&[op], &keys);
            assert_eq!(evidence.of(Sign::Led), 2);
            evidence.of(Sign::LedAndWritten)
        };
        assert_eq!(written(sent(1, Kind::Ok, NOW - 1)), 1);
        assert_eq!(written(sent(1, Kind::Ok, NOW + 1)), 0, "afterwards");
        assert_eq!(written(sent(1, Kind::Ok, NOW - 2 * JUST_BEFORE_NS)), 0, "long before");
        assert_eq!(written(sent(1, Kind::Info, NOW - 1)), 0, "not acknowledged");
        assert_eq!(written(sent(2, Kind::Ok, NOW - 1)), 0, "led by somebody else");
    }
}
