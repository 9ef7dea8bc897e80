//! Applying committed entries, writing checkpoints, building and installing snapshots.
//!
//! The core is generic over the state machine; this one erases the machine's type behind
//! [`Holder`], so the core is compiled once however many kinds of groups there are.
//!
//! Order matters in three places. Effects and checkpoints go through the write queue of the log, so
//! they are never durable ahead of the entries they come from. Proposers are answered after the
//! effects are readable. And a snapshot replaces log, checkpoint and all state in one atomic write.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use parking_lot::RwLock;
use quorate_storage::{Log, StateDelete, StatePut, mutant};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::checkpoint::{self, Checkpoint, Uncovered};
use crate::due_groups::DueGroups;
use crate::error::{DecodeError, Error, is_corrupt, storage_failed};
use crate::machine::{Committed, Effects, Machine};
use crate::platform::spawn_blocking;
use crate::shared::Shared;
use crate::store::signal;
use crate::types::{
    LogId, Reply, Snapshot, SnapshotMeta, StoredMembers, TypeConfig, entry_id, log_id,
};

/// Entries applied under one lock of the machine.
const BATCH_ENTRIES: usize = 256;
/// Payload bytes applied under one lock of the machine.
const BATCH_BYTES: usize = 256 * 1024;

/// A machine with its type erased.
pub(crate) trait Holder: Send + Sync + 'static {
    /// Applies a batch under one lock and pairs every responder with its reply.
    fn apply(
        &self,
        batch: Vec<Item>,
        effects: &mut Effects,
        replies: &mut Vec<(ApplyResponder<TypeConfig>, Reply)>,
    );
    fn encode(&self) -> Vec<u8>;
    fn install(&self, bytes: &[u8]) -> Result<(), DecodeError>;
    fn needed_from(&self) -> u64;
}

/// One committed entry on its way into a machine.
pub(crate) struct Item {
    pub id: LogId,
    pub payload: Option<Bytes>,
    pub responder: Option<ApplyResponder<TypeConfig>>,
}

impl<M: Machine> Holder for RwLock<M> {
    fn apply(
        &self,
        batch: Vec<Item>,
        effects: &mut Effects,
        replies: &mut Vec<(ApplyResponder<TypeConfig>, Reply)>,
    ) {
        let mut machine = self.write();
        for item in batch {
            let (index, term) = (item.id.index, item.id.leader_id.term);
            let entry = Committed { index, term, payload: item.payload.as_ref() };
            let reply = machine.apply(entry, effects);
            if let Some(responder) = item.responder {
                replies.push((responder, Reply(Some(Box::new(reply)))));
            }
        }
    }

    fn encode(&self) -> Vec<u8> {
        self.read().encode()
    }

    fn install(&self, bytes: &[u8]) -> Result<(), DecodeError> {
        let machine = M::decode(bytes)?;
        *self.write() = machine;
        Ok(())
    }

    fn needed_from(&self) -> u64 {
        self.read().needed_from()
    }
}

/// State machine of one group.
pub(crate) struct StateMachine {
    shared: Arc<Shared>,
    holder: Arc<dyn Holder>,
    wanted: Arc<DueGroups>,
    log: Log,
    applied: Option<LogId>,
    members: StoredMembers,
    /// Indexes of the checkpoints on disk, ascending.
    kept: Vec<u64>,
    /// The checkpoint that is the group's snapshot.
    boundary: Option<u64>,
    /// Size of the newest checkpoint.
    newest_size: u64,
    uncovered: Uncovered,
    /// When the first entry was applied that no checkpoint covers.
    uncovered_since: Option<Instant>,
    /// The next entry is damaged on disk, so what follows cannot be applied either.
    stuck: bool,
    /// Closed when this is dropped.
    _running: watch::Sender<()>,
}

impl StateMachine {
    /// Loads the newest checkpoint of the group into the machine, if there is one. Reads the disk.
    /// `running` tells by closing that the machine has ended and writes nothing more.
    pub fn load(
        shared: Arc<Shared>,
        holder: Arc<dyn Holder>,
        wanted: Arc<DueGroups>,
        running: watch::Sender<()>,
    ) -> Result<Self, Error> {
        let log = shared.log.clone();
        let mut machine = Self {
            shared,
            holder,
            wanted,
            applied: None,
            members: StoredMembers::default(),
            kept: Vec::new(),
            boundary: None,
            newest_size: 0,
            uncovered: Uncovered::default(),
            uncovered_since: None,
            stuck: false,
            _running: running,
            log,
        };
        if let Some((checkpoint, size)) = checkpoint::load_newest(&machine.log)? {
            machine
                .holder
                .install(&checkpoint.machine)
                .map_err(|e| Error::Corrupt(e.to_string()))?;
            machine.adopt(checkpoint, size as u64);
            if mutant::on("apply-twice-after-restart") {
                machine.step_back()?;
            }
            if let Some(purged) = machine.log.state().purged {
                machine.boundary =
                    machine.kept.iter().copied().find(|index| *index >= purged.index);
            }
        }
        Ok(machine)
    }

