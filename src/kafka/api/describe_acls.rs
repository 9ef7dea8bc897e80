//! DescribeAcls (key 29), versions 1–3: tells which ACLs there are, which is none without an authorizer.
//!
//! | since version | what is new |
//! |---|---|
//! | 2 | flexible (KIP-482) |
//! | 3 | users are resources (KIP-373) |

use std::sync::Arc;

use kafka_wire::{DescribeAclsRequest, DescribeAclsResponse};

use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::server::KafkaServer;

/// Why no ACLs are told, made or removed. Clients that look after them, as MirrorMaker does, leave it at that error, and take
/// an API that is not there for a fault.
pub(super) const NO_AUTHORIZER: &str = "No authorizer is configured.";

pub(in crate::kafka) async fn handle(
    _server: Arc<KafkaServer>,
    call: Call,
    _request: DescribeAclsRequest,
) -> DescribeAclsResponse {
    let mut answer = DescribeAclsResponse::default();
    answer.error_code = ErrorCode::SecurityDisabled.count(&call);
    answer.error_message = Some(NO_AUTHORIZER.into());
    answer
}
