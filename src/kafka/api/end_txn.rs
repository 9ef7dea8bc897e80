//! EndTxn (key 26), versions 0–5: commits or aborts a transaction (KIP-98).
//!
//! Answered as soon as the outcome is decided for good; the markers follow, and until they are everywhere the producer's next
//! request waits a moment or is told CONCURRENT_TRANSACTIONS. Asked again for the same outcome the answer is the same, as
//! a client needs it that lost the first. From version 5 on every transaction has an epoch of its own, so a batch that
//! comes late cannot join the next one.
//!
//! | since version | what is new |
//! |---|---|
//! | 2 | fencing has an error of its own (KIP-588) |
//! | 3 | flexible (KIP-482) |
//! | 4 | transactions that can be aborted (KIP-890) |
//! | 5 | the id and epoch of the next transaction; nothing may be aborted, too (KIP-890 part 2) |

use std::sync::Arc;

use kafka_wire::{EndTxnRequest, EndTxnResponse};

use crate::kafka::call::Call;
use crate::kafka::server::KafkaServer;
use crate::kafka::transactions;
use crate::transaction::TransactionResult;

/// The version from which a producer that was fenced is told by PRODUCER_FENCED.
const FENCED_FROM: i16 = 2;
/// The version from which each transaction has its own epoch.
const BUMPS_FROM: i16 = 5;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: EndTxnRequest,
) -> EndTxnResponse {
    let claim =
        transactions::claim(&request.transactional_id, request.producer_id, request.producer_epoch);
    let result =
        if request.committed { TransactionResult::Commit } else { TransactionResult::Abort };
    let bumps = call.version >= BUMPS_FROM;
    let mut answer = EndTxnResponse::default();
    (answer.producer_id, answer.producer_epoch) = (-1, -1);
    match server.context.transactions.end(&claim, result, bumps).await {
        Ok(next) if bumps => (answer.producer_id, answer.producer_epoch) = next,
        Ok(_) => {}
        Err(error) => {
            answer.error_code = transactions::code(&error, call.version, FENCED_FROM).count(&call);
        }
    }
    answer
}
