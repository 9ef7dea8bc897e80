//! A disk in memory: what was written, what of it is durable, and how it crashes.
//!
//! Disks are found by their path, like directories, and outlive the stores opened on them. Each is
//! created by name: a store opened anywhere else fails, so that a program built with this feature
//! by mistake cannot pretend to keep anything.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::image::{Image, Record};
use super::random::Random;
use crate::sync::{Callback, fire};
use crate::{Durable, Entry, EntryId, Error, GroupId, LogState};

/// How long an fsync takes: a time in the range, and now and then a stall. Milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct SyncDelay {
    pub min: u64,
    pub max: u64,
    /// In this many of a hundred syncs `stall` is added.
    pub stall_percent: u64,
    pub stall: u64,
}

/// How a store ends without being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// The process dies: the kernel still has what was written.
    Process,
    /// The power fails: what is durable stays, and any prefix of the rest.
    Power,
}

/// A deliberate defect, to show that those who look for defects find them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Appends are reported durable before they are.
    AckBeforeSync,
    /// Votes are reported durable and lost in every crash.
    ForgetVote,
}

/// Something that was written, for whoever watches a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed {
    /// An entry, with the id of the one before it in its log.
    Entry { group: GroupId, before: Option<EntryId>, entry: Entry },
    /// A vote as it is stored.
    Vote { group: GroupId, vote: Bytes },
    /// A log was replaced by a snapshot boundary.
    Reset { group: GroupId, upto: EntryId },
    /// A group was forgotten.
    Dropped { group: GroupId },
}

/// What a log holds at an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredEntry {
    /// This entry.
    Entry(Entry),
    /// It was purged.
    Purged,
    /// It never held one, or lost it.
    Nothing,
}

/// A disk; see the module.
pub struct Disk {
    pub(super) inner: Mutex<Inner>,
    pub(super) work: Notify,
}

pub(super) struct Inner {
    written: Image,
    durable: Image,
    /// What lies between the two.
    pending: VecDeque<Record>,
    /// Records made durable so far; with `pending` it numbers the records.
    synced: u64,
    /// Who waits until the record before this number is durable.
    waiting: VecDeque<(u64, Callback)>,
    delay: SyncDelay,
    fault: Option<Fault>,
    random: Random,
    /// Number of the store that has the disk open, 0 if none has.
    pub owner: u64,
    opened: u64,
    watched: Option<Vec<Observed>>,
    /// Records of chunks by number, also of those that no group has yet: durable before a group can have them.
    pub chunks: BTreeMap<u64, Arc<BTreeMap<u64, Bytes>>>,
    pub chunk_numbers: u64,
}

static DISKS: Mutex<BTreeMap<PathBuf, Arc<Disk>>> = Mutex::new(BTreeMap::new());

impl Disk {
    /// Creates an empty disk, in place of the one that was there.
    pub fn create(path: &Path, seed: u64) -> Arc<Disk> {
        let disk = Arc::new(Disk {
            inner: Mutex::new(Inner {
                written: Image::default(),
                durable: Image::default(),
                pending: VecDeque::new(),
                synced: 0,
                waiting: VecDeque::new(),
                delay: SyncDelay { min: 0, max: 0, stall_percent: 0, stall: 0 },
                fault: None,
                random: Random::new(seed),
                owner: 0,
                opened: 0,
                watched: None,
                chunks: BTreeMap::new(),
                chunk_numbers: 0,
            }),
            work: Notify::new(),
        });
        DISKS.lock().insert(path.to_owned(), Arc::clone(&disk));
        disk
    }

    pub(super) fn find(path: &Path) -> Option<Arc<Disk>> {
        DISKS.lock().get(path).cloned()
    }

    /// Sets how long an fsync takes from now on.
    pub fn set_delay(&self, delay: SyncDelay) {
        self.inner.lock().delay = delay;
    }

    /// Gives the disk a defect.
    pub fn set_fault(&self, fault: Fault) {
        self.inner.lock().fault = Some(fault);
    }

    /// Begins to remember what is written, for [`Disk::observed`].
    pub fn watch(&self) {
        self.inner.lock().watched = Some(Vec::new());
    }

