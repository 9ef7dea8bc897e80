//! Which operations on the disk are under way, for a watchdog above.
//!
//! A disk that hangs reports nothing: the thread in the system call just does not come back. So each
//! thread counts before and after; whoever looks twice and finds the same odd number knows that the
//! operation has not ended in between. Counting takes no clock, so a process that was paused does
//! not take its own pause for a slow disk.

use std::sync::atomic::{AtomicU64, Ordering};

/// The operations a watchdog tells apart.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operation {
    /// A write or a memtable switch of the writer thread.
    Write,
    /// A sync of the write-ahead log with the note beside it.
    Sync,
    /// A question about the disk's free space.
    Space,
}

/// One number per kind of operation: it grows when one begins and when it ends, so it is odd while
/// one is under way.
pub type Operations = [u64; 3];

#[derive(Debug, Default)]
pub(crate) struct Activity([AtomicU64; 3]);

impl Activity {
    /// Does something that the disk may hold up.
    pub fn run<R>(&self, kind: Operation, operation: impl FnOnce() -> R) -> R {
        let count = &self.0[kind as usize];
        count.fetch_add(1, Ordering::Relaxed);
        let result = operation();
        count.fetch_add(1, Ordering::Relaxed);
        result
    }

    pub fn look(&self) -> Operations {
        std::array::from_fn(|operation| self.0[operation].load(Ordering::Relaxed))
    }
}
