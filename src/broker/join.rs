//! Becoming a member: of the cluster one asks, or of the one formed here.
//!
//! A newcomer that was registered and crashed before it wrote that down asks again under the same directory
//! id and is given the same answer; therefore the directory id is written before the first question.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_raft::{CallError, Node};
use quorate_storage::Db;
use tokio::time::{Instant, sleep};

use super::StartError;
use super::sockets::Addresses;
use crate::config::{Config, HostPort};
use crate::context::{Identity, identity};
use crate::controller::{JOIN, JoinAnswer, JoinRequest};
use crate::metadata::{AdminError, BrokerSpec, Levels, cluster_id_text, decode, encode};

/// Members are asked for so long: they may be starting too.
const PATIENCE: Duration = Duration::from_secs(60);
/// One question; the member may itself be waiting for a metadata leader.
const ASK: Duration = Duration::from_secs(12);
const PAUSE: Duration = Duration::from_millis(200);

/// Forms a cluster of this one broker.
pub(super) async fn form(db: &Arc<Db>, node_id: Option<u64>) -> Result<Identity, StartError> {
    let formed = Identity {
        cluster_id: identity::random_id(),
        node_id: node_id.unwrap_or(1),
        directory_id: identity::directory_id(db).await?,
        forms_cluster: true,
    };
    identity::save(db, formed).await?;
    tracing::info!(
        cluster = cluster_id_text(formed.cluster_id),
        broker = formed.node_id,
        "a new cluster is formed by this broker"
    );
    Ok(formed)
}

/// Asks the members named in the configuration to let this broker in.
pub(super) async fn join(
    db: &Arc<Db>,
    config: &Config,
    addresses: &Addresses,
) -> Result<(Identity, JoinAnswer), StartError> {
    let directory_id = identity::directory_id(db).await?;
    let broker = spec(config.broker.id, directory_id, config, addresses);
    let request = JoinRequest { cluster_id: None, broker };
    let answer = ask_until_heard(&config.peer.join, &request).await?;
    let joined = Identity {
        cluster_id: answer.cluster_id,
        node_id: answer.node_id,
        directory_id,
        forms_cluster: false,
    };
    identity::save(db, joined).await?;
    tracing::info!(
        cluster = cluster_id_text(joined.cluster_id),
        broker = joined.node_id,
        members = answer.peers.len(),
        "joined the cluster"
    );
    Ok((joined, answer))
}

/// Returns how a broker presents itself.
pub(super) fn spec(
    id: Option<u64>,
    directory_id: u128,
    config: &Config,
    addresses: &Addresses,
) -> BrokerSpec {
    let Addresses { kafka, http, peer } = addresses.clone();
    let (rack, levels) = (config.broker.rack.clone(), Levels::supported());
    BrokerSpec { id, directory_id, rack, kafka, http, peer, levels }
}

async fn ask_until_heard(
    members: &[HostPort],
    request: &JoinRequest,
) -> Result<JoinAnswer, StartError> {
    let deadline = Instant::now() + PATIENCE;
    let mut last = String::new();
    loop {
        for member in members {
            match ask(&member.to_string(), request).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) if is_final(&error) => return Err(StartError::Refused(error)),
                Ok(Err(error)) => last = format!("{member}: {error}"),
                Err(error) => last = format!("{member}: {error}"),
            }
            tracing::debug!(last, "not let in yet");
        }
        if Instant::now() >= deadline {
            let seconds = PATIENCE.as_secs();
            return Err(StartError::NotLetIn { seconds, last });
        }
        sleep(PAUSE).await;
    }
}

/// Asks one member; the inner error is the cluster's, the outer the way's.
pub(super) async fn ask(
    member: &str,
    request: &JoinRequest,
) -> Result<Result<JoinAnswer, AdminError>, CallError> {
    let body = Bytes::from(encode(request));
    let answer = Node::call_address(request.cluster_id, member, JOIN, body, ASK).await?;
    decode(&answer).map_err(|error| CallError::Failed(error.to_string()))
}

/// Whether asking again, or asking another member, would be answered the same.
pub(super) fn is_final(error: &AdminError) -> bool {
    matches!(
        error,
        AdminError::BrokerIdTaken { .. }
            | AdminError::WrongCluster { .. }
            | AdminError::InvalidRequest(_)
            | AdminError::BrokerRemoved(_)
            | AdminError::ReleaseUnfit { .. }
    )
}
