//! A hundred partitions and more, all of which change their leader at the same moment.

use crate::run::{Stage, resting};

const WITHOUT: f64 = 2.0;

pub(super) fn mass_leader_change(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    while stage.another_round() {
        stage.rest(2.0);
        let id = stage.busiest()?;
        stage.kill(id, "which leads most partitions", resting(WITHOUT))?;
        stage.rest(2.0);
        let id = stage.busiest()?;
        stage.pause(id, "which leads most partitions", WITHOUT)?;
    }
    Ok(())
}
