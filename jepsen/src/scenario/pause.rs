//! SIGSTOP: a leader that sleeps through an election and wakes believing that it leads.

use crate::run::Stage;

/// Longer than failure detection and election together.
const ASLEEP: f64 = 3.0;

pub(super) fn leader(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    while stage.another_round() {
        let leader = stage.busiest()?;
        stage.gather(leader)?;
        stage.rest(1.0);
        stage.pause(leader, "which leads everything", ASLEEP)?;
        stage.rest(1.0);
    }
    Ok(())
}
