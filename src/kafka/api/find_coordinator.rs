//! FindCoordinator (key 10), versions 0–6: which broker coordinates a consumer group.
//!
//! The first who asks makes the coordinators, and waits until they have leaders. Transactional ids have none yet, which
//! is answered with a code that clients take for final.
//!
//! | since version | what is new |
//! |---|---|
//! | 1 | kinds of keys, and words for errors (KIP-98) |
//! | 3 | flexible (KIP-482) |
//! | 4 | several keys (KIP-699) |
//! | 5 | transactions that can be aborted (KIP-890) |
//! | 6 | share groups as a kind of key (KIP-932), refused here like transactional ids |
//!
//! The highest version is that of Kafka 4: clients told which release they speak to do not ask what is served.

use std::sync::Arc;
use std::time::Duration;

use kafka_wire::find_coordinator_response::Coordinator;
use kafka_wire::{FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_wire_core::StrBytes;
use tokio::time::Instant;

use crate::coordinator::{NotLocated, locate};
use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::server::{KafkaServer, broker_id};
use crate::metadata::Broker;

/// The kind of key that names a consumer group.
const GROUP: i8 = 0;
/// The version from which a request names several keys.
const SEVERAL_FROM: i16 = 4;
/// How long the coordinators may take to be there and to have leaders; clients that are told to come back wait for longer.
const LEADER_WAIT: Duration = Duration::from_secs(10);

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let mut answer = FindCoordinatorResponse::default();
    let deadline = Instant::now() + LEADER_WAIT;
    let several = call.version >= SEVERAL_FROM;
    let keys = if several { request.coordinator_keys } else { vec![request.key] };
    for key in keys {
        let found = find(&server, request.key_type, &key, deadline).await;
        let row = row(key, found, &call);
        if several {
            answer.coordinators.push(row);
        } else {
            answer.error_code = row.error_code;
            answer.error_message = row.error_message;
            (answer.node_id, answer.host, answer.port) = (row.node_id, row.host, row.port);
        }
    }
    answer
}

fn row(
    key: StrBytes,
    found: Result<Broker, (ErrorCode, &'static str)>,
    call: &Call,
) -> Coordinator {
    let mut row = Coordinator::default();
    row.key = key;
    (row.node_id, row.port) = (-1, -1);
    match found {
        Ok(broker) => {
            row.node_id = broker_id(broker.id);
            row.host = broker.kafka.host.into();
            row.port = i32::from(broker.kafka.port);
        }
        Err((code, words)) => {
            row.error_code = code.count(call);
            row.error_message = Some(words.into());
        }
    }
    row
}

async fn find(
    server: &KafkaServer,
    kind: i8,
    group: &str,
    deadline: Instant,
) -> Result<Broker, (ErrorCode, &'static str)> {
    if kind != GROUP {
        let words = "only consumer groups have coordinators here; there are no transactions or share groups yet";
        return Err((ErrorCode::InvalidRequest, words));
    }
    locate(&server.context.controller, group, deadline).await.map_err(|error| {
        let words = match error {
            NotLocated::NotMade => "the coordinators cannot be made now, ask again",
            NotLocated::NoLeader => "the group's coordinator has no leader now",
        };
        (ErrorCode::CoordinatorNotAvailable, words)
    })
}
