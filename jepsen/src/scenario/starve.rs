//! Brokers that get only a share of the processor.

use std::time::Duration;

use crate::run::Stage;
use crate::sandbox::Share;

/// A twentieth, in steps too short for a failure detector to notice.
const FEW: Share = Share { run: Duration::from_millis(5), stop: Duration::from_millis(95) };
/// A twentieth, in steps that look like death again and again.
const RARE: Share = Share { run: Duration::from_millis(50), stop: Duration::from_millis(950) };
/// Enough for all to go on with.
const SOME: Share = Share { run: Duration::from_millis(10), stop: Duration::from_millis(30) };
const STARVED: f64 = 4.0;
const WHOLE: f64 = 1.5;

/// The leader, a follower, then all.
pub(super) fn in_turn(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    while stage.another_round() {
        let leader = stage.busiest()?;
        stage.gather(leader)?;
        let all = stage.cluster.ids();
        let follower: Vec<u64> = all.iter().copied().filter(|id| *id != leader).take(1).collect();
        for (who, ids, share) in [
            ("the leader", vec![leader], FEW),
            ("a follower", follower, FEW),
            ("who led", vec![leader], RARE),
            ("all", all, SOME),
        ] {
            stage.rest(WHOLE);
            let what = format!("{who}: brokers {ids:?}: {share}");
            stage.begin("starve", &what, |cluster| {
                ids.iter().try_for_each(|id| cluster.starve(*id, share))?;
                Ok("set".to_owned())
            })?;
            stage.rest(STARVED);
            stage.end("starve", &format!("{who} may run again"), |cluster| {
                let stops = ids.iter().map(|id| cluster.feed(*id));
                let stops = stops.sum::<anyhow::Result<u64>>()?;
                anyhow::ensure!(stops > 0, "never stopped");
                Ok(format!("stopped {stops} times"))
            })?;
        }
    }
    Ok(())
}
