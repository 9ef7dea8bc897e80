//! The producers that wrote last, as this replica has seen them since it was opened: so that a broker that is handed a
//! batch knows, without a look at the disk, whether its producer is known and the batch is in the log already. A cache; in
//! no checkpoint, and nothing is decided by what is not in it.

use std::collections::{BTreeMap, HashMap};

use crate::partition::producers::Producer;

/// Producers of one partition, about a quarter of a megabyte.
const WRITERS_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct LastWriters {
    /// With the offset of their last batch or marker.
    by_id: HashMap<i64, (i64, Producer)>,
    /// By that offset: who is silent longest comes first.
    by_offset: BTreeMap<i64, i64>,
}

impl LastWriters {
    /// Notes a producer after a batch or marker of it was accepted at `offset`.
    pub(super) fn note(&mut self, id: i64, offset: i64, producer: Producer) {
        self.by_offset.insert(offset, id);
        if let Some((before, _)) = self.by_id.insert(id, (offset, producer)) {
            self.by_offset.remove(&before);
        } else if self.by_id.len() > WRITERS_MAX
            && let Some((_, longest_silent)) = self.by_offset.pop_first()
        {
            self.by_id.remove(&longest_silent);
        }
    }

    pub(super) fn get(&self, id: i64) -> Option<&Producer> {
        self.by_id.get(&id).map(|(_, producer)| producer)
    }
}
