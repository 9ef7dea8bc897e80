//! Rot on one broker's disk. It has to refuse, or to repair; it may not serve what is wrong nor forget what it had.
//!
//! What a broker refuses is put back as it was at the end, so that the same can be done again; a disk that is lost for
//! good is `replace`.

use rand::rngs::StdRng;

use super::damage::{Class, Damage, Kind, any};
use super::replace::stand_in;
use super::target::Who;
use super::{Fault, Outcome, installed, skipped};
use crate::sandbox::{Cluster, State};

const WHY: &str = "its disk is rotten";

#[derive(Default)]
struct Bitrot {
    /// What to damage; by chance if it is left open.
    fixed: Option<(Class, Kind)>,
    rotten: Option<(u64, Damage)>,
}

pub(super) fn make() -> Box<dyn Fault> {
    Box::<Bitrot>::default()
}

/// One fault for each kind of damage to each class of file.
pub(super) fn every() -> Vec<Box<dyn Fault>> {
    let of = |fixed| -> Box<dyn Fault> { Box::new(Bitrot { fixed: Some(fixed), rotten: None }) };
    let pairs = Kind::ALL.iter().flat_map(|kind| Class::ALL.map(|class| (class, *kind)));
    pairs.map(of).collect()
}

impl Fault for Bitrot {
    fn begin(&mut self, cluster: &mut Cluster, random: &mut StdRng) -> anyhow::Result<Outcome> {
        let (class, kind) = self.fixed.unwrap_or_else(|| any(random));
        let who = Who::any(&[Who::Leader, Who::One], random);
        let Some(id) = who.pick(cluster, random).first().copied() else {
            return Ok(skipped(format!("{who:?}: no such broker runs")));
        };
        if !cluster.damage(id) {
            return Ok(skipped("too few whole replicas to damage one"));
        }
        cluster.kill(id)?;
        let damage = Damage::inflict(&cluster.broker(id)?.disk.data, class, kind, random)?;
        let Some(damage) = damage else {
            cluster.repaired(id);
            cluster.start_broker(id)?;
            return Ok(skipped(format!("broker {id} has no file for {kind:?} ({class:?})")));
        };
        // With a rotten disk any error is the right thing to say.
        cluster.may_end(id, WHY, &[""]);
        cluster.start_broker(id)?;
        let what = format!("broker {id}: {}", damage.words());
        self.rotten = Some((id, damage));
        Ok(installed(what, "written while it did not run"))
    }

    fn end(&mut self, cluster: &mut Cluster) -> anyhow::Result<Outcome> {
        let Some((id, damage)) = self.rotten.take() else { return Ok(skipped("not begun")) };
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
        Ok(installed(format!("broker {id}: {put}"), noticed))
    }
}

/// What the log says of a broker that refused to start, and so has promised nothing since the damage.
const REFUSED: &str = "the data directory is damaged";

/// Makes the broker's disk whole again, or another broker take its place, and starts it.
fn put_back(
    cluster: &mut Cluster,
    id: u64,
    damage: &Damage,
    ended: bool,
) -> anyhow::Result<&'static str> {
    let put = if ended && cluster.last_words(id).contains(REFUSED) {
        // What it did to its files while it found out is undone as well.
        damage.undo_all()?;
        "all files are put back"
    } else if damage.undo()? {
        "the damage is put back"
    } else if ended {
        cluster.wipe(id)?;
        if cluster.spares() > 0 {
            stand_in(cluster, id)?;
        }
        return Ok("it is replaced");
    } else {
        "the damage is written over by the broker"
    };
    cluster.repaired(id);
    cluster.start_broker(id)?;
    Ok(put)
}
