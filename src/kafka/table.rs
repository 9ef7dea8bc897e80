//! The one table of the Kafka APIs this broker serves.
//!
//! Dispatch, the answer to ApiVersions, the labels of metrics and the table in the README are all made from it.
//! A version stands here because it was tried with a client that speaks it, not because the codec knows it.
//! Adding an API is one file under `api` and one row.
//!
//! The ceilings belong together: topic ids in Produce and Fetch from 13 on need Metadata 10, which gives them;
//! leader epochs in Metadata 7 need OffsetForLeaderEpoch.

use std::sync::Arc;

use futures::future::BoxFuture;
use kafka_wire::{KafkaRequest, KafkaResponse};
use kafka_wire_core::{ApiVersion, DecodeError, Decoder};

use super::answer::{Accepted, Answer, Closed};
use super::api;
use super::call::Call;
use super::codec::{self, Body};
use super::description::Api;
use super::server::KafkaServer;

/// The key of the one API of which several requests of a connection may be under way.
const PRODUCE: i16 = 0;
/// The key of the one API that is answered in any version.
pub(super) const API_VERSIONS: i16 = 18;

/// What decoding a request comes to.
type Decoded = Result<Box<dyn Body>, DecodeError>;
/// What beginning a request comes to.
type Beginning = BoxFuture<'static, Result<Accepted, Closed>>;
/// Returns about how many bytes making the answer to a request of that version takes.
type Weigh<Q> = fn(&KafkaServer, i16, &Q) -> usize;
/// Returns about how many bytes an answer takes once it is written out, where a request does not tell.
type WeighAnswer<R> = fn(&R) -> usize;

/// One API and who serves it.
pub struct Row {
    pub api: Api,
    pub(super) decode: fn(&mut Decoder, i16) -> Decoded,
    pub(super) begin: fn(Arc<KafkaServer>, Call, Decoder) -> Beginning,
}

