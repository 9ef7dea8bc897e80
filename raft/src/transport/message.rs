//! What nodes say to each other, as bytes.
//!
//! Numbers of kinds, requests and failures are never given another meaning; a new one is added.

use bytes::{Bytes, BytesMut};
use openraft::raft::{
    StreamAppendError, TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use quorate_storage::{EntryId, EntryKind};

use super::frame::{self, Frame};
use crate::codec::{Get, Put};
use crate::condition::Condition;
use crate::error::DecodeError;
use crate::types::{AppendRequest, AppendResult, Entry, TypeConfig, from_stored, to_stored};

pub(crate) const HELLO: u8 = 1;
pub(crate) const WELCOME: u8 = 2;
pub(crate) const REFUSE: u8 = 3;
pub(crate) const PING: u8 = 10;
pub(crate) const PONG: u8 = 11;
pub(crate) const APPEND: u8 = 20;
pub(crate) const APPENDED: u8 = 21;
pub(crate) const APPEND_END: u8 = 22;
pub(crate) const HEARTBEATS: u8 = 30;
pub(crate) const HEARTBEAT_REPLIES: u8 = 31;
pub(crate) const REQUEST: u8 = 40;
pub(crate) const REPLY: u8 = 41;

/// What a [`REQUEST`] asks for.
pub(crate) mod request {
    pub const VOTE: u8 = 1;
    pub const PRE_VOTE: u8 = 2;
    pub const TRANSFER: u8 = 3;
    pub const SNAPSHOT: u8 = 4;
    pub const VIEWS: u8 = 5;
    pub const CALL: u8 = 6;
    pub const STATE_HASHES: u8 = 7;
    pub const DIVERGED: u8 = 8;
    pub const MAY_ERASE: u8 = 9;
}

/// Why the other side did not do what it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The group is not open there. Nothing was done.
    NoGroup,
    /// Too much is going on there. Nothing was done.
    Busy,
    /// The frame made no sense or the sender may not say this. Nothing was done.
    Refused,
    /// It was tried and failed.
    Failed,
}

impl Failure {
    fn code(self) -> u8 {
        match self {
            Self::NoGroup => 1,
            Self::Busy => 2,
            Self::Refused => 3,
            Self::Failed => 4,
        }
    }

    fn from_code(code: u8) -> Self {
        match code {
            1 => Self::NoGroup,
            2 => Self::Busy,
            3 => Self::Refused,
            _ => Self::Failed,
        }
    }
}

/// A failure with the words of the side where it happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{failure:?}: {text}")]
pub(crate) struct Failed {
    pub failure: Failure,
    pub text: String,
}

impl Failed {
    pub fn new(failure: Failure, text: impl Into<String>) -> Self {
        Self { failure, text: text.into() }
    }
}

/// Entry header: term, index, kind, payload length.
const ENTRY_HEAD: usize = 21;

/// An append request of a group on a stream; payloads follow all headers, uncopied.
pub(crate) fn append(stream: u64, group: u64, request: AppendRequest) -> Frame {
    let mut head = frame::start(APPEND);
    head.u64(stream);
    head.u64(group);
    head.vote(&request.vote);
    head.opt_log_id(request.prev_log_id.as_ref());
    head.opt_log_id(request.leader_commit.as_ref());
    head.u32(request.entries.len() as u32);
    head.reserve(request.entries.len() * ENTRY_HEAD);
    let mut payloads = Vec::with_capacity(request.entries.len());
    for entry in request.entries {
        let stored = to_stored(entry);
        head.u64(stored.id.term);
        head.u64(stored.id.index);
        head.u8(match stored.kind {
            EntryKind::Blank => 0,
            EntryKind::Normal => 1,
            EntryKind::Membership => 2,
        });
        head.u32(stored.payload.len() as u32);
        payloads.push(stored.payload);
    }
    frame::finish(head, payloads)
}

