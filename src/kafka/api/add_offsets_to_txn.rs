//! AddOffsetsToTxn (key 25), versions 0–4: the offsets of a group become part of a producer's transaction (KIP-98).
//!
//! From KIP-890 on, TxnOffsetCommit does so by itself. The group needs not be there yet.
//!
//! | since version | what is new |
//! |---|---|
//! | 2 | fencing has an error of its own (KIP-588) |
//! | 3 | flexible (KIP-482) |
//! | 4 | transactions that can be aborted (KIP-890) |

use std::sync::Arc;

use kafka_wire::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};

use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::groups;
use crate::kafka::server::KafkaServer;
use crate::kafka::transactions;

/// The version from which a producer that was fenced is told by PRODUCER_FENCED.
const FENCED_FROM: i16 = 2;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: AddOffsetsToTxnRequest,
) -> AddOffsetsToTxnResponse {
    let mut answer = AddOffsetsToTxnResponse::default();
    let added = if request.group_id.len() > groups::NAME_BYTES_MAX {
        Err(ErrorCode::InvalidGroupId)
    } else {
        let claim = transactions::claim(
            &request.transactional_id,
            request.producer_id,
            request.producer_epoch,
        );
        let added = server.context.transactions.add_offsets(&claim, &request.group_id).await;
        added.map_err(|error| transactions::code(&error, call.version, FENCED_FROM))
    };
    if let Err(code) = added {
        answer.error_code = code.count(&call);
    }
    answer
}
