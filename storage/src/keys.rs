//! Every key the store writes, and nothing else: order and bounds are decided here.
//!
//! All integers are big endian, so bytes sort as numbers do. The log's keys begin with the
//! generation, which makes the files of successive memtables disjoint: compaction only moves them,
//! and a generation nobody needs is dropped as whole files.

use crate::GroupId;

/// Entries: generation, group, index.
pub(crate) const LOG: &str = "log";
/// Votes, generation map, purge points, term runs, damaged entries, chunks, node values, format.
pub(crate) const META: &str = "meta";
/// Replicated state: group, key.
pub(crate) const STATE: &str = "state";
/// Records below the logs: chunk, offset. A chunk is one file, and nothing is ever written here but such files.
pub(crate) const CHUNKS: &str = "chunks";

/// Version of everything in this file and in the values; checked on open.
pub(crate) const FORMAT_VERSION: u32 = 6;

pub(crate) const ENTRY_KEY: usize = 4 + 8 + 8;
pub(crate) const GROUP_KEY: usize = 1 + 8 + 1 + 8;
pub(crate) const RECORD_KEY: usize = 8 + 8;

const TAG_FORMAT: u8 = 0x00;
const TAG_CURRENT: u8 = 0x01;
const TAG_GENERATION: u8 = 0x02;
const TAG_NODE: u8 = 0x03;
const TAG_GROUP: u8 = 0x04;
const TAG_NEXT_CHUNK: u8 = 0x05;

const _: () = assert!(ENTRY_KEY == size_of::<u32>() + 2 * size_of::<u64>());
const _: () = assert!(TAG_FORMAT < TAG_CURRENT && TAG_CURRENT < TAG_GENERATION);
const _: () = assert!(TAG_GENERATION < TAG_NODE && TAG_NODE < TAG_GROUP);
const _: () = assert!((Kind::Exists as u8) < (Kind::Vote as u8));
const _: () = assert!((Kind::Purged as u8) < (Kind::Segment as u8));
const _: () = assert!((Kind::Segment as u8) < (Kind::Chunk as u8));

/// What a group's record in `meta` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// The group holds something.
    Exists = 0,
    Vote = 1,
    Purged = 2,
    /// First index of a segment: which generation holds it.
    Segment = 3,
    /// First index of a term.
    Run = 4,
    /// Holds the index of an entry that was found damaged.
    Corrupt = 5,
    /// First offset of a chunk: which one, and what it holds.
    Chunk = 6,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        Some(match byte {
            0 => Kind::Exists,
            1 => Kind::Vote,
            2 => Kind::Purged,
            3 => Kind::Segment,
            4 => Kind::Run,
            5 => Kind::Corrupt,
            6 => Kind::Chunk,
            _ => return None,
        })
    }
}

pub(crate) fn entry(generation: u32, group: GroupId, index: u64) -> [u8; ENTRY_KEY] {
    let mut key = [0; ENTRY_KEY];
    key[..4].copy_from_slice(&generation.to_be_bytes());
    key[4..12].copy_from_slice(&group.0.to_be_bytes());
    key[12..].copy_from_slice(&index.to_be_bytes());
    key
}

/// The index, if the key is an entry of this generation and group.
pub(crate) fn entry_index(key: &[u8], generation: u32, group: GroupId) -> Option<u64> {
    let (head, index) = key.split_at_checked(12)?;
    (head == &entry(generation, group, 0)[..12]).then_some(())?;
    Some(u64::from_be_bytes(index.try_into().ok()?))
}

/// The generation an entry's key begins with.
pub(crate) fn entry_generation(key: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(key.get(..4)?.try_into().ok()?))
}

/// Smallest and greatest possible key of the generations `first..=last`.
pub(crate) fn generations(first: u32, last: u32) -> ([u8; ENTRY_KEY], [u8; ENTRY_KEY]) {
    (entry(first, GroupId(0), 0), entry(last, GroupId(u64::MAX), u64::MAX))
}

pub(crate) fn format() -> [u8; 1] {
    [TAG_FORMAT]
}

