//! What a replica that fell behind is given: a checkpoint, and what belongs to it besides, keyed state and records.
//!
//! Of a machine with neither it is the checkpoint just below the first entry that is still needed, so that the
//! receiver replays and keeps the rest. What belongs to one exists as of the newest checkpoint only, so of a machine with
//! it it is that one. By itself the consensus core is told another index, the one below which the log may go: it purges by
//! it, and sends whoever lacks less than that the entries. When it sends a snapshot it is told the index this is of.
//!
//! It is sent in pieces, and nobody holds more than one of them besides the checkpoint, which a machine has in memory
//! anyway: first the checkpoint's bytes, then pages of the keyed state, then pages of the records. The receiver says after
//! each what it has, so a transfer that was cut off goes on there as long as the sender's view lasts (`frozen.rs`).

use std::sync::Arc;

use bytes::Bytes;
use quorate_storage::NewChunk;

use crate::frozen::Frozen;

/// A snapshot, as the consensus core hands it from part to part.
#[derive(Debug)]
pub(crate) enum SnapshotData {
    /// A checkpoint to which nothing else belongs.
    Whole(Bytes),
    /// To be sent.
    Frozen(Arc<Frozen>),
    /// Received.
    Staged(Received),
}

/// A snapshot that is here as a whole and not in place yet.
#[derive(Debug)]
pub(crate) struct Received {
    pub checkpoint: Bytes,
    /// In which its keyed state is on disk.
    pub slot: u8,
    /// Its records.
    pub chunks: Vec<NewChunk>,
}

impl SnapshotData {
    pub fn checkpoint(&self) -> &Bytes {
        match self {
            Self::Whole(checkpoint) => checkpoint,
            Self::Staged(received) => &received.checkpoint,
            Self::Frozen(frozen) => &frozen.checkpoint,
        }
    }

    /// The view that the rest is read from.
    pub fn frozen(&self) -> Option<&Arc<Frozen>> {
        match self {
            Self::Frozen(frozen) => Some(frozen),
            Self::Whole(_) | Self::Staged(_) => None,
        }
    }
}
