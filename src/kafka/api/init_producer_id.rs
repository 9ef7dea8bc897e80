//! InitProducerId (key 22), versions 0–5: ids for idempotent producers (KIP-98).
//!
//! Every call gets an id that nobody had before, with epoch 0; ids come from the cluster in blocks of a
//! thousand. An id that a producer already has is not continued (KIP-360 does so for transactions only), and there are no
//! transactions yet: a transactional id is refused with a code that clients take for final.
//!
//! | since version | what is new |
//! |---|---|
//! | 2 | flexible (KIP-482) |
//! | 3 | the id a producer has (KIP-360) |
//! | 4 | fencing has an error of its own (KIP-588) |
//! | 5 | transactions that can be aborted (KIP-890) |

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use kafka_wire::{InitProducerIdRequest, InitProducerIdResponse};

use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::server::KafkaServer;

/// Clients give up on a request after 30 s and more; a cluster that cannot decide in 10 s is asked again.
const ALLOCATE_MAX: Duration = Duration::from_secs(10);

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    let mut answer = InitProducerIdResponse::default();
    answer.producer_id = -1;
    answer.producer_epoch = -1;
    let half = (request.producer_id == -1) != (request.producer_epoch == -1);
    let outcome = match request.transactional_id {
        // A producer is its id and its epoch; half of that names nobody, as in Kafka.
        None if half => Err(ErrorCode::InvalidRequest),
        None => next_id(&server).await,
        Some(id) => {
            tracing::info!(transactional_id = %id, client = call.client.as_deref(), "transactions are not available");
            Err(ErrorCode::InvalidRequest)
        }
    };
    match outcome {
        Ok(id) => (answer.producer_id, answer.producer_epoch) = (id, 0),
        Err(code) => answer.error_code = code.count(&call),
    }
    answer
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
