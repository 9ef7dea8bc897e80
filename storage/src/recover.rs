//! Bringing the groups back on open, from `meta` alone.
//!
//! Only one thing is not in `meta`: where the segment ends that was open when the process died. It
//! is the group's greatest key in that generation, found with one seek; the write-ahead log is
//! recovered as a prefix, so that key and the record that names the segment agree.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rocksdb::{DBRawIterator, WriteBatch};

use crate::chunks::{Chunk, Chunks};
use crate::counters::Counters;
use crate::entry::stored_bytes;
use crate::generations::{Generation, Generations};
use crate::group::{Cell, Group};
use crate::keys::{self, Kind};
use crate::rocks::Rocks;
use crate::runs::{Run, Runs};
use crate::segments::{Segment, Segments};
use crate::{EntryId, Error, GroupId};

pub(crate) struct Recovered {
    pub cells: HashMap<GroupId, Arc<Cell>>,
    pub generations: Generations,
    /// Numbers of the chunks that groups have.
    pub chunks: BTreeSet<u64>,
    pub next_chunk: u64,
    pub counters: Counters,
}

/// Checks the format version; writes it into a new directory.
pub(crate) fn check_format(rocks: &Rocks, dir: &Path) -> Result<(), Error> {
    let supported = keys::FORMAT_VERSION;
    let wrong = |found: String| Error::Format { dir: dir.to_owned(), found, supported };
    match rocks.get(rocks.meta(), &keys::format()).map_err(damaged)? {
        Some(value) if value == supported.to_be_bytes() => Ok(()),
        Some(value) => Err(match <[u8; 4]>::try_from(value) {
            Ok(version) => wrong(u32::from_be_bytes(version).to_string()),
            Err(value) => wrong(format!("{value:?}")),
        }),
        None => {
            let mut records = rocks.lookup(rocks.meta(), &[0], &[0xff]);
            records.seek_to_first();
            if records.valid() {
                return Err(wrong("unknown".to_owned()));
            }
            let mut batch = WriteBatch::default();
            batch.put_cf(rocks.meta(), keys::format(), supported.to_be_bytes());
            rocks.write_synced(batch).map_err(damaged)
        }
    }
}

/// Reads the groups and generations, and begins a new generation.
pub(crate) fn load(rocks: &Rocks) -> Result<Recovered, Error> {
    let mut table = load_generations(rocks)?;
    let mut batch = WriteBatch::default();
    let (mut cells, mut chunks) = (HashMap::new(), BTreeSet::new());
    let counters = Counters::default();
    for (id, mut found) in load_groups(rocks)? {
        close_open_segment(rocks, id, &mut found, &mut batch)?;
        let group = found.finish(id)?;
        for segment in group.segments.iter() {
            let generation = table.entry(segment.generation).or_default();
            generation.begin(id);
            generation.live += group.segments.live_of(segment);
        }
        chunks.extend(group.chunks.iter().map(|chunk| chunk.number));
        counters.chunks_changed(&Chunks::default(), &group.chunks);
        cells.insert(id, Arc::new(Cell::new(id, group)));
    }
    let next_chunk = next_chunk(rocks, &chunks, &mut batch)?;
    let current = begin_generation(rocks, &mut table, &mut batch)?;
    // Derived from what is durable already, but the number of the new generation must be on disk
    // before the first entry of it.
    rocks.write_synced(batch).map_err(damaged)?;
    let generations = Generations::new(current, table);
    Ok(Recovered { cells, generations, chunks, next_chunk, counters })
}

