//! A replica that fell behind the start of the log while the voters change.

use super::membership::{ask, settle};
use crate::run::{Stage, Used};

/// Broker 3 is away while the log's start moves on; it comes back while it is being made a voter again.
pub(super) fn while_changing(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    while stage.going_on() {
        let used: Vec<Used> = stage.used()?.into_iter().take(4).collect();
        stage.gather(1)?;
        stage.begin("kill", "broker 3", |cluster| cluster.kill(3))?;
        // The workload deletes records all the time, so what broker 3 needs next is gone by then.
        stage.rest(5.0);
        ask(stage, &used, "without broker 3, which is away", |_| vec![1, 2])?;
        stage.rest(0.5);
        ask(stage, &used, "with broker 3, which is still behind", |_| vec![1, 2, 3])?;
        let started = stage.start(3);
        stage.end("kill", "broker 3 starts", |_| started)?;
        let leader = 2;
        stage.begin("pause", "broker 2, a voter", |cluster| cluster.pause(leader))?;
        stage.rest(1.5);
        stage.end("pause", "broker 2 wakes", |cluster| cluster.resume(leader))?;
        settle(stage, &used)?;
        settle(stage, &used)?;
        stage.rest(1.0);
    }
    Ok(())
}
