//! How much room the disk has, and when that is too little.
//!
//! Storage never refuses a write for lack of space: what a group has agreed on must be taken. It
//! measures, and says when the layers above should stop agreeing on more. What is in flight then,
//! memtables that wait to become tables, and everything that frees space again (deletions, votes,
//! metadata) live on what is left below the low watermark.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::mutant;

/// Room on a file system, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskSpace {
    /// What this process may still write.
    pub free: u64,
    pub total: u64,
}

impl DiskSpace {
    /// Asks the file system that holds `path`, or will hold it once it is created.
    pub fn of(path: &Path) -> io::Result<DiskSpace> {
        let exists = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
        let told = rustix::fs::statvfs(exists)?;
        let bytes = |blocks: u64| blocks.saturating_mul(told.f_frsize);
        Ok(DiskSpace { free: bytes(told.f_bavail), total: bytes(told.f_blocks) })
    }
}

/// Free bytes at which a disk becomes short of space, and at which it no longer is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Watermarks {
    pub low: u64,
    pub resume: u64,
}

impl Watermarks {
    /// Whether the disk is short of space now, given whether it was. The gap between the two marks
    /// keeps a disk at the edge from changing its mind with every write.
    pub fn step(self, was_low: bool, free: u64) -> bool {
        !mutant::on("room-unminded")
            && free < if was_low { self.resume.max(self.low) } else { self.low }
    }
}

/// What was last measured.
#[derive(Debug, Default)]
pub(crate) struct Space {
    free: AtomicU64,
    total: AtomicU64,
    low: AtomicBool,
    ballast: AtomicU64,
}

impl Space {
    pub fn disk(&self) -> DiskSpace {
        DiskSpace {
            free: self.free.load(Ordering::Relaxed),
            total: self.total.load(Ordering::Relaxed),
        }
    }

    pub fn is_low(&self) -> bool {
        self.low.load(Ordering::Relaxed)
    }

    pub fn ballast(&self) -> u64 {
        self.ballast.load(Ordering::Relaxed)
    }

    pub fn set_ballast(&self, bytes: u64) {
        self.ballast.store(bytes, Ordering::Relaxed);
    }

    /// Takes what was measured.
    pub fn take(&self, measured: DiskSpace, marks: Watermarks) {
        self.free.store(measured.free, Ordering::Relaxed);
        self.total.store(measured.total, Ordering::Relaxed);
        let was_low = self.is_low();
        let low = marks.step(was_low, measured.free);
        self.low.store(low, Ordering::Relaxed);
        let DiskSpace { free, total } = measured;
        match (was_low, low) {
            (false, true) => tracing::warn!(
                free,
                total,
                low_mark = marks.low,
                "disk space is low, records are refused until some is free"
            ),
            (true, false) => tracing::info!(free, total, "disk space is sufficient again"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_short_from_the_lower_mark_on_until_the_upper_one_is_reached() {
        let marks = Watermarks { low: 100, resume: 150 };
        let mut low = false;
        let seen: Vec<bool> = [200, 100, 99, 100, 149, 150, 120, 100, 99, 0, 151]
            .into_iter()
            .map(|free| {
                low = marks.step(low, free);
                low
            })
            .collect();
        let expected = [false, false, true, true, true, false, false, false, true, true, false];
        assert_eq!(seen, expected);
    }

    #[test]
    fn without_marks_no_disk_is_short_and_marks_in_the_wrong_order_do_not_flap() {
        assert!(!Watermarks::default().step(true, 0));
        let wrong = Watermarks { low: 100, resume: 10 };
        assert!(wrong.step(true, 50) && wrong.step(false, 50));
        assert!(!wrong.step(true, 100) && !wrong.step(false, 100));
    }

    #[test]
    fn a_directory_that_does_not_exist_yet_is_measured_where_it_will_be() {
        let dir = tempfile::tempdir().unwrap();
        let here = DiskSpace::of(dir.path()).unwrap();
        let there = DiskSpace::of(&dir.path().join("not/yet")).unwrap();
        assert!(here.total > 0 && here.total == there.total);
    }
}
