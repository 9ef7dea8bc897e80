//! Power cuts: what was not synced is gone, on one disk or on all at the same moment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::partition::host;
use crate::fault;
use crate::run::{Sign, Stage, between};

/// A leader's sync that lags behind those of its followers.
const LAG: Duration = Duration::from_millis(400);

/// The leader loses its power, comes back, and then all lose it.
pub(super) fn leader_then_all(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    while stage.another_round() {
        stage.rest(2.0);
        let leader = stage.busiest()?;
        let dark = cut(stage, &[leader])?;
        stage.rest(2.0);
        restore(stage, &dark)?;
        stage.rest(2.0);
        let all = stage.cluster.ids();
        let dark = cut(stage, &all)?;
        restore(stage, &dark)?;
    }
    Ok(())
}

/// All lose their power while the leader has acknowledged what only its followers have synced.
pub(super) fn slow_leader(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    while stage.another_round() {
        stage.gather(1)?;
        stage.begin("slow-disk", "the leader's syncs lag", |cluster| {
            cluster.broker(1)?.shim.slow_sync(LAG)?;
            Ok(format!("{LAG:?} more"))
        })?;
        stage.rest(2.0);
        let all = stage.cluster.ids();
        let dark = cut(stage, &all)?;
        stage.end("slow-disk", "as fast as before", |cluster| {
            let shim = &cluster.broker(1)?.shim;
            shim.slow_sync(Duration::ZERO)?;
            Ok(format!("{} syncs were late", shim.hits().syncs_delayed))
        })?;
        restore(stage, &dark)?;
        stage.rest(1.0);
    }
    Ok(())
}

/// Broker 1 is cut off while 2 and 3 go on; 3 loses its power; then 1 and 3 have to go on without 2.
pub(super) fn part_kill(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    while stage.another_round() {
        stage.gather(1)?;
        stage.rest(1.0);
        let mut dark = Vec::new();
        stage.cut("broker 1 from 2 and 3", &between(&[host(1)], &[host(2), host(3)]), |stage| {
            stage.rest(4.0);
            dark = cut(stage, &[3])?;
            Ok(())
        })?;
        stage.cut("broker 2 from 1 and 3", &between(&[host(2)], &[host(1), host(3)]), |stage| {
            restore(stage, &dark)?;
            stage.rest(4.0);
            Ok(())
        })?;
        stage.rest(1.0);
    }
    Ok(())
}

/// The same, but broker 1 wakes believing that it still leads.
pub(super) fn pause_kill(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    while stage.another_round() {
        stage.gather(1)?;
        stage.rest(1.0);
        stage.begin("pause", "broker 1, which leads everything", |cluster| cluster.pause(1))?;
        stage.rest(4.0);
        let dark = cut(stage, &[3])?;
        stage.begin("pause", "broker 2, which leads by now", |cluster| cluster.pause(2))?;
        start(stage, &dark)?;
        stage.end("pause", "broker 1 wakes", |cluster| cluster.resume(1))?;
        let started = stage.cluster.wait_ready(3, Duration::from_secs(10));
        stage.end("power", "broker 3 runs again", |_| Ok(format!("ready: {started}")))?;
        stage.rest(4.0);
        stage.end("pause", "broker 2 wakes", |cluster| cluster.resume(2))?;
        stage.rest(1.0);
    }
    Ok(())
}

/// A broker without power, and the lengths of its write-ahead logs when it lost it.
pub(super) struct Dark {
    id: u64,
    logs: Vec<(PathBuf, u64)>,
}

pub(super) fn cut(stage: &mut Stage<'_>, ids: &[u64]) -> anyhow::Result<Vec<Dark>> {
    let mut dark = Vec::new();
    for id in ids {
        stage.strike(*id);
        let logs = fault::write_ahead_logs(&stage.cluster.broker(*id)?.disk.data);
        dark.push(Dark { id: *id, logs: logs.into_iter().map(|log| (log, 0)).collect() });
    }
    stage.begin("power", &format!("brokers {ids:?} lose their power"), |cluster| {
        Ok(cluster.cut_power(ids)?.join(", "))
    })?;
    // What the kernel has of a file it still tells, though the disk will never get it.
    for (log, length) in dark.iter_mut().flat_map(|broker| &mut broker.logs) {
        *length = length_of(log);
    }
    Ok(dark)
}

fn length_of(log: &Path) -> u64 {
    log.metadata().map_or(0, |it| it.len())
}

/// Gives power again, sees what is lost, and starts the brokers.
fn start(stage: &mut Stage<'_>, dark: &[Dark]) -> anyhow::Result<()> {
    for Dark { id, logs } in dark {
        stage.cluster.restore_power(*id)?;
        let lost: u64 =
            logs.iter().map(|(log, length)| length.saturating_sub(length_of(log))).sum();
        stage.saw(Sign::UnsyncedLost, usize::try_from(lost)?);
        stage.cluster.start_broker(*id)?;
    }
    Ok(())
}

pub(super) fn restore(stage: &mut Stage<'_>, dark: &[Dark]) -> anyhow::Result<()> {
    let ids: Vec<u64> = dark.iter().map(|broker| broker.id).collect();
    let restored = start(stage, dark).and_then(|()| {
        ids.iter().map(|id| stage.await_ready(*id)).collect::<anyhow::Result<Vec<_>>>()
    });
    stage.end("power", &format!("brokers {ids:?} run again"), |_| Ok(restored?.join(", ")))
}
