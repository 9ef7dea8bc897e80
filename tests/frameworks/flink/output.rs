//! What Flink wrote, as the brokers tell it, and what it should have written.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::{PARTITIONS, RECORDS, key, number};
use crate::client_matrix::record::read_all;
use crate::support::cluster::Cluster;

/// The job was just killed and has to start first, on a machine that others use too.
const LIMIT: Duration = Duration::from_secs(180);

pub struct Output<'a> {
    pub cluster: &'a Cluster,
    pub topic: &'a str,
}

impl Output<'_> {
    /// What a running broker answers, once it can.
    fn told(&self, path: &str) -> Value {
        self.cluster.wait(path, || {
            let answer = self.cluster.running().next()?.get(path)?;
            (answer.status == 200).then(|| answer.json())
        })
    }

    /// Of each partition its last stable offset, its end, and who has a transaction open in it.
    fn partitions(&self) -> Vec<(i64, i64, BTreeSet<i64>)> {
        let all = (0..PARTITIONS).map(|partition| {
            let path = format!("/v1/topics/{}/partitions/{partition}/transactions", self.topic);
            let told = self.told(&path);
            let open = told["transactions"].as_array().unwrap().iter();
            let open = open.map(|it| it["producer_id"].as_i64().unwrap()).collect();
            let offset = |name: &str| told[name].as_i64().unwrap();
            (offset("last_stable_offset"), offset("high_watermark"), open)
        });
        all.collect()
    }

    /// The transactional ids of open transactions, once all coordinators tell theirs.
    fn ongoing(&self) -> Vec<String> {
        let told = self.cluster.wait("all coordinators tell their transactions", || {
            let told = self.told("/v1/transactions?state=Ongoing");
            (told["missing"] == Value::Array(Vec::new())).then_some(told)
        });
        let open = told["transactions"].as_array().unwrap().iter();
        let open = open.map(|it| it["transactional_id"].as_str().unwrap().to_owned());
        open.filter(|id| id.starts_with(self.topic)).collect()
    }

    /// The same of subtask 0: the connector names them by topic, as the job says, subtask and number.
    fn of_first(&self) -> BTreeSet<String> {
        let prefix = format!("{}-0-", self.topic);
        self.ongoing().into_iter().filter(|id| id.starts_with(&prefix)).collect()
    }

    /// Waits until both the transaction that subtask 0 prepared and its next one have written; says which they are.
    pub fn wait_prepared(&self) -> BTreeSet<String> {
        self.cluster.wait("one transaction is prepared and the next one is open", || {
            let open = self.of_first();
            (open.len() == 2).then_some(open)
        })
    }

    /// Waits until one of these is committed.
    pub fn wait_committed(&self, open: &BTreeSet<String>) {
        self.cluster.wait("the prepared transaction is committed", || {
            (!self.of_first().is_superset(open)).then_some(())
        });
    }

    /// Waits until a checkpoint is behind everything that is there to read; a bounded source does not end when its job
    /// began with a checkpoint, so nothing else tells it.
    pub fn wait_read(&self, source: &str) {
        self.cluster.wait_for("everything was read", LIMIT, || {
            let told = self.told(&format!("/v1/groups/{source}"));
            let offsets = told["offsets"].as_array()?.iter().map(|it| it["offset"].as_u64());
            let all: Vec<Option<u64>> = offsets.collect();
            (all == [Some(RECORDS as u64); PARTITIONS as usize]).then_some(())
        });
    }

    /// Each key has each of its counts once, in order, nothing else is there, and no transaction is left behind.
    pub fn judge(&self) {
        self.cluster.wait("no transaction is open", || {
            let open = self.partitions();
            let over = open.iter().all(|(stable, end, open)| stable == end && open.is_empty());
            (over && self.ongoing().is_empty()).then_some(())
        });
        let committed = self.read("read_committed");
        for (key, counts) in expected() {
            let read = committed.get(&key).cloned().unwrap_or_default();
            let wrong = read.iter().zip(&counts).position(|(is, should)| is != should);
            assert_eq!((wrong, read.len()), (None, counts.len()), "{}: {key}", self.topic);
        }
        assert_eq!(committed.len(), expected().len(), "{}: other keys", self.topic);
        let count = |all: &BTreeMap<_, Vec<_>>| all.values().map(Vec::len).sum::<usize>();
        let all = count(&self.read("read_uncommitted"));
        assert!(all > count(&committed), "{}: no job died within a transaction", self.topic);
    }

    /// The values of each key.
    fn read(&self, isolation: &str) -> BTreeMap<String, Vec<String>> {
        let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap()).unwrap();
        let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for partition in 0..PARTITIONS {
            let bootstrap = self.cluster.bootstrap();
            for (_, record) in read_all(&bootstrap, self.topic, partition as i32, isolation) {
                values.entry(text(record.key)).or_default().push(text(record.value));
            }
        }
        values
    }
}

/// How many numbers of a key there were, and their sum, behind each of them.
fn expected() -> BTreeMap<String, Vec<String>> {
    let mut sums: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut counts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for partition in 0..PARTITIONS as usize {
        for n in 0..RECORDS {
            let key = key(partition, n);
            let (count, sum) = sums.entry(key.clone()).or_default();
            (*count, *sum) = (*count + 1, *sum + number(partition, n));
            counts.entry(key).or_default().push(format!("{count} {sum}"));
        }
    }
    counts
}
