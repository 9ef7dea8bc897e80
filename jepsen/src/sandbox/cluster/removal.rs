//! A broker that is lost for good: others take over its replicas, then the cluster is told to forget it.

use std::time::Duration;

use super::{Cluster, State};
use crate::admin::{Admin, wait};

impl Cluster {
    /// Moves what a lost broker had to members that lack it, and removes it. False if that takes longer than `limit`:
    /// other faults may keep the cluster from it until it is healed.
    pub fn bury(&mut self, lost: u64, limit: Duration) -> anyhow::Result<bool> {
        let (admin, heirs) = (self.hasty_admin(), self.ids());
        let removed = wait(limit, || match move_away(&admin, lost, &heirs) {
            Ok(0) => remove(&admin, lost),
            _ => None,
        });
        if removed.is_some() {
            self.broker_mut(lost)?.state = State::Buried;
        }
        if removed == Some(true) {
            self.repaired(lost);
        }
        Ok(removed.is_some())
    }

    /// Brokers whose data is gone for good, and that the cluster has not forgotten yet.
    pub fn lost(&self) -> Vec<u64> {
        let lost = self.brokers.iter().filter(|broker| broker.state == State::Gone);
        lost.map(|broker| broker.id).collect()
    }

    /// Buries whoever is lost and has been left behind.
    pub(super) fn bury_all(&mut self, limit: Duration) -> anyhow::Result<()> {
        for lost in self.lost() {
            if !self.bury(lost, limit)? {
                let reason = format!("broker {lost} is lost and cannot be removed");
                self.find("not-healed", vec![reason]);
            }
        }
        Ok(())
    }
}

/// Asks for another member wherever the lost broker is, the newest first; how many partitions still have it.
fn move_away(admin: &Admin, lost: u64, heirs: &[u64]) -> anyhow::Result<usize> {
    let mut left = 0;
    for topic in admin.topics()? {
        for partition in admin.topic(&topic)?.partitions {
            if !partition.replicas.contains(&lost) {
                continue;
            }
            left += 1;
            let heir = heirs.iter().rfind(|id| !partition.replicas.contains(id));
            if let (None, Some(heir)) = (&partition.target, heir) {
                let put = |id: &u64| if *id == lost { *heir } else { *id };
                let target: Vec<u64> = partition.replicas.iter().map(put).collect();
                admin.set_replicas(&topic, partition.partition, &target)?;
            }
        }
    }
    Ok(left)
}

/// Whether the broker is removed, and with it its vote: then another may be lost.
fn remove(admin: &Admin, lost: u64) -> Option<bool> {
    match admin.remove_broker(lost).ok()?.status {
        200 => Some(true),
        // Its vote is still being taken from it.
        202 | 404 => Some(false),
        _ => None,
    }
}
