//! What belongs to one checkpoint, keyed state and records, for as long as a snapshot of it is sent.
//!
//! ```text
//!   keyed state on disk:   a=1  b=2       d=4      as of the newest checkpoint
//!   kept beside:                b=7  c=5  d=-      what checkpoints since have overwritten, once a key
//!   as of the snapshot:    a=1  b=7  c=5
//! ```
//!
//! Checkpoints go on meanwhile: none is waited for, and none takes a piece that was not sent yet. What one overwrites goes
//! beside in its own write, and only while somebody may still read it. So a snapshot costs the disk what changes while it
//! is sent, and memory a page.
//!
//! The log behind it is not purged while a receiver answers, so that it can go on with the log. A view that was made for a
//! peer that is away holds nothing: a log would grow for as long as a broker is dead.
//!
//! A page is read in two steps, the state and then what is beside. A checkpoint in between changes both at once, and what
//! is beside wins: so each pair is as of the snapshot, whether or not the first step saw it overwritten.
//!
//! Records need no such thing: they do not change, and those that it begins with are in the log, which is held, or in chunks.
//! Where they were trimmed faster than they were sent the view is broken, and the next one is of a newer checkpoint.
//!
//! Key: `0x00 'u' key`, value: a byte that says whether there was one, and the old value.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use quorate_storage::{Error, Log, StateDelete, StatePut};
use tokio::time::Instant;

use crate::error::storage_failed;
use crate::keyed;
use crate::page::{Pairs, Part, Position};
use crate::records::{OutgoingRecords, Page, Records};

/// A view that no receiver asked for so long is given up: the transfer it was for is not resumed.
const FORGET: Duration = Duration::from_secs(60);
/// The log is not purged for a view for longer than this, however slowly it is read.
const HOLD_MAX: Duration = Duration::from_secs(3600);
/// Pairs read from the disk at a time.
const READ_PAIRS: usize = 16;

/// A view of what belongs to a checkpoint. Reads of it block.
pub(crate) struct Frozen {
    log: Log,
    slot: u8,
    kind: Option<&'static dyn Records>,
    /// Once they are asked for.
    records: Mutex<Option<Arc<dyn OutgoingRecords>>>,
    /// Something cannot be read.
    broken: AtomicBool,
    /// The checkpoint it is as of, and its index.
    pub checkpoint: Bytes,
    pub index: u64,
    machine: Bytes,
    since: Instant,
    /// When a receiver last answered.
    answered: Mutex<Option<Instant>>,
    /// The last one that answered has all of it.
    installed: AtomicBool,
}

impl std::fmt::Debug for Frozen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "what belongs to checkpoint {}", self.index)
    }
}

impl Frozen {
    /// The slot of the keyed state; the checkpoint's index, its bytes, and those of its machine.
    pub fn new(
        log: Log,
        (slot, index, checkpoint, machine): (u8, u64, Bytes, Bytes),
        kind: Option<&'static dyn Records>,
    ) -> Self {
        let (since, answered, records) = (Instant::now(), Mutex::new(None), Mutex::new(None));
        let (broken, installed) = (AtomicBool::new(false), AtomicBool::new(false));
        Self {
            log,
            slot,
            kind,
            records,
            broken,
            checkpoint,
            index,
            machine,
            since,
            answered,
            installed,
        }
    }

    /// A receiver is there and has answered.
    pub fn answered(&self, now: Instant) {
        *self.answered.lock() = Some(now);
        self.installed.store(false, Ordering::Relaxed);
    }

    /// A receiver has all of it.
    pub fn installed(&self) {
        self.installed.store(true, Ordering::Relaxed);
    }

    /// Whether a receiver is there that lacks some of it.
    pub fn is_read(&self, now: Instant) -> bool {
        self.holds_the_log(now) && !self.installed.load(Ordering::Relaxed)
    }

