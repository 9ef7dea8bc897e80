//! Entries that are damaged on disk.
//!
//! A bit that rots in a table of the log concerns the groups whose entries lie there and nobody else, so it does not
//! end the process: the group is marked, on disk too, and its log is not read where the damage is. What the group has
//! promised does not depend on it: vote, bounds and terms of the log are kept elsewhere, so it neither looks shorter
//! nor empty. The mark goes when the entry does, by a purge, a cut or a snapshot.

use std::fmt::Display;
use std::sync::Arc;

use crate::group::Cell;
use crate::queue::Op;
use crate::shared::Shared;

/// Marks the group as damaged at `index`, unless its log changed since it had `version`: then another entry may be
/// there by now, and whoever read has to read again. False in that case.
pub(crate) fn mark(
    shared: &Shared,
    cell: &Arc<Cell>,
    (version, index): (u64, u64),
    reason: &dyn Display,
) -> bool {
    let mut group = cell.lock();
    if group.version != version {
        return false;
    }
    if group.corrupt.is_some_and(|known| known <= index) {
        return true;
    }
    group.corrupt = Some(index);
    let op = Op::Corrupt { cell: Arc::clone(cell) };
    // Refused only when the store closes; whoever reads the entry next finds it again.
    drop(shared.queue.push(shared.queue.unbounded(0), op));
    drop(group);
    tracing::error!(
        group = cell.id.0, index, %reason,
        "an entry is damaged on disk: its group votes, but does not lead or serve here"
    );
    shared.corruption.notify_one();
    true
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{Db, Entry, EntryId, EntryKind, GroupId, Options};

    #[test]
    fn what_was_read_before_the_log_changed_is_not_held_against_what_is_there_now() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(dir.path(), Options::default()).unwrap();
        let cell = Arc::new(Cell::new(GroupId(1), crate::group::Group::default()));
        let id = |index| EntryId { term: 1, index };
        let entry = |index| Entry { id: id(index), kind: EntryKind::Blank, payload: Bytes::new() };
        let entries: Vec<Entry> = (1..=5).map(entry).collect();
        cell.lock().append(&entries).unwrap();
        let before = cell.lock().version;
        cell.lock().truncate(Some(3)).unwrap();
        cell.lock().append(&entries[3..]).unwrap();
        assert!(!mark(&db.shared, &cell, (before, 4), &"it was cut off meanwhile"));
        assert_eq!(cell.lock().corrupt, None);
        let now = cell.lock().version;
        assert!(mark(&db.shared, &cell, (now, 4), &"its checksum is wrong"));
        assert_eq!(cell.lock().corrupt, Some(4));
        db.close();
    }
}
