//! A source that is exactly once: what is asked of its topic and its transactions, and how workers and brokers are killed
//! while it has a transaction open.

use rustix::process::Signal;

use super::workers::Workers;
use crate::client_matrix::record::{Record, end, read_all};
use crate::support::cluster::Cluster;
use crate::support::wire::Wire;
use crate::support::{kafka, transactions};

/// How a transaction ends: with the first records that come so long after the one before.
pub const BOUNDARY: [(&str, &str); 3] = [
    ("exactly.once.support", "required"),
    ("transaction.boundary", "interval"),
    ("transaction.boundary.interval.ms", "3000"),
];

/// What a source reads.
pub trait Feed {
    /// Adds a little.
    fn grow(&mut self);

    /// How many records shall be in the topic for what there is.
    fn records(&self) -> usize;
}

/// A connector with one task that writes to one partition.
pub struct Source<'a> {
    pub cluster: &'a Cluster,
    pub connector: &'static str,
    pub topic: &'static str,
}

impl Source<'_> {
    /// As Connect names the transactions of its task.
    fn transactions(&self) -> String {
        format!("connect-{}-0", self.connector)
    }

    /// The broker that coordinates its transactions.
    fn coordinator(&self) -> Option<u64> {
        let (error, broker) = transactions::coordinator(self.cluster, &self.transactions());
        u64::try_from(broker).ok().filter(|_| error == kafka::NONE)
    }

    /// Whether it has a transaction open that has records.
    fn open(&self) -> bool {
        let bootstrap = self.cluster.bootstrap();
        let held = |isolation: &str| end(&bootstrap, self.topic, 0, isolation);
        let Some(coordinator) = self.coordinator() else { return false };
        held("read_committed") < held("read_uncommitted") && {
            let mut wire = Wire::connect(self.cluster.broker(coordinator).kafka);
            transactions::describe(&mut wire, &self.transactions()).state == "Ongoing"
        }
    }

    pub fn read(&self, isolation: &str) -> Vec<Record> {
        let read = read_all(&self.cluster.bootstrap(), self.topic, 0, isolation);
        read.into_iter().map(|(_, record)| record).collect()
    }

    /// Waits until all that there is to read is committed; more comes, as nothing else ends a transaction.
    pub fn arrived(&self, workers: &Workers, feed: &mut impl Feed) {
        let records = feed.records();
        workers.wait(&format!("{records} records are committed"), |_| {
            feed.grow();
            (self.read("read_committed").len() >= records).then_some(())
        });
    }

    /// Kills the worker that has its task while a transaction is open; gives the worker's number.
    pub fn kill_worker(&self, workers: &mut Workers, feed: &mut impl Feed) -> usize {
        let victim = workers.running(self.connector, 1)[0];
        workers.wait("the worker stands still in a transaction", |workers| {
            feed.grow();
            if !self.open() {
                return None;
            }
            workers.process(victim).pause();
            let still = self.open();
            if !still {
                workers.process(victim).signal(Signal::CONT);
            }
            still.then_some(())
        });
        workers.kill9(victim);
        feed.grow();
        assert_eq!(workers.running(self.connector, 1), [1 - victim]);
        self.arrived(workers, feed);
        victim
    }

    /// Kills a broker while a transaction is open: the one that coordinates it, and then the one that leads the topic. All
    /// goes on without it, and then with it.
    pub fn kill_brokers(&self, workers: &Workers, feed: &mut impl Feed) {
        for coordinates in [true, false] {
            let id = workers.wait("a transaction is open", |_| {
                feed.grow();
                let leader = || kafka::leader(self.cluster, self.topic, 0).leader as u64;
                let id = if coordinates { self.coordinator()? } else { leader() };
                self.open().then_some(id)
            });
            let broker = self.cluster.broker(id);
            broker.kill9();
            feed.grow();
            self.arrived(workers, feed);
            broker.start();
            self.cluster.wait_whole();
        }
    }

    /// Stops it when the last record is written, with which it commits.
    pub fn stop(&self, workers: &Workers, is_last: impl Fn(&Record) -> bool) {
        let has_last = |isolation: &str| self.read(isolation).last().is_some_and(&is_last);
        workers.wait("the last record is written", |_| has_last("read_uncommitted").then_some(()));
        workers.stop(self.connector);
        workers.wait("the last record is committed", |_| has_last("read_committed").then_some(()));
    }

    /// What a worker had in hand when it died was written, and aborted.
    pub fn has_aborted(&self) -> bool {
        self.read("read_uncommitted").len() > self.read("read_committed").len()
    }
}
