//! SyncGroup (key 14), versions 0–5: a member asks for its part, and the one that assigns tells everybody's.
//!
//! | since version | what is new |
//! |---|---|
//! | 3 | static members (KIP-345) |
//! | 4 | flexible (KIP-482) |
//! | 5 | the protocol is compared (KIP-559) |

use std::sync::Arc;

use kafka_wire::{SyncGroupRequest, SyncGroupResponse};

use crate::coordinator::{Identity, Sync};
use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::groups::{self, optional, text};
use crate::kafka::server::KafkaServer;

/// The version from which the protocol is said and compared.
const PROTOCOL_FROM: i16 = 5;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: SyncGroupRequest,
) -> SyncGroupResponse {
    let mut answer = SyncGroupResponse::default();
    let says = call.version >= PROTOCOL_FROM;
    if request.group_id.is_empty() {
        answer.error_code = ErrorCode::InvalidGroupId.count(&call);
        return answer;
    }
    // From that version on a client that does not say is one that is broken.
    if says && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
        answer.error_code = ErrorCode::InconsistentGroupProtocol.count(&call);
        return answer;
    }
    let synced = match groups::coordinator_of(&server, &request.group_id) {
        Ok(coordinator) => groups::until_stopped(&server, coordinator.sync(sync_of(request))).await,
        Err(error) => Err(error),
    };
    match synced {
        Ok(synced) => {
            answer.protocol_type = Some(synced.protocol_type.into()).filter(|_| says);
            answer.protocol_name = Some(synced.protocol.into()).filter(|_| says);
            answer.assignment = synced.part;
        }
        Err(error) => answer.error_code = ErrorCode::from(&error).count(&call),
    }
    answer
}

fn sync_of(request: SyncGroupRequest) -> Sync {
    let parts = request.assignments.into_iter().map(|it| (text(&it.member_id), it.assignment));
    Sync {
        who: Identity {
            group: text(&request.group_id),
            member_id: text(&request.member_id),
            instance_id: optional(request.group_instance_id.as_ref()),
            generation: request.generation_id,
        },
        protocol_type: optional(request.protocol_type.as_ref()),
        protocol: optional(request.protocol_name.as_ref()),
        parts: parts.collect(),
    }
}
