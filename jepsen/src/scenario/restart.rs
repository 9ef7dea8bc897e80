//! Restarts: one after the other as an operator does, and all at once as a power company does.

use std::time::Duration;

use crate::run::Stage;

const WHOLE: Duration = Duration::from_secs(60);

/// Every broker in turn stops in order and starts, and the next one waits until the cluster is whole.
pub(super) fn rolling(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    while stage.another_round() {
        for id in stage.cluster.ids() {
            stage.begin("restart", &format!("broker {id} stops"), |cluster| cluster.stop(id))?;
            let started = stage.start(id);
            stage.end("restart", &format!("broker {id} starts"), |_| started)?;
            if let Err(reasons) = stage.cluster.wait_whole(WHOLE) {
                anyhow::bail!("not whole after a restart: {}", reasons.join("; "));
            }
            stage.rest(1.0);
        }
    }
    Ok(())
}

/// Before each of the storm's blows. The long one is longer than brokers wait before they tidy up (checkpoints of quiet
/// partitions).
const CALM: [f64; 9] = [17.0, 2.0, 0.3, 0.1, 1.0, 2.0, 0.3, 0.1, 1.0];

/// All brokers are killed at once, sometimes before they have come up again.
pub(super) fn storm(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    for calm in CALM {
        stage.rest(calm);
        all_at_once(stage)?;
    }
    Ok(())
}

/// Kills every broker and starts them again.
pub(super) fn all_at_once(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let all = stage.cluster.ids();
    stage.begin("kill", &format!("all of {all:?}"), |cluster| {
        let killed: anyhow::Result<Vec<_>> = all.iter().map(|id| cluster.kill(*id)).collect();
        Ok(killed?.join(", "))
    })?;
    stage.end("kill", "all start", |cluster| {
        all.iter().try_for_each(|id| cluster.start_broker(*id))?;
        Ok("started".to_owned())
    })
}
