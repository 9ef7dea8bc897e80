//! DescribeCluster (key 60), versions 0–2: the cluster's id and brokers (KIP-700).
//!
//! Every broker forwards what only the metadata leader may decide, so any could be named as controller; the
//! metadata leader is named when known, as it saves the detour.
//!
//! | since version | what is new |
//! |---|---|
//! | 1 | which kind of endpoints is asked for (KIP-919) |
//! | 2 | brokers that are fenced (KIP-1073) |

use std::sync::Arc;

use kafka_wire::describe_cluster_response::DescribeClusterBroker;
use kafka_wire::{DescribeClusterRequest, DescribeClusterResponse};

use super::metadata::controller_id;
use super::operations;
use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::server::{KafkaServer, broker_id};
use crate::metadata::cluster_id_text;

/// The endpoints that clients use; 2 would be those of controllers, which this cluster does not have (KIP-919).
const BROKERS: i8 = 1;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: DescribeClusterRequest,
) -> DescribeClusterResponse {
    let mut answer = DescribeClusterResponse::default();
    if request.endpoint_type != BROKERS {
        answer.error_code = ErrorCode::UnsupportedEndpointType.count(&call);
        answer.error_message = Some("only brokers can be described".into());
        return answer;
    }
    let image = server.context.metadata.image();
    answer.cluster_id = cluster_id_text(image.cluster_id).into();
    answer.controller_id = controller_id(&server, &image);
    answer.cluster_authorized_operations =
        operations::on_cluster(request.include_cluster_authorized_operations);
    let shown = image.brokers.values().filter(|it| request.include_fenced_brokers || !it.fenced);
    answer.brokers = shown
        .map(|broker| {
            let mut row = DescribeClusterBroker::default();
            row.broker_id = broker_id(broker.id);
            row.host = broker.kafka.host.as_str().into();
            row.port = i32::from(broker.kafka.port);
            row.rack = broker.rack.as_deref().map(Into::into);
            row.is_fenced = call.version >= 2 && broker.fenced;
            row
        })
        .collect();
    answer
}
