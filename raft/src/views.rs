//! What the members of a group think of its leader, asked before anybody campaigns.
//!
//! An election that ignores the lease of the old leader (Raft dissertation § 4.2.3) is safe but
//! rude: it must not be started by a node that merely lost its own connection. So whoever suspects
//! a leader first asks the other voters, for all suspected groups of a node in one request, what
//! they see, how long their logs are and whether they would lead.

use bytes::{Bytes, BytesMut};
use openraft::ServerState;

use crate::codec::{Get, Put};
use crate::core::Core;
use crate::error::DecodeError;
use crate::types::{LogId, Vote, log_id};

/// Groups in one request.
pub(crate) const VIEWS_MAX: usize = 1024;

/// A question about a group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question {
    pub group: u64,
    /// The leader that is suspected to be gone; 0 if none is known.
    pub suspect: u64,
}

/// A member's view of a group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemberView {
    pub vote: Vote,
    /// It leads the group itself.
    pub leads: bool,
    pub last: Option<LogId>,
    /// It does not reach the suspect either.
    pub suspect_gone: bool,
    /// It may lead and has nothing against it.
    pub willing: bool,
}

impl Core {
    /// How this node sees a group, if it has it.
    pub fn view(&self, question: Question) -> Option<MemberView> {
        let replica = self.replica(question.group)?;
        let shared = &replica.shared;
        if shared.is_aside() {
            // It can neither lead nor vote.
            return None;
        }
        let (state, vote) = shared.role();
        Some(MemberView {
            vote,
            leads: state == ServerState::Leader,
            last: shared.log.state().last.map(log_id),
            suspect_gone: question.suspect != shared.me && !self.alive(question.suspect),
            willing: shared.may_lead() && !self.drain.active(),
        })
    }

    pub fn answer_views(&self, body: Bytes) -> Result<Bytes, DecodeError> {
        let questions = decode_questions(body)?;
        let mut out = BytesMut::new();
        out.u32(questions.len() as u32);
        for question in questions {
            let view = self.view(question);
            out.u8(u8::from(view.is_some()));
            if let Some(view) = view {
                out.vote(&view.vote);
                out.u8(u8::from(view.leads));
                out.opt_log_id(view.last.as_ref());
                out.u8(u8::from(view.suspect_gone));
                out.u8(u8::from(view.willing));
            }
        }
        Ok(out.freeze())
    }
}

pub(crate) fn encode_questions(questions: &[Question]) -> Bytes {
    let mut out = BytesMut::new();
    out.u32(questions.len() as u32);
    for question in questions {
        out.u64(question.group);
        out.u64(question.suspect);
    }
    out.freeze()
}

fn decode_questions(body: Bytes) -> Result<Vec<Question>, DecodeError> {
    let mut input = Get::new(body);
    let count = input.count(VIEWS_MAX as u32)?;
    let mut questions = Vec::with_capacity(count as usize);
    for _ in 0..count {
        questions.push(Question { group: input.u64()?, suspect: input.u64()? });
    }
    input.end()?;
    Ok(questions)
}

pub(crate) fn decode_views(body: Bytes) -> Result<Vec<Option<MemberView>>, DecodeError> {
    let mut input = Get::new(body);
    let count = input.count(VIEWS_MAX as u32)?;
    let mut views = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let view = if input.flag()? {
            Some(MemberView {
                vote: input.vote()?,
                leads: input.flag()?,
                last: input.opt_log_id()?,
                suspect_gone: input.flag()?,
                willing: input.flag()?,
            })
        } else {
            None
        };
        views.push(view);
    }
    input.end()?;
    Ok(views)
}
