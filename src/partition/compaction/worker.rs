//! Compacts the partitions of a broker, one at a time.
//!
//! At every look leaders decide what is due, and then all replicas that have something to do are compacted, those with the
//! most that is new first. One at a time bounds memory to one map of keys, and space to two chunks.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::{CompactError, CompactionPace};
use crate::partition::retention::CurrentSettings;
use crate::partition::{Partition, Partitions, TrimError};

/// How long one partition's decision may take before the look goes on to the next.
const DECIDE_WAIT_MAX: Duration = Duration::from_secs(10);

/// How a broker compacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactorSettings {
    /// Between the end of one look and the next, give or take a quarter.
    pub interval: Duration,
    /// What the map of keys may take.
    pub map_bytes: usize,
    /// How long the log stays behind what was compacted, for brokers that are away for a while.
    pub log_kept: Duration,
}

/// What an operator may change at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactorControl {
    /// Whether it compacts; otherwise it stops, in the middle of a chunk if need be.
    pub enabled: bool,
    /// What is read and written a second; 0 is no limit.
    pub bytes_per_second: u64,
}

/// Says what an operator wants now.
pub type AskControl = Arc<dyn Fn() -> CompactorControl + Send + Sync>;

/// The compactions of one broker.
pub struct Compactor {
    settings: CompactorSettings,
    control: AskControl,
    pace: Arc<CompactionPace>,
    wanted: Notify,
}

impl Compactor {
    /// Returns one that has done nothing.
    pub fn new(settings: CompactorSettings, control: AskControl) -> Self {
        let pace = Arc::new(CompactionPace::new(control().bytes_per_second));
        Self { settings, control, pace, wanted: Notify::new() }
    }

    /// One that does nothing by itself.
    #[cfg(test)]
    pub fn idle() -> Self {
        let settings = CompactorSettings {
            interval: Duration::from_secs(3_600),
            map_bytes: 1 << 20,
            log_kept: Duration::from_secs(600),
        };
        let control = CompactorControl { enabled: true, bytes_per_second: 0 };
        Self::new(settings, Arc::new(move || control))
    }

    /// Whether it compacts; the pace is as it should be then.
    fn is_enabled(&self) -> bool {
        is_enabled(&self.control, &self.pace)
    }

    /// Has it look now.
    pub(in crate::partition) fn look_now(&self) {
        self.wanted.notify_one();
    }

    /// Looks at all open partitions for ever. Drop it to stop; what runs then stops by itself once the replica is closed.
    pub(in crate::partition) async fn run(&self, partitions: &Partitions) {
        loop {
            let factor = rand::rng().random_range(0.75..1.25);
            tokio::select! {
                () = sleep(self.settings.interval.mul_f64(factor)) => {}
                () = self.wanted.notified() => {}
            }
            if self.is_enabled() {
                self.look(partitions).await;
            }
        }
    }

    /// Frees logs behind what was compacted, for ever. Beside the above, which may be at one partition for long.
    pub(in crate::partition) async fn free_logs(&self, partitions: &Partitions) {
        loop {
            sleep(self.settings.interval).await;
            for partition in partitions.all() {
                partition.free_log(self.settings.log_kept);
            }
        }
    }

    async fn look(&self, partitions: &Partitions) {
        let mut due = Vec::new();
        for partition in partitions.all() {
            if partition.compaction().is_none() {
                continue;
            }
            partition.look_for_dirty(partitions.current()).await;
            match partition.compaction_state() {
                Ok(state) => due.push((state.decided_upto - state.compacted_upto, partition)),
                Err(error) => {
                    tracing::debug!(group = %partition.id(), %error, "the tail cannot be read");
                }
            }
        }
        due.sort_by_key(|(offsets, _)| std::cmp::Reverse(*offsets));
        for (_, partition) in due {
            if !self.is_enabled() {
                return;
            }
            self.compact(&partition).await;
        }
    }

    async fn compact(&self, partition: &Arc<Partition>) {
        let (control, pace) = (Arc::clone(&self.control), Arc::clone(&self.pace));
        let stopped = move || !is_enabled(&control, &pace);
        let name = format!("{}-{}", partition.topic(), partition.number());
        match partition.compact(self.settings.map_bytes, &self.pace, stopped).await {
            Ok(false) => {}
            Ok(true) => {
                let totals = partition.compactions();
                tracing::debug!(partition = %name, took_ms = totals.last_took_ms, "compacted");
            }
            // The next look tries again.
            Err(error @ (CompactError::Changed | CompactError::Stopped)) => {
                tracing::debug!(partition = %name, %error, "not compacted");
            }
            Err(error) => tracing::warn!(partition = %name, %error, "not compacted"),
        }
    }
}

fn is_enabled(control: &AskControl, pace: &CompactionPace) -> bool {
    let CompactorControl { enabled, bytes_per_second } = control();
    pace.set(bytes_per_second);
    enabled
}

impl Partition {
    async fn look_for_dirty(&self, current: Option<&CurrentSettings>) {
        // All that goes wrong passes or was logged, and the next look tries again.
        match timeout(DECIDE_WAIT_MAX, self.decide_compaction(current, false)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(group = %self.id(), %error, "compaction not decided"),
            Err(_) => tracing::debug!(group = %self.id(), "compaction waits for a majority"),
        }
    }
}

impl Partitions {
    /// Has a partition compacted that this broker leads, whether or not that is due: everything that is older than
    /// `min.compaction.lag.ms`. Returns once that is decided, with whether there was anything; the replicas follow.
    pub async fn compact_now(&self, partition: &Partition) -> Result<bool, TrimError> {
        partition.fence()?;
        let decided = partition.decide_compaction(self.current(), true).await?;
        self.compactor().look_now();
        Ok(decided)
    }
}
