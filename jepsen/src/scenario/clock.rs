//! Wall clocks that jump and strobe. Monotonic time stays true: no clock of ours may matter for what is safe.

use std::time::Duration;

use rand::Rng;

use crate::run::{Stage, resting};

const JUMP_SECONDS: i64 = 300;
const SECOND: i64 = 1_000_000_000;

pub(super) fn jumps(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    while stage.another_round() {
        let brokers = stage.cluster.ids();
        let id = brokers[stage.random.random_range(0..brokers.len())];
        let offset = stage.random.random_range(-JUMP_SECONDS..=JUMP_SECONDS);
        let strobes = stage.random.random_bool(0.5);
        let what = match strobes {
            true => format!("broker {id}'s wall clock strobes by {offset} s"),
            false => format!("broker {id}'s wall clock jumps by {offset} s"),
        };
        let before = stage.cluster.broker(id)?.shim.hits().clocks_bent;
        stage.begin("clock", &what, |cluster| {
            let shim = &cluster.broker(id)?.shim;
            match strobes {
                true => shim.strobe(offset * SECOND, Duration::from_millis(50))?,
                false => shim.clock_offset(offset * SECOND)?,
            }
            Ok("set".to_owned())
        })?;
        stage.rest(2.0);
        // An old leader with a wrong clock, and new ones with other wrong clocks.
        let leader = stage.busiest()?;
        stage.kill(leader, "which leads most", resting(1.5))?;
        stage.end("clock", &format!("broker {id}'s wall clock is right"), |cluster| {
            let shim = &cluster.broker(id)?.shim;
            let bent = shim.hits().clocks_bent - before;
            shim.heal()?;
            anyhow::ensure!(bent > 0, "nobody asked for the time");
            Ok(format!("the wrong time was told {bent} times"))
        })?;
    }
    Ok(())
}
