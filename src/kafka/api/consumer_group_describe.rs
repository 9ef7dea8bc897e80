//! ConsumerGroupDescribe (key 69), versions 0–1: the members of groups of the consumer protocol, what they read and what they
//! are to read (KIP-848).
//!
//! | since version | what is new |
//! |---|---|
//! | 1 | which protocol a member speaks (KIP-1099) |

use std::sync::Arc;

use kafka_wire::consumer_group_describe_response::{
    Assignment, DescribedGroup, Member, TopicPartitions,
};
use kafka_wire::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};
use kafka_wire_core::{StrBytes, Uuid as WireUuid};

use super::operations;
use crate::coordinator::{
    ConsumerDescription, ConsumerMemberDescription, Described, GroupError, NamedParts,
};
use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::groups::{self, text};
use crate::kafka::server::KafkaServer;

/// The version from which a member's protocol is told.
const MEMBER_TYPE_FROM: i16 = 1;
/// Member types.
const UNKNOWN: i8 = -1;
const CLASSIC: i8 = 0;
const CONSUMER: i8 = 1;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: ConsumerGroupDescribeRequest,
) -> ConsumerGroupDescribeResponse {
    let mut answer = ConsumerGroupDescribeResponse::default();
    let described = groups::each(request.group_ids, Clone::clone, |group| {
        let server = Arc::clone(&server);
        async move { groups::coordinator_of(&server, &group)?.describe(text(&group)).await }
    });
    let mut bytes = 0;
    for (group, described) in described.await {
        if let Ok(Some(Described::Consumer(it))) = &described {
            bytes += it.bytes();
        }
        // One group is told of, whatever it takes.
        let fits = bytes <= groups::ANSWER_BYTES_MAX || answer.groups.is_empty();
        let described =
            described.and_then(|it| if fits { Ok(it) } else { Err(GroupError::TooLarge) });
        answer.groups.push(match described {
            Ok(Some(Described::Consumer(description))) => {
                let mut row = row(group, description, &call);
                row.authorized_operations =
                    operations::on_group(request.include_authorized_operations);
                row
            }
            Ok(Some(Described::Classic(_))) => {
                let message = format!("group {} is of the classic protocol", group.as_str());
                refused(group, ErrorCode::GroupIdNotFound, message, &call)
            }
            Ok(None) => {
                let message = format!("there is no group {}", group.as_str());
                refused(group, ErrorCode::GroupIdNotFound, message, &call)
            }
            Err(error) => refused(group, (&error).into(), error.to_string(), &call),
        });
    }
    answer
}

fn row(group: StrBytes, description: ConsumerDescription, call: &Call) -> DescribedGroup {
    let mut row = DescribedGroup::default();
    row.group_id = group;
    row.group_state = description.state.name().into();
    row.group_epoch = description.epoch;
    row.assignment_epoch = description.assignment_epoch;
    row.assignor_name = description.assignor.into();
    row.members = description.members.into_iter().map(|it| member(it, call)).collect();
    row
}

fn member(member: ConsumerMemberDescription, call: &Call) -> Member {
    let mut row = Member::default();
    row.member_id = member.member_id.into();
    row.instance_id = member.instance_id.map(Into::into);
    row.rack_id = member.rack.map(Into::into);
    row.member_epoch = member.epoch;
    row.client_id = member.client_id.into();
    row.client_host = member.client_host.into();
    row.subscribed_topic_names = member.topics.into_iter().map(Into::into).collect();
    row.subscribed_topic_regex = (!member.regex.is_empty()).then(|| member.regex.into());
    row.assignment = assignment(member.parts);
    row.target_assignment = assignment(member.target);
    row.member_type = match (call.version >= MEMBER_TYPE_FROM, member.is_classic) {
        (false, _) => UNKNOWN,
        (true, true) => CLASSIC,
        (true, false) => CONSUMER,
    };
    row
}

fn assignment(parts: NamedParts) -> Assignment {
    let mut assignment = Assignment::default();
    let row = |(id, name, partitions): (uuid::Uuid, String, Vec<i32>)| {
        let mut row = TopicPartitions::default();
        row.topic_id = WireUuid::from_bytes(*id.as_bytes());
        row.topic_name = name.into();
        row.partitions = partitions;
        row
    };
    assignment.topic_partitions = parts.into_iter().map(row).collect();
    assignment
}

fn refused(group: StrBytes, code: ErrorCode, message: String, call: &Call) -> DescribedGroup {
    let mut row = DescribedGroup::default();
    row.group_id = group;
    row.error_code = code.count(call);
    row.error_message = Some(message.into());
    row.authorized_operations = operations::NOT_ASKED;
    row
}