/// Stream, group and request of an [`APPEND`] frame.
pub(crate) fn read_append(body: Bytes) -> Result<(u64, u64, AppendRequest), DecodeError> {
    let mut input = Get::new(body);
    let (stream, group) = (input.u64()?, input.u64()?);
    let vote = input.vote()?;
    let prev_log_id = input.opt_log_id()?;
    let leader_commit = input.opt_log_id()?;
    let count = input.u32()? as usize;
    let mut heads = Get::new(input.bytes(count.saturating_mul(ENTRY_HEAD))?);
    let mut entries: Vec<Entry> = Vec::with_capacity(count);
    let mut next = prev_log_id.map_or(0, |id| id.index.saturating_add(1));
    for _ in 0..count {
        let id = EntryId { term: heads.u64()?, index: heads.u64()? };
        let kind = match heads.u8()? {
            0 => EntryKind::Blank,
            1 => EntryKind::Normal,
            2 => EntryKind::Membership,
            other => return Err(DecodeError(format!("entry kind {other} is unknown"))),
        };
        if id.index != next {
            return Err(DecodeError(format!("entry {id} where index {next} should be")));
        }
        next = next.saturating_add(1);
        let payload = input.bytes(heads.u32()? as usize)?;
        entries.push(from_stored(quorate_storage::Entry { id, kind, payload })?);
    }
    input.end()?;
    Ok((stream, group, AppendRequest { vote, prev_log_id, entries, leader_commit }))
}

fn put_append_result(out: &mut BytesMut, result: &Result<AppendResult, Failed>) {
    match result {
        Ok(Ok(matched)) => {
            out.u8(0);
            out.opt_log_id(matched.as_ref());
        }
        Ok(Err(StreamAppendError::Conflict(id))) => {
            out.u8(1);
            out.opt_log_id(Some(id));
        }
        Ok(Err(StreamAppendError::HigherVote(vote))) => {
            out.u8(2);
            out.vote(vote);
        }
        Err(failed) => {
            out.u8(3);
            put_failed(out, failed);
        }
    }
}

fn get_append_result(input: &mut Get) -> Result<Result<AppendResult, Failed>, DecodeError> {
    Ok(match input.u8()? {
        0 => Ok(Ok(input.opt_log_id()?)),
        1 => match input.opt_log_id()? {
            Some(id) => Ok(Err(StreamAppendError::Conflict(id))),
            None => return Err(DecodeError("a conflict without a place".into())),
        },
        2 => Ok(Err(StreamAppendError::HigherVote(input.vote()?))),
        3 => Err(get_failed(input)?),
        other => return Err(DecodeError(format!("append result {other} is unknown"))),
    })
}

fn put_failed(out: &mut BytesMut, failed: &Failed) {
    out.u8(failed.failure.code());
    out.text(&failed.text);
}

fn get_failed(input: &mut Get) -> Result<Failed, DecodeError> {
    Ok(Failed { failure: Failure::from_code(input.u8()?), text: input.text()? })
}

/// Answer to one append of a stream, in the order of the appends.
pub(crate) fn appended(stream: u64, result: &Result<AppendResult, Failed>) -> Frame {
    let mut head = frame::start(APPENDED);
    head.u64(stream);
    put_append_result(&mut head, result);
    frame::finish(head, Vec::new())
}

pub(crate) fn read_appended(
    body: Bytes,
) -> Result<(u64, Result<AppendResult, Failed>), DecodeError> {
    let mut input = Get::new(body);
    let stream = input.u64()?;
    let result = get_append_result(&mut input)?;
    input.end()?;
    Ok((stream, result))
}

/// The sender is done with a stream.
pub(crate) fn append_end(stream: u64) -> Frame {
    let mut head = frame::start(APPEND_END);
    head.u64(stream);
    frame::finish(head, Vec::new())
}

/// A frame that carries one number: pings, ends of streams.
pub(crate) fn number(kind: u8, value: u64) -> Frame {
    let mut head = frame::start(kind);
    head.u64(value);
    frame::finish(head, Vec::new())
}

