//! UnregisterBroker (key 64), versions 0–0: removes a broker that is out of service and keeps nothing from the cluster, for
//! ever.
//!
//! | since version | what is new |
//! |---|---|
//! | 0 | flexible from the beginning (KIP-500) |

use std::sync::Arc;

use kafka_wire::{UnregisterBrokerRequest, UnregisterBrokerResponse};

use super::CHANGE_WAIT;
use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::server::KafkaServer;
use crate::metadata::AdminError;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: UnregisterBrokerRequest,
) -> UnregisterBrokerResponse {
    let mut answer = UnregisterBrokerResponse::default();
    answer.error_message = None;
    let removed = match u64::try_from(request.broker_id) {
        Ok(broker) => server.context.controller.remove_broker(broker, CHANGE_WAIT).await.map(drop),
        Err(_) => Err(AdminError::UnknownBroker(0)),
    };
    if let Err(error) = removed {
        let code = match &error {
            AdminError::UnknownBroker(_) => ErrorCode::BrokerIdNotRegistered,
            error => error.into(),
        };
        answer.error_code = code.count(&call);
        answer.error_message = Some(error.to_string().into());
    }
    answer
}
