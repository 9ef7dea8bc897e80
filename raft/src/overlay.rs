//! What changed of a keyed state since the newest checkpoint: written by the task that applies entries, and read beside
//! it by whoever wants a value as it is now.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

/// Changes by key, `None` where a key was removed.
pub(crate) type Changes = BTreeMap<Bytes, Option<Bytes>>;

/// See the file's header.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    pub changed: Changes,
    /// On their way to the disk with a checkpoint; nothing is applied before they are there.
    leaving: Arc<Changes>,
    /// What went with the newest checkpoint, if that was little: it is likely to be needed again.
    clean: Arc<Changes>,
}

/// So much of what is on disk is kept in memory.
const CLEAN_BYTES: usize = 64 << 10;

/// Shared by the machine's task and readers. Never held across an await, and by readers after the machine's own lock.
pub(crate) type SharedOverlay = Arc<RwLock<Overlay>>;

impl Overlay {
    /// Gives the changes to a checkpoint; they stay readable until it is written.
    pub fn leave(&mut self) -> Arc<Changes> {
        self.leaving = Arc::new(std::mem::take(&mut self.changed));
        Arc::clone(&self.leaving)
    }

    /// What was given to a checkpoint, of so many bytes, is readable on disk.
    pub fn left(&mut self, bytes: usize) {
        let left = std::mem::take(&mut self.leaving);
        self.clean = if bytes <= CLEAN_BYTES { left } else { Arc::default() };
    }

    /// The value of a key, if it is in memory.
    pub fn get(&self, key: &[u8]) -> Option<&Option<Bytes>> {
        self.changed.get(key).or_else(|| self.clean.get(key))
    }

    /// Forgets everything: the state on disk is another.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The changes with keys in `[from, to)`.
    pub fn range(&self, from: &[u8], to: &[u8]) -> Changes {
        // An empty range; a map panics at one that ends before it begins.
        if from >= to {
            return Changes::new();
        }
        let (from, to) = (Bytes::copy_from_slice(from), Bytes::copy_from_slice(to));
        let of = |changes: &Changes| -> Changes {
            let range = changes.range(from.clone()..to.clone());
            range.map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        let mut changes = of(&self.leaving);
        changes.extend(of(&self.changed));
        changes
    }
}

/// Lays changes over pairs that were read after them, of which there may be more behind the last if `is_cut`. Returns
/// what is complete.
pub(crate) fn merge(
    changes: Changes,
    pairs: Vec<(Bytes, Bytes)>,
    is_cut: bool,
) -> Vec<(Bytes, Bytes)> {
    let end = pairs.last().filter(|_| is_cut).map(|(key, _)| key.clone());
    let mut merged: BTreeMap<Bytes, Bytes> = pairs.into_iter().collect();
    for (key, value) in changes {
        if end.as_ref().is_some_and(|end| key > *end) {
            break;
        }
        match (merged.entry(key), value) {
            (Entry::Occupied(place), None) => drop(place.remove()),
            (Entry::Vacant(_), None) => {}
            (Entry::Occupied(mut place), Some(value)) => drop(place.insert(value)),
            (Entry::Vacant(place), Some(value)) => drop(place.insert(value)),
        }
    }
    merged.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn put(overlay: &mut Overlay, key: &'static str, value: Option<&'static str>) {
        overlay.changed.insert(bytes(key), value.map(bytes));
    }

    #[test]
    fn what_leaves_is_readable_until_it_is_on_disk_and_newer_changes_lie_over_it() {
        let mut overlay = Overlay::default();
        put(&mut overlay, "a", Some("1"));
        put(&mut overlay, "b", Some("1"));
        assert_eq!(overlay.leave().len(), 2);
        put(&mut overlay, "b", None);
        put(&mut overlay, "c", Some("2"));
        let all =
            [(bytes("a"), Some(bytes("1"))), (bytes("b"), None), (bytes("c"), Some(bytes("2")))];
        assert_eq!(overlay.range(b"", b"z"), Changes::from(all.clone()));
        assert_eq!(overlay.range(b"b", b"c"), Changes::from([all[1].clone()]));
        assert_eq!(overlay.range(b"c", b"a"), Changes::new());
        overlay.left(2);
        assert_eq!(overlay.range(b"", b"z"), Changes::from([all[1].clone(), all[2].clone()]));
    }

    #[test]
    fn what_went_to_the_disk_last_is_known_without_it_if_it_is_little() {
        let mut overlay = Overlay::default();
        let checkpoint = |overlay: &mut Overlay, value, bytes| {
            put(overlay, "a", value);
            overlay.leave();
            overlay.left(bytes);
        };
        checkpoint(&mut overlay, Some("1"), 2);
        assert_eq!(overlay.get(b"a"), Some(&Some(bytes("1"))));
        assert_eq!(overlay.get(b"b"), None, "that is on disk, or nowhere");
        put(&mut overlay, "a", Some("2"));
        assert_eq!(overlay.get(b"a"), Some(&Some(bytes("2"))));
        checkpoint(&mut overlay, None, 2);
        assert_eq!(overlay.get(b"a"), Some(&None), "it is known to be gone");
        checkpoint(&mut overlay, Some("3"), CLEAN_BYTES + 1);
        assert_eq!(overlay.get(b"a"), None);
        overlay.clear();
        assert_eq!(overlay.get(b"a"), None);
    }

    #[test]
    fn changes_lie_over_what_was_read_as_far_as_that_reaches() {
        let read = || vec![(bytes("b"), bytes("1")), (bytes("d"), bytes("1"))];
        let changes = Changes::from([
            (bytes("a"), Some(bytes("2"))),
            (bytes("b"), None),
            (bytes("c"), None),
            (bytes("d"), Some(bytes("2"))),
            (bytes("e"), Some(bytes("2"))),
        ]);
        let two = |key| (bytes(key), bytes("2"));
        assert_eq!(merge(changes.clone(), read(), false), [two("a"), two("d"), two("e")]);
        assert_eq!(
            merge(changes, read(), true),
            [two("a"), two("d")],
            "before e there may be more"
        );
    }
}