pub(crate) fn read_number(body: Bytes) -> Result<u64, DecodeError> {
    let mut input = Get::new(body);
    let value = input.u64()?;
    input.end()?;
    Ok(value)
}

/// Answers a ping with this node's wall clock, in milliseconds since 1970.
pub(crate) fn pong(nonce: u64, wall_ms: i64, condition: Condition) -> Frame {
    let mut head = frame::start(PONG);
    head.u64(nonce);
    head.u64(wall_ms.cast_unsigned());
    head.u8(condition.to_bits());
    frame::finish(head, Vec::new())
}

/// Nonce, wall clock and the disk's condition of a [`PONG`] frame.
pub(crate) fn read_pong(body: Bytes) -> Result<(u64, i64, Condition), DecodeError> {
    let mut input = Get::new(body);
    let (nonce, wall_ms) = (input.u64()?, input.u64()?.cast_signed());
    let condition = Condition::from_bits(input.u8()?);
    input.end()?;
    Ok((nonce, wall_ms, condition))
}

/// Most heartbeats in one frame.
pub(crate) const HEARTBEATS_MAX: u32 = 1024;

/// Heartbeats of many groups; answered by slot, in any order and in several frames.
pub(crate) fn heartbeats(batch: u64, items: &[(u64, AppendRequest)]) -> Frame {
    let mut head = frame::start(HEARTBEATS);
    head.u64(batch);
    head.u32(items.len() as u32);
    for (group, request) in items {
        head.u64(*group);
        head.vote(&request.vote);
        head.opt_log_id(request.prev_log_id.as_ref());
        head.opt_log_id(request.leader_commit.as_ref());
    }
    frame::finish(head, Vec::new())
}

pub(crate) fn read_heartbeats(
    body: Bytes,
) -> Result<(u64, Vec<(u64, AppendRequest)>), DecodeError> {
    let mut input = Get::new(body);
    let batch = input.u64()?;
    let count = input.count(HEARTBEATS_MAX)?;
    let mut items = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let group = input.u64()?;
        let request = AppendRequest {
            vote: input.vote()?,
            prev_log_id: input.opt_log_id()?,
            entries: Vec::new(),
            leader_commit: input.opt_log_id()?,
        };
        items.push((group, request));
    }
    input.end()?;
    Ok((batch, items))
}

/// Answers to some slots of a batch of heartbeats.
pub(crate) type HeartbeatReplies = Vec<(u32, Result<AppendResult, Failed>)>;

pub(crate) fn heartbeat_replies(batch: u64, replies: &HeartbeatReplies) -> Frame {
    let mut head = frame::start(HEARTBEAT_REPLIES);
    head.u64(batch);
    head.u32(replies.len() as u32);
    for (slot, result) in replies {
        head.u32(*slot);
        put_append_result(&mut head, result);
    }
    frame::finish(head, Vec::new())
}

pub(crate) fn read_heartbeat_replies(body: Bytes) -> Result<(u64, HeartbeatReplies), DecodeError> {
    let mut input = Get::new(body);
    let batch = input.u64()?;
    let count = input.count(HEARTBEATS_MAX)?;
    let mut replies = Vec::with_capacity(count as usize);
    for _ in 0..count {
        replies.push((input.u32()?, get_append_result(&mut input)?));
    }
    input.end()?;
    Ok((batch, replies))
}

/// A request with its id, what it asks for, and the group it is about (0 if none matters).
pub(crate) fn request(id: u64, what: u8, group: u64, body: Vec<Bytes>) -> Frame {
    let mut head = frame::start(REQUEST);
    head.u64(id);
    head.u8(what);
    head.u64(group);
    frame::finish(head, body)
}

pub(crate) fn read_request(body: Bytes) -> Result<(u64, u8, u64, Bytes), DecodeError> {
    let mut input = Get::new(body);
    Ok((input.u64()?, input.u8()?, input.u64()?, input.rest()))
}

