//! The terms of a group's log as runs: a term and the first index that carries it.
//!
//! Raft asks for the term of an index far more often than for its payload (§5.3's consistency
//! check, a restart, a follower that probes). A log changes term only when its leader changes, so
//! the runs are few, stay in memory and make that question free. They are persisted with the entry
//! that begins them.

/// `term` holds from `first` up to the next run, or to the end of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub first: u64,
    pub term: u64,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Runs(Vec<Run>);

impl Runs {
    /// Takes runs read from disk, in index order.
    pub fn from_sorted(runs: Vec<Run>) -> Runs {
        Runs(runs)
    }

    /// Notes that `index` was appended in `term`; gives the run if this begins one.
    pub fn push(&mut self, index: u64, term: u64) -> Option<Run> {
        if self.0.last().is_some_and(|run| run.term == term) {
            return None;
        }
        let run = Run { first: index, term };
        self.0.push(run);
        Some(run)
    }

    /// Forgets the log from `end` on; gives the first indexes whose records must go.
    pub fn truncate(&mut self, end: u64) -> Vec<u64> {
        let keep = self.0.partition_point(|run| run.first < end);
        self.0.drain(keep..).map(|run| run.first).collect()
    }

    /// Forgets runs that end before `start`; gives the first indexes whose records must go.
    pub fn purge(&mut self, start: u64) -> Vec<u64> {
        let keep = self.0.partition_point(|run| run.first <= start).saturating_sub(1);
        self.0.drain(..keep).map(|run| run.first).collect()
    }

    /// Forgets everything; gives the first indexes whose records must go.
    pub fn clear(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.0).into_iter().map(|run| run.first).collect()
    }

    /// First index of the oldest run.
    pub fn first(&self) -> Option<u64> {
        self.0.first().map(|run| run.first)
    }

    /// The term of an index that is known to be in the log.
    pub fn term_at(&self, index: u64) -> Option<u64> {
        let after = self.0.partition_point(|run| run.first <= index);
        Some(self.0[after.checked_sub(1)?].term)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(list: &[(u64, u64)]) -> Runs {
        Runs::from_sorted(list.iter().map(|&(first, term)| Run { first, term }).collect())
    }

    #[test]
    fn only_the_first_entry_of_a_term_begins_a_run() {
        let mut runs = Runs::default();
        assert_eq!(runs.push(5, 1), Some(Run { first: 5, term: 1 }));
        assert_eq!(runs.push(6, 1), None);
        assert_eq!(runs.push(7, 4), Some(Run { first: 7, term: 4 }));
        assert_eq!(runs.term_at(4), None);
        assert_eq!(runs.term_at(6), Some(1));
        assert_eq!(runs.term_at(7), Some(4));
        assert_eq!(runs.term_at(900), Some(4));
    }

    #[test]
    fn truncating_drops_the_runs_that_begin_behind_the_cut() {
        let mut runs = runs(&[(1, 1), (5, 2), (9, 3)]);
        assert_eq!(runs.truncate(6), vec![9]);
        assert_eq!(runs.truncate(5), vec![5]);
        assert_eq!(runs.push(5, 7), Some(Run { first: 5, term: 7 }));
        assert_eq!(runs.term_at(4), Some(1));
    }

    #[test]
    fn purging_keeps_the_run_that_covers_the_first_kept_index() {
        let mut runs = runs(&[(1, 1), (5, 2), (9, 3)]);
        assert_eq!(runs.purge(4), Vec::<u64>::new());
        assert_eq!(runs.purge(8), vec![1]);
        assert_eq!(runs.term_at(8), Some(2));
        assert_eq!(runs.purge(9), vec![5]);
        assert_eq!(runs.clear(), vec![9]);
        assert_eq!(runs.term_at(9), None);
    }
}
