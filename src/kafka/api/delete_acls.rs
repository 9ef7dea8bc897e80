//! DeleteAcls (key 31), versions 1–3: removes ACLs, which it does not without an authorizer.
//!
//! | since version | what is new |
//! |---|---|
//! | 2 | flexible (KIP-482) |
//! | 3 | users are resources (KIP-373) |

use std::sync::Arc;

use kafka_wire::delete_acls_response::DeleteAclsFilterResult;
use kafka_wire::{DeleteAclsRequest, DeleteAclsResponse};

use super::describe_acls::NO_AUTHORIZER;
use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::server::KafkaServer;

pub(in crate::kafka) async fn handle(
    _server: Arc<KafkaServer>,
    call: Call,
    request: DeleteAclsRequest,
) -> DeleteAclsResponse {
    let mut answer = DeleteAclsResponse::default();
    let refused = request.filters.iter().map(|_| {
        let mut row = DeleteAclsFilterResult::default();
        row.error_code = ErrorCode::SecurityDisabled.count(&call);
        row.error_message = Some(NO_AUTHORIZER.into());
        row
    });
    answer.filter_results = refused.collect();
    answer
}
