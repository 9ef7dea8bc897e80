//! LeaveGroup (key 13), versions 0–5: members leave a group, or an operator has them leave.
//!
//! | since version | what is new |
//! |---|---|
//! | 3 | several members, by their instance ids too (KIP-345) |
//! | 4 | flexible (KIP-482) |
//! | 5 | a reason (KIP-800) |

use std::sync::Arc;

use kafka_wire::leave_group_response::MemberResponse;
use kafka_wire::{LeaveGroupRequest, LeaveGroupResponse};

use crate::coordinator::{GroupError, Leave};
use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::groups::{self, optional, text};
use crate::kafka::server::KafkaServer;

/// The version from which a request names several members.
const SEVERAL_FROM: i16 = 3;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: LeaveGroupRequest,
) -> LeaveGroupResponse {
    let mut answer = LeaveGroupResponse::default();
    if request.group_id.is_empty() {
        answer.error_code = ErrorCode::InvalidGroupId.count(&call);
        return answer;
    }
    let several = call.version >= SEVERAL_FROM;
    let members: Vec<_> = if several {
        let named = request.members.iter();
        named.map(|it| (text(&it.member_id), optional(it.group_instance_id.as_ref()))).collect()
    } else {
        vec![(text(&request.member_id), None)]
    };
    let leave = Leave { group: text(&request.group_id), members };
    let left = match groups::coordinator_of(&server, &request.group_id) {
        Ok(coordinator) => coordinator.leave(leave).await,
        Err(error) => Err(error),
    };
    let code = |left: Result<(), GroupError>| match left {
        Ok(()) => 0,
        Err(error) => ErrorCode::from(&error).count(&call),
    };
    match left {
        Ok(each) if several => {
            let row = |(member, left): (kafka_wire::leave_group_request::MemberIdentity, _)| {
                let mut row = MemberResponse::default();
                row.member_id = member.member_id;
                row.group_instance_id = member.group_instance_id;
                row.error_code = code(left);
                row
            };
            answer.members = request.members.into_iter().zip(each).map(row).collect();
        }
        Ok(each) => {
            answer.error_code = each.into_iter().map(code).find(|code| *code != 0).unwrap_or(0);
        }
        Err(error) => answer.error_code = code(Err(error)),
    }
    answer
}
