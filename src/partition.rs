//! A partition: a Raft group whose log is the Kafka log.
//!
//! A committed entry holds record batches exactly as their producers sent them, one or many. What Kafka adds to a
//! batch (offset, leader epoch) and remembers about it (producers' sequences, epochs, log start) is
//! decided when the entry is applied, by [`PartitionMachine`], a pure function of the log. So every
//! replica decides alike, a new leader knows what the old one knew, and nothing has to be undone when
//! Raft takes back an uncommitted entry.
//!
//! ```text
//!  append ──▶ propose ──▶ log ──commit──▶ machine.apply ──▶ offsets, producers, epochs
//!                                              │
//!  read ◀── walk the log ◀── seek a point ◀────┘ sparse points: offset → index
//! ```
//!
//! Invariant: the high watermark is the end of what is applied here, so a reader never sees an entry
//! that could be taken back; and only a leader that applied an entry of its own term serves, so a
//! reader never sees less after a leader change than before it.

mod aborted;
mod accumulator;
mod admission;
mod append;
mod attachments;
mod changes;
mod codec;
mod command;
mod compaction;
mod disk;
mod epochs;
mod forget;
mod hints;
mod index;
mod keyed_rows;
mod level;
mod logged;
mod machine;
#[cfg(feature = "mutants")]
mod mutants;
mod partitions;
mod position;
mod producers;
mod proposer;
mod read;
mod records;
mod rejected;
mod relocate;
mod retention;
mod settings;
mod stream_index;
mod streams;
mod tail;
mod tail_writer;
mod timestamps;
mod transactions;
mod transfer;
mod trim;
mod walk;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::RwLock;
use quorate_raft::{Group, Leadership};
use quorate_storage::GroupId;
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::time::Instant;

use crate::metadata::{CompactionConfigs, Leader};
use crate::wall_clock::Clock;

pub use admission::limits_of;
pub use append::{AppendError, Appended, PendingAppend};
pub use attachments::{
    AttachmentError, Attachments, CONDITIONS_MAX, Conditions, ExpectedVersion,
    IDEMPOTENCY_KEY_BYTES_MAX, KeyRules, STREAM_KEY_BYTES_MAX, TAG_BYTES_MAX,
};
pub use changes::{Changes, Closed};
pub use compaction::{
    AskControl, CompactError, CompactionPace, CompactionState, CompactionTotals, Compactor,
    CompactorControl, CompactorSettings,
};
pub use logged::{Illegible, Logged, attached, logged};
pub use machine::{BatchReply, NotInTransaction, PartitionMachine, Refusal, Reply, Unmet};
pub use partitions::{PartitionSpec, Partitions};
pub use read::{ReadError, Records, Unreadable};
pub use relocate::RelocateError;
pub use retention::{CurrentSettings, RetentionPace};
pub use settings::PartitionSettings;
pub use streams::{StreamEvent, StreamRange, StreamRead, StreamState, StreamsProgress};
pub use timestamps::{OffsetAt, OffsetSpec};
pub use transactions::{AbortedTransaction, Marker, OpenTransaction, ProducerState};
pub use trim::TrimError;

use changes::Closing;
use command::Times;
use compaction::FirstCompacted;
use hints::Hints;
use proposer::Proposer;

/// How long a leader may take to hear from a majority before a read is refused.
const BARRIER_WAIT_MAX: Duration = Duration::from_secs(2);

/// A replica of one partition on this broker.
///
/// Everything that changes lives in the Raft group; what is kept here are the bounds and caches of this
/// broker's readers. An idle partition costs one of these, about half a kilobyte, and the tasks of its group.
pub struct Partition {
    group: Group<PartitionMachine>,
    topic: String,
    number: i32,
    leadership: watch::Receiver<Leadership>,
    settings: RwLock<PartitionSettings>,
    closing: Arc<Closing>,
    /// Shared by all partitions: how many reads may wait for the disk at once.
    disk_reads: Arc<Semaphore>,
    hints: Hints,
    proposer: Arc<Proposer>,
    /// Held by who changes the tail.
    tail_changes: Mutex<()>,
    /// First key that is still to be looked at, see `forget.rs`.
    looked_through: parking_lot::Mutex<Bytes>,
    /// Held by who turns streams on or off or counts older records.
    stream_changes: Mutex<()>,
    /// Rows of records before this offset were removed, see `streams/sweep.rs`.
    swept_upto: AtomicI64,
    compactions: parking_lot::Mutex<CompactionTotals>,
    first_compacted: parking_lot::Mutex<FirstCompacted>,
    /// Where the tail ended since then, while the log has not gone up to there.
    boundaries: parking_lot::Mutex<VecDeque<(Instant, u64)>>,
    clock: Clock,
}

/// This replica does not serve now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this replica does not lead the partition")]
pub struct NotReady {
    /// Who leads as far as this replica knows. It is this broker itself while an election is won but
    /// nothing of the new term is applied yet: then the caller should ask again here, soon.
    pub leader: Option<Leader>,
}

