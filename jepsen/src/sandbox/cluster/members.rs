//! Who belongs to the cluster: brokers that join, brokers that never come back, and the books of damaged data.

use std::time::Duration;

use anyhow::{Context, ensure};

use super::{Cluster, State};

/// How long a fault waits for a broker that joins.
const JOINED: Duration = Duration::from_secs(10);
/// A broker that nobody lets in gives up.
pub(super) const JOINING: &str = "it may not be let in";

impl Cluster {
    /// Lets a spare broker join. Returns its number, and whether it serves yet: other faults may keep it from that, and
    /// then it goes on trying, or gives up, until the cluster is healed.
    pub fn add_broker(&mut self) -> anyhow::Result<(u64, bool)> {
        let spare = self.brokers.iter().find(|broker| broker.state == State::Spare);
        let id = spare.context("no spare broker is left")?.id;
        self.may_end(id, JOINING, &["broker ends"]);
        self.start_broker(id)?;
        let ready = self.wait_ready(id, JOINED);
        if ready {
            self.no_longer(id, JOINING);
        }
        Ok((id, ready))
    }

    /// Spare brokers left.
    pub fn spares(&self) -> usize {
        self.brokers.iter().filter(|broker| broker.state == State::Spare).count()
    }

    /// Takes a broker's data for good. Its number never returns: another one has to take its place.
    pub fn wipe(&mut self, id: u64) -> anyhow::Result<()> {
        ensure!(self.may_damage(id), "another broker's data is damaged already");
        let broker = self.broker_mut(id)?;
        if broker.process.is_some() {
            broker.kill()?;
        }
        broker.disk.wipe()?;
        broker.state = State::Gone;
        self.damaged.insert(id);
        Ok(())
    }

    /// Whether this broker's data may be damaged: only one broker's at a time is, so that of every three replicas two
    /// are whole, and none while a partition has fewer.
    pub fn may_damage(&self, id: u64) -> bool {
        !self.thin && self.damaged.iter().all(|damaged| *damaged == id)
    }

    /// Whether partitions may have fewer than three replicas: only while all data is whole. Takes it down in the
    /// books, until [`Cluster::thick`].
    pub fn thin(&mut self) -> bool {
        self.thin = self.damaged.is_empty();
        self.thin
    }

    /// All partitions have as many replicas as they should again.
    pub fn thick(&mut self) {
        self.thin = false;
    }

    /// Takes down in the books that a broker's data is damaged. False if it must not be.
    pub fn damage(&mut self, id: u64) -> bool {
        let may = self.may_damage(id);
        if may {
            self.damaged.insert(id);
        }
        may
    }

    /// What was damaged is whole again: put back as it was, or replicated to another broker.
    pub fn repaired(&mut self, id: u64) {
        self.damaged.remove(&id);
    }

    /// A cluster that is whole has every replica caught up, so nothing is damaged but what is gone for good.
    pub(super) fn settle(&mut self) {
        let gone = |id: &u64| self.brokers.iter().any(|it| it.id == *id && it.state == State::Gone);
        let kept = self.damaged.iter().copied().filter(gone).collect();
        self.damaged = kept;
    }
}
