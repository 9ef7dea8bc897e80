//! CreateAcls (key 30), versions 1–3: makes ACLs, which it does not without an authorizer.
//!
//! | since version | what is new |
//! |---|---|
//! | 2 | flexible (KIP-482) |
//! | 3 | users are resources (KIP-373) |

use std::sync::Arc;

use kafka_wire::create_acls_response::AclCreationResult;
use kafka_wire::{CreateAclsRequest, CreateAclsResponse};

use super::describe_acls::NO_AUTHORIZER;
use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::server::KafkaServer;

pub(in crate::kafka) async fn handle(
    _server: Arc<KafkaServer>,
    call: Call,
    request: CreateAclsRequest,
) -> CreateAclsResponse {
    let mut answer = CreateAclsResponse::default();
    let refused = request.creations.iter().map(|_| {
        let mut row = AclCreationResult::default();
        row.error_code = ErrorCode::SecurityDisabled.count(&call);
        row.error_message = Some(NO_AUTHORIZER.into());
        row
    });
    answer.results = refused.collect();
    answer
}
