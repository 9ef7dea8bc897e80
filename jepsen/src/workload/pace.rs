//! When the next operation begins: at random, so many a second in the long run.

use std::time::{Duration, Instant};

use rand::Rng;

use crate::environment::{Env, Phase, Worker};

/// Longest sleep without a look at the phase.
const LOOK: Duration = Duration::from_millis(100);

/// One worker's share of the rate.
pub struct Pace {
    mean: Duration,
    next: Instant,
}

impl Pace {
    pub fn new(env: &Env) -> Pace {
        let workers = env.settings.workers.max(1) as f64;
        let mean = Duration::from_secs_f64(workers / env.settings.rate.max(0.01));
        Pace { mean, next: Instant::now() }
    }

    /// Waits for the next operation; false once the main phase is over. Time lost to slow operations is not made up
    /// for, since a burst after every fault would hide what clients at an even pace see.
    pub fn wait(&mut self, worker: &mut Worker) -> bool {
        let pause = self.mean.mul_f64(worker.random.random_range(0.0..2.0));
        self.next = (self.next + pause).max(Instant::now());
        while worker.env.phase() == Phase::Main {
            let left = self.next.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(LOOK));
        }
        false
    }
}
