//! Heartbeats and requests as they are served, each in a task of its own.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use openraft::raft::{AppendEntriesResponse, VoteResponse};
use tokio::time::Instant;

use super::receive::{self, Arriving};
use super::{Session, invalid};
use crate::calls::Caller;
use crate::codec::Get;
use crate::compare;
use crate::core::Core;
use crate::error::{CallError, DecodeError};
use crate::rebuild;
use crate::replica::Replica;
use crate::transport::frame;
use crate::transport::message::{self, Failed, Failure, request};
use crate::types::{AppendRequest, AppendResult};

/// Serves a batch of heartbeats: every group answers for itself, and those that answer at the same
/// time share a frame, so one that is busy does not hold up the others.
pub(crate) fn heartbeats(session: &Session, body: Bytes) -> std::io::Result<()> {
    let (batch, items) = message::read_heartbeats(body).map_err(invalid)?;
    let place = match session.heartbeat_places(items.len()) {
        Ok(place) => place,
        Err(failed) => {
            let all = (0..items.len() as u32).map(|slot| (slot, Err(failed.clone()))).collect();
            return session.answer(message::heartbeat_replies(batch, &all));
        }
    };
    let received = Instant::now();
    let (core, out) = (Arc::clone(&session.core), session.out.clone());
    tokio::spawn(async move {
        let _place = place;
        let answers: FuturesUnordered<_> = items
            .into_iter()
            .enumerate()
            .map(|(slot, (group, request))| {
                let core = &core;
                async move { (slot as u32, heartbeat(core, group, request, received).await) }
            })
            .collect();
        let mut ready = answers.ready_chunks(message::HEARTBEATS_MAX as usize);
        while let Some(replies) = ready.next().await {
            if out.send(message::heartbeat_replies(batch, &replies)).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}

async fn heartbeat(
    core: &Core,
    group: u64,
    request: AppendRequest,
    received: Instant,
) -> Result<AppendResult, Failed> {
    let replica = find(core, group)?;
    let prev = request.prev_log_id;
    let answer = replica.raft.append_entries(request).await.map_err(failed)?;
    if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
        replica.shared.contact.heard(received);
    }
    if prev.is_none() && answer.is_conflict() {
        return Err(Failed::new(Failure::Failed, "conflict with an empty prefix"));
    }
    Ok(answer.into_stream_result(prev, prev))
}

fn find(core: &Core, group: u64) -> Result<Arc<Replica>, Failed> {
    core.replica(group)
        .ok_or_else(|| Failed::new(Failure::NoGroup, format!("group {group} is not open here")))
}

fn failed(error: impl std::fmt::Display) -> Failed {
    Failed::new(Failure::Failed, error.to_string())
}

fn refused(error: DecodeError) -> Failed {
    Failed::new(Failure::Refused, error.0)
}

/// Serves a request.
pub(crate) fn serve(session: &Session, body: Bytes) -> std::io::Result<()> {
    let (id, what, group, body) = message::read_request(body).map_err(invalid)?;
    if session.caller == Caller::Guest && what != request::CALL {
        return Err(frame::invalid(format!("request {what} from a guest")));
    }
    let place = match session.place() {
        Ok(place) => place,
        Err(failed) => return session.answer(message::reply(id, Err(failed))),
    };
    let (core, out, caller) = (Arc::clone(&session.core), session.out.clone(), session.caller);
    let arriving = Arc::clone(&session.arriving);
    tokio::spawn(async move {
        let _place = place;
        let mut answer = execute(&core, &arriving, caller, what, group, body).await;
        let limit = core.config.limits.frame_bytes / 2;
        if let Ok(body) = &answer
            && body.len() > limit
        {
            answer = Err(Failed::new(Failure::Failed, format!("answer of {} bytes", body.len())));
        }
        // The connection may have ended meanwhile; then nobody waits for the answer.
        drop(out.send(message::reply(id, answer)).await);
    });
    Ok(())
}

async fn execute(
    core: &Arc<Core>,
    arriving: &Arriving,
    caller: Caller,
    what: u8,
    group: u64,
    body: Bytes,
) -> Result<Bytes, Failed> {
    match what {
        request::CALL => call(core, caller, body).await,
        request::VIEWS => core.answer_views(body).map_err(refused),
        request::SNAPSHOT => {
            let Caller::Member(from) = caller else { return Err(stranger()) };
            let limits = (core.config.limits.snapshot_bytes, &*core.wanted);
            receive::piece(arriving, limits, from, &*find(core, group)?, body).await
        }
        request::STATE_HASHES => compare::answer(&*find(core, group)?, body).await.map_err(refused),
        request::DIVERGED => {
            let Caller::Member(from) = caller else { return Err(stranger()) };
            let replica = find(core, group)?;
            rebuild::notified(core, &replica, from, body).await.map_err(refused)?;
            Ok(Bytes::new())
        }
        request::MAY_ERASE => {
            let Caller::Member(from) = caller else { return Err(stranger()) };
            rebuild::may_erase(core, &*find(core, group)?, from, body).map_err(refused)
        }
        request::VOTE => {
            let vote = message::read_vote_request(body).map_err(refused)?;
            let replica = find(core, group)?;
            if !replica.shared.may_vote() {
                return Ok(no_vote(&replica));
            }
            let answer = replica.raft.vote(vote).await.map_err(failed)?;
            Ok(message::vote_response(&answer))
        }
        request::PRE_VOTE => {
            let vote = message::read_vote_request(body).map_err(refused)?;
            let replica = find(core, group)?;
            if !replica.shared.may_vote() {
                return Ok(no_vote(&replica));
            }
            let answer = replica.raft.pre_vote(vote).await.map_err(failed)?;
            Ok(message::vote_response(&answer))
        }
        request::TRANSFER => {
            let transfer = message::read_transfer_request(body).map_err(refused)?;
            let replica = find(core, group)?;
            if !replica.shared.may_lead() {
                return Err(Failed::new(Failure::Refused, "the replica may not lead"));
            }
            if core.drain.active() {
                return Err(Failed::new(Failure::Refused, "this node should not lead"));
            }
            let answer = replica.raft.handle_transfer_leader(transfer).await.map_err(failed)?;
            Ok(message::transfer_response(&answer))
        }
        other => Err(Failed::new(Failure::Refused, format!("request {other} is unknown"))),
    }
}

/// The answer of a replica that must not vote: it says what its node must be taken to have.
fn no_vote(replica: &Replica) -> Bytes {
    let (_, vote) = replica.shared.role();
    message::vote_response(&VoteResponse::new(vote, replica.shared.promised(), false))
}

fn stranger() -> Failed {
    Failed::new(Failure::Refused, "only members may do this")
}

async fn call(core: &Core, caller: Caller, body: Bytes) -> Result<Bytes, Failed> {
    let mut input = Get::new(body);
    let method = input.u16().map_err(refused)?;
    let handler = core.handler.read().clone();
    let handler = handler.ok_or_else(|| Failed::new(Failure::Busy, "not serving calls yet"))?;
    handler.call(caller, method, input.rest()).await.map_err(|error| match error {
        CallError::Refused(reason) => Failed::new(Failure::Refused, reason),
        CallError::Busy => Failed::new(Failure::Busy, "busy"),
        CallError::Failed(reason) => Failed::new(Failure::Failed, reason),
        other => Failed::new(Failure::Failed, other.to_string()),
    })
}
