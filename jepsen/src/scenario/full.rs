//! All disks full at once, as they become when replicas are equal: nothing is lost, and there is a way back.

use std::time::Duration;

use crate::admin::wait;
use crate::history::{Body, Kind, Op, Process};
use crate::run::{Sign, Stage};

/// Bytes that are left of each disk: too few for records (eight generations, of the size that the workload sets), enough
/// to go on with deletions and votes.
const LEFT: u64 = 48 << 20;
const SHORT: f64 = 8.0;
const FULL: f64 = 4.0;
const UP: f64 = 2.0;
const WHY: &str = "its disk is full";
const ERRORS: [&str; 4] = ["storage failed", "cannot", "No space", "broker ends"];
const RESUMED: Duration = Duration::from_secs(20);

/// Room runs short on all disks: records are refused, deletions go on, everybody lives. Then not a byte is left.
pub(super) fn all(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    while stage.another_round() {
        stage.rest(UP);
        short(stage)?;
        stage.rest(UP);
        full(stage)?;
        stage.rest(UP);
    }
    Ok(())
}

fn short(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let since = stage.env.recorder.now();
    stage.begin("disk-full", "little room is left on all disks", |cluster| {
        let free = cluster.members().map(|broker| {
            broker.disk.fill_but(LEFT)?;
            broker.disk.free()
        });
        Ok(format!("{:?} bytes free", free.collect::<anyhow::Result<Vec<u64>>>()?))
    })?;
    stage.rest(SHORT);
    let history = stage.env.recorder.ops();
    let meanwhile =
        || history.iter().filter(|op| op.time > since && op.process != Process::Nemesis);
    let refused = meanwhile().filter(|op| refused(op)).count();
    let deleted = meanwhile().filter(|op| op.kind == Kind::Ok && is_deletion(op)).count();
    if refused == 0 {
        let case = format!("with {LEFT} bytes left of each disk every record was taken");
        stage.cluster.find("taken-without-room", vec![case]);
    }
    stage.saw(Sign::RefusedForRoom, refused);
    stage.saw(Sign::DeletedWithoutRoom, deleted);
    stage.end("disk-full", "there is room", |cluster| {
        cluster.members().try_for_each(|broker| broker.disk.empty())?;
        anyhow::ensure!(refused > 0, "no record was refused");
        Ok(format!("{refused} sends were refused, {deleted} deletions done"))
    })?;
    await_acknowledgement(stage)
}

fn full(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let all = stage.cluster.ids();
    for id in &all {
        stage.cluster.may_end(*id, WHY, &ERRORS);
    }
    stage.begin("disk-full", "not a byte is left on all disks", |cluster| {
        let taken = cluster.members().map(|broker| broker.disk.fill());
        Ok(format!("{:?} bytes of ballast", taken.collect::<anyhow::Result<Vec<u64>>>()?))
    })?;
    stage.rest(FULL);
    // Whoever has ended may try to start without a byte, and end again.
    for id in stage.cluster.down() {
        stage.cluster.start_broker(id)?;
    }
    stage.rest(UP);
    stage.cluster.members().try_for_each(|broker| broker.disk.empty())?;
    for id in &all {
        stage.cluster.must_live(*id);
    }
    let down = stage.cluster.down();
    let started: anyhow::Result<Vec<String>> = down.iter().map(|id| stage.start(*id)).collect();
    stage.end("disk-full", "there is room again", |_| {
        Ok(format!("{} of {} had ended", started?.len(), all.len()))
    })?;
    await_acknowledgement(stage)
}

/// A send of which its broker said that it did not take it.
fn refused(op: &Op) -> bool {
    matches!(op.body, Body::Send(_)) && op.kind == Kind::Fail
}

fn is_deletion(op: &Op) -> bool {
    matches!(&op.body, Body::Other(f, _) if f == "delete-records")
}

/// Records are taken again once there is room.
fn await_acknowledgement(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let since = stage.env.recorder.now();
    let again =
        |op: &Op| op.time > since && op.kind == Kind::Ok && matches!(op.body, Body::Send(_));
    let resumed = wait(RESUMED, || stage.env.recorder.ops().iter().rev().any(again).then_some(()));
    if resumed.is_none() {
        let case = format!("{RESUMED:?} after there was room nothing was acknowledged");
        stage.cluster.find("room-not-noticed", vec![case]);
    }
    Ok(())
}
