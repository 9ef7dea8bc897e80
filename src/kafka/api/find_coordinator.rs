//! FindCoordinator (key 10), versions 0–6: which broker coordinates a consumer group or a transactional id.
//!
//! The first who asks makes the coordinators of that kind, and waits until they have leaders.
//!
//! | since version | what is new |
//! |---|---|
//! | 1 | kinds of keys, and words for errors (KIP-98) |
//! | 3 | flexible (KIP-482) |
//! | 4 | several keys (KIP-699) |
//! | 5 | transactions that can be aborted (KIP-890) |
//! | 6 | share groups as a kind of key (KIP-932), refused with a code that clients take for final |
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

/// The kinds of keys: a consumer group's name, a transactional id.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
/// The version from which a request names several keys.
const SEVERAL_FROM: i16 = 4;
/// How long the coordinators may take to be there and to have leaders; clients that are told to come back wait for longer.
const LEADER_WAIT: Duration = Duration::from_secs(10);

const NOT_MADE: &str = "the coordinators cannot be made now, ask again";
const NO_LEADER: &str = "the coordinator has no leader now";

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
    key: &str,
    deadline: Instant,
) -> Result<Broker, (ErrorCode, &'static str)> {
    let located = match kind {
        GROUP => locate(&server.context.controller, key, deadline).await,
        TRANSACTION => server.context.transactions.locate(key, deadline).await,
        _ => {
            let words = "consumer groups and transactional ids have coordinators here, there are no share groups";
            return Err((ErrorCode::InvalidRequest, words));
        }
    };
    let words = |error: NotLocated| match error {
        NotLocated::NotMade => NOT_MADE,
        NotLocated::NoLeader => NO_LEADER,
    };
    located.map_err(|error| (ErrorCode::CoordinatorNotAvailable, words(error)))
}
