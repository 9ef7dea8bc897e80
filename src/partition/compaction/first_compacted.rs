//! Since when a replica has compacted how far. In memory: what it had when it was opened counts as long ago.

use std::collections::VecDeque;

use tokio::time::Instant;

/// Runs that are remembered; beyond that one is forgotten, and its tombstones wait for the next.
const RUNS_MAX: usize = 32;

/// See the file's header.
#[derive(Debug, Default)]
pub(in crate::partition) struct FirstCompacted {
    /// Up to where it was compacted when it was opened; none before the first look.
    opened: Option<i64>,
    /// Up to where, and when; both ascending.
    runs: VecDeque<(i64, Instant)>,
}

impl FirstCompacted {
    /// Notes how far it is compacted now.
    pub(super) fn note(&mut self, upto: i64, now: Instant) {
        let known = self.runs.back().map(|(upto, _)| *upto).or(self.opened);
        match known {
            None => self.opened = Some(upto),
            Some(known) if upto > known => self.runs.push_back((upto, now)),
            // A chunk that said more was trimmed.
            Some(_) => {}
        }
        if self.runs.len() > RUNS_MAX {
            self.runs.remove(RUNS_MAX / 2);
        }
    }

    /// Returns up to where it has been compacted for so many milliseconds.
    pub(super) fn older_than(&self, ms: i64, now: Instant) -> i64 {
        let age = |since: Instant| {
            i64::try_from(now.saturating_duration_since(since).as_millis()).unwrap_or(i64::MAX)
        };
        let old = self.runs.iter().rfind(|(_, since)| age(*since) >= ms);
        old.map(|(upto, _)| *upto).or(self.opened).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_compacted_is_as_old_as_the_run_that_first_came_so_far() {
        let (mut first, begin) = (FirstCompacted::default(), Instant::now());
        assert_eq!(first.older_than(0, begin), 0);
        first.note(10, begin);
        let at = |seconds| begin + Duration::from_secs(seconds);
        first.note(20, at(5));
        first.note(20, at(7));
        first.note(30, at(9));
        let old = |now| first.older_than(4_000, at(now));
        assert_eq!([5, 8, 9, 12, 13].map(old), [10, 10, 20, 20, 30]);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_never_older_than_it_was() {
        let (mut first, begin) = (FirstCompacted::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        first.note(0, begin);
        for run in 1..200 {
            first.note(i64::try_from(run).unwrap() * 10, at(run));
            assert!(first.runs.len() <= RUNS_MAX);
            let old = first.older_than(50_000, at(run));
            assert!(old <= i64::try_from(run.saturating_sub(50)).unwrap() * 10);
        }
        assert_eq!(first.older_than(50_000, at(1_000)), 1_990);
    }
}
