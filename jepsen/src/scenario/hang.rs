//! Disks that hang: a sync does not fail and does not end.

use std::time::Duration;

use crate::admin::wait;
use crate::run::{Stage, Struck};

/// Longer than anybody may wait.
const HANGS: Duration = Duration::from_secs(60);
/// Others lead by then, and the broker has ended itself by then.
const TAKEN_OVER: Duration = Duration::from_secs(10);
const ENDED: Duration = Duration::from_secs(45);
/// Longer than a broker waits that others can go on without.
const MAJORITY: f64 = 12.0;
const UP: f64 = 2.0;
const ERRORS: [&str; 3] = ["storage failed", "broker ends", "does not answer"];

/// The leader's disk hangs: others lead soon, and it ends itself. Then those of a majority hang, and nobody can.
pub(super) fn leader_then_majority(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    while stage.another_round() {
        let id = stage.busiest()?;
        stage.gather(id)?;
        stage.rest(UP);
        leader(stage, id)?;
        stage.rest(UP);
        let majority: Vec<u64> = stage.cluster.ids().into_iter().filter(|it| *it != id).collect();
        hang(stage, &majority)?;
        stage.rest(MAJORITY);
        let ended = stage.cluster.down();
        if !ended.is_empty() {
            let case = format!("the disks of brokers {majority:?} hung, and {ended:?} ended");
            stage.cluster.find("ended-with-a-majority", vec![case]);
        }
        go_on(stage, &majority)?;
        stage.rest(UP);
    }
    Ok(())
}

fn leader(stage: &mut Stage<'_>, id: u64) -> anyhow::Result<()> {
    let struck = stage.strike(id);
    hang(stage, &[id])?;
    let taken = wait(TAKEN_OVER, || stage.all_moved(&struck).then_some(()));
    if taken.is_none() {
        let case = not_taken(stage, &struck);
        stage.cluster.find("not-taken-over", vec![case]);
    }
    stage.recover(&struck);
    let ended = wait(ENDED, || {
        stage.cluster.watch();
        (!stage.cluster.running().contains(&id)).then_some(())
    });
    if ended.is_none() {
        let case = format!("broker {id} runs on, {ENDED:?} after its syncs began to hang");
        stage.cluster.find("lives-with-hung-disk", vec![case]);
    }
    go_on(stage, &[id])
}

fn not_taken(stage: &Stage<'_>, struck: &Struck) -> String {
    let led = stage.still_led(struck);
    format!(
        "{TAKEN_OVER:?} after its disk began to hang broker {} is all that leads {led:?}",
        struck.id()
    )
}

fn hang(stage: &mut Stage<'_>, ids: &[u64]) -> anyhow::Result<()> {
    for id in ids {
        stage.cluster.may_end(*id, "its syncs hang", &ERRORS);
    }
    stage.begin("sync-hang", &format!("syncs of brokers {ids:?} hang"), |cluster| {
        ids.iter().try_for_each(|id| cluster.broker(*id)?.shim.slow_sync(HANGS))?;
        Ok(format!("for {HANGS:?}"))
    })
}

/// Syncs end; whoever has ended starts.
fn go_on(stage: &mut Stage<'_>, ids: &[u64]) -> anyhow::Result<()> {
    let mut hung = 0;
    for id in ids {
        let shim = &stage.cluster.broker(*id)?.shim;
        shim.slow_sync(Duration::ZERO)?;
        hung += shim.hits().syncs_delayed;
        stage.cluster.must_live(*id);
    }
    let down: Vec<u64> = stage.cluster.down();
    let started: anyhow::Result<Vec<String>> = down.iter().map(|id| stage.start(*id)).collect();
    stage.end("sync-hang", "disks are well again", |_| {
        let started = started?;
        anyhow::ensure!(hung > 0, "nothing was synced meanwhile");
        Ok(format!("{hung} syncs hung; {} had ended", started.len()))
    })
}