macro_rules! table {
    (@begin $request:ident, $module:ident) => { |server, call, body| {
        let no_room: Weigh<kafka_wire::$request> = |_, _, _| 0;
        Box::pin(answered::<kafka_wire::$request, _, _, _>(server, call, body, (no_room, |_| 0), api::$module::handle))
    }};
    (@begin $request:ident, $module:ident, weighs_answer) => { |server, call, body| {
        let no_room: Weigh<kafka_wire::$request> = |_, _, _| 0;
        let weigh = (no_room, api::$module::weigh_answer as WeighAnswer<_>);
        Box::pin(answered::<kafka_wire::$request, _, _, _>(server, call, body, weigh, api::$module::handle))
    }};
    (@begin $request:ident, $module:ident, weighs) => { |server, call, body| {
        let (weigh, handle) = (api::$module::weigh, api::$module::handle);
        Box::pin(answered::<kafka_wire::$request, _, _, _>(server, call, body, (weigh, |_| 0), handle))
    }};
    (@begin $request:ident, $module:ident, begins) => { |server, call, body| {
        Box::pin(api::$module::begin(server, call, body))
    }};
    ($($name:ident $key:literal, $min:literal..=$max:literal, from $from:literal, $request:ident, $module:ident $($how:ident)?;)*) => {
        /// Every API served, by key.
        pub static TABLE: &[Row] = &[$(Row {
            api: Api {
                key: $key,
                name: stringify!($name),
                min: $min,
                max: $max,
                served_from: $from,
                overlaps: $key == PRODUCE,
                flexible: flexible::<kafka_wire::$request>,
            },
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
    OffsetCommit 8, 2..=10, from 2, OffsetCommitRequest, offset_commit;
    OffsetFetch 9, 1..=10, from 1, OffsetFetchRequest, offset_fetch;
    FindCoordinator 10, 0..=6, from 0, FindCoordinatorRequest, find_coordinator;
    JoinGroup 11, 0..=9, from 0, JoinGroupRequest, join_group weighs_answer;
    Heartbeat 12, 0..=4, from 0, HeartbeatRequest, heartbeat;
    LeaveGroup 13, 0..=5, from 0, LeaveGroupRequest, leave_group;
    SyncGroup 14, 0..=5, from 0, SyncGroupRequest, sync_group;
    DescribeGroups 15, 0..=6, from 0, DescribeGroupsRequest, describe_groups;
    ListGroups 16, 0..=5, from 0, ListGroupsRequest, list_groups;
    ApiVersions 18, 0..=4, from 0, ApiVersionsRequest, api_versions;
    CreateTopics 19, 2..=7, from 2, CreateTopicsRequest, create_topics weighs;
    DeleteTopics 20, 1..=6, from 1, DeleteTopicsRequest, delete_topics;
    DeleteRecords 21, 0..=2, from 0, DeleteRecordsRequest, delete_records;
    InitProducerId 22, 0..=6, from 0, InitProducerIdRequest, init_producer_id;
    OffsetForLeaderEpoch 23, 2..=4, from 2, OffsetForLeaderEpochRequest, offset_for_leader_epoch;
    AddPartitionsToTxn 24, 0..=5, from 0, AddPartitionsToTxnRequest, add_partitions_to_txn;
    AddOffsetsToTxn 25, 0..=4, from 0, AddOffsetsToTxnRequest, add_offsets_to_txn;
    EndTxn 26, 0..=5, from 0, EndTxnRequest, end_txn;
    WriteTxnMarkers 27, 1..=2, from 1, WriteTxnMarkersRequest, write_txn_markers;
    TxnOffsetCommit 28, 0..=5, from 0, TxnOffsetCommitRequest, txn_offset_commit;
    DescribeAcls 29, 1..=3, from 1, DescribeAclsRequest, describe_acls;
    CreateAcls 30, 1..=3, from 1, CreateAclsRequest, create_acls;
    DeleteAcls 31, 1..=3, from 1, DeleteAclsRequest, delete_acls;
    DescribeConfigs 32, 1..=4, from 1, DescribeConfigsRequest, describe_configs weighs;
    AlterConfigs 33, 0..=2, from 0, AlterConfigsRequest, alter_configs weighs;
    DescribeLogDirs 35, 1..=5, from 1, DescribeLogDirsRequest, describe_log_dirs weighs;
    CreatePartitions 37, 0..=3, from 0, CreatePartitionsRequest, create_partitions;
    DeleteGroups 42, 0..=2, from 0, DeleteGroupsRequest, delete_groups;
    ElectLeaders 43, 0..=2, from 0, ElectLeadersRequest, elect_leaders weighs;
    IncrementalAlterConfigs 44, 0..=1, from 0, IncrementalAlterConfigsRequest, incremental_alter_configs weighs;
    AlterPartitionReassignments 45, 0..=1, from 0, AlterPartitionReassignmentsRequest, alter_partition_reassignments;
    ListPartitionReassignments 46, 0..=0, from 0, ListPartitionReassignmentsRequest, list_partition_reassignments weighs;
    OffsetDelete 47, 0..=0, from 0, OffsetDeleteRequest, offset_delete;
    DescribeQuorum 55, 0..=2, from 0, DescribeQuorumRequest, describe_quorum;
    UpdateFeatures 57, 0..=2, from 0, UpdateFeaturesRequest, update_features;
    DescribeCluster 60, 0..=2, from 0, DescribeClusterRequest, describe_cluster;
    DescribeProducers 61, 0..=0, from 0, DescribeProducersRequest, describe_producers weighs_answer;
    UnregisterBroker 64, 0..=0, from 0, UnregisterBrokerRequest, unregister_broker;
    DescribeTransactions 65, 0..=0, from 0, DescribeTransactionsRequest, describe_transactions weighs_answer;
    ListTransactions 66, 0..=2, from 0, ListTransactionsRequest, list_transactions weighs_answer;
    ConsumerGroupHeartbeat 68, 0..=1, from 0, ConsumerGroupHeartbeatRequest, consumer_group_heartbeat;
    ConsumerGroupDescribe 69, 0..=1, from 0, ConsumerGroupDescribeRequest, consumer_group_describe;
    ListConfigResources 74, 0..=1, from 0, ListConfigResourcesRequest, list_config_resources weighs;
    DescribeTopicPartitions 75, 0..=0, from 0, DescribeTopicPartitionsRequest, describe_topic_partitions weighs;
}

/// Returns the row of that key.
pub(super) fn find(key: i16) -> Option<&'static Row> {
    TABLE.binary_search_by_key(&key, |row| row.api.key).ok().map(|at| &TABLE[at])
}

fn flexible<Q: KafkaRequest>(version: i16) -> bool {
    Q::is_flexible(ApiVersion::new(version))
}

fn decoded<Q: KafkaRequest + 'static>(decoder: &mut Decoder, version: i16) -> Decoded {
    Ok(Box::new(codec::decode::<Q>(decoder, version)?.0))
}

/// Serves an API that is one function from a request to an answer.
///
/// A large answer waits for room before it is made, since a few bytes of a request may ask for all there is. One that comes
/// after a wait for others, and shares what is in memory until then, waits for room when it is known.
async fn answered<Q, R, F, Fut>(
    server: Arc<KafkaServer>,
    call: Call,
    mut body: Decoder,
    (weigh, weigh_answer): (Weigh<Q>, WeighAnswer<R>),
    handle: F,
) -> Result<Accepted, Closed>
where
    Q: KafkaRequest + Send + 'static,
    R: KafkaResponse + Send + 'static,
    F: FnOnce(Arc<KafkaServer>, Call, Q) -> Fut + Send + 'static,
    Fut: Future<Output = R> + Send + 'static,
{
    let (request, held) =
        codec::decode::<Q>(&mut body, call.version).map_err(codec::FrameError::from)?;
    drop(body);
    let work = Box::pin(async move {
        let mut permit = server.whole_answer_permit(weigh(&server, call.version, &request)).await;
        let answer = handle(Arc::clone(&server), call.clone(), request).await;
        if permit.is_none() {
            let bytes = weigh_answer(&answer);
            permit = server.whole_answer_permit(bytes).await;
        }
        let frame = codec::encode(&call, &answer)?;
        permit.iter_mut().for_each(|permit| permit.shrink(frame.len()));
        Ok(Answer::holding(frame, permit))
    });
    Ok(Accepted { work, held })
}

#[cfg(test)]
mod tests;
