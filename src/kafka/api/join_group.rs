//! JoinGroup (key 11), versions 0–9: becoming a member of the next generation of a group.
//!
//! The answer comes when the generation begins, so it may take as long as a rebalance.
//!
//! | since version | what is new |
//! |---|---|
//! | 1 | a timeout for the rebalance (KIP-62) |
//! | 4 | who has no id is given one first (KIP-394) |
//! | 5 | static members (KIP-345) |
//! | 6 | flexible (KIP-482) |
//! | 7 | the kind of protocol in the answer (KIP-559) |
//! | 8 | a reason (KIP-800) |
//! | 9 | a leader that need not assign (KIP-814) |

use std::sync::Arc;

use kafka_wire::join_group_response::JoinGroupResponseMember;
use kafka_wire::{JoinGroupRequest, JoinGroupResponse};
use kafka_wire_core::StrBytes;
use uuid::Uuid;

use crate::coordinator::{GroupError, Join, Joined};
use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::groups::{self, optional, text};
use crate::kafka::server::KafkaServer;

/// Of what a client calls itself so much is in the id that it is given.
const PREFIX_CHARS_MAX: usize = 64;
/// What a member takes in an answer beside its names and what it says.
const MEMBER_BYTES: usize = 256;
/// Versions from which the request or its answer means more.
const REBALANCE_TIMEOUT_FROM: i16 = 1;
const KNOWN_ID_FROM: i16 = 4;
const NO_PROTOCOL_FROM: i16 = 7;
const SKIP_ASSIGNMENT_FROM: i16 = 9;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: JoinGroupRequest,
) -> JoinGroupResponse {
    let said = request.member_id.clone();
    let joined = match check(&server, &request) {
        Ok(()) => match groups::coordinator_of(&server, &request.group_id) {
            Ok(coordinator) => {
                groups::until_stopped(&server, coordinator.join(join_of(request, &call))).await
            }
            Err(error) => Err(error),
        },
        Err(code) => return refused(code, said, &call),
    };
    match joined {
        Ok(joined) => answer_of(joined, &call),
        Err(GroupError::MemberIdRequired(id)) => {
            refused(ErrorCode::MemberIdRequired, id.into(), &call)
        }
        Err(error) => refused((&error).into(), said, &call),
    }
}

/// Returns about how many bytes the answer takes when it is written out: that of the leader has what all members say of
/// themselves.
pub(in crate::kafka) fn weigh_answer(answer: &JoinGroupResponse) -> usize {
    let optional = |it: &Option<StrBytes>| it.as_ref().map_or(0, StrBytes::len);
    let row = |it: &JoinGroupResponseMember| {
        let names = it.member_id.len() + optional(&it.group_instance_id);
        MEMBER_BYTES + names + it.metadata.len()
    };
    answer.members.iter().map(row).sum()
}

fn check(server: &KafkaServer, request: &JoinGroupRequest) -> Result<(), ErrorCode> {
    if request.group_id.is_empty() || request.group_id.len() > groups::NAME_BYTES_MAX {
        return Err(ErrorCode::InvalidGroupId);
    }
    let settings = &server.context.config.groups;
    let allowed = settings.session_timeout_min_ms..=settings.session_timeout_max_ms;
    let timeout = u64::try_from(request.session_timeout_ms).unwrap_or(0);
    if allowed.contains(&timeout) { Ok(()) } else { Err(ErrorCode::InvalidSessionTimeout) }
}

fn join_of(request: JoinGroupRequest, call: &Call) -> Join {
    let client_id = call.client.as_deref().unwrap_or_default().to_owned();
    let instance_id = optional(request.group_instance_id.as_ref());
    let prefix: String =
        instance_id.as_ref().unwrap_or(&client_id).chars().take(PREFIX_CHARS_MAX).collect();
    let fresh_id = format!("{prefix}-{}", Uuid::new_v4());
    let own = call.version >= REBALANCE_TIMEOUT_FROM;
    let protocols = request.protocols.into_iter().map(|it| (text(&it.name), it.metadata));
    Join {
        group: text(&request.group_id),
        member_id: text(&request.member_id),
        client_host: groups::host(call),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: if own {
            request.rebalance_timeout_ms
        } else {
            request.session_timeout_ms
        },
        protocol_type: text(&request.protocol_type),
        protocols: protocols.collect(),
        needs_known_id: call.version >= KNOWN_ID_FROM,
        can_skip_assignment: call.version >= SKIP_ASSIGNMENT_FROM,
        fresh_id,
        client_id,
        instance_id,
    }
}

fn answer_of(joined: Joined, call: &Call) -> JoinGroupResponse {
    let mut answer = JoinGroupResponse::default();
    answer.generation_id = joined.generation;
    answer.protocol_type =
        Some(joined.protocol_type.into()).filter(|_| call.version >= NO_PROTOCOL_FROM);
    answer.protocol_name = Some(joined.protocol.into());
    answer.leader = joined.leader.into();
    answer.skip_assignment = joined.skip_assignment;
    answer.member_id = joined.member_id.into();
    let row = |member: crate::coordinator::JoinedMember| {
        let mut row = JoinGroupResponseMember::default();
        row.member_id = member.member_id.into();
        row.group_instance_id = member.instance_id.map(Into::into);
        row.metadata = member.metadata;
        row
    };
    answer.members = joined.members.into_iter().map(row).collect();
    answer
}

fn refused(code: ErrorCode, member_id: StrBytes, call: &Call) -> JoinGroupResponse {
    let mut answer = JoinGroupResponse::default();
    answer.error_code = code.count(call);
    answer.generation_id = -1;
    // Nullable from version 7 on only.
    answer.protocol_name = Some("".into()).filter(|_| call.version < NO_PROTOCOL_FROM);
    answer.member_id = member_id;
    answer
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::coordinator::JoinedMember;
    use crate::kafka::codec::encode;
    use crate::kafka::table;

    #[test]
    fn a_leaders_answer_takes_no_more_than_is_set_aside_for_it() {
        let member = |n: usize| JoinedMember {
            member_id: format!("member-{n}"),
            instance_id: n.is_multiple_of(2).then(|| "i".repeat(n)),
            metadata: vec![0; 10 * n].into(),
        };
        let joined = |members: usize| Joined {
            member_id: "member-0".to_owned(),
            generation: 1,
            protocol_type: "consumer".to_owned(),
            protocol: "range".to_owned(),
            leader: "member-0".to_owned(),
            skip_assignment: false,
            members: (0..members).map(member).collect(),
        };
        for version in [0, 9] {
            let call = Call {
                api: &table::find(11).unwrap().api,
                version,
                correlation: 1,
                client: None,
                host: None,
                received: Instant::now(),
                pipeline: Arc::default(),
            };
            let taken = |members| {
                let answer = answer_of(joined(members), &call);
                let kept = answer.members.capacity() * size_of::<JoinGroupResponseMember>();
                (weigh_answer(&answer), encode(&call, &answer).unwrap().len() + kept)
            };
            let (_, alone) = taken(0);
            for members in [1, 2, 1000] {
                let (set_aside, all) = taken(members);
                assert!(all - alone <= set_aside, "{members}: {all} of {set_aside}");
            }
        }
    }
}
