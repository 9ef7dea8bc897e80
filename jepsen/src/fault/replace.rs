//! A broker is lost for good, disk and all, and another one takes its place under a number of its own: the number of a
//! lost broker never returns, because the votes it gave are forgotten.

use std::time::Duration;

use rand::rngs::StdRng;

use super::target::Who;
use super::{Fault, Outcome, indeterminate, installed, skipped};
use crate::admin::{Admin, wait};
use crate::sandbox::Cluster;

#[derive(Default)]
struct Replace {
    lost: Option<u64>,
}

pub(super) fn make() -> Box<dyn Fault> {
    Box::<Replace>::default()
}

/// How long an end waits until no replica is on the lost broker any more.
const MOVED: Duration = Duration::from_secs(20);

impl Fault for Replace {
    fn begin(&mut self, cluster: &mut Cluster, random: &mut StdRng) -> anyhow::Result<Outcome> {
        let who = Who::any(&[Who::Leader, Who::One], random);
        let Some(id) = who.pick(cluster, random).first().copied() else {
            return Ok(skipped(format!("{who:?}: no such broker runs")));
        };
        // Three brokers have to be left, and a third voter of the metadata cannot be lost twice.
        if cluster.spares() == 0 || cluster.ids().len() < 3 || !cluster.may_damage(id) {
            return Ok(skipped("no spare broker, or a replica is damaged already"));
        }
        cluster.wipe(id)?;
        self.lost = Some(id);
        Ok(installed(format!("{who:?}: broker {id}"), "killed and its data removed"))
    }

    fn end(&mut self, cluster: &mut Cluster) -> anyhow::Result<Outcome> {
        let Some(lost) = self.lost.take() else { return Ok(skipped("not begun")) };
        stand_in(cluster, lost)
    }
}

/// Lets a spare broker join and take over the replicas of one that is lost.
pub(super) fn stand_in(cluster: &mut Cluster, lost: u64) -> anyhow::Result<Outcome> {
    let (newcomer, _) = cluster.add_broker()?;
    let admin = cluster.hasty_admin();
    let moved = wait(MOVED, || move_away(&admin, lost, newcomer).ok().filter(|left| *left == 0));
    let what = format!("broker {newcomer} for broker {lost}");
    Ok(match moved {
        Some(_) => installed(what, "it has all replicas"),
        None => indeterminate(format!("{what}: replicas still move")),
    })
}

/// Asks for the newcomer wherever the lost broker is; how many partitions still have it.
fn move_away(admin: &Admin, lost: u64, newcomer: u64) -> anyhow::Result<usize> {
    let mut left = 0;
    for topic in admin.topics()? {
        for partition in admin.topic(&topic)?.partitions {
            if !partition.replicas.contains(&lost) {
                continue;
            }
            left += 1;
            if partition.target.is_none() {
                let put = |id: &u64| if *id == lost { newcomer } else { *id };
                let target: Vec<u64> = partition.replicas.iter().map(put).collect();
                admin.set_replicas(&topic, partition.partition, &target)?;
            }
        }
    }
    Ok(left)
}
