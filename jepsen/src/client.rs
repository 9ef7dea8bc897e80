//! A Kafka client that hides nothing.
//!
//! Ordinary clients retry, refresh and reorder behind the caller's back, and then nobody can say what one request
//! did. Here a request is sent once, on one connection, to a broker that the caller chose, and either its answer comes
//! back or [`Failure`] says what may have become of it.

mod batch;
mod connection;
mod failure;
mod idle;
mod pool;
mod requests;

pub use batch::{Batch, Damage, Log, Record, Write, read_batches};
pub use connection::Connection;
pub use failure::Failure;
pub use idle::Idle;
pub use pool::{At, Client, Leader};
pub use requests::{
    ClusterView, EARLIEST, FetchFrom, Fetched, Heard, Heartbeat, Joined, LATEST, Member, Parts,
    Produced, RecordRefused, SeenPartition, SeenTopic, commit_offsets, committed_offsets,
    create_partitions, create_topic, delete_records, delete_topic, describe_configs,
    describe_consumer_group, describe_group, fetch, find_coordinator, heartbeat, init_producer_id,
    join_group, leave_group, list_offset, member_heartbeat, metadata, produce, receive_fetched,
    receive_judged, receive_produced, send_fetch, send_produce, set_configs, sync_group,
};
