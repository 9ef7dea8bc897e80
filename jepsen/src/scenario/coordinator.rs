//! Coordinators of consumer groups that die, are cut off, and sleep; and who coordinates what.

use std::time::Duration;

use anyhow::Context;

use crate::admin::wait;
use crate::client::{Connection, Failure, find_coordinator};
use crate::run::{Stage, resting};
use crate::workload::GROUP;

const DOWN: f64 = 1.5;
const UP: f64 = 1.5;
/// Long enough for a group to come to rest, and to read and commit then.
const SETTLED: f64 = 4.0;
const CUT: f64 = 4.0;
/// Longer than failure detection and election together, and than a member's session.
const ASLEEP: f64 = 3.0;
/// How long there may be no coordinator.
const ELECTION: Duration = Duration::from_secs(15);
/// For one answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The broker that coordinates the group of the workload is killed, cut off and paused in turn.
pub(super) fn falls(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    const WHY: &str = "which coordinates the group";
    stage.rest(UP);
    for round in 0.. {
        if !stage.another_round() {
            break;
        }
        let coordinator = of(stage, GROUP, find_coordinator)?;
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
        let coordinator = of(stage, GROUP, find_coordinator)?;
        stage.kill(coordinator, "which coordinates the group", resting(DOWN))?;
        stage.rest(SETTLED);
        let leader = stage.busiest()?;
        stage.kill(leader, "which leads most partitions", resting(DOWN))?;
        stage.rest(SETTLED);
    }
    Ok(())
}

/// Finds a coordinator by the name of what it coordinates.
pub(super) type Find = fn(&mut Connection, &str, Duration) -> Result<u64, Failure>;

/// The broker that coordinates something, by what the first one says that answers; waits for it to be elected.
pub(super) fn of(stage: &Stage<'_>, name: &str, find: Find) -> anyhow::Result<u64> {
    let found = wait(ELECTION, || {
        let running = stage.cluster.running();
        let asked = stage.cluster.addresses().into_iter().find_map(|broker| {
            let mut to = Connection::open(broker.kafka, PATIENCE).ok()?;
            find(&mut to, name, PATIENCE).ok()
        });
        asked.filter(|broker| running.contains(broker))
    });
    found.with_context(|| format!("nobody coordinates {name}"))
}
