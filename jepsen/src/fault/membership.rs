//! Changes of who keeps what: brokers join, replicas move, shrink to one and grow, a broker is drained.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::target::{Place, places};
use super::{Fault, Outcome, indeterminate, installed, skipped};
use crate::admin::{Admin, wait};
use crate::sandbox::Cluster;

#[derive(Default)]
struct Membership {
    /// Partitions under change, and the replicas they are to have in the end.
    moved: Vec<(String, i32, Vec<u64>)>,
}

pub(super) fn make() -> Box<dyn Fault> {
    Box::<Membership>::default()
}

/// Partitions changed at a time.
const MANY: usize = 4;
/// How long an end waits for changes under way: other faults may hold them up.
const SETTLE: Duration = Duration::from_secs(10);
/// For asking: other faults may make each answer late.
const PATIENCE: Duration = Duration::from_secs(4);

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A broker joins and takes replicas over.
    Join,
    /// The replicas of a partition become one, and in the end as many as before.
    Shrink,
    /// The leader's own replica goes to a broker that had none.
    ReplaceLeader,
    /// Any replica does.
    Replace,
    /// Nothing is left on one broker.
    Drain,
}

const KINDS: [Kind; 5] =
    [Kind::Join, Kind::Shrink, Kind::ReplaceLeader, Kind::Replace, Kind::Drain];

impl Kind {
    /// The replicas a partition is to have now. None if this cannot be done with it.
    fn target(
        self,
        place: &Place,
        all: &[u64],
        chosen: u64,
        random: &mut StdRng,
    ) -> Option<Vec<u64>> {
        let replicas = &place.partition.replicas;
        let mut spare: Vec<u64> = all.iter().copied().filter(|id| !replicas.contains(id)).collect();
        spare.shuffle(random);
        let put = |out: u64, with: u64| -> Vec<u64> {
            replicas.iter().map(|id| if *id == out { with } else { *id }).collect()
        };
        match self {
            Kind::Shrink => Some(vec![*replicas.choose(random)?]),
            Kind::ReplaceLeader => Some(put(place.partition.leader?, *spare.first()?)),
            Kind::Replace => Some(put(*replicas.choose(random)?, *spare.first()?)),
            Kind::Join if !replicas.contains(&chosen) => {
                Some(put(*replicas.choose(random)?, chosen))
            }
            Kind::Drain if replicas.contains(&chosen) => Some(put(chosen, *spare.first()?)),
            Kind::Join | Kind::Drain => None,
        }
    }
}

impl Fault for Membership {
    fn begin(&mut self, cluster: &mut Cluster, random: &mut StdRng) -> anyhow::Result<Outcome> {
        let mut kind = KINDS.choose(random).copied().unwrap_or(Kind::Replace);
        let mut proof = String::new();
        if cluster.ids().len() <= 3 && !matches!(kind, Kind::Shrink) {
            // Three brokers have nowhere to move a third replica.
            kind = Kind::Join;
        }
        let mut chosen = cluster.ids().choose(random).copied().unwrap_or(1);
        if matches!(kind, Kind::Join) {
            match cluster.spares() {
                0 => kind = if cluster.ids().len() > 3 { Kind::Replace } else { Kind::Shrink },
                _ => {
                    let (id, ready) = cluster.add_broker()?;
                    chosen = id;
                    proof = if ready {
                        format!("broker {id} joined; ")
                    } else {
                        format!("broker {id} is not let in yet; ")
                    };
                }
            }
        }
        if matches!(kind, Kind::Shrink) && !cluster.thin() {
            return Ok(skipped("a replica is damaged, so none may be given up"));
        }
        let (admin, all) = (cluster.hasty_admin(), cluster.ids());
        let (started, mut asked) = (Instant::now(), 0);
        for place in places(cluster, MANY, random) {
            if started.elapsed() > PATIENCE {
                break;
            }
            let Some(target) = kind.target(&place, &all, chosen, random) else { continue };
            asked += 1;
            let (topic, partition) = (place.topic, place.partition);
            if admin.set_replicas(&topic, partition.partition, &target).is_ok_and(|it| it.ok()) {
                let kept = if matches!(kind, Kind::Shrink) { partition.replicas } else { target };
                self.moved.push((topic, partition.partition, kept));
            }
        }
        proof += &format!("{} of {asked} changes agreed on", self.moved.len());
        let what = format!("{kind:?}, broker {chosen}");
        match (asked, self.moved.len()) {
            _ if proof.contains("joined") => Ok(installed(what, proof)),
            (0, _) => Ok(skipped(format!("{what}: no partition for it"))),
            (_, 0) => Ok(indeterminate(format!("{what}: {proof}"))),
            _ => Ok(installed(what, proof)),
        }
    }

    fn end(&mut self, cluster: &mut Cluster) -> anyhow::Result<Outcome> {
        let (admin, moved) = (cluster.hasty_admin(), std::mem::take(&mut self.moved));
        let count = moved.len();
        let mut waiting = moved;
        wait(SETTLE, || {
            waiting.retain(|(topic, partition, wanted)| {
                !settled(&admin, topic, *partition, wanted).unwrap_or(false)
            });
            waiting.is_empty().then_some(())
        });
        if waiting.is_empty() {
            cluster.thick();
            return Ok(installed(
                "replicas are where they shall be",
                format!("{count} partitions"),
            ));
        }
        // They go on, and a cluster that heals has to end them.
        Ok(indeterminate(format!("{} of {count} changes not settled", waiting.len())))
    }
}

/// Whether a partition has the replicas it shall have and no change is under way; asks for them if it has others.
fn settled(admin: &Admin, topic: &str, partition: i32, wanted: &[u64]) -> anyhow::Result<bool> {
    let found = admin.partition(topic, partition)?;
    if found.target.as_deref().unwrap_or(&found.replicas) != wanted {
        admin.set_replicas(topic, partition, wanted)?;
        return Ok(false);
    }
    Ok(found.target.is_none())
}
