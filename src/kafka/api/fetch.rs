//! Fetch (key 1), versions 4–18: records out of partitions, waiting for them if asked to.
//!
//! A fetch counts what its partitions have, and if that is too little it waits for any of them to change; it
//! holds no thread and no record memory while it waits. It answers at once when a partition has an error, there is
//! enough or no further batch fits, and never later than the client's wait. With an incremental session (KIP-227) only
//! what changed is said.
//!
//! Sizes are soft as in Kafka: the first partition with records gives its first batch whole, whatever its size;
//! batches are never cut. Nothing at or above the high watermark is returned, and only by the leader.
//!
//! Who reads what is committed gets nothing at or above the last stable offset, and is told of the aborted transactions that
//! have records among those returned, as it drops them itself (KIP-98). It waits for that offset to move.
//!
//! | since version | what is new |
//! |---|---|
//! | 5 | log starts (KIP-107) |
//! | 7 | sessions (KIP-227) |
//! | 9 | the leader epoch a consumer believes in (KIP-320) |
//! | 10 | zstd (KIP-110) |
//! | 11 | the reader's rack (KIP-392), which is not used: only leaders serve |
//! | 12 | flexible (KIP-482), the epoch last fetched and where logs part (KIP-595) |
//! | 13 | topics by id (KIP-516) |
//! | 14 | tiered storage (KIP-405), of which there is none here |
//! | 15 | replicas say who they are (KIP-903); they do not fetch here |
//! | 16 | who leads instead (KIP-951) |
//! | 17 | directories of replicas (KIP-853), not used |
//! | 18 | the high watermark a replica knows (KIP-1166), not used |

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use kafka_wire::fetch_response::{
    AbortedTransaction, FetchableTopicResponse, NodeEndpoint, PartitionData,
};
use kafka_wire::{FetchRequest, FetchResponse};
use kafka_wire_core::Decoder;
use tokio::time::Instant;

use crate::kafka::answer::Accepted;
use crate::kafka::answer::{Answer, Closed};
use crate::kafka::call::Call;
use crate::kafka::codec::{self, FrameError};
use crate::kafka::error::ErrorCode;
use crate::kafka::keys::{PartitionKey, TopicKey};
use crate::kafka::route;
use crate::kafka::server::KafkaServer;
use crate::kafka::sessions::{self, PartitionFetch, Plan};
use crate::metadata::Leader;
use crate::partition;

mod encode;
mod look;
mod wait;

use look::{PartitionRead, ReadPass};

/// The version from which sessions exist.
const SESSIONS_FROM: i16 = 7;
/// The version from which a leader can be named (KIP-595), and its endpoint too (KIP-951).
const LEADERS_FROM: i16 = 12;
const ENDPOINTS_FROM: i16 = 16;
/// The version from which topics are named by id alone (KIP-516).
const TOPIC_IDS_FROM: i16 = 13;
const READ_COMMITTED: i8 = 1;
/// What a partition takes in memory while it is looked at: what is wanted, what it is waited on with, what is found.
const PLANNED_BYTES: usize = 400;

/// What a fetch asks for, apart from its partitions.
#[derive(Clone, Copy, Debug)]
struct FetchOptions {
    version: i16,
    bytes_min: usize,
    bytes_max: usize,
    deadline: Instant,
    read_committed: bool,
}

pub(in crate::kafka) async fn begin(
    server: Arc<KafkaServer>,
    call: Call,
    mut body: Decoder,
) -> Result<Accepted, Closed> {
    let (request, held) =
        codec::decode::<FetchRequest>(&mut body, call.version).map_err(FrameError::from)?;
    Ok(Accepted { work: Box::pin(fetch(server, call, request)), held })
}

