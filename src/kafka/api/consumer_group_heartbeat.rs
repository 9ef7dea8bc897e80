//! ConsumerGroupHeartbeat (key 68), versions 0–1: a member joins, goes on and leaves, and is told what to read (KIP-848).
//!
//! | since version | what is new |
//! |---|---|
//! | 1 | regular expressions, and ids that members give themselves (KIP-848, KIP-1082) |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka_wire::consumer_group_heartbeat_request::TopicPartitions as Owned;
use kafka_wire::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_wire::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use kafka_wire_core::Uuid as WireUuid;
use uuid::Uuid;

use crate::coordinator::{ASSIGNORS, GroupError, Heard, MemberHeartbeat};
use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::groups::{self, optional, text};
use crate::kafka::server::KafkaServer;
use crate::metadata::GROUP_HEARTBEAT;

/// The version from which members give themselves an id.
const OWN_ID_FROM: i16 = 1;
/// Epochs that mean something else.
const JOIN: i32 = 0;
const LEAVE_AS_STATIC: i32 = -2;
/// Longest id of a member, instance or rack, bytes.
const ID_BYTES_MAX: usize = 1024;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    if let Err((code, message)) = check(&request, call.version) {
        return refused(code, message, &call);
    }
    let group = text(&request.group_id);
    let heartbeat = heartbeat_of(request, &call);
    let member_id = heartbeat.member_id.clone();
    let heard = match groups::coordinator_of(&server, &group) {
        Ok(coordinator) => coordinator.member_heartbeat(heartbeat).await,
        Err(error) => Err(error),
    };
    match heard {
        Ok(heard) => answer_of(&server, &group, member_id, heard),
        Err(error) => refused((&error).into(), message_of(&group, &error), &call),
    }
}

/// What can be said of a request without the group.
fn check(request: &ConsumerGroupHeartbeatRequest, version: i16) -> Result<(), (ErrorCode, String)> {
    let invalid = |message: &str| Err((ErrorCode::InvalidRequest, message.to_owned()));
    let is_blank = |it: &Option<kafka_wire_core::StrBytes>| {
        it.as_ref().is_some_and(|it| it.trim().is_empty() || it.len() > ID_BYTES_MAX)
    };
    let epoch = request.member_epoch;
    if request.group_id.trim().is_empty() || request.group_id.len() > groups::NAME_BYTES_MAX {
        return invalid("the group id is blank or longer than 1024 bytes");
    }
    if request.member_id.len() > ID_BYTES_MAX {
        return invalid("the member id is longer than 1024 bytes");
    }
    if request.member_id.is_empty() && (version >= OWN_ID_FROM || epoch != JOIN) {
        return invalid("the member id is empty");
    }
    if is_blank(&request.instance_id) {
        return invalid("the instance id is blank or longer than 1024 bytes");
    }
    if is_blank(&request.rack_id) {
        return invalid("the rack id is blank or longer than 1024 bytes");
    }
    if epoch < LEAVE_AS_STATIC {
        return invalid("the member epoch is less than -2");
    }
    if epoch == LEAVE_AS_STATIC && request.instance_id.is_none() {
        return invalid("only a member with an instance id leaves with epoch -2");
    }
    if epoch == JOIN {
        if request.rebalance_timeout_ms < 0 {
            return invalid("a rebalance timeout is needed to join");
        }
        if request.topic_partitions.as_ref().is_none_or(|it| !it.is_empty()) {
            return invalid("the partitions that a member has are there and empty when it joins");
        }
        let is_there =
            request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some();
        if !is_there {
            return invalid("topic names or a regular expression are needed to join");
        }
    }
    let names = request.subscribed_topic_names.iter().flatten();
    if names.map(kafka_wire_core::StrBytes::len).any(|length| length > ID_BYTES_MAX) {
        return invalid("a topic name is longer than 1024 bytes");
    }
    match &request.server_assignor {
        Some(name) if !ASSIGNORS.contains(&name.as_str()) => {
            let known = ASSIGNORS.join(", ");
            let message = format!("there is no assignor {:?}; there are {known}", name.as_str());
            Err((ErrorCode::UnsupportedAssignor, message))
        }
        _ => Ok(()),
    }
}

fn heartbeat_of(request: ConsumerGroupHeartbeatRequest, call: &Call) -> MemberHeartbeat {
    let names = |names: Vec<kafka_wire_core::StrBytes>| names.iter().map(text).collect();
    let given = text(&request.member_id);
    MemberHeartbeat {
        group: text(&request.group_id),
        member_id: if given.is_empty() { Uuid::new_v4().to_string() } else { given },
        epoch: request.member_epoch,
        instance_id: optional(request.instance_id.as_ref()),
        rack: optional(request.rack_id.as_ref()),
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        topics: request.subscribed_topic_names.map(names),
        regex: optional(request.subscribed_topic_regex.as_ref()),
        matched: None,
        assignor: optional(request.server_assignor.as_ref()),
        owned: request.topic_partitions.map(parts_of),
        client_id: call.client.as_deref().unwrap_or_default().to_owned(),
        client_host: groups::host(call),
    }
}

fn parts_of(owned: Vec<Owned>) -> BTreeMap<Uuid, BTreeSet<i32>> {
    let mut parts: BTreeMap<Uuid, BTreeSet<i32>> = BTreeMap::new();
    for it in owned.into_iter().filter(|it| !it.partitions.is_empty()) {
        let topic = Uuid::from_bytes(*it.topic_id.as_bytes());
        parts.entry(topic).or_default().extend(it.partitions);
    }
    parts
}

fn answer_of(
    server: &KafkaServer,
    group: &str,
    member_id: String,
    heard: Heard,
) -> ConsumerGroupHeartbeatResponse {
    let mut answer = ConsumerGroupHeartbeatResponse::default();
    let image = server.context.metadata.image();
    let own = image.configs.of_group(group, GROUP_HEARTBEAT);
    let interval = own.unwrap_or(server.context.config.groups.consumer_heartbeat_interval_ms);
    answer.member_id = Some(member_id.into());
    answer.member_epoch = heard.epoch;
    answer.heartbeat_interval_ms = i32::try_from(interval).unwrap_or(i32::MAX);
    answer.assignment = heard.parts.map(|parts| {
        let mut assignment = Assignment::default();
        let row = |(topic, partitions): (Uuid, BTreeSet<i32>)| {
            let mut row = TopicPartitions::default();
            row.topic_id = WireUuid::from_bytes(*topic.as_bytes());
            row.partitions = partitions.into_iter().collect();
            row
        };
        assignment.topic_partitions = parts.into_iter().map(row).collect();
        assignment
    });
    answer
}

fn message_of(group: &str, error: &GroupError) -> String {
    match error {
        GroupError::OtherProtocol => {
            format!("group {group} has members of the classic protocol; they have to leave first")
        }
        other => other.to_string(),
    }
}

fn refused(code: ErrorCode, message: String, call: &Call) -> ConsumerGroupHeartbeatResponse {
    let mut answer = ConsumerGroupHeartbeatResponse::default();
    answer.error_code = code.count(call);
    answer.error_message = Some(message.into());
    answer
}
