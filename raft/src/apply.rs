//! Applying committed entries, writing checkpoints, building and installing snapshots.
//!
//! The core is generic over the state machine; this one erases the machine's type behind
//! [`Holder`], so the core is compiled once however many kinds of groups there are.
//!
//! Order matters in three places. Effects and checkpoints go through the write queue of the log, so
//! they are never durable ahead of the entries they come from. Proposers are answered after the
//! effects are readable. And a snapshot replaces log, checkpoint and all state in one atomic write.

mod checkpoints;
mod holder;
mod snapshots;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use quorate_storage::{Log, mutant};
use tokio::sync::watch;
use tokio::time::Instant;

pub(crate) use self::holder::Holder;
use self::holder::{Applied, Item, hash};
use self::snapshots::Builder;
use crate::checkpoint::{self, Checkpoint, Uncovered};
use crate::due_groups::DueGroups;
use crate::error::{DecodeError, Error, is_corrupt, storage_failed};
use crate::frozen::Frozen;
use crate::keyed::{self, Keyed};
use crate::machine::{Committed, Effects};
use crate::platform::spawn_blocking;
use crate::shared::Shared;
use crate::snapshot::SnapshotData;
use crate::types::{LogId, Snapshot, SnapshotMeta, StoredMembers, TypeConfig, log_id};

/// Entries applied under one lock of the machine.
const BATCH_ENTRIES: usize = 256;
/// Payload bytes applied under one lock of the machine.
const BATCH_BYTES: usize = 256 * 1024;
/// Keys read ahead for the entries that are applied under one lock; one entry may name more.
const BATCH_KEYS: usize = 1024;

