//! Entries on their way from an old generation to the current one.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use crate::group::Cell;
use crate::segments::Relocation;

/// Pieces of several groups on their way to the current generation, at most one of each group.
pub(crate) struct Move {
    pub from: u32,
    pub pieces: Vec<Piece>,
    /// Tells the background thread that the writer is done with it.
    pub done: SyncSender<()>,
}

/// Entries `[first, end)` of a group, as they are stored.
pub(crate) struct Piece {
    pub cell: Arc<Cell>,
    pub first: u64,
    pub end: u64,
    pub values: Vec<Vec<u8>>,
    pub bytes: u64,
}

/// A move whose batch is about to be written.
pub(crate) struct Moved {
    pub pieces: Vec<(Piece, Relocation)>,
    pub done: SyncSender<()>,
}
