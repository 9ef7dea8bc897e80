//! SIGSTOP: a leader that sleeps through an election and wakes believing that it leads.

use crate::run::Stage;

/// Longer than failure detection and election together.
const ASLEEP: f64 = 3.0;

pub(super) fn leader(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    while stage.going_on() {
        let leader = stage.busiest()?;
        stage.gather(leader)?;
        stage.rest(1.0);
        let what = format!("broker {leader}, which leads everything");
        stage.begin("pause", &what, |cluster| cluster.pause(leader))?;
        stage.rest(ASLEEP);
        stage.end("pause", &format!("broker {leader} wakes"), |cluster| cluster.resume(leader))?;
        stage.rest(1.0);
    }
    Ok(())
}