/// State machine of one group.
pub(crate) struct StateMachine {
    shared: Arc<Shared>,
    holder: Arc<dyn Holder>,
    wanted: Arc<DueGroups>,
    log: Log,
    applied: Option<LogId>,
    members: StoredMembers,
    /// As of the newest checkpoint.
    covered_members: StoredMembers,
    keyed: Keyed,
    /// Where the keyed state is on disk.
    slot: u8,
    /// What is being sent of it.
    frozen: Option<Arc<Frozen>>,
    /// There may be something beside it that was kept for a snapshot.
    beside: bool,
    /// Indexes of the checkpoints on disk, ascending.
    kept: Vec<u64>,
    /// The log may go up to here: the checkpoint that is the group's snapshot, or an index that the newest one covers if
    /// more belongs to it than its bytes.
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
        let keyed = Keyed::restored(0, Arc::clone(&shared.overlay));
        let mut machine = Self {
            shared,
            holder,
            wanted,
            applied: None,
            members: StoredMembers::default(),
            covered_members: StoredMembers::default(),
            keyed,
            slot: 0,
            frozen: None,
            beside: true,
            kept: Vec::new(),
            boundary: None,
            newest_size: 0,
            uncovered: Uncovered::default(),
            uncovered_since: None,
            stuck: false,
            _running: running,
            log,
        };
        machine.shared.states.format.store(machine.holder.format(), Ordering::Relaxed);
        // Also where no checkpoint says which: what arrives must never be where the state is.
        machine.shared.staging.set_slot(keyed::other(machine.slot));
        let (is_streamed, records) = (machine.holder.is_streamed(), machine.holder.records());
        machine.shared.staging.set_kind(is_streamed, records);
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
                let first = machine.kept.iter().copied().find(|index| *index >= purged.index);
                machine.boundary =
                    if machine.holder.is_streamed() { Some(purged.index) } else { first };
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
        self.covered_members = checkpoint.members.clone();
        self.members = checkpoint.members;
        self.keyed = Keyed::restored(checkpoint.keyed, Arc::clone(&self.shared.overlay));
        self.slot = checkpoint.slot.unwrap_or(0);
        self.shared.staging.set_slot(keyed::other(self.slot));
        self.kept = checkpoint.kept;
        self.covered(size);
        self.shared.set_covered_from(self.holder.needed_from());
        self.shared.set_applied(checkpoint.last);
    }

    /// Applies a batch, in as many parts as the keyed state that it needs fills memory.
    async fn apply_batch(&mut self, mut batch: Vec<Item>, bytes: usize) -> io::Result<()> {
        self.differ(&mut batch);
        self.uncovered.bytes += bytes as u64;
        while !batch.is_empty() {
            let mut read = batch.len();
            if self.holder.is_keyed() {
                let missing = batch.iter().map(|item| self.keyed.missing(&item.keys)).collect();
                read = self.read_ahead(missing).await?;
            }
            let rest = batch.split_off(read);
            self.apply_part(std::mem::replace(&mut batch, rest)).await?;
        }
        Ok(())
    }

    /// Applies some entries, makes their effects readable, then answers their proposers.
    async fn apply_part(&mut self, batch: Vec<Item>) -> io::Result<()> {
        let Some(last) = batch.last().map(|item| item.id) else { return Ok(()) };
        let (mut effects, mut outcome) = (Effects::default(), Applied::default());
        self.uncovered.entries += batch.len() as u64;
        self.uncovered_since.get_or_insert_with(Instant::now);
        if self.holder.is_keyed() {
            effects.keyed = std::mem::take(&mut self.keyed);
        }
        self.holder.apply(batch, self.shared.group.0, &mut effects, &mut outcome);
        if self.holder.is_keyed() {
            self.keyed = std::mem::take(&mut effects.keyed);
            self.keyed.end();
        }
        debug_assert!(effects.puts.iter().all(|put| put.key.first() != Some(&0)), "reserved key");
        self.applied = Some(last);
        if !effects.is_empty() {
            self.log.write_state(effects.puts, effects.deletes).await.map_err(storage_failed)?;
        }
        self.shared.states.hashes.lock().note(outcome.hashes);
        self.shared.set_applied(last);
        // What follows from a state that nobody else has is no answer; whoever waits learns that it is not known.
        if self.shared.states.divergence().is_none() {
            for (responder, reply) in outcome.replies {
                responder.send(reply);
            }
        }
        self.checkpoint_if_due().await
    }

    /// Decides otherwise than the other replicas; see [`mutant`].
    fn differ(&self, batch: &mut [Item]) {
        if mutant::on("machine-differs") && self.shared.me == 1 && self.shared.group.0 != 0 {
            let ignored = batch.iter_mut().filter(|item| item.id.index % 50 == 49);
            ignored.for_each(|item| item.payload = None);
        }
    }

    /// The hash of the state now, and the index it is of.
    pub fn state_hash(&self) -> Option<(u64, u64)> {
        Some((self.applied?.index, hash(&self.holder.encode(), &self.keyed)))
    }

    /// Reads, off the async workers, what is `missing` in memory of the keys of entries. Returns for how many of the
    /// entries, one at least, it is there then.
    async fn read_ahead(&mut self, missing: Vec<Vec<Bytes>>) -> io::Result<usize> {
        if missing.iter().all(Vec::is_empty) {
            return Ok(missing.len());
        }
        let (log, slot) = (self.log.clone(), self.slot);
        let read = spawn_blocking(move || keyed::read(&log, slot, missing)).await;
        let (values, entries) = read.map_err(storage_failed)?;
        self.keyed.read_ahead(values);
        Ok(entries)
    }

    fn item(
        &self,
        id: LogId,
        payload: Option<Bytes>,
        responder: Option<ApplyResponder<TypeConfig>>,
    ) -> Item {
        let keys = if self.holder.is_keyed() {
            let (index, term) = (id.index, id.leader_id.term);
            self.holder.needs(Committed { index, term, payload: payload.as_ref() })
        } else {
            Vec::new()
        };
        Item { id, payload, keys, responder }
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
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
        let (mut batch, mut bytes, mut named) = (Vec::new(), 0, 0);
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
                    named = 0;
                    self.apply_batch(std::mem::take(&mut batch), std::mem::take(&mut bytes))
                        .await?;
                    self.members = StoredMembers::new(Some(entry.log_id), members);
                    None
                }
            };
            bytes += payload.as_ref().map_or(0, Bytes::len);
            let item = self.item(entry.log_id, payload, responder);
            named += item.keys.len();
            batch.push(item);
            if batch.len() >= BATCH_ENTRIES || bytes >= BATCH_BYTES || named >= BATCH_KEYS {
                named = 0;
                self.apply_batch(std::mem::take(&mut batch), std::mem::take(&mut bytes)).await?;
            }
        }
        self.apply_batch(batch, bytes).await
    }

    /// `force` is set at start only, when the log begins behind a purge and nothing stands before it.
    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder> {
        if force {
            self.write_checkpoint().await.ok()?;
            let purged = self.log.state().purged.map(|purged| purged.index);
            let newest = self.kept.last().copied();
            self.boundary = if self.holder.is_streamed() { purged } else { newest };
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
        data: SnapshotData,
    ) -> Result<(), io::Error> {
        let size = data.checkpoint().len() as u64;
        let received = Checkpoint::decode(data.checkpoint().clone()).map_err(invalid)?;
        if Some(received.last) != meta.last_log_id {
            return Err(invalid(DecodeError("snapshot of another index".into())));
        }
        // Until the end the machine is that of the snapshot and the keyed state is not.
        self.shared.installs.fetch_add(1, Ordering::AcqRel);
        self.holder.install(&received.machine).map_err(invalid)?;
        let index = received.last.index;
        let (slot, chunks) = match data {
            SnapshotData::Staged(staged) => (Some(staged.slot), staged.chunks),
            SnapshotData::Whole(_) | SnapshotData::Frozen(_) => (None, Vec::new()),
        };
        let members = meta.last_membership.clone();
        let own = Checkpoint { kept: vec![index], members, slot, ..received };
        self.put_in_place(&own, chunks).await?;
        self.frozen = None;
        self.beside = false;
        self.boundary = Some(index);
        self.shared.states.replaced();
        // Whoever was kept from campaigning is looked at again.
        self.shared.unfit.store(true, Ordering::Relaxed);
        self.adopt(own, size);
        self.stuck = false;
        self.shared.installs.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        if self.boundary.is_none() {
            return Ok(None);
        }
        let mut builder = self.builder();
        // While it begins the core asks what it may purge up to, and sends nothing.
        if self.holder.is_streamed() && self.shared.is_running() {
            return self.frozen_snapshot().await.map(Some);
        }
        builder.build_snapshot().await.map(Some)
    }
}

fn invalid(error: DecodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
#[cfg(not(feature = "simulation"))]
mod tests;
