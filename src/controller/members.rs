//! The metadata leader's care for the cluster's members: who is fenced, who receives the metadata log,
//! who votes on it.
//!
//! Runs on every broker and rests where the metadata group is led elsewhere. Each look compares the image,
//! Raft's membership and what the failure detector hears, and takes the steps that are missing; a step that
//! fails is taken again at the next look.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use quorate_raft::GroupStatus;
use tokio::time::{Instant, sleep, timeout};

use super::calls::HEARD;
use super::liveness::{Fencing, Views};
use super::voters::{Situation, settle};
use super::{Controller, STEP};
use crate::metadata::{Image, METADATA_GROUP, Request, decode, encode};

/// Between two looks when nothing woke the driver; bounds how late silence is noticed.
const LOOK: Duration = Duration::from_millis(500);
/// Entries of the metadata log a broker may lack and still be sent clients or be given a vote.
const LAG_MAX: u64 = 1_000;
/// Time a voter has to say whom it hears.
const ASK: Duration = Duration::from_millis(500);

/// The driver.
pub(crate) struct Members {
    pub(crate) controller: Arc<Controller>,
    pub(crate) fence_after: Duration,
}

impl Members {
    /// Runs until dropped.
    pub(crate) async fn run(self) {
        let started = Instant::now();
        let mut fencing = Fencing::default();
        let mut images = self.controller.metadata().watch();
        let mut liveness = self.controller.node().liveness();
        let mut leadership = self.controller.group().leadership();
        loop {
            images.borrow_and_update();
            liveness.borrow_and_update();
            leadership.borrow_and_update();
            if self.controller.leads() {
                self.look(&mut fencing, started.elapsed()).await;
                tokio::select! {
                    _ = images.changed() => {}
                    _ = liveness.changed() => {}
                    () = sleep(LOOK) => {}
                }
            } else {
                fencing = Fencing::default();
                if leadership.changed().await.is_err() {
                    return;
                }
            }
        }
    }

    async fn look(&self, fencing: &mut Fencing, now: Duration) {
        let image = self.controller.metadata().image();
        let status = self.controller.group().status();
        let views = self.views(&status).await;
        let known = |id| caught_up(&status, id);
        for request in fencing.step(&image, &views, known, now, self.fence_after) {
            match &request {
                Request::Fence { broker } => tracing::info!(broker, "broker is silent, fenced"),
                Request::Unfence { broker } => {
                    tracing::info!(broker, "broker is heard, in service");
                }
                _ => {}
            }
            if let Err(error) = self.controller.submit(request, Instant::now() + STEP).await {
                tracing::info!(%error, "fencing not agreed on, looking again");
            }
        }
        if let Some(voter) = fencing.better_leader(&image, &views, now) {
            match self.controller.replicas().transfer(METADATA_GROUP, voter).await {
                Ok(()) => {
                    return tracing::info!(voter, "metadata is led by who hears more brokers");
                }
                Err(error) => {
                    fencing.keep_leading();
                    tracing::debug!(voter, %error, "metadata leadership kept");
                }
            }
        }
        self.add_learners(&image, &status).await;
        self.settle_voters(&image, &status).await;
        self.drop_learners(&image, &status).await;
    }

    /// Asks the other voters whom they hear.
    async fn views(&self, status: &GroupStatus) -> Views {
        let node = self.controller.node();
        let me = node.id();
        let others = status.voters.iter().copied().filter(|id| *id != me && node.alive(*id));
        let answers = others.map(|voter| async move {
            let answer = node.call(voter, HEARD, Bytes::from(encode(&())), ASK).await.ok()?;
            Some((voter, decode::<BTreeSet<u64>>(&answer).ok()?))
        });
        let mut heard: BTreeMap<_, _> = join_all(answers).await.into_iter().flatten().collect();
        heard.insert(me, self.controller.heard());
        Views { me, voters: status.voters.len(), heard }
    }

    async fn add_learners(&self, image: &Image, status: &GroupStatus) {
        for id in image.brokers.keys().copied().filter(|id| self.controller.node().alive(*id)) {
            if status.voters.contains(&id) || status.learners.contains(&id) {
                continue;
            }
            match timeout(STEP, self.controller.group().add_learner(id)).await {
                Ok(Ok(())) => tracing::info!(broker = id, "broker receives the metadata log"),
                Ok(Err(error)) => {
                    tracing::info!(broker = id, %error, "learner not added, looking again");
                }
                Err(_) => tracing::info!(broker = id, "learner not added in time, looking again"),
            }
        }
    }

    async fn settle_voters(&self, image: &Image, status: &GroupStatus) {
        let voters: BTreeSet<u64> = status.voters.iter().copied().collect();
        let node = self.controller.node();
        let fit = image
            .live_brokers()
            .map(|broker| broker.id)
            .filter(|id| *id == node.id() || (node.alive(*id) && caught_up(status, *id)))
            .collect();
        let now = Situation {
            voters: &voters,
            joint: status.joint,
            leader: node.id(),
            removed: &image.removed,
            fit: &fit,
        };
        let Some(target) = settle(now, image) else { return };
        let moved = self.controller.replicas().move_to(METADATA_GROUP, target.clone());
        match timeout(STEP, moved).await {
            Ok(Ok(())) => tracing::info!(voters = ?target, "metadata group has changed its voters"),
            Ok(Err(error)) => {
                tracing::info!(%error, "metadata group keeps its voters, looking again");
            }
            Err(_) => tracing::info!("metadata group keeps its voters so far, looking again"),
        }
    }

    /// What was removed while it had no vote, or lost it just now, is sent the log no longer.
    async fn drop_learners(&self, image: &Image, status: &GroupStatus) {
        for id in status.learners.iter().copied().filter(|id| image.removed.contains(id)) {
            match timeout(STEP, self.controller.group().remove_learner(id)).await {
                Ok(Ok(())) => tracing::info!(broker = id, "removed broker is no learner any more"),
                Ok(Err(error)) => {
                    tracing::info!(broker = id, %error, "learner not removed, looking again");
                }
                Err(_) => tracing::info!(broker = id, "learner not removed in time, looking again"),
            }
        }
    }
}

fn caught_up(status: &GroupStatus, id: u64) -> bool {
    status.followers.iter().any(|it| it.id == id && it.matched_index.is_some() && it.lag <= LAG_MAX)
}
