//! Whether a broker can serve clients, in words an operator can act on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use super::Context;
use crate::controller::{Controller, Progress};

/// Answers `/readyz` and `cluster status --wait`.
#[derive(Debug)]
pub struct Readiness {
    stopping: watch::Sender<bool>,
    /// All replicas ran once. Those of new topics start while clients are served.
    started: AtomicBool,
    progress: Arc<Progress>,
}

impl Readiness {
    pub(crate) fn new(progress: Arc<Progress>) -> Arc<Self> {
        Arc::new(Self {
            stopping: watch::Sender::new(false),
            started: AtomicBool::new(false),
            progress,
        })
    }

    /// Waits until the image shows what was agreed on before the start of this broker.
    pub async fn until_current(&self) {
        self.progress.until_current().await;
    }

    /// Returns what keeps this broker from serving, most fundamental first; empty when it is ready.
    pub fn missing(&self, context: &Context) -> Vec<String> {
        let mut missing = self.hindrances(context);
        match self.replicas_missing() {
            None if missing.is_empty() => self.started.store(true, Ordering::Relaxed),
            Some(replicas) if !self.started.load(Ordering::Relaxed) => missing.push(replicas),
            _ => {}
        }
        missing
    }

    /// Returns how many replicas of this broker do not run yet, in words; None when all do.
    fn replicas_missing(&self) -> Option<String> {
        let (running, wanted) = (self.progress.running(), self.progress.wanted());
        (running < wanted).then(|| format!("{running} of {wanted} replicas are running"))
    }

    fn hindrances(&self, context: &Context) -> Vec<String> {
        let mut missing = Vec::new();
        if *self.stopping.borrow() {
            missing.push("the broker is shutting down".to_owned());
        }
        if !self.progress.current() {
            missing.push(
                "the broker does not know yet what the cluster agreed on while it was away; a majority \
                 of the metadata voters must be running"
                    .to_owned(),
            );
            missing.extend(voters_missing(&context.controller));
        }
        if context.node.condition(context.node.id()).stalled {
            missing.push("the disk does not answer, so other brokers lead".to_owned());
        }
        match context.metadata.image().brokers.get(&context.node.id()) {
            None => missing.push("the broker is not registered yet".to_owned()),
            Some(broker) if broker.fenced => missing.push("the broker is fenced".to_owned()),
            Some(_) => {}
        }
        missing
    }

    /// Called when the stop begins.
    pub(crate) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Returns whether the broker stops, for who would otherwise hold it up.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }
}

/// Which voters of the metadata group are not reached and why, in words, if those reached are no majority.
pub(crate) fn voters_missing(controller: &Controller) -> Option<String> {
    let (node, voters) = (controller.node(), controller.group().status().voters);
    let missing: Vec<u64> = voters.iter().copied().filter(|id| !node.alive(*id)).collect();
    if missing.is_empty() || missing.len() < voters.len() - voters.len() / 2 {
        return None;
    }
    let named = missing.iter().map(|id| {
        let address = node.peer_address(*id).unwrap_or_else(|| "an unknown address".to_owned());
        let problem = node.peer_problem(*id).unwrap_or_else(|| "no answer".to_owned());
        format!("broker {id} is not reached at {address} ({problem})")
    });
    let named: Vec<String> = named.collect();
    Some(format!("{}; if it has moved, --join must name where to", named.join(", ")))
}
