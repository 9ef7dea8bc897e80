//! How a compaction comes along: what stops it, what slows it down, and what people see of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::CompactError;

/// What a broker's compactions may read and write a second, all together.
#[derive(Debug)]
pub struct CompactionPace {
    /// 0 stands for no limit.
    bytes_per_second: AtomicU64,
    /// When what has been used is paid for.
    paid: Mutex<Instant>,
}

/// No sleep is longer, so that a broker that stops or a pace that is changed is noticed.
const SLEEP_MAX: Duration = Duration::from_millis(200);
/// So much may be used at once.
const BURST: Duration = Duration::from_millis(100);

impl CompactionPace {
    /// Returns the pace; 0 is no limit.
    pub fn new(bytes_per_second: u64) -> Self {
        let paid = Mutex::new(Instant::now());
        Self { bytes_per_second: AtomicU64::new(bytes_per_second), paid }
    }

    /// Changes the pace of what runs, too; 0 is no limit.
    pub fn set(&self, bytes_per_second: u64) {
        self.bytes_per_second.store(bytes_per_second, Ordering::Relaxed);
    }

    /// Notes that bytes were used; returns how long to wait before more are.
    fn spend(&self, bytes: usize, now: Instant) -> Duration {
        let rate = self.bytes_per_second.load(Ordering::Relaxed);
        if rate == 0 {
            return Duration::ZERO;
        }
        let nanos = (bytes as u64).saturating_mul(1_000_000_000) / rate;
        let mut paid = self.paid.lock();
        *paid = (*paid).max(now.checked_sub(BURST).unwrap_or(now)) + Duration::from_nanos(nanos);
        paid.saturating_duration_since(now).min(SLEEP_MAX)
    }
}

/// What a replica's compactions came to since the broker started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CompactionTotals {
    /// Compactions that ended.
    pub runs: u64,
    /// Those that failed, and are tried again.
    pub failures: u64,
    /// Bytes of batches that were read and written.
    pub bytes_read: u64,
    pub bytes_written: u64,
    /// Bytes of batches that were left out.
    pub bytes_saved: u64,
    /// When the last one ended, by the wall clock in milliseconds since 1970, and how long it took.
    pub last_ended_ms: Option<i64>,
    pub last_took_ms: u64,
    /// Whether one runs now.
    pub running: bool,
}

/// See the file's header.
pub(super) struct Progress<'a> {
    pub(super) pace: &'a CompactionPace,
    pub(super) totals: &'a Mutex<CompactionTotals>,
    pub(super) stopped: &'a (dyn Fn() -> bool + Sync),
}

impl Progress<'_> {
    /// Counts bytes that were read, and waits as the pace wants it.
    pub(super) fn read(&self, bytes: usize) -> Result<(), CompactError> {
        if (self.stopped)() {
            return Err(CompactError::Stopped);
        }
        self.totals.lock().bytes_read += bytes as u64;
        self.wait(bytes);
        Ok(())
    }

    /// Counts bytes that were written of so many, and waits as the pace wants it.
    pub(super) fn wrote(&self, bytes: usize, of: usize) {
        let mut totals = self.totals.lock();
        totals.bytes_written += bytes as u64;
        totals.bytes_saved += of.saturating_sub(bytes) as u64;
        drop(totals);
        self.wait(bytes);
    }

    #[expect(clippy::disallowed_methods, reason = "on a thread of its own that may block")]
    fn wait(&self, bytes: usize) {
        let wait = self.pace.spend(bytes, Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_paid_for_at_the_pace() {
        let pace = CompactionPace::new(1_000_000);
        let begin = Instant::now() + Duration::from_secs(10);
        *pace.paid.lock() = begin;
        assert_eq!(pace.spend(50_000, begin), Duration::from_millis(50));
        let later = begin + Duration::from_millis(50);
        assert_eq!(pace.spend(50_000, later), Duration::from_millis(50));
        // What was not used is not saved up beyond the burst.
        let later = begin + Duration::from_secs(60);
        assert_eq!(pace.spend(100_000, later), Duration::ZERO);
        assert_eq!(pace.spend(10_000, later), Duration::from_millis(10));
        assert_eq!(pace.spend(10_000_000, later), SLEEP_MAX);
        pace.set(0);
        assert_eq!(pace.spend(1 << 40, later), Duration::ZERO);
    }
}
