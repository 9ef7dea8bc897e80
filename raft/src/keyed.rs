//! Keyed state: what a machine keeps beside its small state, larger than memory.
//!
//! ```text
//!   entry ──needs──▶ keys ──▶ overlay? ──no──▶ disk, one read for a whole batch, before the machine is locked
//!                               │yes             │
//!                               ▼                ▼
//!                             apply: get, put, remove ──▶ overlay ──▶ the newest checkpoint's own write
//! ```
//!
//! On disk is exactly the state as of the newest checkpoint: a replay after a restart begins there and must see what the
//! first run saw at each entry. Were changes written through, it would see its own effects and decide otherwise. So what
//! changed since stays in memory, in an overlay; a full one makes a checkpoint.
//!
//! What is forgotten with time is judged when it is read, by the time that the log carries: an expired value counts as
//! none, so nobody has to look for it. To free its place a sweep names keys in a command, and applying it judges again.
//!
//! Whoever reads beside the machine ([`crate::GroupHandle::keyed_range`]) sees the overlay (`overlay.rs`) over the disk.
//!
//! Key on disk: `0x00 'k' slot key`. Of the two slots the newest checkpoint says which holds the state; into the other one
//! a snapshot is written piece by piece, which then takes its place with a checkpoint that names that slot.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use bytes::Bytes;
use quorate_storage::{Log, StateDelete, StatePut};

use crate::digest;
use crate::overlay::{self, Changes, SharedOverlay};

/// An overlay of so many bytes makes a checkpoint.
const OVERLAY_BYTES: usize = if cfg!(feature = "simulation") { 1 << 12 } else { 1 << 20 };
/// Values are read ahead for so many entries as need about this much.
const READ_BYTES: usize = if cfg!(feature = "simulation") { 1 << 10 } else { 4 << 20 };
/// What a changed key takes in memory besides its bytes, about.
const CHANGE_BYTES: usize = 128;
/// Longest key, bytes.
const KEY_BYTES_MAX: usize = 1 << 10;
/// Largest value, bytes.
const VALUE_BYTES_MAX: usize = 1 << 20;

/// Keyed state as the entry being applied sees it: the values of the keys that [`crate::Machine::needs`] named.
#[derive(Debug, Default)]
pub struct Keyed {
    named: Vec<Bytes>,
    /// Values as of the newest checkpoint, read ahead for the batch being applied.
    read: BTreeMap<Bytes, Option<Bytes>>,
    /// What changed since the newest checkpoint.
    overlay: SharedOverlay,
    changed_bytes: usize,
    /// Over all pairs, see [`digest::of_pair`].
    hash: u64,
}

impl Keyed {
    /// The value of a key, changes of earlier entries included.
    ///
    /// # Panics
    /// If the entry did not name the key.
    pub fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.check(key);
        self.value(key)
    }

    /// Sets the value of a key.
    ///
    /// # Panics
    /// If the entry did not name the key, or key or value are longer than 1 KiB or 1 MiB.
    pub fn put(&mut self, key: &[u8], value: Bytes) {
        assert!(key.len() <= KEY_BYTES_MAX, "a key of {} bytes", key.len());
        assert!(value.len() <= VALUE_BYTES_MAX, "a value of {} bytes", value.len());
        self.change(key, Some(value));
    }

    /// Removes a key, if it is there.
    ///
    /// # Panics
    /// If the entry did not name the key.
    pub fn remove(&mut self, key: &[u8]) {
        self.change(key, None);
    }

    /// Which keys happen to be in memory differs between replicas, so one that was not named must not be seen.
    fn check(&self, key: &[u8]) {
        let named = self.named.binary_search_by(|named| named[..].cmp(key)).is_ok();
        assert!(named, "the entry uses a key that it did not name: {key:?}");
    }

    fn value(&self, key: &[u8]) -> Option<Bytes> {
        match self.overlay.read().get(key) {
            Some(known) => known.clone(),
            None => self.read.get(key).expect("what is named was read ahead").clone(),
        }
    }

    fn change(&mut self, key: &[u8], new: Option<Bytes>) {
        self.check(key);
        let of = |value: &Bytes| digest::of_pair(key, value);
        let before = self.value(key).as_ref().map_or(0, of);
        let after = new.as_ref().map_or(0, of);
        self.hash = self.hash.wrapping_sub(before).wrapping_add(after);
        let size = |value: Option<&Bytes>| value.map_or(0, Bytes::len);
        self.changed_bytes += size(new.as_ref());
        match self.overlay.write().changed.insert(Bytes::copy_from_slice(key), new) {
            None => self.changed_bytes += key.len() + CHANGE_BYTES,
            Some(old) => self.changed_bytes -= size(old.as_ref()),
        }
    }

    /// Begins an entry that named these keys.
    pub(crate) fn begin(&mut self, mut named: Vec<Bytes>) {
        named.sort_unstable();
        self.named = named;
    }

    /// Of the keys of an entry those that have to be read before it is applied.
    pub(crate) fn missing(&self, keys: &[Bytes]) -> Vec<Bytes> {
        let overlay = self.overlay.read();
        keys.iter().filter(|key| overlay.get(key).is_none()).cloned().collect()
    }

    /// Takes over what was read ahead for a batch.
    pub(crate) fn read_ahead(&mut self, values: impl IntoIterator<Item = (Bytes, Option<Bytes>)>) {
        self.read.extend(values);
    }

    /// Ends a batch.
    pub(crate) fn end(&mut self) {
        self.named = Vec::new();
        self.read.clear();
    }

    /// Whether it is time for a checkpoint.
    pub(crate) fn is_full(&self) -> bool {
        self.changed_bytes >= OVERLAY_BYTES
    }

    /// The hash of all pairs.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// Begins at the state as of a checkpoint; readers share the overlay.
    pub(crate) fn restored(hash: u64, overlay: SharedOverlay) -> Self {
        overlay.write().clear();
        Self { hash, overlay, ..Self::default() }
    }

    /// The changes since the newest checkpoint.
    pub(crate) fn changes(&self) -> Changes {
        self.overlay.read().changed.clone()
    }

    /// The changes since the newest checkpoint, for the write of the next.
    pub(crate) fn take_changes(&mut self) -> Arc<Changes> {
        self.overlay.write().leave()
    }

    /// What was taken is readable on disk.
    pub(crate) fn changes_written(&mut self) {
        self.overlay.write().left(std::mem::take(&mut self.changed_bytes));
    }
}

