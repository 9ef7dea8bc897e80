//! Power cuts: what was not synced is gone, on one disk or on all at the same moment.

use std::time::Duration;

use super::partition::host;
use crate::run::{Stage, between};

/// A leader's sync that lags behind those of its followers.
const LAG: Duration = Duration::from_millis(400);

/// The leader loses its power, comes back, and then all lose it.
pub(super) fn leader_then_all(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    while stage.going_on() {
        stage.rest(2.0);
        let leader = stage.busiest()?;
        cut(stage, &[leader])?;
        stage.rest(2.0);
        restore(stage, &[leader])?;
        stage.rest(2.0);
        let all = stage.cluster.ids();
        cut(stage, &all)?;
        restore(stage, &all)?;
    }
    Ok(())
}

/// All lose their power while the leader has acknowledged what only its followers have synced.
pub(super) fn slow_leader(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    while stage.going_on() {
        stage.gather(1)?;
        stage.begin("slow-disk", "the leader's syncs lag", |cluster| {
            cluster.broker(1)?.shim.slow_sync(LAG)?;
            Ok(format!("{LAG:?} more"))
        })?;
        stage.rest(2.0);
        let all = stage.cluster.ids();
        cut(stage, &all)?;
        stage.end("slow-disk", "as fast as before", |cluster| {
            let shim = &cluster.broker(1)?.shim;
            shim.slow_sync(Duration::ZERO)?;
            Ok(format!("{} syncs were late", shim.hits().syncs_delayed))
        })?;
        restore(stage, &all)?;
        stage.rest(1.0);
    }
    Ok(())
}

/// Broker 1 is cut off while 2 and 3 go on; 3 loses its power; then 1 and 3 have to go on without 2.
pub(super) fn part_kill(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    while stage.going_on() {
        stage.gather(1)?;
        stage.rest(1.0);
        stage.cut("broker 1 from 2 and 3", &between(&[host(1)], &[host(2), host(3)]), |stage| {
            stage.rest(4.0);
            cut(stage, &[3])
        })?;
        stage.cut("broker 2 from 1 and 3", &between(&[host(2)], &[host(1), host(3)]), |stage| {
            restore(stage, &[3])?;
            stage.rest(4.0);
            Ok(())
        })?;
        stage.rest(1.0);
    }
    Ok(())
}

/// The same, but broker 1 wakes believing that it still leads.
pub(super) fn pause_kill(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    while stage.going_on() {
        stage.gather(1)?;
        stage.rest(1.0);
        stage.begin("pause", "broker 1, which leads everything", |cluster| cluster.pause(1))?;
        stage.rest(4.0);
        cut(stage, &[3])?;
        stage.begin("pause", "broker 2, which leads by now", |cluster| cluster.pause(2))?;
        stage.cluster.restore_power(3)?;
        stage.cluster.start_broker(3)?;
        stage.end("pause", "broker 1 wakes", |cluster| cluster.resume(1))?;
        let started = stage.cluster.wait_ready(3, Duration::from_secs(10));
        stage.end("power", "broker 3 runs again", |_| Ok(format!("ready: {started}")))?;
        stage.rest(4.0);
        stage.end("pause", "broker 2 wakes", |cluster| cluster.resume(2))?;
        stage.rest(1.0);
    }
    Ok(())
}

fn cut(stage: &mut Stage<'_>, ids: &[u64]) -> anyhow::Result<()> {
    let act = |cluster: &mut crate::sandbox::Cluster| Ok(cluster.cut_power(ids)?.join(", "));
    stage.begin("power", &format!("brokers {ids:?} lose their power"), act)
}

fn restore(stage: &mut Stage<'_>, ids: &[u64]) -> anyhow::Result<()> {
    let restored = (|| {
        for id in ids {
            stage.cluster.restore_power(*id)?;
            stage.cluster.start_broker(*id)?;
        }
        ids.iter().map(|id| stage.await_ready(*id)).collect::<anyhow::Result<Vec<_>>>()
    })();
    stage.end("power", &format!("brokers {ids:?} run again"), |_| Ok(restored?.join(", ")))
}
