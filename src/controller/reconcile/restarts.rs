//! When a replica that failed by itself is opened again.
//!
//! At once, because most such failures need a coincidence to happen; but one that follows from what is in the log
//! comes again each time, so there is a bound, and beyond it the replica stays closed for a while.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use quorate_storage::GroupId;
use tokio::time::Instant;

use super::steps::Step;

/// How often a replica is opened again within [`WINDOW`].
const TIMES: usize = 3;
const WINDOW: Duration = Duration::from_secs(600);

/// The failures of late, and which replicas wait.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    failures: BTreeMap<GroupId, VecDeque<Instant>>,
    waiting: BTreeMap<GroupId, Instant>,
}

impl Restarts {
    /// Notes that a replica failed.
    pub(super) fn failed(&mut self, group: GroupId, now: Instant) {
        let failures = self.failures.entry(group).or_default();
        failures.push_back(now);
        failures.retain(|at| now - *at < WINDOW);
        if failures.len() <= TIMES {
            tracing::warn!(
                group = group.0,
                failures = failures.len(),
                "failed replica is opened again"
            );
            return;
        }
        failures.pop_front();
        let until = now + WINDOW;
        tracing::error!(
            group = group.0,
            minutes = WINDOW.as_secs() / 60,
            "replica fails again and again and stays closed; please report what is logged above it"
        );
        self.waiting.insert(group, until);
    }

    /// Returns whether a step has to wait because the replica failed too often. What does not open it need not.
    pub(super) fn holds_back(&self, group: GroupId, step: Step, now: Instant) -> bool {
        let opens = matches!(step, Step::Open { .. });
        opens && self.waiting.get(&group).is_some_and(|until| *until > now)
    }

    /// Returns when the wait of a replica is over next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.values().min().copied()
    }

    /// Takes the replicas whose wait is over.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<GroupId> {
        let due = self.waiting.iter().filter(|(_, until)| **until <= now);
        let due: Vec<GroupId> = due.map(|(group, _)| *group).collect();
        self.waiting.retain(|_, until| *until > now);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: GroupId = GroupId(1);
    const OPEN: Step = Step::Open { bootstrap: false };

    #[test]
    fn a_replica_is_opened_again_some_times_and_then_waits() {
        let (mut restarts, now) = (Restarts::default(), Instant::now());
        for _ in 0..TIMES {
            restarts.failed(GROUP, now);
            assert!(!restarts.holds_back(GROUP, OPEN, now));
        }
        assert_eq!(restarts.next_due(), None);
        restarts.failed(GROUP, now);
        assert!(restarts.holds_back(GROUP, OPEN, now));
        assert!(!restarts.holds_back(GroupId(2), OPEN, now));
        assert_eq!(restarts.take_due(now), []);
        assert_eq!(restarts.next_due(), Some(now + WINDOW));
        assert_eq!(restarts.take_due(now + WINDOW), [GROUP]);
        assert!(!restarts.holds_back(GROUP, OPEN, now + WINDOW));
    }

    #[test]
    fn a_replica_that_waits_is_deleted_all_the_same() {
        let (mut restarts, now) = (Restarts::default(), Instant::now());
        (0..=TIMES).for_each(|_| restarts.failed(GROUP, now));
        assert!(restarts.holds_back(GROUP, OPEN, now));
        assert!(!restarts.holds_back(GROUP, Step::Delete, now));
    }

    #[test]
    fn failures_of_long_ago_do_not_count() {
        let (mut restarts, start) = (Restarts::default(), Instant::now());
        for time in 0..10 {
            let now = start + WINDOW / 2 * time;
            restarts.failed(GROUP, now);
            assert!(!restarts.holds_back(GROUP, OPEN, now));
        }
    }
}
