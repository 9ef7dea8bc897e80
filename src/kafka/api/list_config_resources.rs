//! ListConfigResources (key 74), versions 0–1: what can have configs of its own, by kind and name (KIP-1142).
//!
//! | since version | what is new |
//! |---|---|
//! | 0 | flexible from the beginning; asks for the subscriptions of client metrics alone (KIP-714), of which there are none |
//! | 1 | asks for kinds of resources; none named means all |

use std::sync::Arc;

use kafka_wire::list_config_resources_response::ConfigResource;
use kafka_wire::{ListConfigResourcesRequest, ListConfigResourcesResponse};

use crate::kafka::call::Call;
use crate::kafka::config_resource::{BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC};
use crate::kafka::error::ErrorCode;
use crate::kafka::server::KafkaServer;

/// The version from which kinds are named.
const KINDS_FROM: i16 = 1;
/// All kinds that a request may name.
const KINDS: [i8; 5] = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];
/// What a resource takes in the answer and in its making.
const RESOURCE_BYTES: usize = 384;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    let mut answer = ListConfigResourcesResponse::default();
    let kinds = match &request.resource_types[..] {
        _ if call.version < KINDS_FROM => &[CLIENT_METRICS],
        [] => &KINDS[..],
        named => named,
    };
    if kinds.iter().any(|kind| !KINDS.contains(kind)) {
        answer.error_code = ErrorCode::UnsupportedVersion.count(&call);
        return answer;
    }
    let image = server.context.metadata.image();
    let brokers = || image.live_brokers().map(|broker| broker.id.to_string()).collect();
    for kind in KINDS.into_iter().filter(|kind| kinds.contains(kind)) {
        let names: Vec<String> = match kind {
            TOPIC => image.topics.keys().cloned().collect(),
            BROKER => brokers(),
            GROUP => image.configs.groups().map(str::to_owned).collect(),
            // Levels of logging are set over HTTP, and nobody subscribes to clients' metrics.
            _ => Vec::new(),
        };
        answer.config_resources.extend(names.into_iter().map(|name| {
            let mut row = ConfigResource::default();
            (row.resource_name, row.resource_type) = (name.into(), kind);
            row
        }));
    }
    answer
}

/// Returns about how many bytes the answer takes while it is made.
pub(in crate::kafka) fn weigh(
    server: &KafkaServer,
    _: i16,
    _: &ListConfigResourcesRequest,
) -> usize {
    let image = server.context.metadata.image();
    let resources = image.topics.len() + image.brokers.len() + image.configs.groups().count();
    resources.saturating_mul(RESOURCE_BYTES)
}
