//! Consumer groups of the consumer protocol (KIP-848): a member's heartbeat.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::{
    ApiKey, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse,
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, GroupId,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::{Api, Connection, Failure, call, check, only, topic_name};

const HEARTBEAT: Api = Api { key: ApiKey::ConsumerGroupHeartbeat, version: 1 };
const DESCRIBE: Api = Api { key: ApiKey::ConsumerGroupDescribe, version: 0 };

/// Partitions by topic id.
pub type Parts = BTreeMap<u128, BTreeSet<i32>>;

/// What a member says.
pub struct Heartbeat<'a> {
    pub group: &'a str,
    pub member: &'a str,
    /// 0 to join, -1 to leave.
    pub epoch: i32,
    /// What it wants to read; said when it joins.
    pub topics: &'a [String],
    /// What it has.
    pub owned: &'a Parts,
    pub rebalance: Duration,
}

/// What it is answered: its epoch, and what it is to read if that is news.
pub struct Heard {
    pub epoch: i32,
    pub parts: Option<Parts>,
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub fn member_heartbeat(
    to: &mut Connection,
    said: &Heartbeat<'_>,
    patience: Duration,
) -> Result<Heard, Failure> {
    let owned = said.owned.iter().map(|(topic, partitions)| {
        TopicPartitions::default()
            .with_topic_id(Uuid::from_u128(*topic))
            .with_partitions(partitions.iter().copied().collect())
    });
    let mut request = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(text(said.group)))
        .with_member_id(text(said.member))
        .with_member_epoch(said.epoch)
        .with_topic_partitions(Some(owned.collect()));
    if said.epoch == 0 {
        let names = said.topics.iter().map(|topic| topic_name(topic)).collect();
        request = request
            .with_rebalance_timeout_ms(i32::try_from(said.rebalance.as_millis()).unwrap_or(-1))
            .with_subscribed_topic_names(Some(names));
    }
    let answer: ConsumerGroupHeartbeatResponse = call(to, HEARTBEAT, &request, patience)?;
    check(answer.error_code)?;
    let parts = answer.assignment.map(|assignment| {
        let part =
            |it: &kafka_protocol::messages::consumer_group_heartbeat_response::TopicPartitions| {
                (it.topic_id.as_u128(), it.partitions.iter().copied().collect())
            };
        assignment.topic_partitions.iter().map(part).collect()
    });
    Ok(Heard { epoch: answer.member_epoch, parts })
}

/// The state of a group of the consumer protocol and how many members it has.
pub fn describe_consumer_group(
    to: &mut Connection,
    group: &str,
    patience: Duration,
) -> Result<(String, usize), Failure> {
    let request =
        ConsumerGroupDescribeRequest::default().with_group_ids(vec![GroupId(text(group))]);
    let answer: ConsumerGroupDescribeResponse = call(to, DESCRIBE, &request, patience)?;
    let group = only(answer.groups)?;
    check(group.error_code)?;
    Ok((group.group_state.to_string(), group.members.len()))
}
