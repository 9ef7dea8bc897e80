//! A broker is lost for good, disk and all, and another one takes its place under a number of its own: the number of a
//! lost broker never returns, because the votes it gave are forgotten.

use std::time::Duration;

use rand::rngs::StdRng;

use super::target::TargetClass;
use super::{Fault, Outcome, indeterminate, installed, skipped};
use crate::sandbox::Cluster;

#[derive(Default)]
struct Replace {
    lost: Option<u64>,
}

pub(super) fn make() -> Box<dyn Fault> {
    Box::<Replace>::default()
}

/// How long an end waits until the lost broker has no replica and no vote any more.
const MOVED: Duration = Duration::from_secs(20);

impl Fault for Replace {
    fn begin(&mut self, cluster: &mut Cluster, random: &mut StdRng) -> anyhow::Result<Outcome> {
        let who = TargetClass::any(&[TargetClass::Leader, TargetClass::One], random);
        let Some(id) = who.pick(cluster, random).first().copied() else {
            return Ok(skipped(format!("{who:?}: no such broker runs")));
        };
        // Three brokers have to be left.
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

/// Lets a spare broker join and take the place of one that is lost, which the cluster then forgets.
pub(super) fn stand_in(cluster: &mut Cluster, lost: u64) -> anyhow::Result<Outcome> {
    let (newcomer, _) = cluster.add_broker()?;
    let what = format!("broker {newcomer} for broker {lost}");
    Ok(if cluster.bury(lost, MOVED)? {
        installed(what, "it has all replicas, and the lost one is removed")
    } else {
        indeterminate(format!("{what}: not done yet"))
    })
}
