//! A coordinator's own time.
//!
//! While the process was paused, or the task had to wait, members may have spoken and nobody could hear them. So time that
//! passed between two looks counts up to a bound: whoever is taken for silent was silent while somebody listened.

use std::time::{Duration, Instant};

/// What may pass between two looks; they come several times as often.
const STEP_MAX: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct OwnClock {
    looked: Instant,
    now: Instant,
}

impl OwnClock {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { looked: now, now }
    }

    /// The time now. It does not go back.
    pub(super) fn now(&mut self) -> Instant {
        self.at(Instant::now())
    }

    fn at(&mut self, real: Instant) -> Instant {
        self.now += real.saturating_duration_since(self.looked).min(STEP_MAX);
        self.looked = self.looked.max(real);
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_does_not_count_and_short_steps_do() {
        let mut clock = OwnClock::new();
        let start = clock.now;
        let at = |ms| clock.looked.max(start) + Duration::from_millis(ms);
        let times = [300, 900, 60_900, 61_000].map(at);
        let passed = times.map(|real| clock.at(real) - start);
        assert_eq!(passed.map(|it| it.as_millis()), [300, 900, 1_900, 2_000]);
        assert_eq!(clock.at(times[0]) - start, passed[3], "it does not go back");
    }
}
