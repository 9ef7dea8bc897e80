//! Snapshots as the machine's task sees them: what is built, what is frozen while it is sent, and what was received.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use openraft::RaftSnapshotBuilder;
use quorate_storage::{Log, NewChunk, Reset, StateDelete, StatePut};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{StateMachine, invalid};
use crate::checkpoint::{self, Checkpoint};
use crate::error::storage_failed;
use crate::frozen::{self, Frozen};
use crate::keyed;
use crate::overlay::Changes;
use crate::platform::spawn_blocking;
use crate::records::Records;
use crate::snapshot::SnapshotData;
use crate::staging;
use crate::states;
use crate::store::signal;
use crate::types::{Snapshot, SnapshotMeta, StoredMembers, TypeConfig, entry_id, log_id};

impl StateMachine {
    pub(super) fn builder(&self) -> Builder {
        let streamed = self.holder.is_streamed().then(|| self.covered_members.clone());
        Builder { log: self.log.clone(), boundary: self.boundary, streamed }
    }

    /// The newest checkpoint and a view of what belongs to it: the one that is being sent, if there is one, so that a transfer
    /// that was cut off goes on.
    pub(super) async fn freeze(&mut self) -> io::Result<Arc<Frozen>> {
        // One that the log was purged beyond is of no use to anybody. Who still reads it notices by the hash.
        self.frozen.take_if(|frozen| Some(frozen.index) < self.boundary || frozen.is_broken());
        if let Some(frozen) = &self.frozen {
            return Ok(Arc::clone(frozen));
        }
        if self.holder.records().is_some() {
            // Records may be as they became by entries behind the newest checkpoint.
            self.write_checkpoint().await?;
        }
        if self.holder.is_keyed() && std::mem::take(&mut self.beside) {
            let old = vec![frozen::beside_all()];
            self.log.write_state(Vec::new(), old).await.map_err(storage_failed)?;
        }
        let (log, newest) = (self.log.clone(), self.kept.last().copied().unwrap_or(0));
        let read = move || log.state_get(&checkpoint::key(newest));
        let checkpoint = spawn_blocking(read).await.map_err(storage_failed)?;
        let checkpoint =
            checkpoint.ok_or_else(|| io::Error::other(format!("checkpoint {newest} is gone")))?;
        let machine = Checkpoint::decode(checkpoint.clone()).map_err(invalid)?.machine;
        let view = (self.slot, newest, checkpoint, machine);
        let frozen = Arc::new(Frozen::new(self.log.clone(), view, self.holder.records()));
        *self.shared.sending.lock() = Arc::downgrade(&frozen);
        self.frozen = Some(Arc::clone(&frozen));
        self.wanted.look_later(self.shared.group);
        Ok(frozen)
    }

    /// The snapshot to be sent, by the index that it is really of: whoever has it needs the log from there on.
    pub(super) async fn frozen_snapshot(&mut self) -> io::Result<Snapshot> {
        let frozen = self.freeze().await?;
        let meta = Checkpoint::decode(frozen.checkpoint.clone()).map_err(invalid)?.meta();
        Ok(Snapshot { meta, snapshot: SnapshotData::Frozen(frozen) })
    }

    /// Adds what a checkpoint has to put beside for a snapshot that is being sent, or gives up what is not needed.
    pub(super) async fn keep_frozen(
        &mut self,
        changes: &Changes,
        puts: &mut Vec<StatePut>,
        deletes: &mut Vec<StateDelete>,
    ) -> io::Result<()> {
        self.frozen.take_if(|it| Arc::strong_count(it) == 1 && it.is_forgotten(Instant::now()));
        if self.frozen.is_none() {
            if std::mem::take(&mut self.beside) {
                deletes.push(frozen::beside_all());
            }
            return Ok(());
        }
        self.beside = true;
        let (log, slot, keys) = (self.log.clone(), self.slot, changes.keys().cloned().collect());
        let beside = spawn_blocking(move || frozen::beside(&log, slot, keys)).await;
        puts.extend(beside.map_err(storage_failed)?);
        Ok(())
    }

    /// Writes a received snapshot's checkpoint, and lets go what was there before.
    pub(super) async fn put_in_place(
        &mut self,
        own: &Checkpoint,
        chunks: Vec<NewChunk>,
    ) -> io::Result<()> {
        let index = own.last.index;
        let puts = vec![StatePut { key: checkpoint::key(index), value: own.encode() }];
        let last = entry_id(&own.last);
        if self.log.id_at(index).map_err(storage_failed)? == Some(last) {
            // The log already contains the boundary: what follows it is valid and stays, the core
            // purges what precedes it, once the chunks have its records.
            if self.holder.records().is_some() {
                let (durable, done) = oneshot::channel();
                let durable = Box::new(move || signal(durable));
                self.log.replace_chunks(chunks, durable).await.map_err(storage_failed)?;
                done.await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
            }
            let mut old = checkpoint::deletes(&self.kept);
            old.push(states::forget());
            if let Some(slot) = own.slot {
                old.extend([keyed::all(keyed::other(slot)), frozen::beside_all()]);
                old.push(staging::forget());
            }
            return self.log.write_state(puts, old).await.map_err(storage_failed);
        }
        let (durable, done) = oneshot::channel();
        let durable = Box::new(move || signal(durable));
        let mut keep = Vec::from_iter(own.slot.map(keyed::all));
        keep.extend(self.holder.records().map(Records::kept_state));
        let reset = Reset { keep, state: puts, chunks };
        self.log.reset_to(last, reset, durable).await.map_err(storage_failed)?;
        done.await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

/// Reads the boundary checkpoint, off the async workers.
pub(crate) struct Builder {
    log: Log,
    boundary: Option<u64>,
    /// If more belongs to a checkpoint than its bytes: the members as of the newest one.
    streamed: Option<StoredMembers>,
}

impl Builder {
    /// If more belongs to a checkpoint than its bytes: what the core is told, and all that it keeps of what is built.
    /// Contents are read by the machine's own task.
    pub(super) async fn named(&self) -> io::Result<Option<SnapshotMeta>> {
        let (Some(members), Some(boundary)) = (&self.streamed, self.boundary) else {
            return Ok(None);
        };
        let log = self.log.clone();
        let id = spawn_blocking(move || log.id_at(boundary)).await.map_err(storage_failed)?;
        let id = id.ok_or_else(|| io::Error::other(format!("entry {boundary} is gone")))?;
        let last_membership = members.clone();
        Ok(Some(SnapshotMeta { last_log_id: Some(log_id(id)), last_membership }))
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        if let Some(meta) = self.named().await? {
            return Ok(Snapshot { meta, snapshot: SnapshotData::Whole(Bytes::new()) });
        }
        let Some(index) = self.boundary else {
            // Asked for at the start of a log without any checkpoint: nothing is covered.
            return Ok(Snapshot {
                meta: SnapshotMeta::default(),
                snapshot: SnapshotData::Whole(Bytes::new()),
            });
        };
        let log = self.log.clone();
        // Installing a snapshot deletes the checkpoints before it, also while this one is read.
        let (from, to) = (checkpoint::key(index), checkpoint::key(u64::MAX));
        let found = spawn_blocking(move || log.state_range(&from, &to, 1)).await;
        let found = found.map_err(storage_failed)?.pop();
        let (_, value) =
            found.ok_or_else(|| io::Error::other(format!("checkpoint {index} is gone")))?;
        let meta = Checkpoint::decode(value.clone()).map_err(invalid)?.meta();
        Ok(Snapshot { meta, snapshot: SnapshotData::Whole(value) })
    }
}
