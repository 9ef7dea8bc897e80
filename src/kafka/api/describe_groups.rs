//! DescribeGroups (key 15), versions 0–6: who is a member of a group, and with which part.
//!
//! | since version | what is new |
//! |---|---|
//! | 3 | authorized operations (KIP-430) |
//! | 4 | static members (KIP-345) |
//! | 5 | flexible (KIP-482) |
//! | 6 | a group that does not exist is an error (KIP-1043) |

use std::sync::Arc;

use kafka_wire::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_wire::{DescribeGroupsRequest, DescribeGroupsResponse};
use kafka_wire_core::StrBytes;

use super::operations;
use crate::coordinator::{Described, Description, GroupError, MemberDescription};
use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::groups::{self, text};
use crate::kafka::server::KafkaServer;

/// The version from which a group that does not exist is an error.
const NOT_FOUND_FROM: i16 = 6;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let mut answer = DescribeGroupsResponse::default();
    let described = groups::each(request.groups, Clone::clone, |group| {
        let server = Arc::clone(&server);
        async move { groups::coordinator_of(&server, &group)?.describe(text(&group)).await }
    });
    let mut bytes = 0;
    for (group, described) in described.await {
        if let Ok(Some(Described::Classic(it))) = &described {
            bytes += it.bytes();
        }
        // One group is told of, whatever it takes.
        let fits = bytes <= groups::ANSWER_BYTES_MAX || answer.groups.is_empty();
        let described =
            described.and_then(|it| if fits { Ok(it) } else { Err(GroupError::TooLarge) });
        answer.groups.push(match described {
            Ok(Some(Described::Classic(description))) => {
                let mut row = row(group, description);
                row.authorized_operations =
                    operations::on_group(request.include_authorized_operations);
                row
            }
            // ConsumerGroupDescribe tells of the others.
            Ok(Some(Described::Consumer(_)) | None) => unknown(group, &call),
            Err(error) => {
                let mut row = DescribedGroup::default();
                row.error_code = ErrorCode::from(&error).count(&call);
                row.group_id = group;
                row
            }
        });
    }
    answer
}

fn row(group: StrBytes, description: Description) -> DescribedGroup {
    let mut row = DescribedGroup::default();
    row.group_id = group;
    row.group_state = description.state.name().into();
    row.protocol_type = description.protocol_type.into();
    row.protocol_data = description.protocol.into();
    row.members = description.members.into_iter().map(member).collect();
    row
}

fn member(member: MemberDescription) -> DescribedGroupMember {
    let mut row = DescribedGroupMember::default();
    row.member_id = member.member_id.into();
    row.group_instance_id = member.instance_id.map(Into::into);
    row.client_id = member.client_id.into();
    row.client_host = member.client_host.into();
    row.member_metadata = member.metadata;
    row.member_assignment = member.part;
    row
}

fn unknown(group: StrBytes, call: &Call) -> DescribedGroup {
    let mut row = DescribedGroup::default();
    row.group_state = "Dead".into();
    if call.version >= NOT_FOUND_FROM {
        row.error_code = ErrorCode::GroupIdNotFound.count(call);
        row.error_message =
            Some(format!("there is no group {} of the classic protocol", &*group).into());
    }
    row.group_id = group;
    row
}
