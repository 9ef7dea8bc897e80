//! Reading chunks, and what is damaged in them.
//!
//! A chunk never changes, so a read needs no lock and no second look, unless it finds something amiss: then the chunk was
//! dropped meanwhile, or it is damaged. A damaged chunk is like a damaged entry: it concerns its group and nobody else,
//! and is noted in its row (see `corrupt`). The note goes with the row.

use std::sync::Arc;

use rocksdb::DBRawIterator;

use crate::chunks::{Chunk, ChunkRecords, Chunks, decode_record};
use crate::group::Cell;
use crate::queue::Op;
use crate::rocks::Rocks;
use crate::shared::Shared;
use crate::{Error, keys};

/// Records from the last one at or before `from` on, of one chunk, while they fit into `bytes_max`; at least one.
pub(crate) fn read(
    shared: &Shared,
    rocks: &Rocks,
    cell: &Arc<Cell>,
    chunks: &Chunks,
    (from, bytes_max): (u64, usize),
) -> Result<ChunkRecords, Error> {
    let Some(chunk) = chunks.holding(from) else {
        return Ok(ChunkRecords { records: Vec::new(), next: from });
    };
    let found = scan(rocks, chunk, from, bytes_max)?;
    found.map_err(|(offset, reason)| {
        let (group, number) = (cell.id, chunk.number);
        if is_damage(shared, cell, number, offset, &reason) {
            Error::CorruptChunk { group, chunk: number, offset, reason }
        } else {
            Error::ChunkDropped { group, chunk: number }
        }
    })
}

/// Where what is amiss, and why.
type Bad = (u64, String);

fn scan(
    rocks: &Rocks,
    chunk: &Chunk,
    from: u64,
    bytes_max: usize,
) -> Result<Result<ChunkRecords, Bad>, Error> {
    let low = keys::record(chunk.number, 0);
    let high = keys::record(chunk.number, u64::MAX);
    let mut stored = rocks.scan(rocks.chunks(), &low, &high);
    seek(&mut stored, chunk, from);
    let (mut records, mut left) = (Vec::new(), bytes_max);
    while let Some((key, value)) = stored.item() {
        let Some((_, offset)) = keys::parse_record(key) else {
            return Ok(Err((from, "a key is wrong".to_owned())));
        };
        if value.len() > left && !records.is_empty() {
            return Ok(Ok(ChunkRecords { records, next: offset }));
        }
        let Some(record) = decode_record(chunk.number, offset, value) else {
            // What was read before it is an answer too; who reads on begins here.
            if !records.is_empty() {
                return Ok(Ok(ChunkRecords { records, next: offset }));
            }
            return Ok(Err((offset, "its checksum is wrong".to_owned())));
        };
        left = left.saturating_sub(value.len());
        records.push((offset, record));
        stored.next();
    }
    match stored.status() {
        Ok(()) if records.is_empty() => Ok(Err((from, "it is not there".to_owned()))),
        Ok(()) => Ok(Ok(ChunkRecords { records, next: chunk.end })),
        Err(error) if error.kind() == rocksdb::ErrorKind::Corruption => {
            Ok(Err((from, error.to_string())))
        }
        Err(error) => Err(Error::Read(error.to_string())),
    }
}

/// Goes to the last record at or before `from`. Looking back, RocksDB also reads a block of the neighbouring chunk when
/// that record is the first or `from` is behind the last; if it fails there the way forward does not.
fn seek(stored: &mut DBRawIterator<'_>, chunk: &Chunk, from: u64) {
    let key = |offset| keys::record(chunk.number, offset);
    if from > chunk.first {
        stored.seek_for_prev(key(from));
    }
    if stored.valid() {
        return;
    }
    let mut last = chunk.first;
    stored.seek(key(last));
    while let Some((_, offset)) = stored.key().and_then(keys::parse_record)
        && offset <= from
    {
        last = offset;
        stored.next();
    }
    if stored.status().is_ok() {
        stored.seek(key(last));
    }
}

/// Notes the damage, unless the group does not have the chunk any more; false then.
fn is_damage(shared: &Shared, cell: &Arc<Cell>, number: u64, offset: u64, reason: &str) -> bool {
    let mut group = cell.lock();
    if group.chunks.find(number).is_none() {
        return false;
    }
    let Some(damaged) = group.chunks.with_damage(number) else { return true };
    group.chunks = damaged;
    let op = Op::ChunkDamaged { cell: Arc::clone(cell), number };
    // Refused only when the store closes; whoever reads it next finds it again.
    drop(shared.queue.push(shared.queue.unbounded(0), op));
    drop(group);
    tracing::error!(
        group = cell.id.0,
        chunk = number,
        offset,
        reason,
        "a chunk is damaged on disk: its group votes, but does not lead or serve here"
    );
    shared.corruption.notify_one();
    true
}
