//! Reading entries: the tail from memory, older ones by iterator, never both copies of one index.
//!
//! A read first asks the map where its entries are and then reads without holding the group. If the
//! log was cut or an entry moved meanwhile, the group's version tells, and the read starts over.
//! An entry that cannot be read where an unchanged map says it is, is damaged: see `corrupt`.

use std::sync::Arc;

use crate::group::{Cell, Group};
use crate::rocks::Rocks;
use crate::shared::Shared;
use crate::{Entry, Error, corrupt, entry, keys};

const MISSING: &str = "it is not where it was written";
const WRONG_CHECKSUM: &str = "its checksum is wrong";

/// Segments looked up at a time; a long read asks again.
const PARTS: usize = 64;

/// Entries `[from, to)` that fit into `bytes_max`, at least one if there is one.
pub(crate) fn read(
    shared: &Shared,
    rocks: &Rocks,
    cell: &Arc<Cell>,
    from: u64,
    to: u64,
    bytes_max: usize,
) -> Result<Vec<Entry>, Error> {
    loop {
        let mut attempt = Attempt { shared, rocks, cell, bytes_left: bytes_max, out: Vec::new() };
        if attempt.run(from, to)? {
            return Ok(attempt.out);
        }
    }
}

/// Gives the payload of the entry at `index` to `take`, without copying it. None: there is no such entry.
pub(crate) fn one<T>(
    shared: &Shared,
    rocks: &Rocks,
    cell: &Arc<Cell>,
    index: u64,
    take: impl FnOnce(&[u8]) -> T,
) -> Result<Option<T>, Error> {
    loop {
        let (version, part) = {
            let group = cell.lock();
            if begin(&group, index)? > index || index >= group.end() {
                return Ok(None);
            }
            // The log may have been cut and written anew since memory was asked, and nothing of that be on disk yet.
            let mut cached = Vec::new();
            if group.tail.read(index, index + 1, 1, &mut cached) {
                drop(group);
                return Ok(cached.first().map(|entry| take(&entry.payload)));
            }
            (group.version, group.segments.plan(index, index + 1, 1).pop())
        };
        let found = match part {
            Some((generation, ..)) => rocks.pinned(&keys::entry(generation, cell.id, index)),
            None => Ok(None),
        };
        let reason = match &found {
            Ok(Some(value)) if entry::verify(cell.id, index, value).is_some() => None,
            Ok(Some(_)) => Some(WRONG_CHECKSUM.to_owned()),
            Ok(None) => Some(MISSING.to_owned()),
            Err(error) if error.kind() == rocksdb::ErrorKind::Corruption => Some(error.to_string()),
            Err(error) => return Err(Error::Read(error.to_string())),
        };
        match (reason, found) {
            (None, Ok(Some(value))) if cell.lock().version == version => {
                return Ok(Some(take(&value[entry::HEADER..])));
            }
            (Some(reason), _) if corrupt::mark(shared, cell, (version, index), &reason) => {
                return Err(Error::Corrupt { group: cell.id, index, reason });
            }
            // The log changed underneath.
            _ => {}
        }
    }
}

/// What memory alone can say: None if it takes the disk to answer.
pub(crate) fn read_cached(
    group: &Group,
    from: u64,
    to: u64,
    bytes_max: usize,
) -> Option<Result<Vec<Entry>, Error>> {
    let from = match begin(group, from) {
        Ok(from) => from,
        Err(error) => return Some(Err(error)),
    };
    let mut out = Vec::new();
    if from < to.min(group.end()) && !group.tail.read(from, to, bytes_max, &mut out) {
        return None;
    }
    Some(Ok(out))
}

/// Where a read from `from` begins. A log that was never purged may begin behind `from`.
fn begin(group: &Group, from: u64) -> Result<u64, Error> {
    let first = group.start();
    if group.purged.is_some() && from < first {
        return Err(Error::Purged { index: from, first });
    }
    Ok(from.max(first))
}

struct Attempt<'a> {
    shared: &'a Shared,
    rocks: &'a Rocks,
    cell: &'a Arc<Cell>,
    bytes_left: usize,
    out: Vec<Entry>,
}