/// The first chunk number that neither a row nor a file has; also those that no row names were given out.
fn next_chunk(rocks: &Rocks, named: &BTreeSet<u64>, batch: &mut WriteBatch) -> Result<u64, Error> {
    let key = keys::next_chunk();
    let noted = match rocks.get(rocks.meta(), &key).map_err(damaged)? {
        None => 0,
        Some(value) => u64::from_be_bytes(
            value.try_into().map_err(|_| Error::Damaged("chunk number".to_owned()))?,
        ),
    };
    let files = rocks.chunk_files().map_err(damaged)?;
    let used = named.last().max(files.last()).map_or(0, |last| last.saturating_add(1));
    let next = noted.max(used);
    if next > noted {
        batch.put_cf(rocks.meta(), key, next.to_be_bytes());
    }
    Ok(next)
}

fn begin_generation(
    rocks: &Rocks,
    table: &mut BTreeMap<u32, Generation>,
    batch: &mut WriteBatch,
) -> Result<u32, Error> {
    let key = keys::current_generation();
    let previous = match rocks.get(rocks.meta(), &key).map_err(damaged)? {
        None => None,
        Some(value) => Some(u32::from_be_bytes(
            value.try_into().map_err(|_| Error::Damaged("generation number".to_owned()))?,
        )),
    };
    if let Some(previous) = previous {
        // The generation that was being written when the process died has no total yet.
        let generation = table.entry(previous).or_default();
        if generation.total == 0 {
            generation.total = generation.live;
            batch.put_cf(rocks.meta(), keys::generation(previous), generation.total.to_be_bytes());
        }
        if table.last_key_value().is_some_and(|(&newest, _)| newest > previous) {
            return Err(Error::Damaged(format!("entries behind generation {previous}")));
        }
    }
    let current = previous
        .map_or(Some(0), |previous| previous.checked_add(1))
        .ok_or_else(|| Error::Damaged("generation numbers are used up".to_owned()))?;
    batch.put_cf(rocks.meta(), key, current.to_be_bytes());
    Ok(current)
}

fn load_generations(rocks: &Rocks) -> Result<BTreeMap<u32, Generation>, Error> {
    let (low, high) = keys::generation_bounds();
    let mut table = BTreeMap::new();
    let mut records = rocks.lookup(rocks.meta(), &low, &high);
    records.seek_to_first();
    while let Some((key, value)) = records.item() {
        let bad = || Error::Damaged(format!("generation record {key:02x?}"));
        let number = keys::parse_generation(key).ok_or_else(bad)?;
        let total = u64::from_be_bytes(value.try_into().map_err(|_| bad())?);
        table.insert(number, Generation { total, ..Generation::default() });
        records.next();
    }
    records.status().map_err(damaged)?;
    Ok(table)
}

/// What the records of one group say, before it is put together.
#[derive(Default)]
struct Found {
    vote: Option<Bytes>,
    purged: Option<EntryId>,
    segments: VecDeque<Segment>,
    runs: Vec<Run>,
    corrupt: Option<u64>,
    chunks: Vec<Chunk>,
}

fn load_groups(rocks: &Rocks) -> Result<BTreeMap<GroupId, Found>, Error> {
    let (low, high) = keys::all_groups_bounds();
    let mut groups: BTreeMap<GroupId, Found> = BTreeMap::new();
    let mut records = rocks.lookup(rocks.meta(), &low, &high);
    records.seek_to_first();
    while let Some((key, value)) = records.item() {
        let bad = || Error::Damaged(format!("group record {key:02x?}"));
        let (id, kind, index) = keys::parse_group(key).ok_or_else(bad)?;
        let found = groups.entry(id).or_default();
        match kind {
            Kind::Exists => {}
            Kind::Vote => found.vote = Some(Bytes::copy_from_slice(value)),
            Kind::Purged => found.purged = Some(decode_id(value).ok_or_else(bad)?),
            Kind::Segment => {
                found.segments.push_back(Segment::decode(index, value).ok_or_else(bad)?);
            }
            Kind::Run => {
                let term = u64::from_be_bytes(value.try_into().map_err(|_| bad())?);
                found.runs.push(Run { first: index, term });
            }
            Kind::Corrupt => {
                let index = value.try_into().map_err(|_| bad())?;
                found.corrupt = Some(u64::from_be_bytes(index));
            }
            Kind::Chunk => found.chunks.push(Chunk::decode(index, value).ok_or_else(bad)?),
        }
        records.next();
    }
    records.status().map_err(damaged)?;
    Ok(groups)
}

