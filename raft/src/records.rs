//! Records: what a group keeps of its log besides the state computed from it, and a replica that fell behind is given
//! as data.
//!
//! ```text
//!            log start               checkpoint            applied
//!   sender       │ in chunks or entries   │    entries         │
//!   ─────────────┼────────────────────────┼────────────────────┼──
//!                └─ pages of records ─▶   │ ─ replication ─▶
//!   receiver       in chunks, never applied    entries, applied
//! ```
//!
//! Entries that a machine goes back to after they were applied, as a partition reads its batches from them, cannot be left
//! out of a snapshot. They are not replayed either: the newest checkpoint already has what they did. So they go beside it
//! as they are, and the receiver writes them to chunks below its log, which nobody sees before all of it is installed.

use bytes::Bytes;
use quorate_storage::{Log, NewChunk, StateDelete, StatePut};

/// How the records of a kind of group are sent and taken. All of it may block for the disk.
pub trait Records: Send + Sync + 'static {
    /// Begins to read what lies before a checkpoint with this machine.
    ///
    /// # Errors
    /// What is here cannot be read.
    fn outgoing(&self, log: &Log, machine: &[u8])
    -> Result<Box<dyn OutgoingRecords>, RecordsError>;

    /// Begins to take what lies before a checkpoint with this machine.
    ///
    /// # Errors
    /// The machine is none of this kind.
    fn incoming(&self, log: &Log, machine: &[u8])
    -> Result<Box<dyn IncomingRecords>, RecordsError>;

    /// State beside the machine that belongs to the records: [`IncomingRecords::put`] gives it piece by piece, and it
    /// stays when all other state of the replica is replaced.
    fn kept_state(&self) -> StateDelete;
}

/// Records on their way to another replica.
pub trait OutgoingRecords: Send + Sync {
    /// The pairs behind a position that an earlier page ended at, as many as take about so many bytes; there may be none
    /// and more behind them.
    ///
    /// # Errors
    /// They cannot be read, also because they are not kept any more: then a newer checkpoint is to be sent.
    fn page(&self, after: Option<&[u8]>, bytes: usize) -> Result<Page, RecordsError>;
}

/// Records on their way into this replica. Dropped, they leave no chunk.
pub trait IncomingRecords: Send {
    /// Takes the next pair. What it returns is written to the group's state at once: it must do no harm beside the state
    /// that there is.
    ///
    /// # Errors
    /// It is not one, or not the next; or the disk. The whole is of no use then.
    fn put(&mut self, key: &Bytes, value: Bytes) -> Result<Option<StatePut>, RecordsError>;

    /// The chunks, durable and unseen.
    ///
    /// # Errors
    /// Records are missing, or the disk.
    fn finish(self: Box<Self>) -> Result<Vec<NewChunk>, RecordsError>;
}

/// Some pairs, in order.
#[derive(Debug)]
pub struct Page {
    /// Keys and values.
    pub pairs: Vec<(Bytes, Bytes)>,
    /// Where the next page begins; `None` behind the last.
    pub upto: Option<Bytes>,
}

/// Records cannot be given or taken. Nothing changed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the records beside a checkpoint: {0}")]
pub struct RecordsError(pub String);
