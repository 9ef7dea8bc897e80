//! Durable storage of one broker: every Raft group's log, vote and replicated state in one RocksDB.
//!
//! The crate knows RocksDB, bytes and groups; Raft policy, Kafka and runtimes live above it. One
//! writer thread merges what all groups append into one batch, one sync thread makes it durable
//! and fires the callbacks ([`Durable`]), so an fsync is shared by every group that waits.
//!
//! Reading order: `keys` (what is on disk), `group` (what is in memory per group), `queue`,
//! `writer`, `sync` (the path of a write), `read`, `retire` (how space comes back), `inventory` and
//! `recover` (what happens when a directory is opened).

mod activity;
mod age;
mod ballast;
mod cell;
mod chunk_files;
mod chunk_log;
mod chunk_read;
mod chunk_writer;
mod chunks;
mod corrupt;
mod counters;
mod db;
mod entry;
mod error;
pub mod failpoint;
mod fatal;
mod flow;
mod fragments;
mod generations;
mod group;
mod hold;
mod inventory;
mod keys;
mod log;
mod manifest;
mod measure;
mod moves;
pub mod mutant;
mod options;
mod pace;
mod queue;
mod read;
mod recover;
mod retire;
mod retire_thread;
mod rewrite;
mod rocks;
mod runs;
mod segments;
mod shared;
#[cfg(feature = "simulation")]
pub mod simulation;
mod space;
mod state;
mod sync;
mod sync_thread;
mod synced;
mod tail;
mod types;
mod wal;
mod watch;
mod watch_thread;
mod writer;

pub use activity::Operations;
#[cfg(not(feature = "simulation"))]
pub use chunk_writer::ChunkWriter;
pub use chunks::{Chunk, ChunkRecords, Chunks, NewChunk, Reset};
pub use counters::Stats;
#[cfg(not(feature = "simulation"))]
pub use db::Db;
pub use error::Error;
pub use fatal::{EXIT_STORAGE, end, fatal};
#[cfg(not(feature = "simulation"))]
pub use log::Log;
pub use options::Options;
#[cfg(feature = "simulation")]
pub use simulation::{ChunkWriter, Db, Log};
pub use space::DiskSpace;
pub use types::{Durable, Entry, EntryId, EntryKind, GroupId, LogState, StateDelete, StatePut};

/// The store that a simulation puts aside; kept in reach so that it is compiled and checked there.
#[cfg(feature = "simulation")]
pub mod on_disk {
    pub use crate::chunk_writer::ChunkWriter;
    pub use crate::db::Db;
    pub use crate::log::Log;
}
