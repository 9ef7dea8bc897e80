//! The long poll: find the partitions, wait until they have enough, read them once.
//!
//! What could be read is counted by positions in the logs, without reading: a fetch that waits for much is woken by
//! every commit of its partitions, and would else read the same records over and over and drop them. Only the
//! partitions wake it. A topic that is deleted or moved away closes its replicas, so changes of the cluster's metadata
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
    // Where reading would begin, as far as a read has found out.
    let mut begins = vec![0; plan.wanted.len()];
    loop {
        let last = Instant::now() >= terms.deadline || *stopping.borrow();
        // Subscribed before looking, so that nothing is missed in between.
        let changes = changes(server, plan);
        let found = find_all(server, plan, terms).await;
        let waits = waits(plan, &found, changes, &begins);
        let has = waits.as_ref().map(|waits| Wait::sum(waits));
        if last || has.is_none_or(|has| has >= needed) {
            let look = read_all(server, plan, terms, found).await;
            if last || look.is_enough(needed) {
                return look;
            }
            for (begin, seen) in begins.iter_mut().zip(&look.seen) {
                if let PartitionRead::Records(records) = seen {
                    *begin = records.bytes_before;
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

/// A partition that is waited on.
struct Wait {
    partition: Arc<Partition>,
    epoch: i32,
    offset: i64,
    bytes_max: usize,
    /// Where reading would begin, in the measure of [`Partition::bytes_end`].
    begin: u64,
    changes: Changes,
}

impl Wait {
    fn new(led: &Led, wanted: &PartitionFetch, begin: u64, changes: Changes) -> Self {
        let partition = Arc::clone(&led.partition);
        let begin = partition.bytes_before(wanted.offset).max(begin);
        let (epoch, offset, bytes_max) = (led.epoch, wanted.offset, wanted.bytes_max);
        Self { partition, epoch, offset, bytes_max, begin, changes }
    }

    /// Returns the most that a read can find; `None` when there is something else to say.
    fn has(&self) -> Option<usize> {
        let leads = self.partition.leader_epoch_if_ready() == Ok(self.epoch);
        let within = self.partition.log_start()..=self.partition.high_watermark();
        if !leads || !within.contains(&self.offset) {
            return None;
        }
        let bytes = self.partition.bytes_end().saturating_sub(self.begin);
        Some(usize::try_from(bytes).unwrap_or(usize::MAX).min(self.bytes_max.max(1)))
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
    begins: &[u64],
) -> Option<Vec<Wait>> {
    let each = plan.wanted.iter().zip(&found.led).zip(changes).zip(begins);
    let wait = each.map(|((((_, wanted), led), changes), begin)| {
        let wait = Wait::new(led.as_ref().ok()?, wanted, *begin, changes?);
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
