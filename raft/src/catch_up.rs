//! Bytes per second for replicas that are still catching up.
//!
//! A new replica is sent the whole log of its group; without a bound that takes the disk and the
//! network from everybody else. All groups of a node share one bucket that holds a second's worth.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// A token bucket that may be overdrawn by one request, which then waits.
pub(crate) struct CatchUp {
    per_second: f64,
    state: Mutex<(f64, Instant)>,
}

impl CatchUp {
    pub fn new(per_second: u64) -> Self {
        let per_second = per_second.max(1) as f64;
        Self { per_second, state: Mutex::new((per_second, Instant::now())) }
    }

    /// Takes `bytes`, waiting until the rate allows it.
    pub async fn take(&self, bytes: u64) {
        let wait = self.wait_for(bytes, Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    fn wait_for(&self, bytes: u64, now: Instant) -> Duration {
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
        assert_eq!(bucket.wait_for(1000, now), Duration::ZERO);
        let wait = bucket.wait_for(500, now).as_secs_f64();
        assert!((0.49..0.51).contains(&wait), "{wait}");
    }
}
