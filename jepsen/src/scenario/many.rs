//! A hundred partitions and more, all of which change their leader at the same moment.

use crate::run::Stage;

pub(super) fn mass_leader_change(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let mut by_kill = true;
    while stage.going_on() {
        stage.rest(2.0);
        let id = stage.busiest()?;
        if by_kill {
            stage.begin("kill", &format!("broker {id}"), |cluster| cluster.kill(id))?;
            stage.rest(2.0);
            let started = stage.start(id);
            stage.end("kill", &format!("broker {id} starts"), |_| started)?;
        } else {
            stage.begin("pause", &format!("broker {id}"), |cluster| cluster.pause(id))?;
            stage.rest(2.0);
            stage.end("pause", &format!("broker {id} wakes"), |cluster| cluster.resume(id))?;
        }
        by_kill = !by_kill;
    }
    Ok(())
}