/// What an operator sees of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    pub log_start: i64,
    pub high_watermark: i64,
    /// Bytes of the batches between the two.
    pub bytes: u64,
    /// The newest leader epoch with an entry in the log; -1 when there is none.
    pub leader_epoch: i32,
    /// Idempotent producers remembered, those included that were silent too long and still take a place.
    pub producers: u64,
    /// See [`Partition::last_stable_offset`].
    pub last_stable_offset: i64,
    /// Transactions that have records here and have not ended here.
    pub open_transactions: u64,
    /// For how long the oldest of them has been open, in milliseconds of log time; `None` if there is none.
    pub oldest_transaction_ms: Option<i64>,
    /// Aborted transactions that may have records among those that are kept.
    pub aborted_transactions: u64,
}

impl Partition {
    /// Returns the Raft group behind the partition.
    pub fn group(&self) -> &Group<PartitionMachine> {
        &self.group
    }

    /// Returns the id of the Raft group.
    pub fn id(&self) -> GroupId {
        self.group.id()
    }

    /// Returns the name of the topic it belongs to.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Returns its number within the topic.
    pub fn number(&self) -> i32 {
        self.number
    }

    /// Returns what its topic asks of it.
    pub fn settings(&self) -> PartitionSettings {
        *self.settings.read()
    }

    /// Sets what its topic asks of it; appends and retention follow from now on.
    pub fn set_settings(&self, settings: PartitionSettings) {
        *self.settings.write() = settings;
    }

    /// Returns the leader epoch if this replica leads and may answer clients.
    pub fn leader_epoch_if_ready(&self) -> Result<i32, NotReady> {
        let leadership = self.leadership.borrow();
        if leadership.ready {
            return Ok(epochs::of_term(leadership.term));
        }
        Err(NotReady { leader: known_leader(&leadership) })
    }

    /// Waits until this replica has everything that was acknowledged, anywhere, before the call; what is
    /// read of it then is linearizable (ReadIndex, Raft § 6.4). Costs a round trip to a majority.
    pub async fn read_barrier(&self) -> Result<(), NotReady> {
        let passed = tokio::time::timeout(BARRIER_WAIT_MAX, self.group.read_barrier()).await;
        match passed {
            Ok(Ok(())) => Ok(()),
            // Cut off from a majority, or no leader: whoever leads by now is not known here.
            Ok(Err(_)) | Err(_) => {
                let leader = self.leader().filter(|leader| leader.id != self.group.node());
                Err(NotReady { leader })
            }
        }
    }

    /// Returns who leads, as far as this replica knows.
    pub fn leader(&self) -> Option<Leader> {
        known_leader(&self.leadership.borrow())
    }

    /// Returns the offset after the last one consumers may see; it never goes back.
    pub fn high_watermark(&self) -> i64 {
        self.group.machine().next_offset()
    }

    /// Returns the first offset that is still kept.
    pub fn log_start(&self) -> i64 {
        self.group.machine().log_start()
    }

    /// Returns where the log begins and ends if this replica leads.
    pub fn ends_if_ready(&self) -> Option<(i64, i64)> {
        let ends = {
            let machine = self.group.machine();
            (machine.log_start(), machine.next_offset())
        };
        // After looking: had the leadership gone before, the new leader might know of more.
        self.leader_epoch_if_ready().ok().map(|_| ends)
    }

    /// Returns how it is compacted. `None` also while its streams are not counted yet: what compaction took before would be
    /// missing in versions, more or less of it depending on who was faster.
    pub fn compaction(&self) -> Option<CompactionConfigs> {
        let settings = self.settings();
        let is_counted = settings.streams.is_none() || self.group.machine().streams().is_ready();
        settings.compaction.filter(|_| is_counted)
    }

    /// Returns a wait for the next change of the high watermark, the log start or the leadership.
    ///
    /// Take it before looking at the state: what happens in between is then not missed.
    pub fn changed(&self) -> Changes {
        Changes::new(&self.group, Arc::clone(&self.closing))
    }

    /// Returns the largest epoch not above `epoch` and where it ends, as `OffsetForLeaderEpoch` wants
    /// it; (-1, -1) when that is not known.
    pub fn end_offset_for_epoch(&self, epoch: i32) -> (i32, i64) {
        let machine = self.group.machine();
        machine.epochs().end_of(epoch, machine.next_offset())
    }

    /// Returns what an operator sees of it.
    pub fn summary(&self) -> Summary {
        // What a leader knows goes beyond the last command.
        let log_ms = self.times(self.clock.now_ms()).log_ms;
        let machine = self.group.machine();
        let oldest_transaction_ms = machine.oldest_transaction_ms(log_ms);
        Summary { oldest_transaction_ms, ..machine.summary() }
    }

    /// Returns whether it was closed under a handler that still holds it.
    fn is_closed(&self) -> bool {
        self.closing.is_closed()
    }

    /// Returns the times of a command proposed now; `wall_ms`: the leader's wall clock.
    fn times(&self, wall_ms: i64) -> Times {
        self.proposer.times(wall_ms)
    }
}

fn known_leader(leadership: &Leadership) -> Option<Leader> {
    let id = leadership.leader?;
    Some(Leader { id, epoch: epochs::of_term(leadership.term) })
}