    /// Forgets that the newest entry of the checkpoint was applied; see [`mutant`].
    fn step_back(&mut self) -> Result<(), Error> {
        let before = self.applied.and_then(|applied| applied.index.checked_sub(1));
        if let Some(index) = before
            && let Some(id) = self.log.id_at(index)?
        {
            self.applied = Some(log_id(id));
            self.shared.set_applied(log_id(id));
        }
        Ok(())
    }

    fn adopt(&mut self, checkpoint: Checkpoint, size: u64) {
        self.applied = Some(checkpoint.last);
        self.members = checkpoint.members;
        self.kept = checkpoint.kept;
        self.covered(size);
        self.shared.set_applied(checkpoint.last);
    }

    /// Applies a batch, makes its effects readable, then answers its proposers.
    async fn apply_batch(&mut self, batch: Vec<Item>, bytes: usize) -> io::Result<()> {
        let Some(last) = batch.last().map(|item| item.id) else { return Ok(()) };
        let (mut effects, mut replies) = (Effects::default(), Vec::new());
        self.uncovered.bytes += bytes as u64;
        self.uncovered.entries += batch.len() as u64;
        self.uncovered_since.get_or_insert_with(Instant::now);
        self.holder.apply(batch, &mut effects, &mut replies);
        debug_assert!(effects.puts.iter().all(|put| put.key.first() != Some(&0)), "reserved key");
        self.applied = Some(last);
        if !effects.is_empty() {
            self.log.write_state(effects.puts, effects.deletes).await.map_err(storage_failed)?;
        }
        self.shared.set_applied(last);
        for (responder, reply) in replies {
            responder.send(reply);
        }
        self.checkpoint_if_due().await
    }

    async fn checkpoint_if_due(&mut self) -> io::Result<()> {
        self.wanted.dirty(&self.shared);
        if self.uncovered.is_due(self.newest_size) {
            return self.write_checkpoint().await;
        }
        self.advance_boundary();
        Ok(())
    }

    /// Writes a checkpoint if it is time for one, or asks to be looked at again.
    pub async fn look(&mut self) {
        match self.checkpoint_if_old(Instant::now()).await {
            Ok(true) => {}
            Ok(false) => self.wanted.look_later(self.shared.group),
            Err(error) => tracing::debug!(%error, "checkpoint of a stopping group not written"),
        }
    }

    /// Writes a checkpoint if it is worth one by `now`. True: everything applied is covered, and
    /// the group need not be looked at again.
    async fn checkpoint_if_old(&mut self, now: Instant) -> io::Result<bool> {
        if let Some(since) = self.uncovered_since {
            let applied = self.applied_index();
            let is_behind = |index| self.kept.last().is_none_or(|newest| *newest < index);
            let frees = is_behind(applied) && applied < self.holder.needed_from();
            // After a restart it could not be applied again, nor anything behind it.
            let damaged =
                self.log.corrupt().is_some_and(|index| index <= applied && is_behind(index));
            let age = now.saturating_duration_since(since);
            if !self.uncovered.is_old(self.newest_size, age, frees || damaged) {
                return Ok(false);
            }
            self.write_checkpoint().await?;
        }
        self.shared.dirty.store(false, Ordering::Relaxed);
        Ok(true)
    }

    fn applied_index(&self) -> u64 {
        self.applied.map_or(0, |applied| applied.index)
    }

    /// A checkpoint of this size covers everything applied.
    fn covered(&mut self, size: u64) {
        self.newest_size = size;
        self.uncovered = Uncovered::default();
        self.uncovered_since = None;
    }

    /// Writes a checkpoint if anything was applied since the last one.
    pub async fn write_checkpoint(&mut self) -> io::Result<()> {
        let Some(last) = self.applied.filter(|last| self.kept.last() != Some(&last.index)) else {
            self.covered(self.newest_size);
            self.advance_boundary();
            return Ok(());
        };
        let boundary = self.boundary.unwrap_or(0);
        let below = self.kept.partition_point(|index| *index < boundary);
        let mut gone: Vec<u64> = self.kept.drain(..below).collect();
        self.kept.push(last.index);
        gone.extend(checkpoint::thin(&mut self.kept));
        let deletes = gone.iter().map(|&index| StateDelete::key(checkpoint::key(index))).collect();
        let value = Checkpoint {
            last,
            members: self.members.clone(),
            kept: self.kept.clone(),
            machine: self.holder.encode().into(),
        }
        .encode();
        self.covered(value.len() as u64);
        let put = StatePut { key: checkpoint::key(last.index), value };
        self.log.write_state(vec![put], deletes).await.map_err(storage_failed)?;
        self.advance_boundary();
        Ok(())
    }

