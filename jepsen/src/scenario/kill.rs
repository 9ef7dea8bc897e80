//! kill -9: of whoever leads most, of the controller.

use crate::run::Stage;

/// Between a death and the restart: long enough for an election and for writes under the new leader.
const DOWN: f64 = 1.5;
/// Between a restart and the next death.
const UP: f64 = 1.5;

/// Kills the broker that leads most partitions, restarts it, and so on.
pub(super) fn leader(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    stage.rest(UP);
    while stage.going_on() {
        let leader = stage.busiest()?;
        kill_and_restart(stage, leader, "leads most partitions")?;
    }
    Ok(())
}

/// Kills the broker that leads the metadata, then cuts it off instead, and so on.
pub(super) fn controller(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    stage.rest(UP);
    while stage.going_on() {
        if let Some(controller) = stage.cluster.admin().controller() {
            kill_and_restart(stage, controller, "is the controller")?;
        }
        if let Some(controller) = stage.cluster.admin().controller() {
            super::partition::cut_off(stage, controller, 4.0)?;
        }
        stage.rest(UP);
    }
    Ok(())
}

fn kill_and_restart(stage: &mut Stage<'_>, id: u64, why: &str) -> anyhow::Result<()> {
    stage.begin("kill", &format!("broker {id}, which {why}"), |cluster| cluster.kill(id))?;
    stage.rest(DOWN);
    let started = stage.start(id);
    stage.end("kill", &format!("broker {id} starts"), |_| started)?;
    stage.rest(UP);
    Ok(())
}
