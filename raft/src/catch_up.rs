//! Bytes per second for replicas that are still catching up.
//!
//! A new replica is sent the whole log of its group; without a bound that takes the disk and the
//! network from everybody else. All groups of a node share one bucket that holds a second's worth.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// A token bucket. A request waits until nothing is overdrawn, and may overdraw it then.
pub(crate) struct CatchUp {
    per_second: f64,
    state: Mutex<(f64, Instant)>,
}

impl CatchUp {
    pub fn new(per_second: u64) -> Self {
        let per_second = per_second.max(1) as f64;
        Self { per_second, state: Mutex::new((per_second, Instant::now())) }
    }

    /// Waits until nothing is overdrawn.
    pub async fn ready(&self) {
        let wait = self.charge_at(0, Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// Takes `bytes`, which may overdraw.
    pub fn charge(&self, bytes: u64) {
        self.charge_at(bytes, Instant::now());
    }

    /// Takes `bytes`; for how long the bucket is overdrawn then.
    fn charge_at(&self, bytes: u64, now: Instant) -> Duration {
        let mut state = self.state.lock();
        let (level, since) = *state;
        let refilled = level + now.duration_since(since).as_secs_f64() * self.per_second;
        let level = refilled.min(self.per_second) - bytes as f64;
        *state = (level, now);
        Duration::from_secs_f64((-level / self.per_second).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_is_free_and_what_exceeds_it_waits_at_the_rate() {
        let bucket = CatchUp::new(1000);
        let now = Instant::now();
        assert_eq!(bucket.charge_at(1000, now), Duration::ZERO);
        let wait = bucket.charge_at(500, now).as_secs_f64();
        assert!((0.49..0.51).contains(&wait), "{wait}");
        let later = now + Duration::from_millis(250);
        let wait = bucket.charge_at(0, later).as_secs_f64();
        assert!((0.24..0.26).contains(&wait), "{wait}");
    }
}
