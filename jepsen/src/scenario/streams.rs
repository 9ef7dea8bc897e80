//! Streams of keys that many write to at once, on brokers to which everything happens.

use std::time::Duration;

use super::membership::{ask, change, settle};
use super::partition::{cut_off, host};
use super::power::{cut, restore};
use super::transfer;
use crate::run::{Stage, Used, between, resting};

/// Long enough for an election and for writes under the new leader.
const DOWN: f64 = 1.5;
const UP: f64 = 1.0;
const CUT: f64 = 4.0;
/// A leader's syncs that lag behind those of its followers.
const LAG: Duration = Duration::from_millis(200);

/// Who leads most is killed, and now and then a follower.
pub(super) fn kills(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    stage.rest(UP);
    while stage.another_round() {
        let leader = stage.busiest()?;
        stage.kill(leader, "which leads most partitions", resting(DOWN))?;
        stage.rest(UP);
        let leader = stage.busiest()?;
        let follower = stage.cluster.ids().into_iter().find(|id| *id != leader);
        stage.kill(follower.unwrap_or(leader), "a follower", resting(0.5))?;
        stage.rest(UP);
    }
    Ok(())
}

/// Who leads everything is cut off from the others, then its answers to clients are lost, then it is paused.
pub(super) fn partitions(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let clients: Vec<_> = stage.cluster.client_hosts().iter().map(|host| host.id).collect();
    let mut leader = 0;
    while stage.another_round() {
        let brokers = stage.cluster.ids();
        leader = brokers[leader as usize % brokers.len()];
        stage.gather(leader)?;
        stage.rest(UP);
        cut_off(stage, leader, CUT)?;
        stage.rest(UP);
        let answering = stage.busiest()?;
        let answers: Vec<_> = clients.iter().map(|client| (host(answering), *client)).collect();
        let what = format!("what broker {answering} answers clients");
        stage.cut(&what, &answers, resting(0.5))?;
        stage.rest(UP);
        let paused = stage.busiest()?;
        stage.pause(paused, "which leads most partitions", DOWN)?;
        stage.rest(UP);
    }
    Ok(())
}

/// Everything in turn: transfers, a kill, a cut, a pause, other replicas, and power cuts while a sync lags.
pub(super) fn churn(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let mut round = 0;
    while stage.another_round() {
        stage.rest(UP);
        let brokers = stage.cluster.ids();
        transfer::all_to(stage, brokers[round % brokers.len()])?;
        round += 1;
        let leader = stage.busiest()?;
        stage.kill(leader, "which leads most partitions", resting(DOWN))?;
        stage.rest(UP);
        let used: Vec<Used> = stage.used()?;
        let stays = stage.busiest()?;
        change(stage, &used, "to one replica", |_| vec![stays])?;
        ask(stage, &used, "back to three", |_| brokers.clone())?;
        let others: Vec<_> =
            brokers.iter().filter(|id| **id != stays).map(|id| host(*id)).collect();
        stage.cut(
            &format!("broker {stays}, which has it all, from the others"),
            &between(&[host(stays)], &others),
            resting(DOWN),
        )?;
        settle(stage, &used)?;
        let paused = stage.busiest()?;
        stage.pause(paused, "which leads most partitions", DOWN)?;
        stage.rest(UP);
        without_power(stage, brokers)?;
    }
    Ok(())
}

/// The leader loses its power while its syncs lag, then all do.
fn without_power(stage: &mut Stage<'_>, brokers: Vec<u64>) -> anyhow::Result<()> {
    let leader = stage.busiest()?;
    stage.begin("slow-disk", &format!("syncs of broker {leader} lag"), |cluster| {
        cluster.broker(leader)?.shim.slow_sync(LAG)?;
        Ok(format!("{LAG:?} more"))
    })?;
    stage.rest(UP);
    let dark = cut(stage, &[leader])?;
    stage.end("slow-disk", "as fast as before", |cluster| {
        let shim = &cluster.broker(leader)?.shim;
        shim.slow_sync(Duration::ZERO)?;
        Ok(format!("{} syncs were late", shim.hits().syncs_delayed))
    })?;
    stage.rest(DOWN);
    restore(stage, &dark)?;
    stage.rest(UP);
    let dark = cut(stage, &brokers)?;
    restore(stage, &dark)
}

/// Streams are turned on while who leads most is killed, and then cut off, again and again.
pub(super) fn turned_on(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    stage.rest(DOWN);
    while stage.another_round() {
        let leader = stage.busiest()?;
        stage.kill(leader, "which leads most partitions", resting(UP))?;
        stage.rest(UP);
        let leader = stage.busiest()?;
        cut_off(stage, leader, DOWN)?;
        stage.rest(DOWN);
    }
    Ok(())
}
