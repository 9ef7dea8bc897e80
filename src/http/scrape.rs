//! `/metrics`: what is counted all the time, and what is read off the broker when somebody asks.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use prometheus_client::metrics::counter::Counter;
use quorate_raft::Role;

use super::{compaction_metrics, lag, transaction_metrics};
use crate::context::Context;
use crate::telemetry::{BrokerState, RaftRole, Seconds, State as BrokerIs, metrics, usage};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Returns this broker's metrics in the OpenMetrics text format, which Prometheus reads.
#[utoipa::path(
    get, path = "/metrics", tag = "health",
    responses((status = 200, description = "The metrics", body = String, content_type = "application/openmetrics-text"))
)]
pub(super) async fn metrics_text(State(context): State<Context>) -> impl IntoResponse {
    let _scrape = lag::read(&context).await;
    compaction_metrics::read(&context);
    transaction_metrics::read(&context);
    read_cluster(&context);
    read_groups(&context);
    read_storage(&context);
    if let Some(usage) = usage() {
        metrics().process_resident_bytes.set(gauge(usage.resident_bytes));
        seconds(&metrics().process_cpu_seconds, usage.cpu);
    }
    ([(header::CONTENT_TYPE, OPEN_METRICS)], metrics().text())
}

fn read_cluster(context: &Context) {
    let image = context.metadata.image();
    let live = image.live_brokers().count();
    let brokers = |state| metrics().cluster_brokers.get_or_create_owned(&BrokerState { state });
    brokers(BrokerIs::Live).set(gauge(live));
    brokers(BrokerIs::Fenced).set(gauge(image.brokers.len() - live));
    metrics().cluster_topics.set(gauge(image.topics.len()));
    metrics().cluster_partitions.set(gauge(image.groups.len()));
    let leaderless = image.groups.keys().filter(|group| context.metadata.leader(**group).is_none());
    metrics().cluster_leaderless_partitions.set(gauge(leaderless.count()));
}

fn read_groups(context: &Context) {
    let roles = [Role::Leader, Role::Follower, Role::Learner, Role::Candidate, Role::Stopped];
    let mut count: BTreeMap<&str, i64> =
        roles.iter().map(|role| (super::raft::role_name(*role), 0)).collect();
    let (mut follower_lag, mut apply_lag, mut corrupt, mut diverged) = (0, 0, 0, 0);
    for status in context.node.statuses() {
        *count.entry(super::raft::role_name(status.role)).or_default() += 1;
        let behind = status.followers.iter().map(|follower| follower.lag).max().unwrap_or(0);
        follower_lag = follower_lag.max(behind);
        let unapplied =
            status.committed_index.unwrap_or(0).saturating_sub(status.applied_index.unwrap_or(0));
        apply_lag = apply_lag.max(unapplied);
        corrupt += i64::from(status.corrupt_index.is_some());
        diverged += i64::from(status.divergence.is_some());
    }
    for (role, groups) in count {
        metrics().raft_groups.get_or_create_owned(&RaftRole { role: role.to_owned() }).set(groups);
    }
    metrics().raft_follower_lag_entries_max.set(gauge(follower_lag));
    metrics().raft_apply_lag_entries_max.set(gauge(apply_lag));
    metrics().raft_corrupt_groups.set(corrupt);
    metrics().raft_diverged_groups.set(diverged);
}

fn read_storage(context: &Context) {
    let stats = context.db.stats();
    let metrics = metrics();
    let total = |counter: &Counter, value: u64| counter.inner().store(value, Ordering::Relaxed);
    total(&metrics.storage_appended_entries, stats.entries_appended);
    total(&metrics.storage_appended_bytes, stats.bytes_appended);
    total(&metrics.storage_rewritten_bytes, stats.bytes_rewritten);
    total(&metrics.storage_syncs, stats.syncs);
    seconds(&metrics.storage_sync_seconds, stats.sync_time);
    metrics.storage_sync_seconds_max.set(stats.sync_time_max.as_secs_f64());
    metrics.storage_queue_bytes.set(gauge(stats.queue_bytes));
    metrics.storage_live_bytes.set(gauge(stats.live_bytes));
    metrics.storage_chunk_bytes.set(gauge(stats.chunk_bytes));
    metrics.storage_disk_bytes.set(gauge(stats.disk_bytes));
    metrics.storage_cache_bytes.set(gauge(stats.cache_bytes));
    metrics.storage_free_bytes.set(gauge(stats.free_bytes));
    metrics.storage_ballast_bytes.set(gauge(stats.ballast_bytes));
    metrics.storage_low_space.set(stats.low_space.into());
    metrics.storage_stalled_seconds.set(context.node.disk_stalled_for().as_secs_f64());
    metrics.storage_behind.set(stats.behind.into());
    metrics.storage_generations.set(gauge(stats.generations));
}

/// The crate's counters can only be added to; what is counted elsewhere is stored as its atomic keeps it.
fn seconds(counter: &Seconds, value: Duration) {
    counter.inner().store(value.as_secs_f64().to_bits(), Ordering::Relaxed);
}

pub(super) fn gauge(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}
