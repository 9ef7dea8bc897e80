//! Keeping what the cluster knows of this broker true.
//!
//! Runs once after each start, beside everything else: the cluster may have no metadata leader before this
//! broker takes part.

use std::sync::Arc;
use std::time::Duration;

use quorate_raft::CallError;
use tokio::time::{Instant, sleep, timeout};

use super::join::{ask, is_final, spec};
use super::sockets::Addresses;
use super::{Identity, StartError};
use crate::config::Config;
use crate::controller::{Controller, JoinRequest, Progress};
use crate::metadata::{AdminError, Broker, BrokerSpec, Command};

/// How long the addresses remembered are tried before those configured are asked.
const REMEMBERED: Duration = Duration::from_secs(3);
const SUBMIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(200);

/// The one who registers.
pub(super) struct Registration {
    pub(super) controller: Arc<Controller>,
    pub(super) progress: Arc<Progress>,
    pub(super) config: Arc<Config>,
    pub(super) identity: Identity,
    pub(super) addresses: Addresses,
}

impl Registration {
    /// Returns when the image shows this broker as it is, or with the cluster's refusal.
    pub(super) async fn run(self) -> Result<(), StartError> {
        if timeout(REMEMBERED, self.progress.until_current()).await.is_err() {
            self.find_peers().await?;
            self.progress.until_current().await;
        }
        let wanted = self.spec();
        loop {
            let image = self.controller.metadata().image();
            if image.brokers.get(&self.identity.node_id).is_some_and(|it| is_as(it, &wanted)) {
                return Ok(());
            }
            match self.register(&wanted, image.cluster_id == 0).await {
                Err(error) if is_final(&error) => return Err(StartError::Refused(error)),
                Err(error) => tracing::debug!(%error, "not registered yet"),
                Ok(()) => {}
            }
            sleep(PAUSE).await;
        }
    }

    async fn register(&self, wanted: &BrokerSpec, unformed: bool) -> Result<(), AdminError> {
        let cluster_id = self.identity.cluster_id;
        if unformed && self.identity.founder {
            let form = Command::FormCluster { cluster_id };
            self.controller.submit(form, Instant::now() + SUBMIT).await?;
        }
        let register = Command::RegisterBroker(wanted.clone());
        self.controller.submit(register, Instant::now() + SUBMIT).await.map(drop)
    }

    /// Everybody may have moved while this broker was away: members at configured addresses know where to.
    async fn find_peers(&self) -> Result<(), StartError> {
        let request =
            JoinRequest { cluster_id: Some(self.identity.cluster_id), broker: self.spec() };
        for member in &self.config.peer.join {
            match ask(member, &request).await {
                Ok(Ok(answer)) => {
                    let me = self.identity.node_id;
                    for peer in answer.peers.into_iter().filter(|peer| peer.id != me) {
                        self.controller.node().set_peer(peer.id, &peer.address, peer.directory_id);
                    }
                    return Ok(());
                }
                Ok(Err(error)) if is_final(&error) => return Err(StartError::Refused(error)),
                Ok(Err(error)) => tracing::debug!(%member, %error, "peers not learned"),
                Err(error @ CallError::Refused(_)) => {
                    tracing::warn!(%member, %error, "a configured member refuses this broker");
                }
                Err(error) => tracing::debug!(%member, %error, "peers not learned"),
            }
        }
        Ok(())
    }

    fn spec(&self) -> BrokerSpec {
        let Identity { node_id, directory_id, .. } = self.identity;
        spec(Some(node_id), directory_id, &self.config, &self.addresses)
    }
}

fn is_as(known: &Broker, wanted: &BrokerSpec) -> bool {
    known.directory_id == wanted.directory_id
        && known.rack == wanted.rack
        && known.kafka == wanted.kafka
        && known.http == wanted.http
        && known.peer == wanted.peer
}
