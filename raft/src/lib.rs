//! Multi-Raft for Quorate: many small Raft groups on one node, over one connection per peer.
//!
//! A group is a replicated log plus a deterministic [`Machine`]. This crate owns everything between
//! the two: consensus (the `openraft` crate), the wire between nodes, failure detection, elections,
//! checkpoints, membership changes. It knows nothing of Kafka; its storage is `quorate-storage`,
//! where the log of a group *is* the data, so nothing is ever compacted into a snapshot: a snapshot
//! is a checkpoint of the machine, and beside it go the records before it that are kept (`records.rs`).
//!
//! Three decisions shape the code, each explained where it is made:
//! - heartbeats are slow and failover is driven by a node-level failure detector (`elections.rs`),
//!   so that thousands of idle groups cost next to nothing and a dead node is still replaced within
//!   fractions of a second;
//! - a restarted leader never resumes its old term (`config.rs`), because entries are replicated
//!   before they are durable on the leader;
//! - the consensus core is compiled once, not per machine type (`apply.rs`).

mod apply;
mod calls;
mod catch_up;
mod checkpoint;
mod codec;
mod compare;
mod condition;
mod config;
mod contact;
mod core;
mod digest;
mod disk_watch;
mod divergence;
mod drain;
mod due_groups;
mod elections;
mod erase;
mod error;
mod failed_groups;
mod failure;
mod frozen;
mod group;
mod hand_over;
mod ids;
mod keyed;
mod machine;
mod maintenance;
mod membership;
mod node;
mod options;
mod overlay;
mod page;
mod platform;
mod progress;
mod promise;
mod propose;
mod rebuild;
mod records;
mod replica;
mod runtime;
mod server;
mod shared;
mod snapshot;
mod staging;
mod stall;
mod states;
mod status;
mod store;
mod suspects;
mod transfer;
mod transport;
mod types;
mod views;

pub use calls::{CallHandler, Caller};
pub use condition::Condition;
pub use config::{FailureConfig, NodeConfig, StallConfig, TransportLimits};
pub use divergence::Divergence;
pub use error::{CallError, DecodeError, Error, ProposeError};
pub use group::{Group, GroupHandle};
pub use keyed::Keyed;
#[doc(hidden)]
pub use machine::conformance;
pub use machine::{Committed, Effects, Machine};
pub use node::Node;
pub use options::GroupOptions;
pub use propose::{Outcome, Pending, Prepared, Reservation};
pub use records::{IncomingRecords, OutgoingRecords, Page, Records, RecordsError};
pub use stall::DiskState;
pub use status::{FollowerStatus, GroupStatus, Leadership, Role};
