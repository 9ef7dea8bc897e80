//! Back-pressure for a disk that writes tables more slowly than its log.
//!
//! RocksDB's own answer to too many unwritten memtables is to stop every write, also the vote that
//! would let another node lead. So its limits are out of reach here, and new entries are held back
//! before they enter a log: by proposers and by followers' append streams, which can wait. What is
//! in flight by then is bounded up there, finds room in memory, and a vote never waits behind it.

use tokio::sync::watch;

use crate::rocks::Rocks;

/// Memtables of the log that may wait to become tables before new entries are held back.
const PENDING_MAX: u64 = 2;
/// Tables in level 0 of the log before they are: every read looks into each of them.
const LEVEL_ZERO_MAX: u64 = 40;

#[derive(Debug, Default)]
pub(crate) struct Flow {
    behind: watch::Sender<bool>,
}

impl Flow {
    /// Asks RocksDB how far the tables are behind.
    pub fn update(&self, rocks: &Rocks) {
        let behind =
            rocks.pending_memtables() >= PENDING_MAX || rocks.level_zero_tables() >= LEVEL_ZERO_MAX;
        self.set(behind);
    }

    /// Lets everybody in, for a store that closes: writes are refused anyway.
    pub fn open(&self) {
        self.set(false);
    }

    pub fn is_behind(&self) -> bool {
        *self.behind.borrow()
    }

    /// Waits while the tables are behind.
    pub async fn admit(&self) {
        if self.is_behind() {
            let mut behind = self.behind.subscribe();
            // The sender lives as long as this does.
            drop(behind.wait_for(|behind| !*behind).await);
        }
    }

    fn set(&self, behind: bool) {
        self.behind.send_if_modified(|known| std::mem::replace(known, behind) != behind);
    }
}
