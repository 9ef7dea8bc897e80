//! The APIs, one file each, named as in the protocol.

pub(super) mod add_offsets_to_txn;
pub(super) mod add_partitions_to_txn;
pub(super) mod alter_configs;
pub(super) mod alter_partition_reassignments;
pub(super) mod api_versions;
pub(super) mod consumer_group_describe;
pub(super) mod consumer_group_heartbeat;
pub(super) mod create_acls;
pub(super) mod create_partitions;
pub(super) mod create_topics;
pub(super) mod delete_acls;
pub(super) mod delete_groups;
pub(super) mod delete_records;
pub(super) mod delete_topics;
pub(super) mod describe_acls;
pub(super) mod describe_cluster;
pub(super) mod describe_configs;
pub(super) mod describe_groups;
pub(super) mod describe_log_dirs;
pub(super) mod describe_producers;
pub(super) mod describe_quorum;
pub(super) mod describe_topic_partitions;
pub(super) mod describe_transactions;
pub(super) mod elect_leaders;
pub(super) mod end_txn;
pub(super) mod fetch;
pub(super) mod find_coordinator;
pub(super) mod heartbeat;
pub(super) mod incremental_alter_configs;
pub(super) mod init_producer_id;
pub(super) mod join_group;
pub(super) mod leave_group;
pub(super) mod list_config_resources;
pub(super) mod list_groups;
pub(super) mod list_offsets;
pub(super) mod list_partition_reassignments;
pub(super) mod list_transactions;
pub(super) mod metadata;
pub(super) mod offset_commit;
pub(super) mod offset_delete;
pub(super) mod offset_fetch;
pub(super) mod offset_for_leader_epoch;
mod operations;
pub(super) mod produce;
pub(super) mod sync_group;
pub(super) mod txn_offset_commit;
pub(super) mod unregister_broker;
pub(super) mod update_features;
pub(super) mod write_txn_markers;

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::server::KafkaServer;
use crate::metadata::Image;

/// Bounds how long a client's request may keep a handler waiting.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// Every change waits so long for its outcome, whatever the client states: it takes the disks of a majority, and an
/// answer given before they can have answered says nothing and has the client ask for the same again.
const CHANGE_WAIT_MIN: Duration = Duration::from_secs(1);

/// How long the metadata may take to be current before a topic that it lacks is taken for missing.
const CURRENT_WAIT: Duration = Duration::from_secs(2);

/// How long a change may take whose request states nothing: less than clients wait for an answer, 30 s as a rule.
const CHANGE_WAIT: Duration = Duration::from_secs(25);

/// Returns the patience that a request states in milliseconds, within our own bounds.
fn wait_of(timeout_ms: i32) -> Duration {
    let stated = u64::try_from(timeout_ms).unwrap_or(0);
    Duration::from_millis(stated).min(WAIT_MAX)
}

/// As [`wait_of`], for a request that changes something.
fn change_wait_of(timeout_ms: i32) -> Duration {
    wait_of(timeout_ms).max(CHANGE_WAIT_MIN)
}

/// Returns the metadata as it is here, or as it is by now if this lacks something: it may have been made a moment ago, through
/// another broker.
async fn image_with(server: &KafkaServer, has_all: impl Fn(&Image) -> bool) -> Arc<Image> {
    let image = server.context.metadata.image();
    if has_all(&image) {
        return image;
    }
    match server.context.controller.catch_up(Instant::now() + CURRENT_WAIT).await {
        Ok(_) => server.context.metadata.image(),
        Err(_) => image,
    }
}

/// Returns what is named more than once. Takes no memory for the request that names one thing, as most do.
fn repeated<T: Eq + Hash + Clone>(mut named: impl Iterator<Item = T>) -> HashSet<T> {
    let (Some(first), Some(second)) = (named.next(), named.next()) else { return HashSet::new() };
    let mut once = HashSet::new();
    let named = [first, second].into_iter().chain(named);
    named.filter(|name| !once.insert(name.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_more_than_once_is_found_wherever_it_stands() {
        let of = |named: &[i32]| repeated(named.iter().copied());
        assert!(of(&[]).is_empty() && of(&[1]).is_empty() && of(&[1, 2, 3]).is_empty());
        assert_eq!(of(&[1, 1]), HashSet::from([1]));
        assert_eq!(of(&[1, 2, 3, 2, 1, 2]), HashSet::from([1, 2]));
    }
}
