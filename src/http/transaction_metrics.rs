//! What `/metrics` tells of open transactions: of each partition that has some how many, and how old the oldest is.
//!
//! The leader of a partition tells, so that together the brokers tell of each once. Partitions without an open transaction have no
//! series; a transaction that hangs is seen by the age of the oldest, which is what to be alarmed by. All of it is in memory.
//! Bound: `PARTITIONS_MAX` partitions, those with the oldest transactions.

use std::cmp::Reverse;

use crate::context::Context;
use crate::telemetry::{TopicPartition, metrics};

/// Partitions that a broker tells of; each is two series.
const PARTITIONS_MAX: usize = 2_000;

/// Reads the metrics of open transactions. One at a time: whoever calls holds what `lag::read` returned until they are written
/// out.
pub(super) fn read(context: &Context) {
    let mut open = Vec::new();
    for partition in context.partitions.all() {
        // One that leads no more tells nothing, and the next leader does.
        if partition.leader_epoch_if_ready().is_err() {
            continue;
        }
        let transactions = partition.open_transactions();
        if let Some(oldest) = transactions.iter().map(|it| it.open_ms).max() {
            open.push((oldest, transactions.len(), partition));
        }
    }
    open.sort_by_key(|(oldest, _, partition)| (Reverse(*oldest), partition.id()));
    let left_out = open.len().saturating_sub(PARTITIONS_MAX);
    open.truncate(PARTITIONS_MAX);
    let metrics = metrics();
    metrics.partition_open_transactions.clear();
    metrics.partition_oldest_transaction_seconds.clear();
    metrics.partition_transactions_left_out.set(super::scrape::gauge(left_out));
    for (oldest, count, partition) in open {
        let (topic, partition) = (partition.topic().to_owned(), partition.number());
        let labels = TopicPartition { topic, partition };
        let count = super::scrape::gauge(count);
        metrics.partition_open_transactions.get_or_create_owned(&labels).set(count);
        let age = std::time::Duration::from_millis(u64::try_from(oldest).unwrap_or(0));
        let age = age.as_secs_f64();
        metrics.partition_oldest_transaction_seconds.get_or_create_owned(&labels).set(age);
    }
}
