//! What `/metrics` tells of compaction: of each compacted partition how far this broker's replica is, and what that took.
//!
//! Every broker tells of its own replicas, also of those it does not lead, for each compacts by itself and one that stays
//! behind is seen nowhere else. All of it is in memory. Bound: `PARTITIONS_MAX` partitions, those of the oldest groups, so that
//! it is always the same that are left out.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::compaction;
use crate::context::Context;
use crate::partition::Partition;
use crate::telemetry::{TopicPartition, metrics};

/// Partitions that a broker tells of; each is ten series.
const PARTITIONS_MAX: usize = 2_000;

/// Reads the metrics of compaction. One at a time: whoever calls holds what `lag::read` returned until they are written out.
pub(super) fn read(context: &Context) {
    let mut compacted = context.partitions.all();
    compacted.retain(|it| it.settings().compaction.is_some());
    compacted.sort_by_key(|it| it.id());
    let left_out = compacted.len().saturating_sub(PARTITIONS_MAX);
    compacted.truncate(PARTITIONS_MAX);
    clear();
    let image = context.metadata.image();
    metrics().compaction_paused.set(compaction::is_paused(context, &image).into());
    metrics().compaction_partitions_left_out.set(super::scrape::gauge(left_out));
    compacted.iter().for_each(tell);
}

fn clear() {
    let metrics = metrics();
    metrics.compaction_dirty_ratio.clear();
    metrics.compaction_compacted_offset.clear();
    metrics.compaction_pending_offsets.clear();
    metrics.compaction_running.clear();
    metrics.compaction_last_run_seconds.clear();
    let totals = [
        &metrics.compaction_runs,
        &metrics.compaction_failures,
        &metrics.compaction_read_bytes,
        &metrics.compaction_written_bytes,
        &metrics.compaction_saved_bytes,
    ];
    totals.into_iter().for_each(Family::clear);
}

fn tell(partition: &Arc<Partition>) {
    let metrics = metrics();
    let (topic, partition_index) = (partition.topic().to_owned(), partition.number());
    let labels = TopicPartition { topic, partition: partition_index };
    if let Ok(state) = partition.compaction_state() {
        let ratio = f64::from(state.dirty_millionths()) / 1e6;
        metrics.compaction_dirty_ratio.get_or_create_owned(&labels).set(ratio);
        metrics.compaction_compacted_offset.get_or_create_owned(&labels).set(state.compacted_upto);
        let pending = state.decided_upto - state.compacted_upto;
        metrics.compaction_pending_offsets.get_or_create_owned(&labels).set(pending);
    }
    let totals = partition.compactions();
    metrics.compaction_running.get_or_create_owned(&labels).set(totals.running.into());
    let total = |family: &Family<TopicPartition, Counter>, value: u64| {
        family.get_or_create_owned(&labels).inner().store(value, Ordering::Relaxed);
    };
    total(&metrics.compaction_runs, totals.runs);
    total(&metrics.compaction_failures, totals.failures);
    total(&metrics.compaction_read_bytes, totals.bytes_read);
    total(&metrics.compaction_written_bytes, totals.bytes_written);
    total(&metrics.compaction_saved_bytes, totals.bytes_saved);
    if totals.last_ended_ms.is_some() {
        let seconds = std::time::Duration::from_millis(totals.last_took_ms).as_secs_f64();
        metrics.compaction_last_run_seconds.get_or_create_owned(&labels).set(seconds);
    }
}
