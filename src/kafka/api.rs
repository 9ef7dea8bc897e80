//! The APIs, one file each, named as in the protocol.

pub(super) mod api_versions;
pub(super) mod create_partitions;
pub(super) mod create_topics;
pub(super) mod delete_records;
pub(super) mod delete_topics;
pub(super) mod describe_cluster;
pub(super) mod describe_configs;
pub(super) mod fetch;
pub(super) mod init_producer_id;
pub(super) mod list_offsets;
pub(super) mod metadata;
pub(super) mod offset_for_leader_epoch;
pub(super) mod produce;

use std::time::Duration;

/// Bounds how long a client's request may keep a handler waiting.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// Returns the patience that a request states in milliseconds, within our own bounds.
fn wait_of(timeout_ms: i32) -> Duration {
    let stated = u64::try_from(timeout_ms).unwrap_or(0);
    Duration::from_millis(stated).min(WAIT_MAX)
}
