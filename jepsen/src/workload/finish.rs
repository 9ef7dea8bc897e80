//! Final reads: after everything is healed every worker reads every key from the beginning to the highest offset
//! that anybody knows of.
//!
//! Whatever was acknowledged and is not seen by then is lost. Reading begins anew, as a new process, whenever nothing
//! was reached for a while, so that a consumer stuck on something stale is no excuse.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::keys::Keys;
use super::session::Session;
use crate::environment::{Phase, Worker};

/// Longest time without reaching any key's target before a new process begins again.
const STUCK: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(1_000);
const POLL_BYTES: i32 = 1 << 20;
/// Between polls that read nothing.
const PAUSE: Duration = Duration::from_millis(200);
/// Up to so many records every worker reads everything; of more, each record is read by two.
const ALL_UP_TO: i64 = 50_000;

/// Reads to the end; returns the keys and offsets that were not reached in time.
pub fn final_reads(worker: &mut Worker, keys: &Arc<Keys>) -> anyhow::Result<BTreeMap<i64, i64>> {
    let env = Arc::clone(&worker.env);
    let deadline = Instant::now() + env.settings.final_time;
    let mut targets = keys.targets();
    if targets.values().sum::<i64>() > ALL_UP_TO {
        let workers = i64::try_from(env.settings.workers)?.max(1);
        let number = i64::try_from(worker.number)?;
        targets.retain(|key, _| [key % workers, (key + 1) % workers].contains(&number));
    }
    let over = || env.phase() == Phase::Over || Instant::now() >= deadline;
    Session::new(worker, keys).crash()?;
    while !targets.is_empty() && !over() {
        let mut session = Session::new(worker, keys);
        let mine: Vec<i64> = targets.keys().copied().collect();
        session.debug(&mine)?;
        session.assign(&mine, true)?;
        let mut reached = Instant::now();
        while !targets.is_empty() && !session.ended && !over() && reached.elapsed() < STUCK {
            let read = session.poll(POLL, POLL_BYTES)?;
            let before = targets.len();
            targets.retain(|key, target| session.positions.get(key).is_none_or(|at| at <= target));
            if targets.len() < before {
                reached = Instant::now();
            } else if read == 0 {
                std::thread::sleep(PAUSE);
            }
        }
        if !session.ended {
            session.crash()?;
        }
    }
    Ok(targets)
}
