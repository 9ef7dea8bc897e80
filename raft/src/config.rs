//! Settings of a node and of the consensus core.
//!
//! Heartbeats are slow on purpose: with thousands of groups their ticks are the idle cost. Losing a
//! node is noticed by one detector per pair of nodes instead (`failure.rs`) and acted upon in
//! `elections.rs`; the timeouts here are only the fallback.

use std::net::SocketAddr;
use std::time::Duration;

use openraft::{Config, SnapshotPolicy, StepDownPolicy};

/// Identity and limits of a node.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Id of this node, at least 1, never reused for another directory.
    pub node_id: u64,
    /// Connections of another cluster are refused.
    pub cluster_id: u128,
    /// Identity of the data directory: tells a node that lost its disk from the one it was.
    pub directory_id: u128,
    /// Address to listen on for peers; port 0 picks one, see [`crate::Node::listen_address`].
    pub listen: SocketAddr,
    /// Address peers should dial; empty while nobody should. They are told it in the handshake.
    pub advertised: String,
    /// Failure detector.
    pub failure: FailureConfig,
    /// Watchdog of the disk.
    pub stall: StallConfig,
    /// Bounds of queues, frames and memory.
    pub limits: TransportLimits,
}

/// How failures are found: of nodes, and of replicas that hold another state than the others.
#[derive(Debug, Clone)]
pub struct FailureConfig {
    /// Time between two pings to a peer.
    pub ping_interval: Duration,
    /// Silence after which a peer counts as dead. A refused connection counts at once.
    pub dead_after: Duration,
    /// How often a leader compares the states of its group's replicas, if entries were applied since.
    pub compare_every: Duration,
}

impl Default for FailureConfig {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_millis(100),
            dead_after: Duration::from_millis(600),
            compare_every: Duration::from_secs(60),
        }
    }
}

/// Watchdog of the node's own disk.
#[derive(Debug, Clone)]
pub struct StallConfig {
    /// A write or sync under way for so long makes the node let others lead.
    pub step_aside_after: Duration,
    /// One under way for so long ends the node, unless a majority of a group hangs.
    pub end_after: Duration,
    /// How long a disk that stalled has to answer in time before the node may lead again.
    pub calm: Duration,
}

impl Default for StallConfig {
    fn default() -> Self {
        Self {
            step_aside_after: Duration::from_secs(2),
            end_after: Duration::from_secs(20),
            calm: Duration::from_secs(5),
        }
    }
}

/// Bounds of everything a peer or a proposer can make this node hold.
#[derive(Debug, Clone)]
pub struct TransportLimits {
    /// Largest frame, bytes. Must exceed the largest entry.
    pub frame_bytes: usize,
    /// Target size of one append request, bytes; a single larger entry still goes alone.
    pub append_bytes: usize,
    /// Append bytes of all groups read for one peer and not answered yet; replicas that catch up
    /// may take a quarter.
    pub peer_inflight_bytes: usize,
    /// Proposed bytes of one group that are not applied yet.
    pub group_inflight_bytes: usize,
    /// Proposed bytes of all groups that are not applied yet.
    pub node_inflight_bytes: usize,
    /// How long a proposal waits for room before it is `Busy`.
    pub propose_wait: Duration,
    /// Requests of one peer executed at the same time; more are answered `Busy`.
    pub requests: usize,
    /// Connections accepted at the same time.
    pub connections: usize,
    /// Append streams of one connection, which is about the groups its node leads here, and
    /// heartbeats of one connection that are not answered.
    pub streams: usize,
    /// Largest checkpoint of a snapshot accepted, bytes; what belongs to it besides comes in pieces, without a bound.
    pub snapshot_bytes: usize,
    /// Size of one piece of a snapshot, bytes.
    pub snapshot_chunk_bytes: usize,
    /// Bytes per second sent to replicas without a vote, over all groups.
    pub catch_up_bytes_per_second: u64,
    /// Silence after which an unanswered append stream is given up.
    pub stream_idle: Duration,
}

impl Default for TransportLimits {
    fn default() -> Self {
        Self {
            frame_bytes: 64 << 20,
            append_bytes: 1 << 20,
            peer_inflight_bytes: 32 << 20,
            group_inflight_bytes: 16 << 20,
            node_inflight_bytes: 256 << 20,
            propose_wait: Duration::from_secs(2),
            requests: 1024,
            connections: 1024,
            streams: 100_000,
            snapshot_bytes: 256 << 20,
            snapshot_chunk_bytes: 1 << 20,
            catch_up_bytes_per_second: 64 << 20,
            stream_idle: Duration::from_secs(30),
        }
    }
}

/// Time a leader may accept proposals after a majority last answered (`election_timeout_max`).
pub(crate) const LEASE: Duration = Duration::from_millis(15_000);

/// Configuration of the consensus core.
///
/// `leader_restore` exists so that a test can show what goes wrong with it: entries are replicated
/// before the leader's own disk has them, so a leader that crashes may have acknowledged entries it
/// lost. Restored as leader of the same term it would give their indexes to other entries while its
/// followers keep the old ones, and both are acknowledged.
pub(crate) fn raft_config(group: u64, leader_restore: bool) -> Config {
    let config = Config {
        cluster_name: format!("group-{group}"),
        heartbeat_interval: 3_000,
        heartbeat_min_interval: Some(2_000),
        election_timeout_min: 10_000,
        election_timeout_max: LEASE.as_millis() as u64,
        install_snapshot_timeout: 60_000,
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 0,
        purge_batch_size: 1,
        max_payload_entries: 1024,
        max_append_entries: Some(4096),
        replication_lag_threshold: 100,
        api_channel_size: Some(4096),
        notification_channel_size: Some(4096),
        state_machine_channel_size: Some(64),
        log_stage_capacity: Some(1),
        broadcast_submitted_on_append: Some(true),
        enable_leader_restore: Some(leader_restore),
        enable_pre_vote: Some(true),
        // A replica that was moved away and came back before its deletion may have been taken for the old one. Until it
        // has what it lost it neither votes nor campaigns (`promise.rs`).
        allow_log_reversion: Some(true),
        quorum_loss_probe_interval: Some(30_000),
        removed_leader_step_down: StepDownPolicy::After(150),
        ..Config::default()
    };
    config.validate().expect("the constants above are consistent")
}
