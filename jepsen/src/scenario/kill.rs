//! kill -9: of whoever leads most, of the controller.

use crate::run::{Stage, resting};

/// Between a death and the restart: long enough for an election and for writes under the new leader.
const DOWN: f64 = 1.5;
/// Between a restart and the next death.
const UP: f64 = 1.5;

/// Kills the broker that leads most partitions, restarts it, and so on.
pub(super) fn leader(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    stage.rest(UP);
    while stage.another_round() {
        let leader = stage.busiest()?;
        stage.kill(leader, "which leads most partitions", resting(DOWN))?;
        stage.rest(UP);
    }
    Ok(())
}

/// Kills the broker that leads the metadata, then cuts it off instead, and so on.
pub(super) fn controller(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    stage.rest(UP);
    while stage.another_round() {
        if let Some(controller) = stage.cluster.admin().controller() {
            stage.kill(controller, "which is the controller", resting(DOWN))?;
        }
        stage.rest(UP);
        if let Some(controller) = stage.cluster.admin().controller() {
            super::partition::cut_off(stage, controller, 4.0)?;
        }
        stage.rest(UP);
    }
    Ok(())
}