pub(crate) fn reply(id: u64, result: Result<Bytes, Failed>) -> Frame {
    let mut head = frame::start(REPLY);
    head.u64(id);
    head.u8(u8::from(result.is_ok()));
    match result {
        Ok(body) => frame::finish(head, vec![body]),
        Err(failed) => {
            put_failed(&mut head, &failed);
            frame::finish(head, Vec::new())
        }
    }
}

pub(crate) fn read_reply(body: Bytes) -> Result<(u64, Result<Bytes, Failed>), DecodeError> {
    let mut input = Get::new(body);
    let id = input.u64()?;
    if input.flag()? {
        Ok((id, Ok(input.rest())))
    } else {
        let failed = get_failed(&mut input)?;
        input.end()?;
        Ok((id, Err(failed)))
    }
}

pub(crate) fn vote_request(request: &VoteRequest<TypeConfig>) -> Bytes {
    let mut out = BytesMut::new();
    out.vote(&request.vote);
    out.opt_log_id(request.last_log_id.as_ref());
    out.u8(u8::from(request.leadership_transfer));
    out.freeze()
}

pub(crate) fn read_vote_request(body: Bytes) -> Result<VoteRequest<TypeConfig>, DecodeError> {
    let mut input = Get::new(body);
    let mut request = VoteRequest::new(input.vote()?, input.opt_log_id()?);
    request.leadership_transfer = input.flag()?;
    input.end()?;
    Ok(request)
}

pub(crate) fn vote_response(response: &VoteResponse<TypeConfig>) -> Bytes {
    let mut out = BytesMut::new();
    out.vote(&response.vote);
    out.u8(u8::from(response.vote_granted));
    out.opt_log_id(response.last_log_id.as_ref());
    out.freeze()
}

pub(crate) fn read_vote_response(body: Bytes) -> Result<VoteResponse<TypeConfig>, DecodeError> {
    let mut input = Get::new(body);
    let (vote, granted) = (input.vote()?, input.flag()?);
    let response = VoteResponse::new(vote, input.opt_log_id()?, granted);
    input.end()?;
    Ok(response)
}

pub(crate) fn transfer_request(request: &TransferLeaderRequest<TypeConfig>) -> Bytes {
    let mut out = BytesMut::new();
    out.vote(request.from_leader());
    out.u64(*request.to_node_id());
    out.opt_log_id(request.last_log_id());
    out.freeze()
}

pub(crate) fn read_transfer_request(
    body: Bytes,
) -> Result<TransferLeaderRequest<TypeConfig>, DecodeError> {
    let mut input = Get::new(body);
    let request = TransferLeaderRequest::new(input.vote()?, input.u64()?, input.opt_log_id()?);
    input.end()?;
    Ok(request)
}

pub(crate) fn transfer_response(response: &TransferLeaderResponse<TypeConfig>) -> Bytes {
    let mut out = BytesMut::new();
    match response {
        Ok(()) => out.u8(0),
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            out.u8(1);
            out.vote(expected);
            out.vote(actual);
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
            out.u8(2);
            out.opt_log_id(expected.as_ref());
            out.opt_log_id(actual.as_ref());
        }
    }
    out.freeze()
}

pub(crate) fn read_transfer_response(
    body: Bytes,
) -> Result<TransferLeaderResponse<TypeConfig>, DecodeError> {
    let mut input = Get::new(body);
    let response = match input.u8()? {
        0 => Ok(()),
        1 => {
            Err(TransferLeaderError::VoteChanged { expected: input.vote()?, actual: input.vote()? })
        }
        2 => Err(TransferLeaderError::LogNotFlushed {
            expected: input.opt_log_id()?,
            actual: input.opt_log_id()?,
        }),
        other => return Err(DecodeError(format!("transfer response {other} is unknown"))),
    };
    input.end()?;
    Ok(response)
}
