//! Wall clocks that jump and strobe, by minutes and by days. Monotonic time stays true: no clock of ours may matter for
//! what is safe.

use std::time::Duration;

use rand::Rng;

use crate::run::{Stage, resting};

const JUMP_SECONDS: i64 = 300;
const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400 * SECOND;
/// More than any record or producer is kept by default.
const DAYS: std::ops::RangeInclusive<i64> = 8..=40;
/// How long a clock is wrong: many looks of retention.
const WRONG: f64 = 5.0;
const RIGHT: f64 = 2.0;

pub(super) fn jumps(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    while stage.another_round() {
        let brokers = stage.cluster.ids();
        let id = brokers[stage.random.random_range(0..brokers.len())];
        let offset = stage.random.random_range(-JUMP_SECONDS..=JUMP_SECONDS);
        let strobes = stage.random.random_bool(0.5);
        let what = if strobes {
            format!("broker {id}'s wall clock strobes by {offset} s")
        } else {
            format!("broker {id}'s wall clock jumps by {offset} s")
        };
        let before = stage.cluster.broker(id)?.shim.hits().clocks_bent;
        stage.begin("clock", &what, |cluster| {
            let shim = &cluster.broker(id)?.shim;
            if strobes {
                shim.strobe(offset * SECOND, Duration::from_millis(50))?;
            } else {
                shim.clock_offset(offset * SECOND)?;
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

/// The clock of whoever leads everything is days ahead, then days behind, then it starts with such a clock.
pub(super) fn days(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let mut sign = 1;
    while stage.another_round() {
        for anew in [false, true] {
            let id = stage.busiest()?;
            if stage.cluster.ids().len() > 1 {
                stage.gather(id)?;
            }
            stage.rest(RIGHT);
            let days = sign * stage.random.random_range(DAYS);
            wrong_by_days(stage, id, days, anew)?;
            sign = -sign;
        }
    }
    Ok(())
}

fn wrong_by_days(stage: &mut Stage<'_>, id: u64, days: i64, anew: bool) -> anyhow::Result<()> {
    let before = stage.cluster.broker(id)?.shim.hits().clocks_bent;
    let struck = stage.strike(id);
    stage.begin("clock", &format!("broker {id}'s wall clock is {days} days off"), |cluster| {
        cluster.broker(id)?.shim.clock_offset(days * DAY)?;
        Ok("set".to_owned())
    })?;
    if anew {
        stage.kill(id, "whose clock is wrong", resting(RIGHT))?;
        if stage.cluster.ids().len() > 1 {
            // What it is asked for by hand it may do all the same.
            let _ = stage.gather(id);
        }
    }
    stage.rest(WRONG);
    stage.recover(&struck);
    stage.end("clock", &format!("broker {id}'s wall clock is right"), |cluster| {
        let shim = &cluster.broker(id)?.shim;
        let bent = shim.hits().clocks_bent - before;
        shim.heal_clock()?;
        anyhow::ensure!(bent > 0, "nobody asked for the time");
        Ok(format!("the wrong time was told {bent} times"))
    })?;
    stage.rest(RIGHT);
    Ok(())
}
