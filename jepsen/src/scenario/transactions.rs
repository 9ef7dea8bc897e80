//! Coordinators of transactions that die, are cut off and sleep while transactions end, and leaders of what they write to.

use super::partition::{cut_off, unheard};
use super::{coordinator, transfer};
use crate::client::find_transaction_coordinator;
use crate::run::{Stage, resting};
use crate::workload::writer_id;

/// Long enough for an election and for transactions under the new leader.
const DOWN: f64 = 1.2;
const UP: f64 = 1.2;
const CUT: f64 = 4.0;
/// Longer than failure detection and election together, and than the shortest timeout of a transaction.
const ASLEEP: f64 = 3.0;
/// What a leader answers is lost for so long, so that ends are without an answer and are sent again.
const UNHEARD: f64 = 0.6;
/// Long enough for transactions to begin and end without a broker.
const AWAY: f64 = 4.0;
const WHY: &str = "which coordinates transactions";

/// The broker that coordinates one producer after the other is killed, again and again; now and then it is cut off from the
/// others while clients still reach it.
pub(super) fn coordinator_falls(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    stage.rest(UP);
    for round in 0.. {
        if !stage.another_round() {
            break;
        }
        let falls = coordinator(stage, round)?;
        match round % 5 {
            3 => cut_off(stage, falls, CUT)?,
            _ => stage.kill(falls, WHY, resting(DOWN))?,
        }
        stage.rest(UP);
    }
    Ok(())
}

/// A coordinator is cut off from the others, then clients do not hear what another answers, then the leader of most
/// partitions is cut off.
pub(super) fn partitions(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    stage.rest(UP);
    for round in 0.. {
        if !stage.another_round() {
            break;
        }
        let cut = coordinator(stage, 2 * round)?;
        cut_off(stage, cut, CUT)?;
        stage.rest(UP);
        let silenced = coordinator(stage, 2 * round + 1)?;
        unheard(stage, silenced, UNHEARD)?;
        stage.rest(UP);
        let leader = stage.busiest()?;
        cut_off(stage, leader, CUT)?;
        stage.rest(UP);
        let leader = stage.busiest()?;
        unheard(stage, leader, UNHEARD)?;
        stage.rest(UP);
    }
    Ok(())
}

/// Coordinators and leaders sleep while instances are replaced, and wake believing in those that were.
pub(super) fn zombies(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    stage.rest(UP);
    for round in 0.. {
        if !stage.another_round() {
            break;
        }
        if round % 2 == 0 {
            let sleeps = coordinator(stage, round)?;
            stage.pause(sleeps, WHY, ASLEEP)?;
        } else {
            let leader = stage.busiest()?;
            stage.pause(leader, "which leads most partitions", ASLEEP)?;
        }
        stage.rest(UP);
    }
    Ok(())
}

/// Leaderships go from broker to broker while transactions are open, then one broker is away for a while and leads all that
/// it comes back to.
pub(super) fn away(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let mut round = 0;
    while stage.another_round() {
        let brokers = stage.cluster.ids();
        for _ in 0..2 * brokers.len() {
            transfer::all_to(stage, brokers[round % brokers.len()])?;
            round += 1;
            stage.rest(UP / 2.0);
        }
        let gone = brokers[round % brokers.len()];
        stage.kill(gone, "which is away for a while", resting(AWAY))?;
        stage.rest(UP / 2.0);
        stage.gather(gone)?;
        stage.rest(UP);
    }
    Ok(())
}

/// The broker that coordinates the transactions of one of the workload's producers.
fn coordinator(stage: &Stage<'_>, number: usize) -> anyhow::Result<u64> {
    coordinator::of(stage, &writer_id([0, 3, 4][number % 3]), find_transaction_coordinator)
}
