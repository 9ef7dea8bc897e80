//! DescribeLogDirs (key 35), versions 1–5: what this broker keeps on its disk, and how much room is left.
//!
//! A broker has one directory. A partition's size is that of its record batches as their producers compressed them: all
//! partitions share one database, so none has files of its own.
//!
//! | since version | what is new |
//! |---|---|
//! | 2 | flexible (KIP-482) |
//! | 3 | an error of the whole answer |
//! | 4 | the size of the disk (KIP-827) |
//! | 5 | whether the directory takes no new replicas (KIP-1066); ours always does |

use std::collections::{BTreeMap, BTreeSet};
use std::path::absolute;
use std::sync::Arc;

use kafka_wire::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_wire::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use quorate_storage::DiskSpace;

use crate::kafka::call::Call;
use crate::kafka::server::KafkaServer;

/// What a partition takes in the answer and in its making.
const PARTITION_BYTES: usize = 256;
/// The size of a disk that does not say.
const UNKNOWN: i64 = -1;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    _: Call,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let wanted: Option<BTreeSet<(&str, i32)>> = request.topics.as_ref().map(|topics| {
        let named = |it| -> (&str, &Vec<i32>) {
            let it: &kafka_wire::describe_log_dirs_request::DescribableLogDirTopic = it;
            (it.topic.as_str(), &it.partitions)
        };
        let all = topics.iter().map(named);
        all.flat_map(|(topic, list)| list.iter().map(move |index| (topic, *index))).collect()
    });
    let mut topics: BTreeMap<String, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for partition in server.context.partitions.all() {
        let (topic, index) = (partition.topic(), partition.number());
        if wanted.as_ref().is_some_and(|wanted| !wanted.contains(&(topic, index))) {
            continue;
        }
        let mut row = DescribeLogDirsPartition::default();
        row.partition_index = index;
        row.partition_size = size(partition.stored_bytes());
        topics.entry(topic.to_owned()).or_default().push(row);
    }
    let mut answer = DescribeLogDirsResponse::default();
    answer.results = vec![directory(&server, topics)];
    answer
}

/// Returns about how many bytes the answer takes while it is made.
pub(in crate::kafka) fn weigh(server: &KafkaServer, _: i16, _: &DescribeLogDirsRequest) -> usize {
    server.context.partitions.all().len().saturating_mul(PARTITION_BYTES)
}

fn directory(
    server: &KafkaServer,
    topics: BTreeMap<String, Vec<DescribeLogDirsPartition>>,
) -> DescribeLogDirsResult {
    let data_dir = &server.context.config.broker.data_dir;
    let path = absolute(data_dir).unwrap_or_else(|_| data_dir.clone());
    let mut result = DescribeLogDirsResult::default();
    result.log_dir = path.to_string_lossy().into_owned().into();
    (result.total_bytes, result.usable_bytes) = match DiskSpace::of(&path) {
        Ok(disk) => (size(disk.total), size(disk.free)),
        Err(_) => (UNKNOWN, UNKNOWN),
    };
    let row = |(name, mut partitions): (String, Vec<DescribeLogDirsPartition>)| {
        partitions.sort_unstable_by_key(|it| it.partition_index);
        let mut row = DescribeLogDirsTopic::default();
        (row.name, row.partitions) = (name.into(), partitions);
        row
    };
    result.topics = topics.into_iter().map(row).collect();
    result
}

fn size(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
