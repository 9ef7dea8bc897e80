//! Keeping what the cluster knows of this broker true.
//!
//! Runs beside everything else: the cluster may have no metadata leader before this broker takes part. It
//! also is where a broker that was removed learns that it was: from its image, if that still arrives; else
//! by asking as a newcomer would, because members talk to it no longer. Whom it can ask is configured, or in
//! its address book. Members that moved while this broker was down are looked for meanwhile (`find.rs`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use quorate_raft::CallError;
use tokio::time::{Instant, sleep, timeout};

use super::StartError;
use super::find::find_members;
use super::join::{ask, is_final, spec};
use super::sockets::Addresses;
use crate::config::Config;
use crate::context::Identity;
use crate::controller::{Controller, JoinRequest, Progress};
use crate::metadata::{AdminError, Broker, BrokerSpec, Levels, Request};

/// How long the addresses remembered are tried before members are asked, and between two such looks.
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
    /// Runs until the cluster refuses this broker, and returns the refusal.
    pub(super) async fn run(self) -> Result<(), StartError> {
        tokio::select! {
            error = self.removed() => Err(error),
            ended = self.keep() => ended,
        }
    }

    /// Returns when the image shows that this broker was removed. That is final: ids are not given twice.
    async fn removed(&self) -> StartError {
        let me = self.identity.node_id;
        let mut images = self.controller.metadata().watch();
        let shown = images.wait_for(|image| image.removed.contains(&me)).await.is_ok();
        if shown {
            StartError::Refused(AdminError::BrokerRemoved(me))
        } else {
            std::future::pending().await
        }
    }

    /// Registers once the image is current, then asks whenever a member turns this broker away.
    async fn keep(&self) -> Result<(), StartError> {
        let mut refusing = BTreeSet::new();
        tokio::select! {
            asked = self.until_current(&mut refusing) => asked?,
            () = find_members(&self.controller, &self.config.peer.join) => {}
        }
        self.make_known().await?;
        loop {
            sleep(REMEMBERED).await;
            // An attempt of this directory's last process may have arrived late and set what was true of that.
            self.is_known().await?;
            if self.controller.node().turned_away() {
                self.find_peers(&mut refusing).await?;
            }
        }
    }

    /// Returns when the image is current; asks as a newcomer would while that takes long.
    async fn until_current(&self, refusing: &mut BTreeSet<String>) -> Result<(), StartError> {
        while timeout(REMEMBERED, self.progress.until_current()).await.is_err() {
            tokio::select! {
                () = self.progress.until_current() => {}
                asked = self.find_peers(refusing) => asked?,
            }
        }
        Ok(())
    }

    /// Returns when the image shows this broker as it is.
    async fn make_known(&self) -> Result<(), StartError> {
        while !self.is_known().await? {
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Returns whether the image shows this broker as it is; if not, asks once that it does.
    async fn is_known(&self) -> Result<bool, StartError> {
        let wanted = self.spec();
        let image = self.controller.metadata().image();
        if image.brokers.get(&self.identity.node_id).is_some_and(|it| is_as(it, &wanted)) {
            return Ok(true);
        }
        match self.register(&wanted, image.cluster_id == 0).await {
            Err(error) if is_final(&error) => return Err(StartError::Refused(error)),
            Err(error) => tracing::debug!(%error, "not registered yet"),
            Ok(()) => {}
        }
        Ok(false)
    }

    async fn register(&self, wanted: &BrokerSpec, unformed: bool) -> Result<(), AdminError> {
        let cluster_id = self.identity.cluster_id;
        if unformed && self.identity.forms_cluster {
            let form = Request::FormCluster { cluster_id, level: Levels::supported().highest };
            self.controller.submit(form, Instant::now() + SUBMIT).await?;
        }
        let register = Request::RegisterBroker(wanted.clone());
        self.controller.submit(register, Instant::now() + SUBMIT).await.map(drop)
    }

    /// Any member that answers has this broker registered, knows where the others are, or says that it was
    /// removed. Those in `refusing` have been reported.
    async fn find_peers(&self, refusing: &mut BTreeSet<String>) -> Result<(), StartError> {
        let request =
            JoinRequest { cluster_id: Some(self.identity.cluster_id), broker: self.spec() };
        let me = self.identity.node_id;
        let configured = self.config.peer.join.iter().map(ToString::to_string);
        let remembered = self.controller.node().peer_addresses();
        for member in configured.chain(remembered) {
            match ask(&member, &request).await {
                Ok(Ok(answer)) => {
                    for peer in answer.peers.into_iter().filter(|peer| peer.id != me) {
                        self.controller.node().set_peer(peer.id, &peer.address, peer.directory_id);
                    }
                    return Ok(());
                }
                Ok(Err(error)) if is_final(&error) => return Err(StartError::Refused(error)),
                Ok(Err(error)) => tracing::debug!(member, %error, "peers not learned"),
                Err(error @ CallError::Refused(_)) => {
                    if refusing.insert(member.clone()) {
                        tracing::warn!(member, %error, "a member refuses this broker");
                    }
                }
                Err(error) => tracing::debug!(member, %error, "peers not learned"),
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
        && known.levels == wanted.levels
}
