//! The store on a disk that exists only in memory, loses what was not synced, and runs on the
//! runtime's clock: what a deterministic simulation of the layers above stands on.
//!
//! Compiled with the feature `simulation` only, which then puts [`Db`] and [`Log`] in the place of
//! the real ones, so that the layers above are simulated unchanged. The state of a group, its term
//! runs, its reads and the order in which callbacks fire are the code of the real store; only the
//! way to the disk is replaced (threads, RocksDB, generations).
//!
//! What is modelled is the contract of the real write path: one journal for all groups, written in
//! the order of the calls, readable at once, durable after an fsync that takes its time, recovered
//! as a prefix. A crash may keep any prefix that contains what was reported durable. A request is
//! kept or lost as a whole, because the real log checksums and replays whole batches. There is no
//! back-pressure here: a queue without bound only makes more prefixes possible.

mod chunk_writer;
mod db;
mod disk;
mod image;
mod log;
mod random;

pub use chunk_writer::ChunkWriter;
pub use db::Db;
pub use disk::{Crash, Disk, Fault, Observed, StoredEntry, SyncDelay};
pub use log::Log;
pub use random::Random;