/// Holds the number of the generation being written; numbers are never used twice.
pub(crate) fn current_generation() -> [u8; 1] {
    [TAG_CURRENT]
}

/// Holds the bytes a finished generation was written with.
pub(crate) fn generation(number: u32) -> [u8; 5] {
    let mut key = [TAG_GENERATION; 5];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

pub(crate) fn parse_generation(key: &[u8]) -> Option<u32> {
    match key {
        [TAG_GENERATION, number @ ..] => Some(u32::from_be_bytes(number.try_into().ok()?)),
        _ => None,
    }
}

pub(crate) fn generation_bounds() -> ([u8; 1], [u8; 1]) {
    ([TAG_GENERATION], [TAG_GENERATION + 1])
}

pub(crate) fn node(name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + name.len());
    key.push(TAG_NODE);
    key.extend_from_slice(name.as_bytes());
    key
}

/// Holds the number of the next chunk; numbers are never used twice.
pub(crate) fn next_chunk() -> [u8; 1] {
    [TAG_NEXT_CHUNK]
}

/// A record of a chunk.
pub(crate) fn record(chunk: u64, offset: u64) -> [u8; RECORD_KEY] {
    let mut key = [0; RECORD_KEY];
    key[..8].copy_from_slice(&chunk.to_be_bytes());
    key[8..].copy_from_slice(&offset.to_be_bytes());
    key
}

/// The chunk and the offset of a record.
pub(crate) fn parse_record(key: &[u8]) -> Option<(u64, u64)> {
    let (chunk, offset) = key.split_at_checked(8)?;
    let offset = u64::from_be_bytes(offset.try_into().ok()?);
    Some((u64::from_be_bytes(chunk.try_into().ok()?), offset))
}

/// A group's record. `index` is zero for the kinds of which a group has one.
pub(crate) fn group(group: GroupId, kind: Kind, index: u64) -> [u8; GROUP_KEY] {
    let mut key = [TAG_GROUP; GROUP_KEY];
    key[1..9].copy_from_slice(&group.0.to_be_bytes());
    key[9] = kind as u8;
    key[10..].copy_from_slice(&index.to_be_bytes());
    key
}

pub(crate) fn parse_group(key: &[u8]) -> Option<(GroupId, Kind, u64)> {
    if key.len() != GROUP_KEY || key[0] != TAG_GROUP {
        return None;
    }
    let group = u64::from_be_bytes(key[1..9].try_into().ok()?);
    let index = u64::from_be_bytes(key[10..].try_into().ok()?);
    Some((GroupId(group), Kind::from_byte(key[9])?, index))
}

/// Bounds of everything `meta` holds about one group.
pub(crate) fn group_bounds(id: GroupId) -> ([u8; GROUP_KEY], [u8; GROUP_KEY]) {
    (group(id, Kind::Exists, 0), group(GroupId(id.0 + 1), Kind::Exists, 0))
}

/// Bounds of everything `meta` holds about groups.
pub(crate) fn all_groups_bounds() -> ([u8; 1], [u8; 1]) {
    ([TAG_GROUP], [TAG_GROUP + 1])
}

pub(crate) fn state(group: GroupId, key: &[u8]) -> Vec<u8> {
    let mut full = Vec::with_capacity(8 + key.len());
    full.extend_from_slice(&group.0.to_be_bytes());
    full.extend_from_slice(key);
    full
}

/// Bounds of one group's replicated state.
pub(crate) fn state_bounds(group: GroupId) -> ([u8; 8], [u8; 8]) {
    (group.0.to_be_bytes(), (group.0 + 1).to_be_bytes())
}

/// Bounds of the keys of one group's state that begin with `first`.
pub(crate) fn state_first_byte_bounds(group: GroupId, first: u8) -> (Vec<u8>, Vec<u8>) {
    let upper = match first.checked_add(1) {
        Some(next) => state(group, &[next]),
        None => state_bounds(group).1.to_vec(),
    };
    (state(group, &[first]), upper)
}

#[cfg(test)]
mod tests;
