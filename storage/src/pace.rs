//! How fast old generations are rewritten: a share of what is appended, and a little when nothing is.
//!
//! Rewriting frees at least three times what it writes, so half the appended bytes is enough to keep
//! up with any load, and more would only take the disk from the appends.

use std::time::{Duration, Instant};

/// Bytes rewritten per byte appended.
const SHARE: f64 = 0.5;
/// Bytes per second besides.
const IDLE_RATE: f64 = 8e6;
/// Most bytes that may be saved up.
const BURST: f64 = 4e6;

/// A token bucket that is filled by appends and by time. One move may overdraw it.
pub(crate) struct Pace {
    level: f64,
    appended: u64,
    at: Instant,
}

impl Pace {
    pub fn new(now: Instant) -> Pace {
        Pace { level: BURST, appended: 0, at: now }
    }

    /// How long to wait before the next move, going by time alone. `appended` counts all bytes
    /// appended so far.
    pub fn wait(&mut self, appended: u64, now: Instant) -> Duration {
        let earned = appended.saturating_sub(self.appended) as f64 * SHARE
            + now.saturating_duration_since(self.at).as_secs_f64() * IDLE_RATE;
        (self.appended, self.at) = (appended, now);
        self.level = (self.level + earned).min(BURST);
        Duration::from_secs_f64((-self.level / IDLE_RATE).max(0.0))
    }

    pub fn spend(&mut self, bytes: u64) {
        self.level -= bytes as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewriting_is_paid_for_by_appends_and_goes_on_slowly_without() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        assert_eq!(pace.wait(0, now), Duration::ZERO);
        pace.spend(12_000_000);
        assert_eq!(pace.wait(0, now), Duration::from_secs(1));
        assert_eq!(pace.wait(0, now + Duration::from_millis(250)), Duration::from_millis(750));
        assert_eq!(pace.wait(12_000_000, now + Duration::from_millis(250)), Duration::ZERO);
        // What was not used is not saved up for ever.
        assert_eq!(pace.wait(1 << 40, now + Duration::from_secs(3600)), Duration::ZERO);
        pace.spend(8_000_000);
        assert_eq!(pace.wait(1 << 40, now + Duration::from_secs(3600)), Duration::from_millis(500));
    }
}
