//! When a replica that failed by itself is opened again.
//!
//! At once, because most such failures need a coincidence to happen; but one that follows from what is in the log
//! comes again each time, so there is a bound, and beyond it the replica stays closed for a while.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use quorate_storage::GroupId;
use tokio::time::Instant;

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

    /// Returns whether a replica has to wait.
    pub(super) fn waits(&self, group: GroupId, now: Instant) -> bool {
        self.waiting.get(&group).is_some_and(|until| *until > now)
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

    #[test]
    fn a_replica_is_opened_again_some_times_and_then_waits() {
        let (mut restarts, now) = (Restarts::default(), Instant::now());
        for _ in 0..TIMES {
            restarts.failed(GROUP, now);
            assert!(!restarts.waits(GROUP, now));
        }
        assert_eq!(restarts.next_due(), None);
        restarts.failed(GROUP, now);
        assert!(restarts.waits(GROUP, now));
        assert!(!restarts.waits(GroupId(2), now));
        assert_eq!(restarts.take_due(now), []);
        assert_eq!(restarts.next_due(), Some(now + WINDOW));
        assert_eq!(restarts.take_due(now + WINDOW), [GROUP]);
        assert!(!restarts.waits(GROUP, now + WINDOW));
    }

    #[test]
    fn failures_of_long_ago_do_not_count() {
        let (mut restarts, start) = (Restarts::default(), Instant::now());
        for time in 0..10 {
            let now = start + WINDOW / 2 * time;
            restarts.failed(GROUP, now);
            assert!(!restarts.waits(GROUP, now));
        }
    }
}
