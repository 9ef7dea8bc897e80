//! What a replica promised before it was deleted, for the case that it comes back.
//!
//! Raft counts on a vote and on acknowledged entries for ever, and deleting a replica forgets both.
//! Mostly nobody asks again: it had no vote any more. But a member that was away while the voters
//! changed still goes by the old ones, among them this node; if this node is made a replica again
//! and is still empty, the two could elect a leader that lacks everything since, beside the real one.
//!
//! So a deleted replica leaves a note: its vote and the last entry it had. A new replica of the group
//! starts with that vote, and until its log is as long again it neither votes nor campaigns.
//!
//! The notes must not pile up where topics come and go, so there is a fixed number of places for
//! them, by group id. Ids are given out in order: a note is lost when the replica of a group that is
//! [`PLACES`] younger is deleted here.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use quorate_storage::{Db, GroupId, Log};
use tokio::sync::oneshot;

use crate::codec::{Get, Put};
use crate::codec::{decode_vote, encode_vote};
use crate::error::{DecodeError, Error};
use crate::platform::spawn_blocking;
use crate::store::signal;
use crate::types::{LogId, Vote, log_id};

/// Notes a node keeps, some sixty bytes each.
const PLACES: u64 = 1 << 16;

/// The note a deleted replica leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Promise {
    vote: Option<Vote>,
    last: Option<LogId>,
}

impl Promise {
    /// What the replica has promised so far, notes of earlier ones included.
    fn of(log: &Log, before: Option<Promise>) -> Result<Promise, DecodeError> {
        let vote = log.vote().map(decode_vote).transpose()?;
        let last = log.state().last.map(log_id);
        Ok(Promise {
            vote: vote.or(before.and_then(|before| before.vote)),
            last: last.max(before.and_then(|before| before.last)),
        })
    }

    fn encode(&self, group: GroupId) -> Bytes {
        let mut out = BytesMut::new();
        out.u64(group.0);
        out.u8(u8::from(self.vote.is_some()));
        if let Some(vote) = &self.vote {
            out.extend_from_slice(&encode_vote(vote));
        }
        out.opt_log_id(self.last.as_ref());
        out.freeze()
    }

    /// None: the place is taken by another group.
    fn decode(group: GroupId, bytes: Bytes) -> Result<Option<Promise>, DecodeError> {
        let mut input = Get::new(bytes);
        let id = input.u64()?;
        let vote = if input.flag()? { Some(input.vote()?) } else { None };
        let last = input.opt_log_id()?;
        input.end()?;
        Ok((id == group.0).then_some(Promise { vote, last }))
    }
}

fn key(group: GroupId) -> String {
    format!("raft.promise.{}", group.0 % PLACES)
}

/// The note of an earlier replica of the group. Reads the disk.
pub(crate) fn load(db: &Db, group: GroupId) -> Result<Option<Promise>, Error> {
    let corrupt = |error: DecodeError| Error::Corrupt(format!("promise of group {group}: {error}"));
    match db.node_get(&key(group))? {
        Some(bytes) => Promise::decode(group, bytes).map_err(corrupt),
        None => Ok(None),
    }
}

/// Leaves a note for a replica that is about to be deleted; durable when this returns. Blocks.
fn keep(db: &Arc<Db>, group: GroupId) -> Result<(), Error> {
    let before = load(db, group)?;
    let now = Promise::of(&db.log(group), before)
        .map_err(|error| Error::Corrupt(format!("vote of group {group}: {error}")))?;
    if now == (Promise { vote: None, last: None }) || Some(now) == before {
        return Ok(());
    }
    Ok(db.node_put(&key(group), &now.encode(group))?)
}

/// Deletes what a group that is not open has on this node, but what it promised; durable when this returns.
pub(crate) async fn erase(db: &Arc<Db>, group: GroupId) -> Result<(), Error> {
    let own = Arc::clone(db);
    spawn_blocking(move || keep(&own, group)).await?;
    let (durable, done) = oneshot::channel();
    db.drop_group(group, Box::new(move || signal(durable)));
    done.await.map_err(|_| Error::Stopped)
}

/// Begins a replica with the vote of an earlier one, unless it has its own. Gives the entry it must
/// have before it may vote.
pub(crate) async fn resume(log: &Log, promise: Promise) -> Result<Option<LogId>, Error> {
    if let (None, Some(vote)) = (log.vote(), &promise.vote) {
        let (durable, done) = oneshot::channel();
        log.save_vote(encode_vote(vote), Box::new(move || signal(durable))).await?;
        done.await.map_err(|_| Error::Stopped)?;
    }
    Ok(promise.last)
}

/// Waits until everything is durable that was queued for a group by a core that ran before in this process:
/// the next one takes what it finds in the log for durable.
pub(crate) async fn settle(log: &Log) -> Result<(), Error> {
    let vote = log.vote().unwrap_or_else(|| encode_vote(&Vote::new(0, 0)));
    let (durable, done) = oneshot::channel();
    log.save_vote(vote, Box::new(move || signal(durable))).await?;
    done.await.map_err(|_| Error::Stopped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_storage::EntryId;

    #[test]
    fn a_note_survives_its_byte_form_and_belongs_to_its_group_only() {
        let last = Some(log_id(EntryId { term: 3, index: 9 }));
        for vote in [None, Some(Vote::new_committed(4, 2))] {
            let promise = Promise { vote, last };
            let bytes = promise.encode(GroupId(7));
            assert_eq!(Promise::decode(GroupId(7), bytes.clone()).unwrap(), Some(promise));
            assert_eq!(Promise::decode(GroupId(7 + PLACES), bytes).unwrap(), None);
        }
    }
}
