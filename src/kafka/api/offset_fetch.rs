//! OffsetFetch (key 9), versions 1–10: how far a group has read, as it last committed.
//!
//! Linearizable: whoever coordinates by now, it answers with what was committed. Nothing committed is offset -1 and no
//! error. Offsets of topics that were deleted are not told. Who asks for what is stable is told to ask again about a partition
//! whose offset is part of a transaction that has not ended.
//!
//! | since version | what is new |
//! |---|---|
//! | 2 | null asks for all topics, and an error for the whole |
//! | 5 | leader epochs (KIP-320) |
//! | 6 | flexible (KIP-482) |
//! | 7 | no offsets that a transaction under way may change (KIP-447) |
//! | 8 | several groups (KIP-709) |
//! | 9 | member epochs (KIP-848) |
//! | 10 | topic ids (KIP-848) |

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use kafka_wire::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_wire::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_wire::{OffsetFetchRequest, OffsetFetchResponse};
use kafka_wire_core::{StrBytes, Uuid as WireUuid};
use uuid::Uuid;

use crate::coordinator::{CommittedOffset, GroupError};
use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::groups;
use crate::kafka::keys::TopicKey;
use crate::kafka::server::KafkaServer;
use crate::metadata::Image;

/// Versions from which the request means more.
const ALL_FROM: i16 = 2;
const SEVERAL_FROM: i16 = 8;
const TOPIC_IDS_FROM: i16 = 10;

/// What a group has committed.
struct Offsets {
    committed: Vec<CommittedOffset>,
    /// Those that a transaction under way may change, as far as that was asked for.
    unstable: HashSet<(Uuid, i32)>,
}

/// A member's id and its epoch.
type Member = (StrBytes, i32);
/// A topic of a request: its name, its id, and the partitions asked for.
type Asked = (StrBytes, WireUuid, Vec<i32>);

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: OffsetFetchRequest,
) -> OffsetFetchResponse {
    let mut answer = OffsetFetchResponse::default();
    let stable = request.require_stable;
    if call.version >= SEVERAL_FROM {
        let name = |asked: &OffsetFetchRequestGroup| asked.group_id.clone();
        let members: HashMap<StrBytes, Member> = request
            .groups
            .iter()
            .filter_map(|it| Some((it.group_id.clone(), member(it)?)))
            .collect();
        let fetched = groups::each(request.groups, name, |group| {
            let (server, member) = (Arc::clone(&server), members.get(&group).cloned());
            async move {
                let member = member.as_ref().map(|(id, epoch)| (id.as_str(), *epoch));
                offsets_of(&server, &group, member, stable).await
            }
        });
        let mut bytes = 0;
        for (asked, committed) in fetched.await {
            let offsets = committed.iter().flat_map(|it| &it.committed);
            bytes += offsets.map(|it| 64 + it.metadata.len()).sum::<usize>();
            // One group is told of, whatever it takes.
            let fits = bytes <= groups::ANSWER_BYTES_MAX || answer.groups.is_empty();
            let committed = if fits { committed } else { Err(GroupError::TooLarge) };
            answer.groups.push(of_group(&server, &call, asked, committed));
        }
        return answer;
    }
    let asked = request.topics.map(|topics| {
        topics
            .into_iter()
            .map(|it| (it.name, WireUuid::from_bytes([0; 16]), it.partition_indexes))
            .collect()
    });
    let committed = offsets_of(&server, &request.group_id, None, stable).await;
    let (topics, code) = told(&server, &call, committed, asked);
    if call.version >= ALL_FROM {
        answer.error_code = code;
    }
    let topic = |topic: OffsetFetchResponseTopics| {
        let mut single = OffsetFetchResponseTopic::default();
        single.name = topic.name;
        single.partitions =
            topic.partitions.into_iter().map(|it| single_row(it, &call, code)).collect();
        single
    };
    answer.topics = topics.into_iter().map(topic).collect();
    answer
}

async fn offsets_of(
    server: &KafkaServer,
    group: &str,
    member: Option<(&str, i32)>,
    stable: bool,
) -> Result<Offsets, GroupError> {
    let coordinator = groups::coordinator_of(server, group)?;
    // First: what a transaction changes between the two is told as it is then.
    let unstable = if stable { coordinator.unstable_offsets(group).await? } else { Vec::new() };
    let committed = coordinator.offsets_of(group, member).await?;
    Ok(Offsets { committed, unstable: unstable.into_iter().collect() })
}

/// Who asks, if it says that it is a member (version 9).
fn member(asked: &OffsetFetchRequestGroup) -> Option<Member> {
    let id = asked.member_id.clone().filter(|id| !id.is_empty())?;
    (asked.member_epoch >= 0).then_some((id, asked.member_epoch))
}

