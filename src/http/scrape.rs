//! `/metrics`: what is counted all the time, and what is read off the broker when somebody asks.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use quorate_raft::Role;

use crate::broker::Context;
use crate::telemetry::{BrokerState, RaftRole, State as BrokerIs, metrics, usage};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Returns this broker's metrics in the OpenMetrics text format, which Prometheus reads.
#[utoipa::path(get, path = "/metrics", tag = "health", responses((status = 200, description = "The metrics", body = String)))]
pub(super) async fn metrics_text(State(context): State<Context>) -> impl IntoResponse {
    read_cluster(&context);
    read_groups(&context);
    if let Some(usage) = usage() {
        metrics().process_resident_bytes.set(gauge(usage.resident_bytes));
        metrics().process_cpu_seconds.set(usage.cpu.as_secs_f64());
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
    let (mut follower_lag, mut apply_lag) = (0, 0);
    for status in context.node.statuses() {
        *count.entry(super::raft::role_name(status.role)).or_default() += 1;
        let behind = status.followers.iter().map(|follower| follower.lag).max().unwrap_or(0);
        follower_lag = follower_lag.max(behind);
        let unapplied =
            status.committed_index.unwrap_or(0).saturating_sub(status.applied_index.unwrap_or(0));
        apply_lag = apply_lag.max(unapplied);
    }
    for (role, groups) in count {
        metrics().raft_groups.get_or_create_owned(&RaftRole { role: role.to_owned() }).set(groups);
    }
    metrics().raft_follower_lag_entries_max.set(gauge(follower_lag));
    metrics().raft_apply_lag_entries_max.set(gauge(apply_lag));
}

fn gauge(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}
