//! The map's side of moving live entries: a piece of a segment gets a new home.
//!
//! It is planned first and applied after the batch is written, because readers follow the map to
//! entries that must already be there.

use super::{Segment, Segments};

/// What moving `[first, end)` does to the map: `gone` are the first indexes of records to delete,
/// `put` the segments to write. At most one segment goes and three come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Relocation {
    pub gone: Vec<Segment>,
    pub put: Vec<Segment>,
}

impl Segments {
    /// Plans the move of `[first, end)` from `from` to `to`. None if the map no longer says that
    /// all of it is live there: it was purged, truncated or moved meanwhile.
    pub fn plan_move(
        &self,
        from: u32,
        to: u32,
        first: u64,
        end: u64,
        bytes: u64,
    ) -> Option<Relocation> {
        let at = self.list.partition_point(|segment| segment.end <= first);
        let &home = self.list.get(at)?;
        let live_first = home.first.max(self.start);
        if home.generation != from || home.open || first != live_first || end > home.end {
            return None;
        }
        let mut relocation = Relocation { gone: vec![home], put: Vec::new() };
        let moved = Segment { first, end, bytes, generation: to, open: false };
        let before = at.checked_sub(1).map(|i| self.list[i]);
        match before.filter(|s| s.generation == to && !s.open && s.end == first) {
            Some(neighbour) => {
                let bytes = neighbour.bytes + bytes;
                relocation.gone.push(neighbour);
                relocation.put.push(Segment { end, bytes, ..neighbour });
            }
            None => relocation.put.push(moved),
        }
        if end < home.end {
            let bytes = home.share(end, home.end);
            relocation.put.push(Segment { first: end, bytes, ..home });
        }
        Some(relocation)
    }

    /// Applies what `plan_move` gave; nothing may have changed in between.
    pub fn apply_move(&mut self, relocation: &Relocation) {
        for gone in &relocation.gone {
            self.list.retain(|segment| segment.first != gone.first);
            self.total -= gone.bytes;
        }
        for &put in &relocation.put {
            let at = self.list.partition_point(|segment| segment.first < put.first);
            self.list.insert(at, put);
            self.newest = self.newest.max(Some(put.generation));
            self.total += put.bytes;
        }
    }
}
