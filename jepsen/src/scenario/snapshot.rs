//! A replica that fell behind the start of the log while the voters change.

use super::membership::{ask, settle};
use crate::run::{Stage, Used};

/// Long enough for the others to forget what the one that is away needs next: clients delete all the time.
const AWAY: f64 = 6.0;

/// Broker 3 is away while the log's start moves on; it comes back while it is being made a voter again.
pub(super) fn while_changing(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    while stage.another_round() {
        let used: Vec<Used> = stage.used()?.into_iter().take(4).collect();
        stage.gather(1)?;
        stage.kill(3, "a follower", |stage| {
            stage.rest(AWAY);
            ask(stage, &used, "without broker 3, which is away", |_| vec![1, 2])?;
            stage.rest(0.5);
            ask(stage, &used, "with broker 3, which is still behind", |_| vec![1, 2, 3])
        })?;
        stage.pause(2, "a voter", 1.5)?;
        settle(stage, &used)?;
        settle(stage, &used)?;
        stage.rest(1.0);
    }
    Ok(())
}