    /// Asks for a snapshot, and with it for purging, when a checkpoint fell below what is needed.
    fn advance_boundary(&self) {
        if self.next_boundary() > self.boundary {
            self.wanted.snapshot(self.shared.group);
        }
    }

    /// The greatest checkpoint below the first index that is still needed.
    fn next_boundary(&self) -> Option<u64> {
        let needed = self.holder.needed_from();
        self.kept.iter().copied().rfind(|index| *index < needed).max(self.boundary)
    }

    fn builder(&self) -> Builder {
        Builder { log: self.log.clone(), boundary: self.boundary }
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembers), io::Error> {
        Ok((self.applied, self.members.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        if self.stuck {
            return Ok(());
        }
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(next) = entries.next().await {
            let (entry, responder) = match next {
                // From here on the machine is told nothing, until a snapshot takes it over the damage.
                Err(error) if is_corrupt(&error) => {
                    self.stuck = true;
                    break;
                }
                next => next?,
            };
            let payload = match entry.payload {
                EntryPayload::Blank => None,
                EntryPayload::Normal(data) => Some(data.0),
                EntryPayload::Membership(members) => {
                    // A checkpoint must carry the membership as of its index, so none may be
                    // written for the entries before once this one is taken over.
                    self.apply_batch(std::mem::take(&mut batch), std::mem::take(&mut bytes))
                        .await?;
                    self.members = StoredMembers::new(Some(entry.log_id), members);
                    None
                }
            };
            bytes += payload.as_ref().map_or(0, Bytes::len);
            batch.push(Item { id: entry.log_id, payload, responder });
            if batch.len() >= BATCH_ENTRIES || bytes >= BATCH_BYTES {
                self.apply_batch(std::mem::take(&mut batch), std::mem::take(&mut bytes)).await?;
            }
        }
        self.apply_batch(batch, bytes).await
    }

    /// `force` is set at start only, when the log begins behind a purge and nothing stands before it.
    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder> {
        if force {
            self.write_checkpoint().await.ok()?;
            self.boundary = self.kept.last().copied();
        } else {
            self.boundary = self.next_boundary();
        }
        (force || self.boundary.is_some()).then(|| self.builder())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        self.builder()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        data: Bytes,
    ) -> Result<(), io::Error> {
        let size = data.len() as u64;
        let received = Checkpoint::decode(data).map_err(invalid)?;
        if Some(received.last) != meta.last_log_id {
            return Err(invalid(DecodeError("snapshot of another index".into())));
        }
        self.holder.install(&received.machine).map_err(invalid)?;
        let index = received.last.index;
        let own =
            Checkpoint { kept: vec![index], members: meta.last_membership.clone(), ..received };
        let put = StatePut { key: checkpoint::key(index), value: own.encode() };
        let last = entry_id(&own.last);
        if self.log.id_at(index).map_err(storage_failed)? == Some(last) {
            // The log already contains the boundary: what follows it is valid and stays, the core
            // purges what precedes it.
            let old = vec![checkpoint::delete_below(index)];
            self.log.write_state(vec![put], old).await.map_err(storage_failed)?;
        } else {
            let (durable, done) = oneshot::channel();
            let durable = Box::new(move || signal(durable));
            self.log.reset_to(last, vec![put], durable).await.map_err(storage_failed)?;
            done.await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        }
        self.boundary = Some(index);
        self.adopt(own, size);
        self.stuck = false;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        match self.boundary {
            None => Ok(None),
            Some(_) => self.builder().build_snapshot().await.map(Some),
        }
    }
}

/// Reads the boundary checkpoint, off the async workers.
pub(crate) struct Builder {
    log: Log,
    boundary: Option<u64>,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let Some(index) = self.boundary else {
            // Asked for at the start of a log without any checkpoint: nothing is covered.
            return Ok(Snapshot { meta: SnapshotMeta::default(), snapshot: Bytes::new() });
        };
        let log = self.log.clone();
        // Installing a snapshot deletes the checkpoints before it, also while this one is read.
        let (from, to) = (checkpoint::key(index), checkpoint::key(u64::MAX));
        let found = spawn_blocking(move || log.state_range(&from, &to, 1)).await;
        let found = found.map_err(storage_failed)?.pop();
        let (_, value) =
            found.ok_or_else(|| io::Error::other(format!("checkpoint {index} is gone")))?;
        let checkpoint = Checkpoint::decode(value.clone()).map_err(invalid)?;
        let meta = SnapshotMeta {
            last_log_id: Some(checkpoint.last),
            last_membership: checkpoint.members,
        };
        Ok(Snapshot { meta, snapshot: value })
    }
}

fn invalid(error: DecodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
#[cfg(not(feature = "simulation"))]
mod tests;
