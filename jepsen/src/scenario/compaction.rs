//! Compaction on brokers that die, are cut off, lose and get leaderships, and come back to records that nobody has any more
//! as they were.

use super::partition::cut_off;
use super::transfer;
use crate::run::{Stage, resting};

/// Long enough for an election, for writes under the new leader, and for several compactions.
const DOWN: f64 = 2.0;
const UP: f64 = 1.0;
const CUT: f64 = 4.0;
/// Long enough for the others to compact, and forget, what the one that is away needs next.
const AWAY: f64 = 10.0;

/// The busiest leader is killed, all leaderships move, the busiest is cut off, and a follower is killed.
pub(super) fn churn(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let mut round = 0;
    stage.rest(UP);
    while stage.another_round() {
        let leader = stage.busiest()?;
        stage.kill(leader, "which leads most partitions", resting(DOWN))?;
        stage.rest(UP);
        let brokers = stage.cluster.ids();
        let to = brokers[round % brokers.len()];
        round += 1;
        transfer::all_to(stage, to)?;
        stage.rest(UP);
        let leader = stage.busiest()?;
        cut_off(stage, leader, CUT)?;
        stage.rest(UP);
        let follower = brokers.into_iter().find(|id| *id != leader).unwrap_or(leader);
        stage.kill(follower, "which may be in the middle of a chunk", resting(UP))?;
        stage.rest(UP);
    }
    Ok(())
}

/// Broker 3 is away while the others compact; it comes back, leads, and is read from.
pub(super) fn away(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    while stage.another_round() {
        stage.gather(1)?;
        stage.kill(3, "a follower", resting(AWAY))?;
        stage.rest(UP);
        stage.gather(3)?;
        stage.rest(DOWN);
        stage.kill(3, "which leads all", resting(DOWN))?;
        stage.rest(UP);
    }
    Ok(())
}
