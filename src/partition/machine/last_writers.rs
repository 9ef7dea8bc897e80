//! The producers that wrote last, as this replica has seen them since it was opened: so that a broker that is handed a
//! batch knows, without a look at the disk, whether its producer is known and the batch is in the log already. A cache; in
//! no checkpoint, and nothing is decided by what is not in it.

use std::collections::{BTreeMap, HashMap};

use crate::partition::producers::Producer;

/// Producers of one partition, about a quarter of a megabyte.
const WRITERS_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct LastWriters {
    by_id: HashMap<i64, Producer>,
    /// By the offset of their last batch: who is silent longest comes first.
    by_offset: BTreeMap<i64, i64>,
}

impl LastWriters {
    /// Notes a producer after a batch of it was accepted.
    pub(super) fn note(&mut self, id: i64, producer: Producer) {
        self.by_offset.insert(producer.last_offset(), id);
        if let Some(before) = self.by_id.insert(id, producer) {
            self.by_offset.remove(&before.last_offset());
        } else if self.by_id.len() > WRITERS_MAX
            && let Some((_, longest_silent)) = self.by_offset.pop_first()
        {
            self.by_id.remove(&longest_silent);
        }
    }

    pub(super) fn get(&self, id: i64) -> Option<&Producer> {
        self.by_id.get(&id)
    }
}
