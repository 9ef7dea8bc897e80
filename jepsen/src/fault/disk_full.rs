//! Full disks: not a byte is left, of one broker or of all at once, since equal replicas fill together. A broker may not
//! acknowledge what it could not write, and all have to go on once there is room.

use rand::rngs::StdRng;

use super::target::{TargetClass, named};
use super::{Fault, Outcome, installed, skipped};
use crate::sandbox::{Cluster, State};

const WHY: &str = "its disk is full";

#[derive(Default)]
struct DiskFull {
    full: Vec<u64>,
}

pub(super) fn make() -> Box<dyn Fault> {
    Box::<DiskFull>::default()
}

const ERRORS: [&str; 3] = ["storage failed", "No space left", "broker ends"];

impl Fault for DiskFull {
    fn begin(&mut self, cluster: &mut Cluster, random: &mut StdRng) -> anyhow::Result<Outcome> {
        let who =
            TargetClass::any(&[TargetClass::Leader, TargetClass::One, TargetClass::All], random);
        self.full = who.pick(cluster, random);
        if self.full.is_empty() {
            return Ok(skipped(format!("{who:?}: no such broker runs")));
        }
        let mut proofs = Vec::new();
        for id in &self.full {
            cluster.may_end(*id, WHY, &ERRORS);
            let disk = &cluster.broker(*id)?.disk;
            proofs.push(format!("{} bytes of ballast, {} bytes free", disk.fill()?, disk.free()?));
        }
        Ok(installed(format!("{who:?}: disk of {}", named(&self.full)), proofs.join("; ")))
    }

    fn end(&mut self, cluster: &mut Cluster) -> anyhow::Result<Outcome> {
        cluster.watch();
        let mut met = Vec::new();
        for id in std::mem::take(&mut self.full) {
            let broker = cluster.broker(id)?;
            let ended = broker.last_end().map(|how| format!("broker {id} had ended with {how}"));
            let refused = || refuses(cluster, id).then(|| format!("broker {id} refused records"));
            met.extend(ended.or_else(refused));
            let broker = cluster.broker(id)?;
            if broker.powered() {
                broker.disk.empty()?;
            }
            cluster.no_longer(id, WHY);
            let broker = cluster.broker(id)?;
            if broker.state() == State::Down && broker.powered() {
                cluster.start_broker(id)?;
            }
        }
        if met.is_empty() {
            Ok(skipped("nobody needed more room meanwhile"))
        } else {
            Ok(installed("there is room again", met.join("; ")))
        }
    }
}

/// What a broker says that lives on and takes no more records.
const REFUSES: &str = "\nquorate_storage_low_space 1\n";

fn refuses(cluster: &Cluster, id: u64) -> bool {
    let Ok(broker) = cluster.broker(id) else { return false };
    let said = cluster.hasty_admin().ask(&broker.address(), "GET", "/metrics", None);
    said.is_ok_and(|reply| reply.body.as_str().is_some_and(|text| text.contains(REFUSES)))
}
