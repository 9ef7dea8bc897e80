//! Consumer groups of the classic protocol: one group, one member, one answer.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ApiKey, DescribeGroupsRequest, DescribeGroupsResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, GroupId, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, OffsetCommitRequest,
    OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, SyncGroupRequest,
    SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::{Api, Connection, Failure, call, check, only, topic_name};
use crate::client::At;

const FIND_COORDINATOR: Api = Api { key: ApiKey::FindCoordinator, version: 2 };
const JOIN_GROUP: Api = Api { key: ApiKey::JoinGroup, version: 5 };
const SYNC_GROUP: Api = Api { key: ApiKey::SyncGroup, version: 3 };
const HEARTBEAT: Api = Api { key: ApiKey::Heartbeat, version: 3 };
const LEAVE_GROUP: Api = Api { key: ApiKey::LeaveGroup, version: 3 };
const OFFSET_COMMIT: Api = Api { key: ApiKey::OffsetCommit, version: 7 };
const OFFSET_FETCH: Api = Api { key: ApiKey::OffsetFetch, version: 5 };
const OFFSET_FETCH_STABLE: Api = Api { key: ApiKey::OffsetFetch, version: 7 };
const DESCRIBE_GROUPS: Api = Api { key: ApiKey::DescribeGroups, version: 4 };

/// The only assignor that is used.
const ASSIGNOR: &str = "harness";

/// A member of a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub group: String,
    pub id: String,
    pub generation: i32,
}

/// What a join was answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joined {
    /// Join again, with this id.
    IdGiven(String),
    Generation {
        member: Member,
        /// All members, for the one that assigns.
        members: Vec<String>,
    },
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group_id(group: &str) -> GroupId {
    GroupId(text(group))
}

/// The broker that coordinates a group.
pub fn find_coordinator(
    to: &mut Connection,
    group: &str,
    patience: Duration,
) -> Result<u64, Failure> {
    let request = FindCoordinatorRequest::default().with_key(text(group)).with_key_type(0);
    let answer: FindCoordinatorResponse = call(to, FIND_COORDINATOR, &request, patience)?;
    check(answer.error_code)?;
    u64::try_from(answer.node_id.0)
        .map_err(|_| Failure::Unanswered(format!("coordinator {}", answer.node_id.0)))
}

/// Joins a group; `id` is empty for who has none.
pub fn join_group(
    to: &mut Connection,
    group: &str,
    id: &str,
    (session, rebalance): (Duration, Duration),
    patience: Duration,
) -> Result<Joined, Failure> {
    let millis = |it: Duration| i32::try_from(it.as_millis()).unwrap_or(i32::MAX);
    let protocol =
        JoinGroupRequestProtocol::default().with_name(text(ASSIGNOR)).with_metadata(Bytes::new());
    let request = JoinGroupRequest::default()
        .with_group_id(group_id(group))
        .with_member_id(text(id))
        .with_session_timeout_ms(millis(session))
        .with_rebalance_timeout_ms(millis(rebalance))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    let answer: JoinGroupResponse = call(to, JOIN_GROUP, &request, patience)?;
    let given = kafka_protocol::ResponseError::MemberIdRequired.code();
    if answer.error_code == given {
        return Ok(Joined::IdGiven(answer.member_id.to_string()));
    }
    check(answer.error_code)?;
    let (id, generation) = (answer.member_id.to_string(), answer.generation_id);
    let members = answer.members.iter().map(|member| member.member_id.to_string()).collect();
    Ok(Joined::Generation { member: Member { group: group.to_owned(), id, generation }, members })
}

/// Asks for one's part, telling everybody's if one is who assigns.
pub fn sync_group(
    to: &mut Connection,
    member: &Member,
    parts: &BTreeMap<String, Bytes>,
    patience: Duration,
) -> Result<Bytes, Failure> {
    let part = |(id, part): (&String, &Bytes)| {
        SyncGroupRequestAssignment::default().with_member_id(text(id)).with_assignment(part.clone())
    };
    let request = SyncGroupRequest::default()
        .with_group_id(group_id(&member.group))
        .with_generation_id(member.generation)
        .with_member_id(text(&member.id))
        .with_assignments(parts.iter().map(part).collect());
    let answer: SyncGroupResponse = call(to, SYNC_GROUP, &request, patience)?;
    check(answer.error_code)?;
    Ok(answer.assignment)
}

