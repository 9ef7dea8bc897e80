//! ElectLeaders (key 43), versions 0–2: hands partitions to their preferred leaders, without a gap that clients notice
//! (KIP-183, KIP-460).
//!
//! There are no unclean elections: a replica without what a majority has cannot lead, whoever asks.
//!
//! | since version | what is new |
//! |---|---|
//! | 1 | the kind of election (KIP-460) |
//! | 2 | flexible (KIP-482) |

use std::collections::HashMap;
use std::sync::Arc;

use futures::{StreamExt, stream};
use kafka_wire::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kafka_wire::{ElectLeadersRequest, ElectLeadersResponse};
use kafka_wire_core::StrBytes;
use tokio::time::Instant;

use super::change_wait_of;
use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::server::KafkaServer;
use crate::metadata::{AdminError, Image};

/// Kinds of election.
const PREFERRED: i8 = 0;
/// Leaders that change at the same time.
const AT_A_TIME: usize = 32;

/// What a partition takes in the answer and while it is asked about.
const PARTITION_BYTES: usize = 512;

type Refusal = (ErrorCode, String);

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: ElectLeadersRequest,
) -> ElectLeadersResponse {
    let mut answer = ElectLeadersResponse::default();
    let image = server.context.metadata.image();
    let is_all = request.topic_partitions.is_none();
    let wanted = wanted(&image, &request);
    if request.election_type != PREFERRED {
        answer.error_code = ErrorCode::InvalidRequest.count(&call);
        return answer;
    }
    let deadline = Instant::now() + change_wait_of(request.timeout_ms);
    let elected = wanted.into_iter().map(|(topic, index)| {
        let (server, image) = (Arc::clone(&server), Arc::clone(&image));
        async move {
            let refused = elect(&server, &image, &topic, index, deadline).await.err();
            (topic, index, refused)
        }
    });
    let elected: Vec<_> = stream::iter(elected).buffered(AT_A_TIME).collect().await;
    let mut rows: HashMap<StrBytes, usize> = HashMap::new();
    for (topic, index, refused) in elected {
        let is_needless = refused.as_ref().is_some_and(|it| it.0 == ErrorCode::ElectionNotNeeded);
        if is_all && is_needless {
            continue;
        }
        let at = *rows.entry(topic.clone()).or_insert_with(|| {
            let mut row = ReplicaElectionResult::default();
            row.topic = topic;
            answer.replica_election_results.push(row);
            answer.replica_election_results.len() - 1
        });
        let mut row = PartitionResult::default();
        row.partition_id = index;
        row.error_message = None;
        if let Some((code, why)) = refused {
            (row.error_code, row.error_message) = (code.count(&call), Some(why.into()));
        }
        answer.replica_election_results[at].partition_result.push(row);
    }
    answer
}

/// Returns about how many bytes the answer takes while it is made.
pub(in crate::kafka) fn weigh(
    server: &KafkaServer,
    _: i16,
    request: &ElectLeadersRequest,
) -> usize {
    let all = || server.context.metadata.image().groups.len();
    let named = request.topic_partitions.as_ref();
    let asked = named.map_or_else(all, |it| it.iter().map(|topic| topic.partitions.len()).sum());
    asked.saturating_mul(PARTITION_BYTES)
}

/// The partitions that are asked for, each once.
fn wanted(image: &Image, request: &ElectLeadersRequest) -> Vec<(StrBytes, i32)> {
    let Some(named) = &request.topic_partitions else {
        let all = image.topics.values().flat_map(|topic| {
            topic.numbered().map(|(index, _)| (topic.name.as_str().into(), index))
        });
        return all.collect();
    };
    let mut seen = std::collections::HashSet::new();
    let all =
        named.iter().flat_map(|it| it.partitions.iter().map(|index| (it.topic.clone(), *index)));
    all.filter(|it| seen.insert(it.clone())).collect()
}

async fn elect(
    server: &KafkaServer,
    image: &Image,
    topic: &str,
    index: i32,
    deadline: Instant,
) -> Result<(), Refusal> {
    let found = image.topic(topic).and_then(|topic| topic.partition(index));
    let Some(info) = found else {
        let why = format!("there is no partition {index} of such a topic");
        return Err((ErrorCode::UnknownTopicOrPartition, why));
    };
    let Some(preferred) = info.preferred() else {
        return Err((ErrorCode::PreferredLeaderNotAvailable, "it has no replica".to_owned()));
    };
    if server.context.metadata.leader(info.group).is_some_and(|leader| leader.id == preferred) {
        return Err((ErrorCode::ElectionNotNeeded, format!("broker {preferred} leads already")));
    }
    let timeout = deadline.saturating_duration_since(Instant::now());
    let led = server.context.controller.set_leader(topic, index, preferred, timeout).await;
    led.map_err(|error| match error {
        AdminError::TransferFailed { .. } | AdminError::NoLeader | AdminError::Timeout => {
            (ErrorCode::PreferredLeaderNotAvailable, error.to_string())
        }
        error => (ErrorCode::from(&error), error.to_string()),
    })
}
