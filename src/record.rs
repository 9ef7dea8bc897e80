//! Kafka record batches, format v2: what producers send, the log stores and consumers get back.
//!
//! A batch is never decoded into an owned structure and encoded again. It stays the bytes that the
//! producer sent, unless its topic has a `compression.type` of its own or is compacted ([`compacted`]); [`check`] reads them once and proves that every later reader may trust them, and
//! [`CheckedBatch`] is that proof as a type. The two fields that the broker assigns, base offset and
//! leader epoch, lie outside the checksum and are stamped in place.

mod aborted;
mod batch;
mod build;
mod check;
mod compact;
mod compress;
mod compression;
mod iter;
mod marker;
mod partitioner;

pub use aborted::Aborted;
pub use batch::{Batches, HEADER_BYTES, Header, stamp};
pub use build::{BatchBuilder, batch_bytes_max};
pub use check::{BatchError, CheckedBatch, Limits, TimestampRule, check};
pub use compact::{Compacted, compacted, without_records};
pub use compression::{Codec, INFLATED_BYTES_LITTLE, INFLATED_BYTES_MAX};
pub use iter::{Headers, Projection, RESERVED, Record, RecordError, Records};
pub use marker::EndMarker;
pub use partitioner::partition_for_key;