    /// Whether nobody has asked for it for long.
    pub fn is_forgotten(&self, now: Instant) -> bool {
        let last = self.answered.lock().unwrap_or(self.since);
        now.saturating_duration_since(last) >= FORGET
    }

    /// Whether the log must not be purged, so that whoever is sent this can go on with the log.
    pub fn holds_the_log(&self, now: Instant) -> bool {
        let begun = self.answered.lock().is_some();
        let age = now.saturating_duration_since(self.since);
        begun && !self.is_forgotten(now) && age < HOLD_MAX
    }

    /// Whether it cannot be read any more, and is of no use.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// The pairs from a position on, as many as take about so many bytes.
    pub fn page(&self, at: Position, bytes: usize) -> io::Result<Pairs> {
        let page = self.read(&at, bytes);
        self.broken.fetch_or(page.is_err(), Ordering::Relaxed);
        let Page { pairs, upto } = page?;
        let next = match upto {
            Some(_) => Some(Position::new(at.part, upto)),
            None if at.part == Part::Keyed && self.kind.is_some() => {
                Some(Position::new(Part::Records, None))
            }
            None => None,
        };
        Ok(Pairs { at, pairs, next })
    }

    fn read(&self, at: &Position, bytes: usize) -> io::Result<Page> {
        let after = at.after.as_deref();
        if at.part == Part::Keyed {
            return self.keyed(after, bytes).map_err(storage_failed);
        }
        self.records()?.page(after, bytes).map_err(io::Error::other)
    }

    fn records(&self) -> io::Result<Arc<dyn OutgoingRecords>> {
        let mut records = self.records.lock();
        if let Some(records) = &*records {
            return Ok(Arc::clone(records));
        }
        let kind = self.kind.ok_or_else(|| io::Error::other("there are no records"))?;
        let begun = kind.outgoing(&self.log, &self.machine).map_err(io::Error::other)?;
        Ok(Arc::clone(records.insert(Arc::from(begun))))
    }

    /// Pairs of the keyed state behind a key.
    fn keyed(&self, after: Option<&[u8]>, bytes: usize) -> Result<Page, Error> {
        let (mut pairs, end) = read(&self.log, &keyed::all(self.slot), after, bytes)?;
        let (mut old, old_end) = read(&self.log, &beside_all(), after, bytes)?;
        // Both are known up to the lesser end.
        let upto = [end, old_end].into_iter().flatten().min();
        let known = |key: &Bytes| upto.as_ref().is_none_or(|upto| key <= upto);
        pairs.retain(|key, _| known(key));
        old.retain(|key, _| known(key));
        for (key, value) in old {
            match value.first() {
                Some(1) => drop(pairs.insert(key, value.slice(1..))),
                _ => drop(pairs.remove(&key)),
            }
        }
        Ok(Page { pairs: pairs.into_iter().collect(), upto })
    }
}

type Sorted = BTreeMap<Bytes, Bytes>;

/// Pairs of a range behind a key, and the last of them if there may be more.
fn read(
    log: &Log,
    range: &StateDelete,
    after: Option<&[u8]>,
    bytes_max: usize,
) -> Result<(Sorted, Option<Bytes>), Error> {
    let prefix = range.from.len();
    let mut from = range.from.clone();
    if let Some(after) = after {
        from.extend_from_slice(after);
        from.push(0);
    }
    let (mut pairs, mut bytes) = (Sorted::new(), 0);
    'full: loop {
        let part = log.state_range(&from, &range.to, READ_PAIRS)?;
        let Some((last, _)) = part.last() else { return Ok((pairs, None)) };
        from = [last, &[0][..]].concat();
        for (key, value) in part {
            bytes += key.len() + value.len();
            pairs.insert(Bytes::from(key).slice(prefix..), value);
            if bytes >= bytes_max {
                break 'full;
            }
        }
    }
    let last = pairs.last_key_value().map(|(key, _)| key.clone());
    Ok((pairs, last))
}

