//! DeleteGroups (key 42), versions 0–2: deletes groups without members, and their offsets (KIP-229).
//!
//! | since version | what is new |
//! |---|---|
//! | 2 | flexible (KIP-482) |

use std::sync::Arc;

use kafka_wire::delete_groups_response::DeletableGroupResult;
use kafka_wire::{DeleteGroupsRequest, DeleteGroupsResponse};

use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::groups::{self, text};
use crate::kafka::server::KafkaServer;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: DeleteGroupsRequest,
) -> DeleteGroupsResponse {
    let mut answer = DeleteGroupsResponse::default();
    let deleted = groups::each(request.groups_names, Clone::clone, |group| {
        let server = Arc::clone(&server);
        async move { groups::coordinator_of(&server, &group)?.delete(text(&group)).await }
    });
    for (group, deleted) in deleted.await {
        let mut row = DeletableGroupResult::default();
        row.group_id = group;
        if let Err(error) = deleted {
            row.error_code = ErrorCode::from(&error).count(&call);
        }
        answer.results.push(row);
    }
    answer
}
