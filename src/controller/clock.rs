//! Whether this broker's wall clock may be believed, and what follows if not.
//!
//! By a clock that is days ahead everything is past its retention. So a broker compares its clock with those of
//! the others, which come with the answers to its pings, and a lone one with its monotonic clock. While the
//! clock is in doubt nothing is deleted for its age and no record refused for its time; what a broker that is
//! known to be wrong leads it hands over. Nothing else here goes by wall clocks.
//!
//! Invariant: a time that is trusted is checked when it is read, not when the driver looked last: a clock may
//! be set at any moment. So what the others' clocks show is known by the monotonic clock, and a look compares
//! all of them with one reading of this broker's own.

mod judge;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use quorate_storage::mutant;
use tokio::time::{Instant, sleep};

use super::Controller;
use crate::telemetry::metrics;
use crate::wall_clock::WallClock;
pub use judge::Judgement;
use judge::{Judge, OFF_MAX_MS, Observation};

/// Between two looks at the clocks, and while the first answers to pings are on their way.
const LOOK: Duration = Duration::from_secs(1);
const LOOK_SOON: Duration = Duration::from_millis(100);
/// After this long without a look nothing is known: the process stood still, or is too busy.
const LOOK_OLD: Duration = Duration::from_secs(15);

/// This broker's wall clock, and what is thought of it.
#[derive(Debug)]
pub struct BrokerClock {
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    judge: Judge,
    last: Option<LastObservation>,
    /// How far each broker's clock, this one's too, is ahead of the majority's, in milliseconds.
    ahead_ms: Vec<(u64, i64)>,
}

#[derive(Debug, Clone, Copy)]
struct LastObservation {
    /// By the monotonic clock.
    at_ms: i64,
    wall_ms: i64,
    judgement: Judgement,
}

impl BrokerClock {
    /// Returns a clock that is not trusted before the first look.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { started: Instant::now(), state: Mutex::default() })
    }

    /// Returns what is thought of the clock; `None` before the first look.
    pub fn judgement(&self) -> Option<Judgement> {
        self.state.lock().last.map(|last| last.judgement)
    }

    /// Returns how far a broker's clock is ahead of the majority's, in milliseconds, where that is known.
    pub fn ahead_ms(&self, broker: u64) -> Option<i64> {
        let state = self.state.lock();
        state.ahead_ms.iter().find(|(id, _)| *id == broker).map(|(_, ahead)| *ahead)
    }

    /// Returns whether a broker's clock is known to be wrong.
    pub fn is_off(&self, broker: u64) -> bool {
        self.ahead_ms(broker).is_some_and(|ahead| ahead.abs() > OFF_MAX_MS)
    }

    /// Takes the clock of a lone broker as right from now on; an operator's word.
    pub fn confirm(&self) {
        self.state.lock().judge.confirm();
    }

    fn monotonic_ms(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// Judges `wall_ms`, which this broker's clock shows now. `others`: what those of others show now.
    fn look(
        &self,
        (me, wall_ms): (u64, i64),
        brokers: usize,
        others: &[(u64, i64)],
    ) -> LastObservation {
        let others: Vec<(u64, i64)> =
            others.iter().map(|(id, theirs)| (*id, theirs.saturating_sub(wall_ms))).collect();
        let mut state = self.state.lock();
        let at_ms = self.monotonic_ms();
        let look = Observation { at_ms, wall_ms, brokers, others: &others };
        let (judgement, majority_ms) = state.judge.look(&look);
        let ahead = |(id, ahead): (u64, i64)| majority_ms.map(|it| (id, ahead.saturating_sub(it)));
        state.ahead_ms = others.into_iter().chain([(me, 0)]).filter_map(ahead).collect();
        let looked = LastObservation { at_ms, wall_ms, judgement };
        state.last = Some(looked);
        looked
    }
}

impl WallClock for BrokerClock {
    fn now_ms(&self) -> i64 {
        wall_ms()
    }

    fn trusted_ms(&self) -> Option<i64> {
        let last = self.state.lock().last?;
        let (wall_ms, passed) = (wall_ms(), self.monotonic_ms().saturating_sub(last.at_ms));
        let expected = last.wall_ms.saturating_add(passed);
        let steady = wall_ms.abs_diff(expected) <= OFF_MAX_MS.unsigned_abs();
        let fresh = Duration::from_millis(passed.unsigned_abs()) <= LOOK_OLD;
        if mutant::on("clock-trusted") {
            return Some(wall_ms);
        }
        (last.judgement == Judgement::Right && steady && fresh).then_some(wall_ms)
    }
}

fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The driver.
pub(crate) struct Clocks {
    pub(crate) controller: Arc<Controller>,
    pub(crate) clock: Arc<BrokerClock>,
}

impl Clocks {
    /// Runs until dropped.
    pub(crate) async fn run(self) {
        let mut told: Option<Judgement> = None;
        loop {
            let judgement = self.look();
            if told.is_none_or(|told| judgement.is_news_after(&told)) {
                tell(&judgement);
                told = Some(judgement);
            }
            self.controller.node().drain("the clock is wrong", judgement.is_wrong());
            sleep(if judgement == Judgement::Right { LOOK } else { LOOK_SOON }).await;
        }
    }

    fn look(&self) -> Judgement {
        let node = self.controller.node();
        let image = self.controller.metadata().image();
        let members = image.brokers.keys().copied().filter(|id| *id != node.id());
        let others: Vec<_> = members.filter_map(|id| Some((id, node.peer_wall_ms(id)?))).collect();
        // Not on the list yet it knows too little of the others to be judged.
        let listed = image.brokers.contains_key(&node.id());
        let brokers = if listed { image.brokers.len() } else { 0 };
        let judgement = self.clock.look((node.id(), wall_ms()), brokers, &others).judgement;
        let ahead = self.clock.ahead_ms(node.id()).unwrap_or_default();
        metrics().clock_ahead_seconds.set(ahead as f64 / 1000.0);
        metrics().clock_trusted.set(i64::from(judgement == Judgement::Right));
        judgement
    }
}

fn tell(judgement: &Judgement) {
    match judgement {
        Judgement::Right => tracing::info!("the clock is trusted"),
        // Usual for a moment after a start.
        Judgement::Unknown { .. } => tracing::info!(reason = %judgement, "the clock is not judged"),
        Judgement::Wrong { .. } | Judgement::Jumped { .. } => {
            tracing::warn!(reason = %judgement, "the clock is not trusted");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_is_wrong_at_the_next_look_whenever_the_others_answered_last() {
        let (clock, now) = (BrokerClock::new(), wall_ms());
        let others = [(2, now), (3, now)];
        assert_eq!(clock.look((1, now), 3, &others).judgement, Judgement::Right);
        let day_ms = 86_400_000;
        let looked = clock.look((1, now + day_ms), 3, &others);
        assert!(matches!(looked.judgement, Judgement::Wrong { ahead_ms } if ahead_ms == day_ms));
        assert_eq!(clock.trusted_ms(), None);
        assert_eq!((clock.ahead_ms(1), clock.ahead_ms(2)), (Some(day_ms), Some(0)));
    }
}