enum Scan {
    /// All of the part was read.
    Done,
    /// The bytes are used up.
    Full,
    /// The entry with this index cannot be read, and why.
    Bad(u64, String),
}

impl Attempt<'_> {
    /// False: the log changed underneath, start over.
    fn run(&mut self, from: u64, to: u64) -> Result<bool, Error> {
        let (version, mut next) = {
            let group = self.cell.lock();
            (group.version, begin(&group, from)?)
        };
        loop {
            let parts = {
                let group = self.cell.lock();
                if group.version != version {
                    return Ok(false);
                }
                let to = to.min(group.end());
                if next >= to || group.tail.read(next, to, self.bytes_left, &mut self.out) {
                    return Ok(true);
                }
                let disk_end = group.tail.first().map_or(to, |first| first.min(to));
                group.segments.plan(next, disk_end, PARTS)
            };
            if parts.is_empty() {
                return self.bad(version, next, MISSING.to_owned());
            }
            for (generation, first, end) in parts {
                let scan = if first == next {
                    self.scan(generation, first, end)?
                } else {
                    Scan::Bad(next, MISSING.to_owned())
                };
                match scan {
                    Scan::Done => next = end,
                    Scan::Full => return Ok(self.cell.lock().version == version),
                    Scan::Bad(index, reason) => return self.bad(version, index, reason),
                }
            }
        }
    }

    fn scan(&mut self, generation: u32, first: u64, end: u64) -> Result<Scan, Error> {
        let id = self.cell.id;
        let low = keys::entry(generation, id, first);
        let high = keys::entry(generation, id, end);
        let mut entries = self.rocks.scan(self.rocks.log(), &low, &high);
        entries.seek_to_first();
        for index in first..end {
            // Never past the last one, which may be the last of its block: the next would be read for nothing.
            if index > first {
                entries.next();
            }
            let Some((key, value)) = entries.item() else {
                return match entries.status() {
                    Ok(()) => Ok(Scan::Bad(index, MISSING.to_owned())),
                    Err(error) if error.kind() == rocksdb::ErrorKind::Corruption => {
                        Ok(Scan::Bad(index, error.to_string()))
                    }
                    Err(error) => Err(Error::Read(error.to_string())),
                };
            };
            if keys::entry_index(key, generation, id) != Some(index) {
                return Ok(Scan::Bad(index, MISSING.to_owned()));
            }
            let size = value.len().saturating_sub(entry::HEADER);
            if size > self.bytes_left && !self.out.is_empty() {
                return Ok(Scan::Full);
            }
            let Some(entry) = entry::decode(id, index, value) else {
                return Ok(Scan::Bad(index, WRONG_CHECKSUM.to_owned()));
            };
            self.bytes_left = self.bytes_left.saturating_sub(size);
            self.out.push(entry);
        }
        Ok(Scan::Done)
    }

    /// What was read before it is an answer too; who reads on begins here.
    fn bad(&self, version: u64, index: u64, reason: String) -> Result<bool, Error> {
        if !self.out.is_empty() {
            return Ok(self.cell.lock().version == version);
        }
        if corrupt::mark(self.shared, self.cell, (version, index), &reason) {
            Err(Error::Corrupt { group: self.cell.id, index, reason })
        } else {
            Ok(false)
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{Db, EntryId, EntryKind, GroupId, Options};

    #[test]
    fn one_entry_that_is_not_on_disk_yet_is_read_and_not_taken_for_a_damaged_one() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(dir.path(), Options::default()).unwrap();
        let cell = Arc::new(Cell::new(GroupId(1), Group::default()));
        let entry = |index: u64| Entry {
            id: EntryId { term: 1, index },
            kind: EntryKind::Normal,
            payload: Bytes::from(index.to_string()),
        };
        let entries: Vec<Entry> = (1..=3).map(entry).collect();
        cell.lock().append(&entries).unwrap();
        let read = |index| {
            let take = |payload: &[u8]| payload.to_vec();
            db.with_rocks(|rocks| one(&db.shared, rocks, &cell, index, take)).unwrap().unwrap()
        };
        assert_eq!(read(2).as_deref(), Some(&b"2"[..]));
        assert_eq!(read(4), None);
        assert_eq!(cell.lock().corrupt, None);
    }
}
