//! InitProducerId (key 22), versions 0–6: ids and epochs for idempotent and transactional producers (KIP-98).
//!
//! Without a transactional id every call gets an id that nobody had before, with epoch 0; ids come from the cluster in blocks
//! of a thousand. With one, its coordinator raises the epoch, which fences off who had the id before, and aborts
//! what that one has left open. Transactions that somebody else prepares and ends (KIP-939) are not served: who asks for them is
//! refused as Kafka does it where they are turned off.
//!
//! | since version | what is new |
//! |---|---|
//! | 2 | flexible (KIP-482) |
//! | 3 | the id a producer has (KIP-360) |
//! | 4 | fencing has an error of its own (KIP-588) |
//! | 5 | transactions that can be aborted (KIP-890) |
//! | 6 | transactions in two phases (KIP-939), refused |

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use kafka_wire::{InitProducerIdRequest, InitProducerIdResponse};
use kafka_wire_core::StrBytes;

use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::groups::text;
use crate::kafka::server::KafkaServer;
use crate::kafka::transactions;
use crate::transaction::{Init, TRANSACTIONAL_ID_BYTES_MAX};

/// Clients give up on a request after 30 s and more; a cluster that cannot decide in 10 s is asked again.
const ALLOCATE_MAX: Duration = Duration::from_secs(10);
/// The version from which a producer that was fenced is told by PRODUCER_FENCED.
const FENCED_FROM: i16 = 4;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    let mut answer = InitProducerIdResponse::default();
    answer.producer_id = -1;
    answer.producer_epoch = -1;
    let half = (request.producer_id == -1) != (request.producer_epoch == -1);
    let outcome = match &request.transactional_id {
        // A producer is its id and its epoch; half of that names nobody, as in Kafka.
        _ if half => Err(ErrorCode::InvalidRequest),
        None => next_id(&server).await.map(|id| (id, 0)),
        Some(id) => transactional(&server, &call, id, &request).await,
    };
    match outcome {
        Ok(producer) => (answer.producer_id, answer.producer_epoch) = producer,
        Err(code) => answer.error_code = code.count(&call),
    }
    answer
}

async fn transactional(
    server: &KafkaServer,
    call: &Call,
    id: &StrBytes,
    request: &InitProducerIdRequest,
) -> Result<(i64, i16), ErrorCode> {
    if id.is_empty() || id.len() > TRANSACTIONAL_ID_BYTES_MAX {
        return Err(ErrorCode::InvalidRequest);
    }
    if request.enable2_pc {
        return Err(ErrorCode::TransactionalIdAuthorizationFailed);
    }
    if request.keep_prepared_txn {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let had = (request.producer_id, request.producer_epoch);
    let init = Init {
        transactional_id: text(id),
        timeout_ms: request.transaction_timeout_ms,
        producer: (had.0 >= 0).then_some(had),
        fresh_id: next_id(server).await?,
    };
    let begun = server.context.transactions.init(init).await;
    begun.map_err(|error| transactions::code(&error, call.version, FENCED_FROM))
}

async fn next_id(server: &KafkaServer) -> Result<i64, ErrorCode> {
    if let Some(id) = take(&mut server.producer_ids.lock()) {
        return Ok(id);
    }
    let _refill = server.producer_ids_refill.lock().await;
    if let Some(id) = take(&mut server.producer_ids.lock()) {
        return Ok(id);
    }
    let allocated = server.context.controller.allocate_producer_ids(ALLOCATE_MAX).await;
    let mut block = allocated.map_err(|error| {
        tracing::info!(%error, "no producer ids from the cluster");
        // A plain "ask again". Told that there is no coordinator, Java looks for one, although ids without
        // transactions have none, and gives up for good.
        ErrorCode::CoordinatorLoadInProgress
    })?;
    let id = take(&mut block).ok_or(ErrorCode::CoordinatorLoadInProgress)?;
    *server.producer_ids.lock() = block;
    Ok(id)
}

fn take(block: &mut Range<i64>) -> Option<i64> {
    block.next()
}