async fn fetch(
    server: Arc<KafkaServer>,
    call: Call,
    request: FetchRequest,
) -> Result<Answer, Closed> {
    let terms = FetchOptions {
        version: call.version,
        bytes_min: usize::try_from(request.min_bytes).unwrap_or(0),
        bytes_max: usize::try_from(request.max_bytes).unwrap_or(0).min(server.fetch_bytes_max()),
        deadline: Instant::now() + wait_of(&server, request.max_wait_ms),
        read_committed: request.isolation_level == READ_COMMITTED,
    };
    // A few bytes may ask for all that a session has.
    let known = server.sessions.partitions_of(request.session_id);
    let _plan_permit = server.plan_permit(known.saturating_mul(PLANNED_BYTES)).await;
    let plan = match server.sessions.begin(session_request(request, call.version), millis(&server))
    {
        Ok(plan) => plan,
        Err(code) => {
            let mut answer = FetchResponse::default();
            answer.error_code = code.count(&call);
            return Ok(Answer::of(codec::encode(&call, &answer)?));
        }
    };
    let mut look = wait::until_enough(&server, &plan, &terms).await;
    let permit = look.permit.take();
    let frame = encode::pieces(&call, answer(&server, &call, &plan, look, &terms))?;
    Ok(Answer::in_pieces(frame, permit))
}

fn wait_of(server: &KafkaServer, max_wait_ms: i32) -> Duration {
    super::wait_of(max_wait_ms)
        .min(Duration::from_millis(server.context.config.kafka.fetch_wait_ms_max))
}

fn session_request(request: FetchRequest, version: i16) -> sessions::Request {
    let by_topic_id = version >= TOPIC_IDS_FROM;
    let mut wanted = Vec::new();
    for topic in request.topics {
        let key = TopicKey::of(by_topic_id, &topic.topic, topic.topic_id);
        wanted.extend(topic.partitions.iter().map(|partition| {
            let wanted = PartitionFetch {
                offset: partition.fetch_offset,
                bytes_max: usize::try_from(partition.partition_max_bytes).unwrap_or(0),
                leader_epoch: partition.current_leader_epoch,
                fetched_epoch: partition.last_fetched_epoch,
            };
            (PartitionKey::new(key.clone(), partition.partition), wanted)
        }));
    }
    let mut forgotten = Vec::new();
    for topic in request.forgotten_topics_data {
        let key = TopicKey::of(by_topic_id, &topic.topic, topic.topic_id);
        let keys = topic.partitions.iter().map(|index| PartitionKey::new(key.clone(), *index));
        forgotten.extend(keys);
    }
    // Before sessions existed every fetch was complete and left nothing behind.
    let (id, epoch) = if version >= SESSIONS_FROM {
        (request.session_id, request.session_epoch)
    } else {
        (0, -1)
    };
    let wanted = once(wanted);
    sessions::Request { id, epoch, by_topic_id, wanted, forgotten }
}

/// Each partition once, as it is named last: so Kafka takes a request that names one twice.
fn once(wanted: Vec<(PartitionKey, PartitionFetch)>) -> Vec<(PartitionKey, PartitionFetch)> {
    let mut places: HashMap<PartitionKey, usize> = HashMap::with_capacity(wanted.len());
    let mut once: Vec<(PartitionKey, PartitionFetch)> = Vec::with_capacity(wanted.len());
    for (key, wanted) in wanted {
        match places.entry(key) {
            Entry::Occupied(place) => once[*place.get()].1 = wanted,
            Entry::Vacant(place) => {
                once.push((place.key().clone(), wanted));
                place.insert(once.len() - 1);
            }
        }
    }
    once
}

fn answer(
    server: &KafkaServer,
    call: &Call,
    plan: &Plan,
    look: ReadPass,
    terms: &FetchOptions,
) -> FetchResponse {
    let outcomes: Vec<_> = look.seen.iter().map(PartitionRead::outcome).collect();
    let finished = plan.finish(&server.sessions, &outcomes, millis(server));
    let mut answer = FetchResponse::default();
    if call.version >= SESSIONS_FROM {
        answer.session_id = finished.id;
    }
    let mut leaders: Vec<Leader> = Vec::new();
    let named = plan.wanted.iter().zip(look.seen).zip(finished.included);
    for ((key, _), seen) in named.filter(|(_, included)| *included).map(|(it, _)| it) {
        leaders.extend(seen.leader());
        let row = row(key.index, seen, call, terms);
        match answer.responses.last_mut() {
            Some(topic) if is_topic(topic, &key.topic) => topic.partitions.push(row),
            _ => answer.responses.push(topic_row(&key.topic, row)),
        }
    }
    if call.version >= ENDPOINTS_FROM && !leaders.is_empty() {
        let image = server.context.metadata.image();
        let endpoints = route::endpoints(&image, leaders.into_iter());
        answer.node_endpoints = endpoints.into_iter().map(endpoint).collect();
    }
    answer
}