    /// What was written since the last call, in order.
    pub fn observed(&self) -> Vec<Observed> {
        self.inner.lock().watched.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Ends whatever store is open on the disk and settles what survives. Callbacks that have not
    /// fired never do. Gives the number of records lost.
    pub fn crash(&self, how: Crash) -> u64 {
        let mut inner = self.inner.lock();
        let held = inner.pending.len() as u64;
        let kept = match how {
            Crash::Process => held,
            Crash::Power => inner.random.between(0, held),
        };
        inner.advance(kept);
        inner.pending.clear();
        if inner.fault == Some(Fault::ForgetVote) {
            inner.durable.groups.values_mut().for_each(|stored| stored.group.vote = None);
        }
        inner.written = inner.durable.clone();
        inner.owner = 0;
        let waiting = std::mem::take(&mut inner.waiting);
        drop(inner);
        // Outside the lock: a callback that is dropped may look at the disk.
        drop(waiting);
        self.work.notify_one();
        held - kept
    }

    /// What a group's log holds at an index; `durable`: would hold after the worst crash.
    pub fn held(&self, group: GroupId, index: u64, durable: bool) -> StoredEntry {
        let inner = self.inner.lock();
        let Some(stored) = inner.image(durable).groups.get(&group) else {
            return StoredEntry::Nothing;
        };
        if stored.group.purged.is_some_and(|purged| purged.index >= index) {
            return StoredEntry::Purged;
        }
        let mut found = Vec::new();
        stored.group.tail.read(index, index + 1, usize::MAX, &mut found);
        found.pop().map_or(StoredEntry::Nothing, StoredEntry::Entry)
    }

    /// The id at an index, as [`Disk::held`] but without the entry; None also if it was purged.
    pub fn id_at(&self, group: GroupId, index: u64, durable: bool) -> Option<EntryId> {
        let inner = self.inner.lock();
        let stored = inner.image(durable).groups.get(&group)?;
        stored.group.id_at(index)
    }

    /// The bounds of a group's log.
    pub fn log_state(&self, group: GroupId, durable: bool) -> LogState {
        let inner = self.inner.lock();
        let stored = inner.image(durable).groups.get(&group);
        stored.map(|stored| stored.group.log_state()).unwrap_or_default()
    }

    /// A group's vote.
    pub fn vote(&self, group: GroupId, durable: bool) -> Option<Bytes> {
        self.inner.lock().image(durable).groups.get(&group)?.group.vote.clone()
    }
}

impl Inner {
    pub fn image(&self, durable: bool) -> &Image {
        if durable { &self.durable } else { &self.written }
    }

    /// Becomes the store that has the disk; None if another one has it.
    pub fn open(&mut self) -> Option<u64> {
        if self.owner != 0 {
            return None;
        }
        let groups = self.durable.groups.values();
        let named: BTreeSet<u64> =
            groups.flat_map(|it| it.group.chunks.iter().map(|chunk| chunk.number)).collect();
        self.chunks.retain(|number, _| named.contains(number));
        self.opened += 1;
        self.owner = self.opened;
        Some(self.owner)
    }

    /// Writes a record. Gives back the callback if it is to be fired at once.
    pub fn write(
        &mut self,
        record: Record,
        wait: Option<Callback>,
    ) -> Result<Option<Durable>, Error> {
        let before = match &record {
            Record::Append { group, .. } => {
                self.written.groups.get(group).and_then(|stored| stored.group.last)
            }
            _ => None,
        };
        if self.written.apply(&record)? {
            self.observe(&record, before);
            self.pending.push_back(record);
        }
        let early = self.fault == Some(Fault::AckBeforeSync);
        match wait {
            Some(Callback::Append(_, durable)) if early => return Ok(Some(durable)),
            Some(callback) => self.waiting.push_back((self.position(), callback)),
            None => {}
        }
        Ok(None)
    }

    fn observe(&mut self, record: &Record, mut before: Option<EntryId>) {
        let Some(watched) = &mut self.watched else { return };
        match record {
            Record::Append { group, entries } => {
                for entry in entries {
                    let id = entry.id;
                    let (group, entry) = (*group, entry.clone());
                    watched.push(Observed::Entry { group, before, entry });
                    before = Some(id);
                }
            }
            Record::Vote { group, vote } => {
                watched.push(Observed::Vote { group: *group, vote: vote.clone() });
            }
            Record::Reset { group, upto, .. } => {
                watched.push(Observed::Reset { group: *group, upto: *upto });
            }
            Record::Drop { group } => watched.push(Observed::Dropped { group: *group }),
            _ => {}
        }
    }

    /// Number of the next record.
    fn position(&self) -> u64 {
        self.synced + self.pending.len() as u64
    }

    /// An fsync that begins now: what it will cover and how long it takes. None: nobody waits.
    pub fn begin_sync(&mut self) -> Option<(u64, Duration)> {
        if self.waiting.is_empty() {
            return None;
        }
        let delay = self.delay;
        let mut millis = self.random.between(delay.min, delay.max);
        if self.random.chance(delay.stall_percent) {
            millis += delay.stall;
        }
        Some((self.position(), Duration::from_millis(millis)))
    }

    /// The fsync is over; gives whom to tell.
    pub fn end_sync(&mut self, upto: u64) -> Vec<Callback> {
        self.advance(upto.saturating_sub(self.synced));
        let done = self.waiting.partition_point(|(position, _)| *position <= upto);
        self.waiting.drain(..done).map(|(_, callback)| callback).collect()
    }

    /// Makes the oldest `count` pending records durable.
    fn advance(&mut self, count: u64) {
        for _ in 0..count {
            let Some(record) = self.pending.pop_front() else { break };
            self.durable.apply(&record).expect("it was written in this order");
            self.synced += 1;
        }
    }

    /// Makes everything durable at once.
    pub fn sync_all(&mut self) -> Vec<Callback> {
        self.end_sync(self.position())
    }
}

/// Body of the task that syncs for one store.
pub(super) async fn sync(disk: Arc<Disk>, owner: u64) {
    loop {
        let begun = {
            let mut inner = disk.inner.lock();
            if inner.owner != owner {
                return;
            }
            inner.begin_sync()
        };
        let Some((upto, delay)) = begun else {
            disk.work.notified().await;
            continue;
        };
        if delay.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(delay).await;
        }
        let callbacks = {
            let mut inner = disk.inner.lock();
            if inner.owner != owner {
                return;
            }
            inner.end_sync(upto)
        };
        fire(callbacks);
    }
}
