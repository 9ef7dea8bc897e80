//! The long poll: find the partitions, wait until they have enough, read them once.
//!
//! What could be read is counted by positions in the logs, without reading: a fetch that waits for much is woken by
//! every commit of its partitions, and would else read the same records over and over and drop them. Where the last
//! stable offset lies within the log it is not known where that is in bytes before it was read up to there, so it is
//! read once whenever it has moved. Only the partitions wake it. A topic that is deleted or moved away closes its replicas, so changes of the cluster's metadata
//! need not.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, timeout_at};

use crate::kafka::route::Led;
use crate::kafka::server::{KafkaServer, stopped};
use crate::kafka::sessions::{PartitionFetch, Plan};
use crate::partition::{Changes, Closed, Partition};

use super::FetchOptions;
use super::look::{Found, PartitionRead, ReadPass, find_all, read_all};

/// Returns what is read when there is enough, an error, the end of the client's wait, or the broker stops.
pub(super) async fn until_enough(
    server: &KafkaServer,
    plan: &Plan,
    terms: &FetchOptions,
) -> ReadPass {
    let needed = bytes_needed(plan, terms);
    let mut stopping = server.stopping.clone();
    let mut known = vec![Known::default(); plan.wanted.len()];
    loop {
        let last = Instant::now() >= terms.deadline || *stopping.borrow();
        // Subscribed before looking, so that nothing is missed in between.
        let changes = changes(server, plan);
        let found = find_all(server, plan, terms).await;
        let waits = waits(plan, &found, changes, &known, terms.read_committed);
        let has = waits.as_ref().map(|waits| Wait::sum(waits));
        if last || has.is_none_or(|has| has >= needed) {
            let look = read_all(server, plan, terms, found).await;
            if last || look.is_enough(needed) {
                return look;
            }
            for (known, seen) in known.iter_mut().zip(&look.seen) {
                if let PartitionRead::Records(read) = seen {
                    // Of one that has more than it may give it does not matter how much.
                    let records = &read.records;
                    let bytes = if records.is_cut() { usize::MAX } else { records.bytes.len() };
                    let (begin, stable) = (records.bytes_before, records.last_stable_offset);
                    *known = Known { begin, stable, bytes };
                }
            }
            continue;
        }
        let enough = async {
            tokio::select! {
                () = until_more(waits.unwrap_or_default(), needed) => {}
                () = stopped(&mut stopping) => {}
            }
        };
        // Whatever ended the wait, the next look finds it.
        let _ = timeout_at(terms.deadline, enough).await;
    }
}

/// Returns how many bytes the client waits for: what it says, but no more than it lets an answer hold, which would
/// never come.
fn bytes_needed(plan: &Plan, terms: &FetchOptions) -> usize {
    let all = plan.wanted.iter().map(|(_, wanted)| wanted.bytes_max);
    let most = all.fold(0, usize::saturating_add).min(terms.bytes_max);
    terms.bytes_min.min(most.max(1))
}

/// Subscribes to every partition of the plan that is here.
fn changes(server: &KafkaServer, plan: &Plan) -> Vec<Option<Changes>> {
    let image = server.context.metadata.image();
    let find = |key: &crate::kafka::keys::PartitionKey| {
        let info = key.find(&image).ok()?;
        server.context.partitions.get(info.group).map(|partition| partition.changed())
    };
    plan.wanted.iter().map(|(key, _)| find(key)).collect()
}

/// What a read has found out of a partition.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// Where reading would begin, in the measure of [`Partition::bytes_end`].
    begin: u64,
    /// The last stable offset, and how many bytes there are up to it.
    stable: i64,
    bytes: usize,
}

impl Default for Known {
    fn default() -> Known {
        Known { begin: 0, stable: -1, bytes: 0 }
    }
}

/// A partition that is waited on.
struct Wait {
    partition: Arc<Partition>,
    epoch: i32,
    offset: i64,
    bytes_max: usize,
    known: Known,
    read_committed: bool,
    changes: Changes,
}

impl Wait {
    fn new(
        led: &Led,
        wanted: &PartitionFetch,
        mut known: Known,
        read_committed: bool,
        changes: Changes,
    ) -> Self {
        let partition = Arc::clone(&led.partition);
        known.begin = partition.bytes_before(wanted.offset).max(known.begin);
        let (epoch, offset, bytes_max) = (led.epoch, wanted.offset, wanted.bytes_max);
        Self { partition, epoch, offset, bytes_max, known, read_committed, changes }
    }

    /// Returns the most that a read can find; `None` when there is something else to say.
    fn has(&self) -> Option<usize> {
        let leads = self.partition.leader_epoch_if_ready() == Ok(self.epoch);
        let within = self.partition.log_start()..=self.partition.high_watermark();
        if !leads || !within.contains(&self.offset) {
            return None;
        }
        Some(self.bytes().min(self.bytes_max.max(1)))
    }

    /// Returns the bytes of what may be read, or more.
    fn bytes(&self) -> usize {
        if self.read_committed {
            let stable = self.partition.last_stable_offset();
            if stable <= self.offset {
                return 0;
            }
            if stable == self.known.stable {
                return self.known.bytes;
            }
        }
        let end = if self.read_committed {
            self.partition.bytes_stable()
        } else {
            self.partition.bytes_end()
        };
        usize::try_from(end.saturating_sub(self.known.begin)).unwrap_or(usize::MAX)
    }

    fn sum(waits: &[Wait]) -> usize {
        waits.iter().map(|wait| wait.has().unwrap_or(0)).fold(0, usize::saturating_add)
    }

    async fn changed(mut self, at: usize) -> (usize, Wait, Result<(), Closed>) {
        let changed = self.changes.changed().await;
        (at, self, changed)
    }
}

/// Returns what to wait on; `None` when some partition is answered without a wait.
fn waits(
    plan: &Plan,
    found: &Found,
    changes: Vec<Option<Changes>>,
    known: &[Known],
    read_committed: bool,
) -> Option<Vec<Wait>> {
    let each = plan.wanted.iter().zip(&found.led).zip(changes).zip(known);
    let wait = each.map(|((((_, wanted), led), changes), known)| {
        let wait = Wait::new(led.as_ref().ok()?, wanted, *known, read_committed, changes?);
        wait.has().map(|_| wait)
    });
    let waits: Option<Vec<Wait>> = wait.collect();
    waits.filter(|waits| !waits.is_empty())
}

/// Returns when the partitions may have `needed` bytes, or one has something else to say.
async fn until_more(waits: Vec<Wait>, needed: usize) {
    let mut has: Vec<usize> = waits.iter().map(|wait| wait.has().unwrap_or(0)).collect();
    let mut changes: FuturesUnordered<_> =
        waits.into_iter().enumerate().map(|(at, wait)| wait.changed(at)).collect();
    while let Some((at, wait, Ok(()))) = changes.next().await {
        let Some(bytes) = wait.has() else { return };
        has[at] = bytes;
        if has.iter().copied().fold(0, usize::saturating_add) >= needed {
            return;
        }
        changes.push(wait.changed(at));
    }
}
