//! Reading a group's replicated state: small values beside its log.
//!
//! State is written through the same queue as the entries, so a value is never durable ahead of
//! the entries it was computed from. A read therefore waits until what its group has queued is in
//! the database (one batch, no sync) instead of keeping a second copy in memory.

use bytes::Bytes;

use crate::db::Db;
use crate::group::Cell;
use crate::rocks::read_error;
use crate::{Error, keys};

fn wait_for_queued(db: &Db, cell: &Cell) {
    let sequence = cell.lock().state_sequence;
    db.shared.queue.wait_written(sequence);
}

pub(crate) fn get(db: &Db, cell: &Cell, key: &[u8]) -> Result<Option<Bytes>, Error> {
    wait_for_queued(db, cell);
    db.with_rocks(|rocks| {
        let value = rocks.get(rocks.state(), &keys::state(cell.id, key));
        Ok(value.map_err(|error| read_error(&error))?.map(Bytes::from))
    })?
}

pub(crate) fn at_or_before(
    db: &Db,
    cell: &Cell,
    first_byte: u8,
    key: &[u8],
) -> Result<Option<(Vec<u8>, Bytes)>, Error> {
    wait_for_queued(db, cell);
    let (low, high) = keys::state_first_byte_bounds(cell.id, first_byte);
    db.with_rocks(|rocks| {
        let mut values = rocks.lookup(rocks.state(), &low, &high);
        let wanted = keys::state(cell.id, key);
        if wanted >= high {
            values.seek_to_last();
        } else {
            values.seek_for_prev(&wanted);
        }
        let found =
            values.item().map(|(key, value)| (key[8..].to_vec(), Bytes::copy_from_slice(value)));
        values.status().map_err(|error| read_error(&error))?;
        Ok(found)
    })?
}

pub(crate) fn range(
    db: &Db,
    cell: &Cell,
    from: &[u8],
    to: &[u8],
    max: usize,
) -> Result<Vec<(Vec<u8>, Bytes)>, Error> {
    wait_for_queued(db, cell);
    if from >= to {
        return Ok(Vec::new());
    }
    let (low, high) = (keys::state(cell.id, from), keys::state(cell.id, to));
    db.with_rocks(|rocks| {
        let mut values = rocks.lookup(rocks.state(), &low, &high);
        values.seek_to_first();
        let mut found = Vec::new();
        while found.len() < max
            && let Some((key, value)) = values.item()
        {
            found.push((key[8..].to_vec(), Bytes::copy_from_slice(value)));
            values.next();
        }
        values.status().map_err(|error| read_error(&error))?;
        Ok(found)
    })?
}
