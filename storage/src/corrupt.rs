//! Entries that are damaged on disk.
//!
//! A bit that rots in a table of the log concerns the groups whose entries lie there and nobody else, so it does not
//! end the process: the group is marked, on disk too, and its log is not read where the damage is. What the group has
//! promised does not depend on it: vote, bounds and terms of the log are kept elsewhere, so it neither looks shorter
//! nor empty. The mark goes when the entry does, by a purge, a cut or a snapshot.

use std::fmt::Display;
use std::sync::Arc;

use crate::db::Shared;
use crate::group::Cell;
use crate::queue::Op;

/// Marks the group if the entry is still part of its log.
pub(crate) fn mark(shared: &Shared, cell: &Arc<Cell>, index: u64, reason: &dyn Display) {
    let mut group = cell.lock();
    if !(group.start()..group.end()).contains(&index)
        || group.corrupt.is_some_and(|known| known <= index)
    {
        return;
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
}
