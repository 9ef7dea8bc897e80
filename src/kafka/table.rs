//! The one table of the Kafka APIs this broker serves.
//!
//! Dispatch, the answer to ApiVersions, the labels of metrics and the table in the README are all made from it.
//! A version stands here because it was tried with a client that speaks it, not because the codec knows it.
//! Adding an API is one file under `api` and one row.
//!
//! The ceilings belong together: topic ids in Produce and Fetch from 13 on need Metadata 10, which gives them;
//! leader epochs in Metadata 7 need OffsetForLeaderEpoch. FindCoordinator is absent until there are consumer
//! groups, for a client that sees it will use it.

use std::sync::Arc;

use futures::future::BoxFuture;
use kafka_wire::{KafkaRequest, KafkaResponse};
use kafka_wire_core::{ApiVersion, DecodeError, Decoder};

use super::api;
use super::connection::{Answer, Closed};
use super::face::Face;
use super::frame::{self, Body, Call};

/// The key of the one API of which several requests of a connection may be under way.
const PRODUCE: i16 = 0;
/// The key of the one API that is answered in any version.
pub(super) const API_VERSIONS: i16 = 18;

/// The answer that is being made: polled to its end by the connection, in the order of the requests.
pub(crate) type Work = BoxFuture<'static, Result<Answer, Closed>>;
/// What decoding a request comes to.
type Decoded = Result<Box<dyn Body>, DecodeError>;
/// What beginning a request comes to.
type Beginning = BoxFuture<'static, Result<Accepted, Closed>>;
/// Returns about how many bytes making the answer to a request of that version takes.
type Weigh<Q> = fn(&Face, i16, &Q) -> usize;

/// A request that was begun: the work that is left of it.
pub(crate) struct Accepted {
    pub(super) work: Work,
    /// Bytes that the decoded request takes; the work may hold on to them.
    pub(super) held: usize,
}

/// One API: what it is called, which versions are told to clients, and who serves it.
pub struct Api {
    pub key: i16,
    pub name: &'static str,
    /// The lowest version told to clients.
    pub min: i16,
    pub max: i16,
    /// The lowest version really served; below it the connection is closed. Differs from `min` for Produce
    /// only: librdkafka before 2.11 sends uncompressed unless it is told of version 0 (KAFKA-18659).
    pub served_from: i16,
    /// Whether a request may be begun while earlier ones of the connection await their answers.
    ///
    /// Kafka serves one request of a connection at a time. Beginning a produce fixes its place in the log, so
    /// its effects keep the order of requests; of no other API is that so.
    pub(super) overlaps: bool,
    flexible: fn(i16) -> bool,
    pub(super) decode: fn(&mut Decoder, i16) -> Decoded,
    pub(super) begin: fn(Arc<Face>, Call, Decoder) -> Beginning,
}

impl Api {
    /// Returns whether requests of this version are served.
    pub fn serves(&self, version: i16) -> bool {
        (self.served_from..=self.max).contains(&version)
    }

    pub(super) fn is_flexible(&self, version: i16) -> bool {
        (self.flexible)(version)
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}({}, {}..={})", self.name, self.key, self.min, self.max)
    }
}

macro_rules! table {
    (@begin $request:ident, $module:ident) => { |face, call, body| {
        let no_room: Weigh<kafka_wire::$request> = |_, _, _| 0;
        Box::pin(answered::<kafka_wire::$request, _, _, _>(face, call, body, no_room, api::$module::handle))
    }};
    (@begin $request:ident, $module:ident, weighs) => { |face, call, body| {
        let (weigh, handle) = (api::$module::weigh, api::$module::handle);
        Box::pin(answered::<kafka_wire::$request, _, _, _>(face, call, body, weigh, handle))
    }};
    (@begin $request:ident, $module:ident, begins) => { |face, call, body| {
        Box::pin(api::$module::begin(face, call, body))
    }};
    ($($name:ident $key:literal, $min:literal..=$max:literal, from $from:literal, $request:ident, $module:ident $($how:ident)?;)*) => {
        /// Every API served, by key.
        pub static TABLE: &[Api] = &[$(Api {
            key: $key,
            name: stringify!($name),
            min: $min,
            max: $max,
            served_from: $from,
            overlaps: $key == PRODUCE,
            flexible: flexible::<kafka_wire::$request>,
            decode: decoded::<kafka_wire::$request>,
            begin: table!(@begin $request, $module $(, $how)?),
        },)*];
    };
}

table! {
    Produce 0, 0..=13, from 3, ProduceRequest, produce begins;
    Fetch 1, 4..=18, from 4, FetchRequest, fetch begins;
    ListOffsets 2, 1..=10, from 1, ListOffsetsRequest, list_offsets;
    Metadata 3, 0..=13, from 0, MetadataRequest, metadata weighs;
    ApiVersions 18, 0..=4, from 0, ApiVersionsRequest, api_versions;
    CreateTopics 19, 2..=7, from 2, CreateTopicsRequest, create_topics weighs;
    DeleteTopics 20, 1..=6, from 1, DeleteTopicsRequest, delete_topics;
    DeleteRecords 21, 0..=2, from 0, DeleteRecordsRequest, delete_records;
    InitProducerId 22, 0..=5, from 0, InitProducerIdRequest, init_producer_id;
    OffsetForLeaderEpoch 23, 2..=4, from 2, OffsetForLeaderEpochRequest, offset_for_leader_epoch;
    DescribeConfigs 32, 1..=4, from 1, DescribeConfigsRequest, describe_configs weighs;
    CreatePartitions 37, 0..=3, from 0, CreatePartitionsRequest, create_partitions;
    DescribeCluster 60, 0..=2, from 0, DescribeClusterRequest, describe_cluster;
}

/// Returns the API of that key.
pub(super) fn find(key: i16) -> Option<&'static Api> {
    TABLE.binary_search_by_key(&key, |api| api.key).ok().map(|at| &TABLE[at])
}

fn flexible<Q: KafkaRequest>(version: i16) -> bool {
    Q::is_flexible(ApiVersion::new(version))
}

fn decoded<Q: KafkaRequest + 'static>(decoder: &mut Decoder, version: i16) -> Decoded {
    Ok(Box::new(frame::decode::<Q>(decoder, version)?.0))
}

/// Serves an API that is one function from a request to an answer.
///
/// A large answer waits for room before it is made, since a few bytes of a request may ask for all there is.
async fn answered<Q, R, F, Fut>(
    face: Arc<Face>,
    call: Call,
    mut body: Decoder,
    weigh: Weigh<Q>,
    handle: F,
) -> Result<Accepted, Closed>
where
    Q: KafkaRequest + Send + 'static,
    R: KafkaResponse + Send,
    F: FnOnce(Arc<Face>, Call, Q) -> Fut + Send + 'static,
    Fut: Future<Output = R> + Send + 'static,
{
    let (request, held) =
        frame::decode::<Q>(&mut body, call.version).map_err(frame::FrameError::from)?;
    drop(body);
    let work = Box::pin(async move {
        let mut room = face.whole_answer_room(weigh(&face, call.version, &request)).await;
        let answer = handle(face, call.clone(), request).await;
        let frame = frame::encode(&call, &answer)?;
        room.iter_mut().for_each(|room| room.shrink(frame.len()));
        Ok(Answer::holding(frame, room))
    });
    Ok(Accepted { work, held })
}

#[cfg(test)]
mod tests;
