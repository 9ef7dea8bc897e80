//! A group's own time: how long it was led.
//!
//! Wall clocks are set wrong, and what goes by them then forgets what it should keep. So producers are
//! forgotten by a time that only a leader in office advances, by its monotonic clock, and that every
//! command carries. A leader counts on from where the log stood when it came into office; what passed
//! while nobody led is in no command and does not count, nor does what a leader waited after its last.

use parking_lot::Mutex;
use quorate_raft::Leadership;
use tokio::time::Instant;

/// Where this replica's present leadership began to count.
#[derive(Debug, Default)]
pub(crate) struct LogTime(Mutex<Option<Began>>);

#[derive(Debug, Clone, Copy)]
struct Began {
    term: u64,
    since: Instant,
    log_ms: i64,
}

impl LogTime {
    /// Returns the log time at `now`. `applied`: that of the log as far as it is applied here.
    ///
    /// Only what a ready leader is told goes into the log, so what others are told does not matter.
    pub(crate) fn at(
        &self,
        now: Instant,
        leadership: &Leadership,
        applied: impl FnOnce() -> i64,
    ) -> i64 {
        let Some(since) = leadership.ready_since else { return applied() };
        let term = leadership.term;
        let mut began = self.0.lock();
        // All of this term's commands come from here, so before the first of them what is applied is what
        // the terms before had reached.
        let began = match *began {
            Some(began) if (began.term, began.since) == (term, since) => began,
            _ => *began.insert(Began { term, since, log_ms: applied() }),
        };
        let led = now.saturating_duration_since(began.since).as_millis();
        began.log_ms.saturating_add(i64::try_from(led).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const DAY_MS: i64 = 86_400_000;

    fn led(term: u64, since: Instant) -> Leadership {
        Leadership { leader: Some(1), term, ready: true, ready_since: Some(since) }
    }

    #[test]
    fn time_in_office_counts_and_no_other() {
        let (log_time, start) = (LogTime::default(), Instant::now());
        let first = led(3, start);
        let idle = log_time.at(start + DAY, &first, || 100);
        assert_eq!(idle, 100 + DAY_MS, "an idle leader's time counts");
        let asked_again = || unreachable!("the log is looked at once a term");
        assert_eq!(log_time.at(start + 2 * DAY, &first, asked_again), 100 + 2 * DAY_MS);

        let nobody = Leadership { leader: None, term: 4, ready: false, ready_since: None };
        assert_eq!(log_time.at(start + 3 * DAY, &nobody, || 5), 5);
        // What another leader wrote meanwhile is the ground to stand on.
        let (again, reached) = (led(7, start + 9 * DAY), 100 + 2 * DAY_MS + 9);
        assert_eq!(log_time.at(start + 9 * DAY, &again, || reached), reached);
        assert_eq!(log_time.at(start + 10 * DAY, &again, || 0), reached + DAY_MS);
    }
}