pub fn heartbeat(to: &mut Connection, member: &Member, patience: Duration) -> Result<(), Failure> {
    let request = HeartbeatRequest::default()
        .with_group_id(group_id(&member.group))
        .with_generation_id(member.generation)
        .with_member_id(text(&member.id));
    let answer: HeartbeatResponse = call(to, HEARTBEAT, &request, patience)?;
    check(answer.error_code)
}

pub fn leave_group(
    to: &mut Connection,
    member: &Member,
    patience: Duration,
) -> Result<(), Failure> {
    let identity = MemberIdentity::default().with_member_id(text(&member.id));
    let request = LeaveGroupRequest::default()
        .with_group_id(group_id(&member.group))
        .with_members(vec![identity]);
    let answer: LeaveGroupResponse = call(to, LEAVE_GROUP, &request, patience)?;
    check(answer.error_code)?;
    check(only(answer.members)?.error_code)
}

/// Commits offsets. Fails with the first error of a partition.
pub fn commit_offsets(
    to: &mut Connection,
    member: &Member,
    offsets: &[(At, i64)],
    patience: Duration,
) -> Result<(), Failure> {
    let topic = |(at, offset): &(At, i64)| {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(at.partition)
            .with_committed_offset(*offset)
            .with_committed_leader_epoch(-1)
            .with_committed_metadata(None);
        OffsetCommitRequestTopic::default()
            .with_name(topic_name(&at.topic))
            .with_partitions(vec![partition])
    };
    let request = OffsetCommitRequest::default()
        .with_group_id(group_id(&member.group))
        .with_generation_id_or_member_epoch(member.generation)
        .with_member_id(text(&member.id))
        .with_topics(offsets.iter().map(topic).collect());
    let answer: OffsetCommitResponse = call(to, OFFSET_COMMIT, &request, patience)?;
    let mut codes = answer.topics.iter().flat_map(|it| &it.partitions).map(|it| it.error_code);
    codes.try_for_each(check)
}

/// What is told of offsets that a transaction has sent and not ended yet (KIP-447).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetsSeen {
    /// Nothing: those from before are.
    Any,
    /// That there are some: then the answer is an error.
    Stable,
}

/// All offsets that a group has committed.
pub fn committed_offsets(
    to: &mut Connection,
    group: &str,
    patience: Duration,
) -> Result<BTreeMap<At, i64>, Failure> {
    let request = OffsetFetchRequest::default().with_group_id(group_id(group)).with_topics(None);
    offsets(call(to, OFFSET_FETCH, &request, patience)?)
}

/// The same as who knows of transactions asks for them.
pub fn committed_offsets_as(
    to: &mut Connection,
    group: &str,
    seen: OffsetsSeen,
    patience: Duration,
) -> Result<BTreeMap<At, i64>, Failure> {
    let request = OffsetFetchRequest::default()
        .with_group_id(group_id(group))
        .with_topics(None)
        .with_require_stable(seen == OffsetsSeen::Stable);
    offsets(call(to, OFFSET_FETCH_STABLE, &request, patience)?)
}

fn offsets(answer: OffsetFetchResponse) -> Result<BTreeMap<At, i64>, Failure> {
    check(answer.error_code)?;
    let mut offsets = BTreeMap::new();
    for topic in &answer.topics {
        for partition in &topic.partitions {
            check(partition.error_code)?;
            let at = At::new(&topic.name, partition.partition_index);
            offsets.insert(at, partition.committed_offset);
        }
    }
    Ok(offsets)
}

/// The state of a group and how many members it has.
pub fn describe_group(
    to: &mut Connection,
    group: &str,
    patience: Duration,
) -> Result<(String, usize), Failure> {
    let request = DescribeGroupsRequest::default().with_groups(vec![group_id(group)]);
    let answer: DescribeGroupsResponse = call(to, DESCRIBE_GROUPS, &request, patience)?;
    let group = only(answer.groups)?;
    check(group.error_code)?;
    Ok((group.group_state.to_string(), group.members.len()))
}
