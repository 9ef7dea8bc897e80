//! Heartbeat (key 12), versions 0–4: a member says that it is alive, and hears whether the group rebalances.
//!
//! | since version | what is new |
//! |---|---|
//! | 3 | static members (KIP-345) |
//! | 4 | flexible (KIP-482) |

use std::sync::Arc;

use kafka_wire::{HeartbeatRequest, HeartbeatResponse};

use crate::coordinator::Identity;
use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::groups::{self, optional, text};
use crate::kafka::server::KafkaServer;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: HeartbeatRequest,
) -> HeartbeatResponse {
    let mut answer = HeartbeatResponse::default();
    if request.group_id.is_empty() {
        answer.error_code = ErrorCode::InvalidGroupId.count(&call);
        return answer;
    }
    let who = Identity {
        group: text(&request.group_id),
        member_id: text(&request.member_id),
        instance_id: optional(request.group_instance_id.as_ref()),
        generation: request.generation_id,
    };
    let heard = match groups::coordinator_of(&server, &request.group_id) {
        Ok(coordinator) => coordinator.heartbeat(who).await,
        Err(error) => Err(error),
    };
    if let Err(error) = heard {
        answer.error_code = ErrorCode::from(&error).count(&call);
    }
    answer
}
