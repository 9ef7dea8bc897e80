//! Rot in every class of file of one broker, one after the other.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::seq::IndexedRandom;

use crate::fault::{Class, Kind, Outcome, Rot};
use crate::run::Stage;

/// Between two stops, so that whoever was damaged is of use again.
const WHOLE: f64 = 1.5;
/// Damages to one broker before it has to catch up. It starts with each alone, and in between its disk is whole but it
/// stays down, so that there is never more than one rotten disk.
const IN_ONE_STOP: usize = 4;
/// Until a broker has refused or serves, and how long it then serves with the damage.
const STARTS: Duration = Duration::from_secs(3);
const SERVES: f64 = 0.7;
/// Until another broker has all that one had whose damage could not be put back.
const REPLACED: Duration = Duration::from_secs(10);
/// Each seed begins with another kind of damage, in case that there is no time for all in one round.
const CLASSES: usize = Class::ALL.len();

/// Where files may be missing or the cluster takes its time, all of them may take so much longer than planned.
const TIMES: u32 = 4;

/// Each kind of damage to each class of file: first every one once, then again as long as there is time.
struct Damages {
    todo: VecDeque<(Class, Kind)>,
    done: VecDeque<(Class, Kind)>,
    all_once: bool,
}

impl Damages {
    fn next(&mut self) -> Option<(Class, Kind)> {
        if self.todo.is_empty() {
            self.all_once = true;
            std::mem::swap(&mut self.todo, &mut self.done);
        }
        self.todo.pop_front()
    }

    fn wanted(&self, stage: &Stage<'_>) -> bool {
        stage.going_on() || !(self.all_once || self.todo.is_empty())
    }
}

pub(super) fn every_class(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let mut todo = VecDeque::from(Rot::every());
    let first = stage.plan.seed.saturating_sub(1) as usize * CLASSES % todo.len();
    todo.rotate_left(first);
    // Round after round, each with other bytes.
    let mut damages = Damages { todo, done: VecDeque::new(), all_once: false };
    let until = Instant::now() + stage.plan.time * TIMES;
    while damages.wanted(stage) && Instant::now() < until {
        stage.rest(WHOLE);
        // The one that leads most, or any.
        let running = stage.cluster.running();
        let any = running.choose(&mut stage.random).copied();
        let id = match any {
            Some(id) if stage.random.random_bool(0.5) => id,
            _ => stage.busiest()?,
        };
        if stage.cluster.damage(id) {
            stage.cluster.kill(id)?;
            one_stop(stage, id, &mut damages)?;
        }
        // While another one is not yet replaced nothing may be damaged.
        for lost in stage.cluster.lost() {
            stage.cluster.bury(lost, REPLACED)?;
        }
    }
    Ok(())
}

/// The log of a cluster of one broker, which nobody else can make good: it refuses, or it has lost nothing. The cut of a
/// log is left out, for it may be what a crash leaves.
pub(super) fn the_only_log(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    const KINDS: [Kind; 3] = [Kind::FlippedBits, Kind::ZeroBlock, Kind::StaleBlock];
    let id = stage.cluster.ids()[0];
    while stage.another_round() {
        stage.rest(WHOLE);
        stage.cluster.kill(id)?;
        let kind = KINDS.choose(&mut stage.random).copied().unwrap_or(Kind::FlippedBits);
        let rot = Rot::inflict(stage.cluster, id, (Class::Wal, kind), &mut stage.random)?;
        let Some(rot) = rot else {
            stage.cluster.start_broker(id)?;
            continue;
        };
        stage.began("bitrot", rot.begun())?;
        if stage.cluster.wait_ready(id, STARTS) {
            let outcome = rot.leave(stage.cluster);
            stage.ended("bitrot", outcome)?;
            continue;
        }
        let (outcome, _) = rot.repair(stage.cluster)?;
        stage.ended("bitrot", outcome)?;
        stage.cluster.start_broker(id)?;
    }
    Ok(())
}

/// Some damages, one after the other, to a broker that is down. In the end it runs, unless it had to be replaced.
fn one_stop(stage: &mut Stage<'_>, id: u64, damages: &mut Damages) -> anyhow::Result<()> {
    for _ in 0..IN_ONE_STOP {
        if !damages.wanted(stage) {
            break;
        }
        let Some((class, kind)) = damages.next() else { break };
        let Some(rot) = Rot::inflict(stage.cluster, id, (class, kind), &mut stage.random)? else {
            damages.todo.push_back((class, kind));
            let reason = format!("broker {id} has no file for {kind:?} ({class:?})");
            stage.began("bitrot", Outcome::Skipped { reason })?;
            let reason = "never begun".to_owned();
            stage.ended("bitrot", Outcome::Skipped { reason })?;
            continue;
        };
        damages.done.push_back((class, kind));
        stage.began("bitrot", rot.begun())?;
        if stage.cluster.wait_ready(id, STARTS) {
            stage.rest(SERVES);
        }
        let (outcome, whole) = rot.repair(stage.cluster)?;
        stage.ended("bitrot", outcome)?;
        if !whole {
            return Ok(());
        }
    }
    stage.cluster.repaired(id);
    stage.cluster.start_broker(id)
}