/// Where a key is on disk.
pub(crate) fn disk_key(slot: u8, key: &[u8]) -> Vec<u8> {
    [&[0x00, b'k', slot], key].concat()
}

/// All keys of a slot.
pub(crate) fn all(slot: u8) -> StateDelete {
    StateDelete { from: vec![0x00, b'k', slot], to: vec![0x00, b'k', slot + 1] }
}

/// The slot that does not hold the state.
pub(crate) fn other(slot: u8) -> u8 {
    1 - slot.min(1)
}

/// The changes as they are written.
pub(crate) fn stage(
    slot: u8,
    changes: &Changes,
    puts: &mut Vec<StatePut>,
    deletes: &mut Vec<StateDelete>,
) {
    for (key, value) in changes {
        let key = disk_key(slot, key);
        match value {
            Some(value) => puts.push(StatePut { key, value: value.clone() }),
            None => deletes.push(StateDelete::key(key)),
        }
    }
}

/// The first `max` pairs with keys in `[from, to)` as they are now. Blocks.
pub(crate) fn range(
    log: &Log,
    slot: u8,
    overlay: &SharedOverlay,
    (from, to): (&[u8], &[u8]),
    max: usize,
) -> Result<Vec<(Bytes, Bytes)>, quorate_storage::Error> {
    // Taken before the disk is read: what leaves it meanwhile is there then.
    let changes = overlay.read().range(from, to);
    let limit = max.saturating_add(changes.len());
    let found = log.state_range(&disk_key(slot, from), &disk_key(slot, to), limit)?;
    let is_cut = found.len() == limit;
    let prefix = disk_key(slot, &[]).len();
    let pairs = found.into_iter().map(|(key, value)| (Bytes::from(key).slice(prefix..), value));
    let mut merged = overlay::merge(changes, pairs.collect(), is_cut);
    merged.truncate(max);
    Ok(merged)
}

/// Values by key, as of the newest checkpoint.
pub(crate) type Values = BTreeMap<Bytes, Option<Bytes>>;

/// Reads the keys of entries, of so many of them as fill [`READ_BYTES`], but of one at least. Returns the values and
/// for how many entries that is all. Blocks.
pub(crate) fn read(
    log: &Log,
    slot: u8,
    entries: Vec<Vec<Bytes>>,
) -> Result<(Values, usize), quorate_storage::Error> {
    let (mut values, mut bytes, mut read) = (Values::new(), 0, 0);
    for keys in entries {
        if bytes >= READ_BYTES {
            break;
        }
        for key in keys {
            if let Entry::Vacant(place) = values.entry(key) {
                let value = log.state_get(&disk_key(slot, place.key()))?;
                bytes += place.key().len() + value.as_ref().map_or(0, Bytes::len);
                place.insert(value);
            }
        }
        read += 1;
    }
    Ok((values, read))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: &'static str) -> Bytes {
        Bytes::from_static(key.as_bytes())
    }

    #[test]
    fn the_hash_is_that_of_the_pairs_however_they_came_about() {
        let all = || vec![key("a"), key("b"), key("c")];
        let fresh = || {
            let mut keyed = Keyed::default();
            keyed.read_ahead(all().into_iter().map(|key| (key, None)));
            keyed.begin(all());
            keyed
        };
        let mut one = fresh();
        one.put(b"a", key("1"));
        one.put(b"b", key("2"));
        let mut other = fresh();
        other.put(b"c", key("3"));
        other.put(b"b", key("1"));
        other.remove(b"c");
        other.put(b"b", key("2"));
        assert_ne!(other.hash(), one.hash());
        other.put(b"a", key("1"));
        assert_eq!(other.hash(), one.hash());
        other.remove(b"a");
        other.remove(b"b");
        other.remove(b"b");
        assert_eq!((other.hash(), other.get(b"a")), (0, None));
    }

    #[test]
    fn an_overlay_is_full_by_its_bytes_and_empty_after_a_checkpoint() {
        let mut keyed = Keyed::default();
        keyed.read_ahead([(key("a"), None)]);
        keyed.begin(vec![key("a")]);
        for _ in 0..100 {
            keyed.put(b"a", Bytes::from(vec![0; OVERLAY_BYTES / 2]));
            assert!(!keyed.is_full(), "one key is one key");
        }
        keyed.put(b"a", Bytes::from(vec![0; OVERLAY_BYTES]));
        assert!(keyed.is_full());
        assert_eq!(keyed.take_changes().len(), 1);
        keyed.changes_written();
        assert!(!keyed.is_full());
    }

    #[test]
    #[should_panic(expected = "did not name")]
    fn a_key_that_was_not_named_is_out_of_reach_also_when_it_is_in_memory() {
        let mut keyed = Keyed::default();
        keyed.read_ahead([(key("a"), None), (key("b"), None)]);
        keyed.begin(vec![key("a")]);
        keyed.put(b"a", Bytes::new());
        keyed.begin(vec![key("b")]);
        keyed.get(b"a");
    }
}
