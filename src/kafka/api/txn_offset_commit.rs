//! TxnOffsetCommit (key 28), versions 0–5: how far a group has read, as part of a transaction (KIP-98).
//!
//! The offsets are seen when the transaction commits, and never if it aborts. Answered by the group's coordinator, which
//! asks that of the transaction which one they belong to; what is wrong with that one is told as "ask again here".
//! Offsets belong to a topic's id, as those of OffsetCommit do.
//!
//! | since version | what is new |
//! |---|---|
//! | 2 | leader epochs (KIP-320) |
//! | 3 | flexible (KIP-482), the group's member and generation (KIP-447) |
//! | 4 | transactions that can be aborted (KIP-890) |
//! | 5 | offsets become part of the transaction by being committed (KIP-890 part 2) |

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_wire::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_wire::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};

use super::image_with;
use crate::coordinator::{Commit, GroupError, Identity, OffsetsTransaction, Position};
use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::groups::{self, optional, text};
use crate::kafka::server::KafkaServer;
use crate::kafka::transactions::{self, ENLIST_WAIT, OFFSETS_ABORTABLE_FROM, OFFSETS_ADD_FROM};
use crate::metadata::Image;
use crate::transaction::Enlist;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: TxnOffsetCommitRequest,
) -> TxnOffsetCommitResponse {
    let has_all =
        |image: &Image| request.topics.iter().all(|topic| image.topic(&topic.name).is_some());
    let image = image_with(&server, has_all).await;
    let metadata_max = server.context.config.groups.offset_metadata_bytes_max;
    let (mut rows, mut positions) = (Vec::new(), BTreeMap::new());
    for topic in &request.topics {
        let found = image.topic(&topic.name);
        for it in &topic.partitions {
            let found = found.filter(|found| found.partition(it.partition_index).is_some());
            let row = found.ok_or(ErrorCode::UnknownTopicOrPartition).and_then(|found| {
                let metadata = it.committed_metadata.as_ref();
                Ok(Position {
                    topic: found.id,
                    partition: it.partition_index,
                    offset: it.committed_offset,
                    leader_epoch: it.committed_leader_epoch,
                    metadata: groups::offset_metadata(metadata, metadata_max)?,
                })
            });
            rows.push(row.map(|position| {
                // Of two that name the same the later counts, as in Kafka.
                positions.insert((position.topic, position.partition), position);
            }));
        }
    }
    let committed = if positions.is_empty() {
        Ok(())
    } else {
        commit(&server, &call, &request, positions.into_values().collect()).await
    };
    answer_of(request, rows, committed, &call)
}

async fn commit(
    server: &KafkaServer,
    call: &Call,
    request: &TxnOffsetCommitRequest,
    offsets: Vec<Position>,
) -> Result<(), ErrorCode> {
    if request.group_id.len() > groups::NAME_BYTES_MAX {
        return Err(ErrorCode::InvalidGroupId);
    }
    let group = groups::coordinator_of(server, &request.group_id);
    let group = group.map_err(|error| ErrorCode::from(&error))?;
    let (producer_id, epoch) = (request.producer_id, request.producer_epoch);
    let claim = transactions::claim(&request.transactional_id, producer_id, epoch);
    let how = if call.version >= OFFSETS_ADD_FROM { Enlist::Add } else { Enlist::Verify };
    let asked =
        server.context.transactions.enlist_offsets(&claim, &request.group_id, how, ENLIST_WAIT);
    let number =
        asked.await.map_err(|error| transactions::code_of_offsets(&error, call.version))?;
    let who = Identity {
        group: text(&request.group_id),
        member_id: text(&request.member_id),
        instance_id: optional(request.group_instance_id.as_ref()),
        generation: request.generation_id_or_member_epoch,
    };
    let transaction = OffsetsTransaction { producer_id, epoch, number };
    let committed = group.commit_in_transaction(Commit { who, offsets }, transaction).await;
    committed.map_err(|error| match error {
        // Its offsets came late: what is left of the transaction for this producer is to abort it.
        GroupError::TransactionEnded if call.version >= OFFSETS_ABORTABLE_FROM => {
            ErrorCode::TransactionAbortable
        }
        error => (&error).into(),
    })
}

fn answer_of(
    request: TxnOffsetCommitRequest,
    rows: Vec<Result<(), ErrorCode>>,
    committed: Result<(), ErrorCode>,
    call: &Call,
) -> TxnOffsetCommitResponse {
    let mut rows = rows.into_iter();
    let mut answer = TxnOffsetCommitResponse::default();
    for topic in request.topics {
        let mut result = TxnOffsetCommitResponseTopic::default();
        for (it, row) in topic.partitions.iter().zip(rows.by_ref()) {
            let mut partition = TxnOffsetCommitResponsePartition::default();
            partition.partition_index = it.partition_index;
            if let Err(code) = row.and(committed) {
                partition.error_code = code.count(call);
            }
            result.partitions.push(partition);
        }
        result.name = topic.name;
        answer.topics.push(result);
    }
    answer
}
