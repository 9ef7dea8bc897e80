//! Disks that are full, fail or are slow.

use std::time::Duration;

use crate::run::Stage;

/// EIO of Linux.
const EIO: u64 = 5;
/// A sync on a disk that is much too slow, and on a leader's that is merely slow.
const SLOW_FOLLOWER: Duration = Duration::from_secs(1);
const SLOW_LEADER: Duration = Duration::from_millis(500);

/// The leader's disk is full: it must end rather than acknowledge.
pub(super) fn full(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    while stage.another_round() {
        stage.rest(2.0);
        let id = stage.busiest()?;
        stage.strike(id);
        stage.cluster.may_end(id, "its disk is full", &["storage failed", "cannot", "No space"]);
        stage.begin("disk-full", &format!("broker {id}'s disk"), |cluster| {
            Ok(format!("{} bytes of ballast", cluster.broker(id)?.disk.fill()?))
        })?;
        stage.rest(4.0);
        let running = stage.cluster.running().contains(&id);
        stage.cluster.must_live(id);
        stage.cluster.broker(id)?.disk.empty()?;
        let started = if running { Ok("it lived on".to_owned()) } else { stage.start(id) };
        stage.end("disk-full", &format!("broker {id} has room"), |_| started)?;
    }
    Ok(())
}

/// The leader's fsync fails: it must end at once, and what it wrote is not trusted.
pub(super) fn sync_fails(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    while stage.another_round() {
        stage.rest(2.0);
        let id = stage.busiest()?;
        stage.strike(id);
        stage.cluster.may_end(
            id,
            "its syncs fail",
            &["storage failed", "cannot sync", "Input/output error"],
        );
        stage.begin("io-error", &format!("fsync of broker {id} fails"), |cluster| {
            cluster.broker(id)?.shim.fail_sync(EIO)?;
            Ok("EIO".to_owned())
        })?;
        stage.rest(2.0);
        let ended = !stage.cluster.running().contains(&id);
        let failed = stage.cluster.broker(id)?.shim.hits().syncs_failed;
        stage.cluster.broker(id)?.shim.fail_sync(0)?;
        stage.cluster.must_live(id);
        anyhow::ensure!(ended || failed == 0, "broker {id} lives on after {failed} failed syncs");
        let started = if ended { stage.start(id) } else { Ok(String::new()) };
        stage.end("io-error", &format!("broker {id} starts"), |_| {
            started?;
            anyhow::ensure!(failed > 0, "it synced nothing meanwhile");
            Ok(format!("{failed} syncs failed, then it ended"))
        })?;
    }
    Ok(())
}

/// One follower takes a second per sync.
pub(super) fn slow_follower(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    stage.gather(1)?;
    slow(stage, 3, SLOW_FOLLOWER)
}

/// The leader takes half a second per sync, its followers do not.
pub(super) fn slow_leader(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    stage.gather(1)?;
    slow(stage, 1, SLOW_LEADER)
}

fn slow(stage: &mut Stage<'_>, id: u64, by: Duration) -> anyhow::Result<()> {
    stage.strike(id);
    stage.begin("slow-disk", &format!("broker {id}: {by:?} more per sync"), |cluster| {
        cluster.broker(id)?.shim.slow_sync(by)?;
        Ok("set".to_owned())
    })?;
    stage.rest(stage.left().as_secs_f64() - 1.0);
    stage.end("slow-disk", &format!("broker {id} is fast again"), |cluster| {
        let shim = &cluster.broker(id)?.shim;
        shim.slow_sync(Duration::ZERO)?;
        Ok(format!("{} syncs were late", shim.hits().syncs_delayed))
    })
}
