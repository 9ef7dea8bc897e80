//! When a generation ends although it is not full.
//!
//! Only whole generations are dropped, and a quiet broker might never fill one: it ends when it is
//! old, and sooner when half of it is dead, so that what was purged does go. And what is in the
//! memtable is in memory: a broker that fell silent after a load writes it out.

use std::time::{Duration, Instant};

/// Half dead, a generation ends after this part of the greatest age.
const HALF_DEAD_PART: u32 = 24;
/// A memtable of this size is worth writing out to have its memory back.
const WORTH_BYTES: u64 = 2 << 20;
/// A broker that writes less than this in `QUIET` is silent.
const SILENT_BYTES: u64 = 256 << 10;
const QUIET: Duration = Duration::from_secs(20);

/// What is in the generation being written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Current {
    pub number: u32,
    /// Bytes of entries.
    pub bytes: u64,
    /// Those of them that nobody needs any more.
    pub dead: u64,
    /// Bytes of everything.
    pub logged: u64,
}

/// Watches the generation being written; asked every few seconds.
#[derive(Debug)]
pub(crate) struct Age {
    number: Option<u32>,
    begun: Instant,
    silent_since: Instant,
    logged: u64,
    /// It took a load: what a trickle leaves is not worth a table of its own every few minutes.
    loaded: bool,
}

impl Age {
    pub fn new(now: Instant) -> Age {
        Age { number: None, begun: now, silent_since: now, logged: 0, loaded: false }
    }

    /// Whether the generation is to end now.
    pub fn is_over(&mut self, current: Current, now: Instant, age_max: Duration) -> bool {
        if self.number != Some(current.number) {
            *self = Age { number: Some(current.number), ..Age::new(now) };
        }
        if current.bytes == 0 {
            self.begun = now;
        }
        if current.logged > self.logged + SILENT_BYTES {
            self.loaded |= now.saturating_duration_since(self.silent_since) < QUIET;
            (self.logged, self.silent_since) = (current.logged, now);
        }
        let age = now.saturating_duration_since(self.begun);
        let silent = now.saturating_duration_since(self.silent_since);
        let half_dead = current.dead >= current.bytes / 2;
        let old = age >= age_max || (half_dead && age >= age_max / HALF_DEAD_PART);
        (current.bytes > 0 && old)
            || (self.loaded && current.logged >= WORTH_BYTES && silent >= QUIET)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const HOUR: Duration = Duration::from_secs(3600);

    fn small(dead: u64) -> Current {
        Current { number: 7, bytes: 1000, dead, logged: 2000 }
    }

    #[test]
    fn a_generation_ends_when_it_is_old_and_sooner_when_half_of_it_is_dead() {
        let now = Instant::now();
        let mut age = Age::new(now);
        assert!(!age.is_over(small(0), now, DAY));
        assert!(!age.is_over(small(499), now + DAY / 2, DAY));
        assert!(age.is_over(small(500), now + HOUR, DAY));
        assert!(age.is_over(small(0), now + DAY, DAY));
        let next = Current { number: 8, ..small(1000) };
        assert!(!age.is_over(next, now + DAY, DAY), "the next one is young");
        assert!(age.is_over(next, now + DAY + HOUR, DAY));
    }

    #[test]
    fn one_without_entries_does_not_age() {
        let now = Instant::now();
        let mut age = Age::new(now);
        let empty = Current { number: 7, bytes: 0, dead: 0, logged: 500 };
        assert!(!age.is_over(empty, now, DAY));
        assert!(!age.is_over(empty, now + 2 * DAY, DAY));
        assert!(!age.is_over(small(1000), now + 2 * DAY, DAY));
    }

    #[test]
    fn what_a_load_left_in_memory_is_written_out_when_the_broker_falls_silent() {
        let now = Instant::now();
        let mut age = Age::new(now);
        let loaded = |logged| Current { number: 7, bytes: logged, dead: 0, logged };
        for second in 0..40 {
            let at = now + Duration::from_secs(second);
            assert!(!age.is_over(loaded((1 << 20) * (second + 1)), at, DAY), "a load goes on");
        }
        let last = now + Duration::from_secs(39);
        assert!(!age.is_over(loaded(40 << 20), last + QUIET / 2, DAY));
        assert!(age.is_over(loaded((40 << 20) + 1000), last + QUIET, DAY));
        assert!(!age.is_over(Current { number: 8, ..loaded(1 << 20) }, last + QUIET, DAY));
        assert!(!age.is_over(Current { number: 8, ..loaded(1 << 20) }, last + 9 * QUIET, DAY));
    }

    #[test]
    fn a_trickle_does_not_end_generations() {
        let now = Instant::now();
        let mut age = Age::new(now);
        for second in 0..3_000 {
            let trickle = Current { number: 7, bytes: 1, dead: 0, logged: 10_000 * second };
            assert!(!age.is_over(trickle, now + Duration::from_secs(second), DAY), "{second}");
        }
    }
}
