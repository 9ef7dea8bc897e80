//! Rot on one broker's disk. It has to refuse, or to repair; it may not serve what is wrong nor forget what it had.
//!
//! What a broker refuses is put back as it was at the end, so that the same can be done again; a disk that is lost for
//! good is `replace`.

use rand::rngs::StdRng;

use super::damage::{Class, Damage, Kind, any};
use super::replace::stand_in;
use super::target::TargetClass;
use super::{Fault, Outcome, installed, skipped};
use crate::sandbox::{Cluster, State};

const WHY: &str = "its disk is rotten";
/// What the log says of a broker that refused to start, and so has promised nothing since the damage.
const REFUSED: &str = "the data directory is damaged";

/// What it says of a group whose entries it no longer trusts, whatever is on the disk later.
const SET_ASIDE: &str = "an entry is damaged on disk";

/// A broker that was started on a rotten disk.
pub struct Rot {
    id: u64,
    damage: Damage,
}

impl Rot {
    /// Every kind of damage to every class of file.
    pub fn every() -> Vec<(Class, Kind)> {
        let pairs = Kind::ALL.iter().flat_map(|kind| Class::ALL.map(|class| (class, *kind)));
        pairs.collect()
    }

    /// Damages a broker that is down, and whose data may be damaged, and starts it. None if there was nothing to damage:
    /// then it stays down.
    pub fn inflict(
        cluster: &mut Cluster,
        id: u64,
        (class, kind): (Class, Kind),
        random: &mut StdRng,
    ) -> anyhow::Result<Option<Rot>> {
        let damage = Damage::inflict(&cluster.broker(id)?.disk.data, class, kind, random)?;
        let Some(damage) = damage else { return Ok(None) };
        // With a rotten disk any error is the right thing to say.
        cluster.may_end(id, WHY, &[""]);
        cluster.start_broker(id)?;
        Ok(Some(Rot { id, damage }))
    }

    /// As the beginning of a fault.
    pub fn begun(&self) -> Outcome {
        let what = format!("broker {}: {}", self.id, self.damage.words());
        installed(what, "written while it did not run")
    }

    /// Lets the broker go on as it is: it serves, and what it serves has to be right.
    pub fn leave(self, cluster: &mut Cluster) -> Outcome {
        self.damage.forget();
        cluster.no_longer(self.id, WHY);
        installed(format!("broker {} serves", self.id), "it answered that it is ready")
    }

    /// Puts the damage back. Whether the broker is now down with its data whole; otherwise it is gone, and another one
    /// has its place.
    pub fn repair(self, cluster: &mut Cluster) -> anyhow::Result<(Outcome, bool)> {
        let Rot { id, damage } = self;
        cluster.watch();
        let ended = cluster.broker(id)?.last_end().map(str::to_owned);
        let broker = cluster.broker(id)?;
        if matches!(broker.state(), State::Running | State::Paused) {
            cluster.kill(id)?;
        }
        // Another fault may have cut its power meanwhile.
        cluster.restore_power(id)?;
        if let Some(how) = &ended
            && how.starts_with("signal")
        {
            let case =
                format!("broker {id} crashed instead of refusing: {how}; {}", damage.words());
            cluster.find("crashed-on-damage", vec![case]);
        }
        let put = put_back(cluster, id, &damage, ended.is_some())?;
        damage.forget();
        cluster.no_longer(id, WHY);
        let noticed = match ended {
            Some(how) => format!("it had ended with {how}"),
            None => "it had gone on".to_owned(),
        };
        let whole = cluster.broker(id)?.member();
        Ok((installed(format!("broker {id}: {put}"), noticed), whole))
    }
}

/// Makes the broker's disk whole again, or another broker take its place.
fn put_back(
    cluster: &mut Cluster,
    id: u64,
    damage: &Damage,
    ended: bool,
) -> anyhow::Result<&'static str> {
    let set_aside = cluster.has_said(id, SET_ASIDE);
    if ended && cluster.last_words(id).contains(REFUSED) {
        // What it did to its files while it found out is undone as well.
        damage.undo_all()?;
        Ok("all files are put back")
    } else if !set_aside && damage.undo()? {
        Ok("the damage is put back")
    } else if ended || set_aside {
        cluster.wipe(id)?;
        if cluster.spares() > 0 {
            stand_in(cluster, id)?;
        }
        Ok("it is replaced")
    } else {
        Ok("the damage is written over by the broker")
    }
}

#[derive(Default)]
struct Bitrot {
    rotten: Option<Rot>,
}

pub(super) fn make() -> Box<dyn Fault> {
    Box::<Bitrot>::default()
}

impl Fault for Bitrot {
    fn begin(&mut self, cluster: &mut Cluster, random: &mut StdRng) -> anyhow::Result<Outcome> {
        let (class, kind) = any(random);
        let who = TargetClass::any(&[TargetClass::Leader, TargetClass::One], random);
        let Some(id) = who.pick(cluster, random).first().copied() else {
            return Ok(skipped(format!("{who:?}: no such broker runs")));
        };
        if !cluster.damage(id) {
            return Ok(skipped("too few whole replicas to damage one"));
        }
        cluster.kill(id)?;
        self.rotten = Rot::inflict(cluster, id, (class, kind), random)?;
        if let Some(rot) = &self.rotten {
            return Ok(rot.begun());
        }
        cluster.repaired(id);
        cluster.start_broker(id)?;
        Ok(skipped(format!("broker {id} has no file for {kind:?} ({class:?})")))
    }

    fn end(&mut self, cluster: &mut Cluster) -> anyhow::Result<Outcome> {
        let Some(rot) = self.rotten.take() else { return Ok(skipped("not begun")) };
        let id = rot.id;
        let (outcome, whole) = rot.repair(cluster)?;
        if whole {
            cluster.repaired(id);
            cluster.start_broker(id)?;
        }
        Ok(outcome)
    }
}