/// What a checkpoint that changes these keys has to put beside. Blocks.
pub(crate) fn beside(log: &Log, slot: u8, keys: Vec<Bytes>) -> Result<Vec<StatePut>, Error> {
    let mut puts = Vec::new();
    for key in keys {
        let beside = [&[0x00, b'u'], &key[..]].concat();
        if log.state_get(&beside)?.is_some() {
            continue;
        }
        let old = log.state_get(&keyed::disk_key(slot, &key))?;
        let value = match old {
            Some(old) => [&[1][..], &old].concat(),
            None => vec![0],
        };
        puts.push(StatePut { key: beside, value: value.into() });
    }
    Ok(puts)
}

/// All that is beside.
pub(crate) fn beside_all() -> StateDelete {
    StateDelete { from: vec![0x00, b'u'], to: vec![0x00, b'u' + 1] }
}

#[cfg(test)]
#[cfg(not(feature = "simulation"))]
mod tests {
    use quorate_storage::{Db, GroupId, Options};
    use tempfile::TempDir;

    use super::*;

    /// A number that follows from another one.
    fn next(random: &mut u64) -> u64 {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *random >> 33
    }

    async fn checkpoint(log: &Log, changes: BTreeMap<Bytes, Option<Bytes>>, kept: bool) {
        let (mut puts, mut deletes) = (Vec::new(), Vec::new());
        if kept {
            puts = beside(log, 0, changes.keys().cloned().collect()).unwrap();
        }
        keyed::stage(0, &changes, &mut puts, &mut deletes);
        log.write_state(puts, deletes).await.unwrap();
    }

    fn changes(random: &mut u64) -> BTreeMap<Bytes, Option<Bytes>> {
        let change = |_| {
            let key = Bytes::from((next(random) % 60).to_string());
            let value = vec![next(random) as u8; next(random) as usize % 90];
            (key, (!next(random).is_multiple_of(3)).then(|| value.into()))
        };
        (0..20).map(change).collect()
    }

    #[test]
    fn the_log_is_held_while_a_receiver_answers_and_for_none_that_is_away() {
        let dir = TempDir::new().unwrap();
        let db = Db::open(dir.path(), Options::default()).unwrap();
        let frozen = Frozen::new(db.log(GroupId(1)), (0, 7, Bytes::new(), Bytes::new()), None);
        let mut now = frozen.since;
        assert!(!frozen.holds_the_log(now), "nobody has answered yet");
        while now < frozen.since + HOLD_MAX {
            frozen.answered(now);
            assert!(frozen.holds_the_log(now));
            now += FORGET / 2;
        }
        frozen.answered(now);
        assert!(!frozen.holds_the_log(now), "however slowly it is read");
        assert!(!frozen.is_forgotten(now) && frozen.is_forgotten(now + FORGET));
        db.close();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn pages_are_as_of_the_snapshot_whatever_checkpoints_come_between_them() {
        let dir = TempDir::new().unwrap();
        let db = Db::open(dir.path(), Options::default()).unwrap();
        let mut random = 1;
        for round in 0..20 {
            let log = db.log(GroupId(round + 1));
            let mut expected = BTreeMap::new();
            for _ in 0..4 {
                let changes = changes(&mut random);
                for (key, value) in &changes {
                    match value {
                        Some(value) => drop(expected.insert(key.clone(), value.clone())),
                        None => drop(expected.remove(key)),
                    }
                }
                checkpoint(&log, changes, false).await;
            }
            let frozen = Frozen::new(log.clone(), (0, 7, Bytes::new(), Bytes::new()), None);
            let (mut found, mut at, mut pages) = (Vec::new(), Position::default(), 0);
            loop {
                checkpoint(&log, changes(&mut random), true).await;
                let page = frozen.page(at.clone(), 300).unwrap();
                found.extend(page.pairs);
                pages += 1;
                let Some(next) = page.next else { break };
                assert!(at < next, "it goes on");
                at = next;
            }
            assert!(pages > 1, "round {round}");
            assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "round {round}");
        }
        db.close();
    }
}