fn topic_row(key: &TopicKey, first: PartitionData) -> FetchableTopicResponse {
    let mut topic = FetchableTopicResponse::default();
    match key {
        TopicKey::Name(name) => topic.topic = name.as_ref().into(),
        TopicKey::Id(id) => topic.topic_id = kafka_wire_core::Uuid::from_bytes(*id.as_bytes()),
    }
    topic.partitions.push(first);
    topic
}

fn is_topic(row: &FetchableTopicResponse, key: &TopicKey) -> bool {
    match key {
        TopicKey::Name(name) => row.topic.as_str() == name.as_ref(),
        TopicKey::Id(id) => row.topic_id.as_bytes() == id.as_bytes(),
    }
}

fn row(index: i32, seen: PartitionRead, call: &Call, terms: &FetchOptions) -> PartitionData {
    let mut row = PartitionData::default();
    row.partition_index = index;
    // Zero bytes, not null: librdkafka takes null for a broken message set.
    row.records = Some(bytes::Bytes::new());
    row.aborted_transactions = terms.read_committed.then(Vec::new);
    let told = seen.outcome();
    row.high_watermark = told.high_watermark;
    row.last_stable_offset = told.stable;
    row.log_start_offset = told.log_start;
    match seen {
        PartitionRead::Records(read) => {
            row.records = Some(read.records.bytes);
            if let Some(aborted) = read.aborted {
                row.aborted_transactions = Some(aborted.into_iter().map(aborted_row).collect());
            }
        }
        PartitionRead::Diverged { epoch, end_offset, .. } => {
            row.diverging_epoch.epoch = epoch;
            row.diverging_epoch.end_offset = end_offset;
        }
        PartitionRead::Refused(refused) => {
            row.error_code = refused.code.count(call);
            if let Some(leader) = refused.leader.filter(|_| call.version >= LEADERS_FROM) {
                row.current_leader.leader_id = crate::kafka::server::broker_id(leader.id);
                row.current_leader.leader_epoch = leader.epoch;
            }
        }
    }
    row
}

fn aborted_row(of: partition::AbortedTransaction) -> AbortedTransaction {
    let mut row = AbortedTransaction::default();
    (row.producer_id, row.first_offset) = (of.producer_id, of.first_offset);
    row
}

fn endpoint(of: route::Endpoint) -> NodeEndpoint {
    let mut endpoint = NodeEndpoint::default();
    endpoint.node_id = of.id;
    endpoint.host = of.host.into();
    endpoint.port = of.port;
    endpoint.rack = of.rack.map(Into::into);
    endpoint
}

/// A clock for sessions that never goes back.
fn millis(server: &KafkaServer) -> u64 {
    u64::try_from(server.started.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl PartitionRead {
    fn leader(&self) -> Option<Leader> {
        match self {
            PartitionRead::Refused(refused) => refused.leader,
            PartitionRead::Records(_) | PartitionRead::Diverged { .. } => None,
        }
    }

    /// What the session remembers of this answer.
    fn outcome(&self) -> sessions::Outcome {
        let (high_watermark, stable, log_start) = match self {
            PartitionRead::Records(read) => {
                let records = &read.records;
                (records.high_watermark, records.last_stable_offset, records.log_start)
            }
            PartitionRead::Diverged { high_watermark, stable, log_start, .. } => {
                (*high_watermark, *stable, *log_start)
            }
            PartitionRead::Refused(_) => (-1, -1, -1),
        };
        sessions::Outcome {
            failed: matches!(self, PartitionRead::Refused(_)),
            has_records: matches!(self, PartitionRead::Records(read) if !read.records.bytes.is_empty()),
            high_watermark,
            stable,
            log_start,
            notable: matches!(self, PartitionRead::Diverged { .. }),
        }
    }
}

impl From<ErrorCode> for PartitionRead {
    fn from(code: ErrorCode) -> PartitionRead {
        PartitionRead::Refused(code.into())
    }
}

#[cfg(test)]
mod tests;
