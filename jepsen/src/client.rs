//! A Kafka client that hides nothing.
//!
//! Ordinary clients retry, refresh and reorder behind the caller's back, and then nobody can say what one request
//! did. Here a request is sent once, on one connection, to a broker that the caller chose, and either its answer comes
//! back or [`Failure`] says what may have become of it.

mod batch;
mod connection;
mod failure;
mod idle;
mod isolation;
mod pool;
mod requests;

pub use batch::{Batch, Damage, Log, Record, Write, read_batches};
pub use connection::Connection;
pub use failure::Failure;
pub use idle::Idle;
pub use isolation::{Isolation, Marker, Part, parts};
pub use pool::{At, Client, Leader};
pub use requests::{
    Claim, ClusterView, EARLIEST, FetchFrom, Fetched, Flow, Heard, Heartbeat, Joined, LATEST,
    Member, OffsetsSeen, Parts, Produced, RecordRefused, SeenPartition, SeenTopic, add_offsets,
    add_partitions, commit_offsets, commit_offsets_in, committed_offsets, committed_offsets_as,
    create_partitions, create_topic, delete_records, delete_topic, describe_configs,
    describe_consumer_group, describe_group, end_transaction, fetch, fetch_as, find_coordinator,
    find_transaction_coordinator, heartbeat, init_producer_id, init_transactions, join_group,
    leave_group, list_offset, member_heartbeat, metadata, produce, produce_in, receive_ended,
    receive_fetched, receive_judged, receive_produced, send_end, send_fetch, send_produce,
    set_configs, sync_group,
};
