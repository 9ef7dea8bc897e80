//! Snapshots as they arrive, piece by piece.
//!
//! What has arrived of a snapshot is kept for a while when the transfer is cut off, so the sender
//! continues where it was; it asks with an empty piece. Partial snapshots are bounded in number and
//! in bytes over all groups, and the sender is answered as busy beyond that.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::checkpoint::Checkpoint;
use crate::codec::Get;
use crate::due_groups::DueGroups;
use crate::error::DecodeError;
use crate::page::{Pairs, Position};
use crate::replica::Replica;
use crate::snapshot::SnapshotData;
use crate::staging::{StageError, Staged};
use crate::transport::message::{Failed, Failure};
use crate::transport::network::{SnapshotAnswer, snapshot_answer};
use crate::types::{LogId, Snapshot, Vote};

/// A partial snapshot nobody continued for this long is dropped.
const FORGET: Duration = Duration::from_secs(60);
/// Partial snapshots at the same time.
const PARTS_MAX: usize = 256;
/// Room made for a snapshot at a time, whatever total it claims.
const GROW_BYTES: usize = 4 << 20;

/// Snapshots whose pages arrive at the same time: each has files open, and sooner whole than a share of the disk each.
const STAGED_MAX: usize = 16;

/// Partial snapshots.
pub(crate) struct Arriving {
    /// Their checkpoints, by sender and group.
    parts: Mutex<HashMap<(u64, u64), Part>>,
    /// For those of which pages arrive.
    staged: Arc<Semaphore>,
}

impl Default for Arriving {
    fn default() -> Self {
        Self { parts: Mutex::default(), staged: Arc::new(Semaphore::new(STAGED_MAX)) }
    }
}

struct Part {
    last: LogId,
    total: usize,
    data: BytesMut,
    touched: Instant,
}

struct Piece {
    vote: Vote,
    /// The index it is of.
    last: LogId,
    /// Bytes of the checkpoint.
    total: usize,
    offset: usize,
    data: Bytes,
    /// A page of what belongs to it, in place of a part of the checkpoint.
    pairs: Option<Pairs>,
}

fn read(body: Bytes, snapshot_max: usize) -> Result<Piece, DecodeError> {
    let mut input = Get::new(body);
    let vote = input.vote()?;
    let last = input.opt_log_id()?;
    let last = last.ok_or_else(|| DecodeError("a snapshot of nothing".into()))?;
    let (total, offset) = (input.u64()?, input.u64()?);
    let length = input.u32()? as usize;
    let data = input.bytes(length)?;
    let pairs = if input.flag()? { Some(Pairs::decode(input.rest())?) } else { None };
    let end = offset.checked_add(data.len() as u64);
    if total == 0 || total > snapshot_max as u64 || end.is_none_or(|end| end > total) {
        return Err(DecodeError(format!(
            "piece at {offset} of a snapshot of {total} bytes, at most {snapshot_max} are allowed"
        )));
    }
    let (total, offset) = (total as usize, offset as usize);
    Ok(Piece { vote, last, total, offset, data, pairs })
}

/// Takes a piece; installs the snapshot when it is complete.
pub(crate) async fn piece(
    arriving: &Arriving,
    (limit, wanted): (usize, &DueGroups),
    from: u64,
    replica: &Replica,
    body: Bytes,
) -> Result<Bytes, Failed> {
    let mut piece = read(body, limit).map_err(refused)?;
    let (staging, log) = (&replica.shared.staging, &replica.shared.log);
    let (key, vote, last) = ((from, replica.shared.group.0), piece.vote, piece.last);
    if let Some(pairs) = piece.pairs.take() {
        return match staging.page(log, from, last, pairs).await.map_err(not_staged)? {
            Staged::Unknown => Ok(go_on(0, Position::default())),
            Staged::Have(bytes, at) => Ok(go_on(bytes, at)),
            Staged::Complete(received, _staged) => {
                install(replica, from, vote, SnapshotData::Staged(received)).await
            }
        };
    }
    if piece.data.is_empty()
        && let Some((bytes, at)) = staging.have(from, last).await
    {
        return Ok(go_on(bytes, at));
    }
    // Before a checkpoint is sent in vain.
    if staging.is_streamed() && arriving.staged.available_permits() == 0 {
        return Err(busy());
    }
    let total = piece.total as u64;
    let complete = match arriving.take(key, piece, limit)? {
        Progress::Have(bytes) => return Ok(go_on(bytes, Position::default())),
        Progress::Complete(data) => data,
    };
    // What cannot be read must not reach the core, which would stop the group.
    let checkpoint = Checkpoint::decode(complete.clone()).map_err(refused)?;
    if checkpoint.last != last {
        return Err(refused(DecodeError("snapshot of another index than it says".into())));
    }
    if checkpoint.slot.is_some() != staging.is_streamed() {
        return Err(refused(DecodeError("snapshot of another kind of machine".into())));
    }
    if staging.is_streamed() {
        let permit = Arc::clone(&arriving.staged).try_acquire_owned().map_err(|_| busy())?;
        let begun = staging.begin(log, from, (&checkpoint, complete), permit).await;
        begun.map_err(not_staged)?;
        wanted.look_later(replica.shared.group);
        return Ok(go_on(total, Position::default()));
    }
    install(replica, from, vote, SnapshotData::Whole(complete)).await
}

async fn install(
    replica: &Replica,
    from: u64,
    vote: Vote,
    snapshot: SnapshotData,
) -> Result<Bytes, Failed> {
    let checkpoint = Checkpoint::decode(snapshot.checkpoint().clone()).map_err(refused)?;
    let (group, index) = (replica.shared.group.0, checkpoint.last.index);
    tracing::debug!(group, from, index, "installing a snapshot");
    let meta = checkpoint.meta();
    let installed = replica.raft.install_full_snapshot(vote, Snapshot { meta, snapshot }).await;
    let response = installed.map_err(|error| Failed::new(Failure::Failed, error.to_string()))?;
    Ok(snapshot_answer(&SnapshotAnswer::Installed(response.vote)))
}

fn go_on(bytes: u64, at: Position) -> Bytes {
    snapshot_answer(&SnapshotAnswer::Continue(bytes, at))
}

fn not_staged(error: StageError) -> Failed {
    match error {
        StageError::Closed => Failed::new(Failure::NoGroup, "the group is being closed"),
        StageError::Differs => {
            Failed::new(Failure::Refused, "the keyed state is not the one of its checkpoint")
        }
        StageError::Records(error) => Failed::new(Failure::Refused, error.to_string()),
        StageError::Failed(error) => Failed::new(Failure::Failed, error),
    }
}

fn busy() -> Failed {
    Failed::new(Failure::Busy, "too many snapshots are arriving")
}

fn refused(error: DecodeError) -> Failed {
    Failed::new(Failure::Refused, error.0)
}

enum Progress {
    Have(u64),
    Complete(Bytes),
}

impl Arriving {
    fn take(&self, key: (u64, u64), piece: Piece, limit: usize) -> Result<Progress, Failed> {
        let now = Instant::now();
        let mut parts = self.parts.lock();
        parts.retain(|_, part| now.duration_since(part.touched) < FORGET);
        if parts.get(&key).is_some_and(|part| part.last != piece.last || part.total != piece.total)
        {
            parts.remove(&key);
        }
        let held: usize = parts.values().map(|part| part.data.len()).sum();
        let full = parts.len() >= PARTS_MAX && !parts.contains_key(&key);
        if full || held + piece.data.len() > limit {
            return Err(busy());
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
