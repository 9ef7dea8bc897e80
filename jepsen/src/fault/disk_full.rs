//! A full disk: not a byte is left. The broker may not acknowledge what it could not write.

use rand::rngs::StdRng;

use super::target::{Who, named};
use super::{Fault, Outcome, installed, skipped};
use crate::sandbox::{Cluster, State};

const WHY: &str = "its disk is full";

#[derive(Default)]
struct DiskFull {
    full: Option<u64>,
}

pub(super) fn make() -> Box<dyn Fault> {
    Box::<DiskFull>::default()
}

const ERRORS: [&str; 3] = ["storage failed", "No space left", "broker ends"];

impl Fault for DiskFull {
    fn begin(&mut self, cluster: &mut Cluster, random: &mut StdRng) -> anyhow::Result<Outcome> {
        let who = Who::any(&[Who::Leader, Who::One], random);
        let Some(id) = who.pick(cluster, random).first().copied() else {
            return Ok(skipped(format!("{who:?}: no such broker runs")));
        };
        cluster.may_end(id, WHY, &ERRORS);
        self.full = Some(id);
        let disk = &cluster.broker(id)?.disk;
        let (taken, free) = (disk.fill()?, disk.free()?);
        let proof = format!("{taken} bytes of ballast, {free} bytes free");
        Ok(installed(format!("{who:?}: disk of {}", named(&[id])), proof))
    }

    fn end(&mut self, cluster: &mut Cluster) -> anyhow::Result<Outcome> {
        let Some(id) = self.full.take() else { return Ok(skipped("not begun")) };
        cluster.watch();
        let ended = cluster.broker(id)?.last_end().map(str::to_owned);
        let broker = cluster.broker(id)?;
        if broker.powered() {
            broker.disk.empty()?;
        }
        cluster.no_longer(id, WHY);
        let broker = cluster.broker(id)?;
        if broker.state() == State::Down && broker.powered() {
            cluster.start_broker(id)?;
        }
        match ended {
            Some(how) => Ok(installed(
                format!("{} has room again", named(&[id])),
                format!("it had ended with {how}"),
            )),
            None => Ok(skipped(format!("{} needed no more room meanwhile", named(&[id])))),
        }
    }
}
