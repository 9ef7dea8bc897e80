//! Whether a broker can serve clients, in words an operator can act on.

use std::sync::atomic::{AtomicBool, Ordering};

use quorate_raft::Group;

use crate::controller::Reconciler;
use crate::metadata::{Metadata, MetadataMachine};

/// Answers `/readyz` and `cluster status --wait`.
#[derive(Debug, Default)]
pub struct Readiness {
    stopping: AtomicBool,
}

impl Readiness {
    /// Returns what still keeps this broker from serving, most fundamental first; empty when ready.
    pub fn missing(&self, context: &super::Context) -> Vec<String> {
        let mut missing = Vec::new();
        if self.stopping.load(Ordering::Relaxed) {
            missing.push("the broker is shutting down".to_owned());
        }
        let me = context.node.id();
        let image = context.metadata.image();
        if !context.controller.reconciler().current() {
            missing.push("the image is not yet known to be current; is there a metadata leader?".to_owned());
        }
        match image.brokers.get(&me) {
            None => missing.push("the broker is not registered yet".to_owned()),
            Some(broker) if broker.fenced => missing.push("the broker is fenced".to_owned()),
            Some(_) => {}
        }
        let wanted = image.groups.keys().filter(|group| hosted(&image, **group, me)).count();
        let running = context.controller.reconciler().running();
        if running < wanted {
            missing.push(format!("{running} of {wanted} replicas are running"));
        }
        missing
    }
}