/// The row of a version that knows one group only.
fn single_row(
    row: OffsetFetchResponsePartitions,
    call: &Call,
    code: i16,
) -> OffsetFetchResponsePartition {
    let mut single = OffsetFetchResponsePartition::default();
    single.partition_index = row.partition_index;
    single.committed_offset = row.committed_offset;
    single.committed_leader_epoch = row.committed_leader_epoch;
    single.metadata = row.metadata;
    // Before version 2 there is no other place for it.
    single.error_code = if call.version < ALL_FROM { code } else { row.error_code };
    single
}

fn of_group(
    server: &KafkaServer,
    call: &Call,
    asked: OffsetFetchRequestGroup,
    committed: Result<Offsets, GroupError>,
) -> OffsetFetchResponseGroup {
    let topics = asked.topics.map(|topics| {
        topics.into_iter().map(|it| (it.name, it.topic_id, it.partition_indexes)).collect()
    });
    let mut group = OffsetFetchResponseGroup::default();
    (group.topics, group.error_code) = told(server, call, committed, topics);
    group.group_id = asked.group_id;
    group
}

fn told(
    server: &KafkaServer,
    call: &Call,
    committed: Result<Offsets, GroupError>,
    asked: Option<Vec<Asked>>,
) -> (Vec<OffsetFetchResponseTopics>, i16) {
    let code = |error: GroupError| {
        let code = match error {
            // Older Java consumers ask again upon this one and give up on the other.
            GroupError::NotAvailable => ErrorCode::CoordinatorLoadInProgress,
            other => ErrorCode::from(&other),
        };
        code.count(call)
    };
    let image = server.context.metadata.image();
    match (committed, asked) {
        (Ok(offsets), None) => (all(&image, call, offsets), 0),
        (Ok(offsets), Some(asked)) => (wanted(&image, call, offsets, asked), 0),
        (Err(error), asked) => {
            let none = Offsets { committed: Vec::new(), unstable: HashSet::new() };
            let rows = wanted(&image, call, none, asked.unwrap_or_default());
            (if call.version < ALL_FROM { rows } else { Vec::new() }, code(error))
        }
    }
}

fn all(image: &Image, call: &Call, offsets: Offsets) -> Vec<OffsetFetchResponseTopics> {
    let Offsets { committed, unstable } = offsets;
    let mut topics: BTreeMap<Uuid, OffsetFetchResponseTopics> = BTreeMap::new();
    for offset in committed {
        let Some(topic) = image.topic_by_id(offset.topic) else { continue };
        let named = topics.entry(offset.topic).or_insert_with(|| {
            let mut named = OffsetFetchResponseTopics::default();
            named.name = topic.name.as_str().into();
            named.topic_id = WireUuid::from_bytes(*topic.id.as_bytes());
            named
        });
        named.partitions.push(if unstable.contains(&(offset.topic, offset.partition)) {
            unstable_row(offset.partition, call)
        } else {
            row(offset.partition, Some(offset))
        });
    }
    topics.into_values().collect()
}

fn wanted(
    image: &Image,
    call: &Call,
    offsets: Offsets,
    asked: Vec<Asked>,
) -> Vec<OffsetFetchResponseTopics> {
    let Offsets { committed, unstable } = offsets;
    let by_id = call.version >= TOPIC_IDS_FROM;
    let committed: HashMap<(Uuid, i32), CommittedOffset> =
        committed.into_iter().map(|it| ((it.topic, it.partition), it)).collect();
    let topic = |(name, id, partitions): Asked| {
        let found = TopicKey::of(by_id, &name, id).find(image);
        let mut topic = OffsetFetchResponseTopics::default();
        // Each once: what is written beside an offset may be long.
        let mut seen = HashSet::new();
        let once = partitions.into_iter().filter(|partition| seen.insert(*partition));
        topic.partitions = once
            .map(|partition| match &found {
                Ok(found) if unstable.contains(&(found.id, partition)) => {
                    unstable_row(partition, call)
                }
                Ok(found) => row(partition, committed.get(&(found.id, partition)).cloned()),
                // Nothing was committed for what does not exist; who goes by ids is told that it does not.
                Err(code) => {
                    let mut row = row(partition, None);
                    row.error_code = if by_id { code.count(call) } else { 0 };
                    row
                }
            })
            .collect();
        (topic.name, topic.topic_id) = (name, id);
        topic
    };
    asked.into_iter().map(topic).collect()
}

/// A transaction that has not ended may change the offset.
fn unstable_row(partition: i32, call: &Call) -> OffsetFetchResponsePartitions {
    let mut row = row(partition, None);
    row.error_code = ErrorCode::UnstableOffsetCommit.count(call);
    row
}

fn row(partition: i32, committed: Option<CommittedOffset>) -> OffsetFetchResponsePartitions {
    let mut row = OffsetFetchResponsePartitions::default();
    row.partition_index = partition;
    (row.committed_offset, row.committed_leader_epoch) = (-1, -1);
    row.metadata = Some("".into());
    if let Some(committed) = committed {
        row.committed_offset = committed.offset;
        row.committed_leader_epoch = committed.leader_epoch;
        row.metadata = Some(committed.metadata.into());
    }
    row
}