/// Finds the end of the group's open segment and seals it, as its generation is over now.
fn close_open_segment(
    rocks: &Rocks,
    id: GroupId,
    found: &mut Found,
    batch: &mut WriteBatch,
) -> Result<(), Error> {
    let Some(last) = found.segments.back_mut().filter(|segment| segment.open) else {
        return Ok(());
    };
    let low = keys::entry(last.generation, id, last.first);
    let high = keys::entry(last.generation, id, u64::MAX);
    let mut entries: DBRawIterator<'_> = rocks.lookup(rocks.log(), &low, &high);
    entries.seek_to_last();
    let Some((key, value)) = entries.item() else {
        entries.status().map_err(damaged)?;
        return Err(Error::Damaged(format!("group {id} has no entry where its map says so")));
    };
    let index = keys::entry_index(key, last.generation, id)
        .ok_or_else(|| Error::Damaged(format!("entry key {key:02x?} of group {id}")))?;
    last.end = index + 1;
    // Batches of one producer are much alike, so the last entry stands for all of the segment.
    last.bytes = (last.end - last.first).saturating_mul(stored_bytes(value.len()));
    last.open = false;
    batch.put_cf(rocks.meta(), keys::group(id, Kind::Segment, last.first), last.encode());
    Ok(())
}

impl Found {
    /// Puts the group together and checks that its map has no gap.
    fn finish(self, id: GroupId) -> Result<Group, Error> {
        let bad = |what: &str| Error::Damaged(format!("group {id}: {what}"));
        let start = self.purged.map_or(0, |purged| purged.index + 1);
        let mut expected = None;
        for segment in &self.segments {
            if segment.open || segment.first >= segment.end {
                return Err(bad("a segment without end"));
            }
            if expected.is_some_and(|expected| expected != segment.first) {
                return Err(bad("a gap in the generation map"));
            }
            expected = Some(segment.end);
        }
        let runs = Runs::from_sorted(self.runs);
        let last = match expected {
            Some(end) if end > start => {
                let term = runs.term_at(end - 1).ok_or_else(|| bad("an entry without term"))?;
                Some(EntryId { term, index: end - 1 })
            }
            Some(_) => return Err(bad("a segment that is purged")),
            None => self.purged,
        };
        let first = self.segments.front().map_or(start, |front| front.first.max(start));
        if self.purged.is_some() && first != start {
            return Err(bad("a gap behind the purged entries"));
        }
        let chunks = Chunks::new(id, self.chunks).map_err(|error| bad(&error.to_string()))?;
        if let Some(index) = self.corrupt.or_else(|| chunks.damaged()) {
            tracing::error!(
                group = id.0,
                index,
                "an entry or a chunk before it is damaged on disk, its group does not serve"
            );
        }
        Ok(Group {
            exists: true,
            vote: self.vote,
            purged: self.purged,
            last,
            corrupt: self.corrupt,
            chunks,
            runs,
            segments: Segments::from_sorted(self.segments, first),
            ..Group::default()
        })
    }
}

pub(crate) fn encode_id(id: EntryId) -> [u8; 16] {
    let mut value = [0; 16];
    value[..8].copy_from_slice(&id.term.to_be_bytes());
    value[8..].copy_from_slice(&id.index.to_be_bytes());
    value
}

fn decode_id(value: &[u8]) -> Option<EntryId> {
    let value: [u8; 16] = value.try_into().ok()?;
    let (term, index) = value.split_at(8);
    Some(EntryId {
        term: u64::from_be_bytes(term.try_into().ok()?),
        index: u64::from_be_bytes(index.try_into().ok()?),
    })
}

fn damaged(error: rocksdb::Error) -> Error {
    Error::Damaged(error.to_string())
}
