//! Snapshots as they arrive, piece by piece.
//!
//! What has arrived of a snapshot is kept for a while when the transfer is cut off, so the sender
//! continues where it was; it asks with an empty piece. Partial snapshots are bounded in number and
//! in bytes over all groups, and the sender is answered as busy beyond that.

use std::collections::HashMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::checkpoint::Checkpoint;
use crate::codec::Get;
use crate::error::DecodeError;
use crate::replica::Replica;
use crate::transport::message::{Failed, Failure};
use crate::transport::network::{SnapshotAnswer, snapshot_answer};
use crate::types::{LogId, Snapshot, SnapshotMeta, Vote, get_stored_members};

/// A partial snapshot nobody continued for this long is dropped.
const FORGET: Duration = Duration::from_secs(60);
/// Partial snapshots at the same time.
const PARTS_MAX: usize = 256;
/// Room made for a snapshot at a time, whatever total it claims.
const GROW_BYTES: usize = 4 << 20;

/// Partial snapshots by sender and group.
#[derive(Default)]
pub(crate) struct Arriving(Mutex<HashMap<(u64, u64), Part>>);

struct Part {
    last: LogId,
    total: usize,
    data: BytesMut,
    touched: Instant,
}

struct Piece {
    vote: Vote,
    meta: SnapshotMeta,
    last: LogId,
    total: usize,
    offset: usize,
    data: Bytes,
}

fn read(body: Bytes, snapshot_max: usize) -> Result<Piece, DecodeError> {
    let mut input = Get::new(body);
    let vote = input.vote()?;
    let last_log_id = input.opt_log_id()?;
    let last = last_log_id.ok_or_else(|| DecodeError("a snapshot of nothing".into()))?;
    let last_membership = get_stored_members(&mut input)?;
    let (total, offset) = (input.u64()?, input.u64()?);
    let data = input.rest();
    let end = offset.checked_add(data.len() as u64);
    if total == 0 || total > snapshot_max as u64 || end.is_none_or(|end| end > total) {
        return Err(DecodeError(format!(
            "piece at {offset} of a snapshot of {total} bytes, at most {snapshot_max} are allowed"
        )));
    }
    let meta = SnapshotMeta { last_log_id, last_membership };
    Ok(Piece { vote, meta, last, total: total as usize, offset: offset as usize, data })
}

/// Takes a piece; installs the snapshot when it is complete.
pub(crate) async fn piece(
    arriving: &Arriving,
    limit: usize,
    from: u64,
    replica: &Replica,
    body: Bytes,
) -> Result<Bytes, Failed> {
    let refused = |error: DecodeError| Failed::new(Failure::Refused, error.0);
    let piece = read(body, limit).map_err(refused)?;
    let key = (from, replica.shared.group.0);
    let (vote, meta) = (piece.vote, piece.meta.clone());
    let complete = match arriving.take(key, piece, limit)? {
        Progress::Have(bytes) => return Ok(snapshot_answer(&SnapshotAnswer::Continue(bytes))),
        Progress::Complete(data) => data,
    };
    // What cannot be read must not reach the core, which would stop the group.
    let checkpoint = Checkpoint::decode(complete.clone()).map_err(refused)?;
    if Some(checkpoint.last) != meta.last_log_id {
        return Err(refused(DecodeError("snapshot of another index than it says".into())));
    }
    let snapshot = Snapshot { meta, snapshot: complete };
    tracing::debug!(group = key.1, from, index = checkpoint.last.index, "installing a snapshot");
    let installed = replica.raft.install_full_snapshot(vote, snapshot).await;
    let response = installed.map_err(|error| Failed::new(Failure::Failed, error.to_string()))?;
    Ok(snapshot_answer(&SnapshotAnswer::Installed(response.vote)))
}

enum Progress {
    Have(u64),
    Complete(Bytes),
}

impl Arriving {
    fn take(&self, key: (u64, u64), piece: Piece, limit: usize) -> Result<Progress, Failed> {
        let now = Instant::now();
        let mut parts = self.0.lock();
        parts.retain(|_, part| now.duration_since(part.touched) < FORGET);
        if parts.get(&key).is_some_and(|part| part.last != piece.last || part.total != piece.total)
        {
            parts.remove(&key);
        }
        let held: usize = parts.values().map(|part| part.data.len()).sum();
        let full = parts.len() >= PARTS_MAX && !parts.contains_key(&key);
        if full || held + piece.data.len() > limit {
            return Err(Failed::new(Failure::Busy, "too many snapshots are arriving"));
        }
        let part = parts.entry(key).or_insert_with(|| Part {
            last: piece.last,
            total: piece.total,
            data: BytesMut::with_capacity(piece.total.min(GROW_BYTES)),
            touched: now,
        });
        part.touched = now;
        if piece.offset == part.data.len() {
            part.data.extend_from_slice(&piece.data);
        }
        if part.data.len() < part.total {
            return Ok(Progress::Have(part.data.len() as u64));
        }
        let part = parts.remove(&key).expect("it was just there");
        Ok(Progress::Complete(part.data.freeze()))
    }
}
