//! Coordinators of consumer groups that die, are cut off, and sleep.

use std::time::Duration;

use anyhow::Context;

use crate::admin::wait;
use crate::run::{Stage, resting};
use crate::workload::GROUP;

const DOWN: f64 = 1.5;
const UP: f64 = 1.5;
/// Long enough for a group to come to rest, and to read and commit then.
const SETTLED: f64 = 4.0;
const CUT: f64 = 4.0;
/// Longer than failure detection and election together, and than a member's session.
const ASLEEP: f64 = 3.0;
/// How many coordinators there are.
const COORDINATORS: u32 = 32;
/// How long there may be none.
const ELECTION: Duration = Duration::from_secs(15);

/// The broker that coordinates the group of the workload is killed, cut off and paused in turn.
pub(super) fn falls(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    const WHY: &str = "which coordinates the group";
    stage.rest(UP);
    for round in 0.. {
        if !stage.another_round() {
            break;
        }
        let found = wait(ELECTION, || coordinator(stage).ok());
        let coordinator = found.context("nobody coordinates the group")?;
        match round % 4 {
            1 => super::partition::cut_off(stage, coordinator, CUT)?,
            3 => stage.pause(coordinator, WHY, ASLEEP)?,
            _ => stage.kill(coordinator, WHY, resting(DOWN))?,
        }
        stage.rest(UP);
    }
    Ok(())
}

/// The broker that coordinates the group of the workload is killed, then the one that leads most partitions, and so on.
pub(super) fn soak(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    stage.rest(UP);
    while stage.another_round() {
        let found = wait(ELECTION, || coordinator(stage).ok());
        let coordinator = found.context("nobody coordinates the group")?;
        stage.kill(coordinator, "which coordinates the group", resting(DOWN))?;
        stage.rest(SETTLED);
        let leader = stage.busiest()?;
        stage.kill(leader, "which leads most partitions", resting(DOWN))?;
        stage.rest(SETTLED);
    }
    Ok(())
}

/// Internal groups are numbered as they were made, all at once.
fn coordinator(stage: &Stage<'_>) -> anyhow::Result<u64> {
    let admin = stage.cluster.admin();
    let told = stage.cluster.addresses().into_iter().filter_map(|it| admin.groups(&it).ok());
    let groups: Vec<_> = told.flatten().collect();
    let mut internal: Vec<_> =
        groups.iter().filter(|it| it.partition.is_none() && it.group > 0).collect();
    internal.sort_by_key(|it| it.group);
    internal.dedup_by_key(|it| it.group);
    let number = usize::try_from(home(GROUP))?;
    let group =
        internal.get(number).with_context(|| format!("there is no coordinator {number}"))?;
    let of_it = groups.iter().filter(|it| it.group == group.group);
    let newest = of_it.filter(|it| it.leader.is_some()).max_by_key(|it| it.term);
    newest.and_then(|it| it.leader).context("nobody coordinates the group")
}

/// Where a group is at home: Java's hash of its name.
fn home(group: &str) -> u32 {
    let hash = group
        .encode_utf16()
        .fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    hash.checked_abs().unwrap_or(0).unsigned_abs() % COORDINATORS
}
