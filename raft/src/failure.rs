//! Which nodes are alive, as far as this one can tell.
//!
//! The verdict belongs to the node, not to a group: one detector per pair of nodes serves all their
//! groups, however many. A node this one never reached counts as not alive, but only the loss of a
//! live one is an event.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::due_groups::DueGroups;
use crate::suspects::Suspects;

/// The verdicts.
pub(crate) struct Liveness {
    nodes: watch::Sender<Arc<BTreeMap<u64, bool>>>,
    suspects: Arc<Suspects>,
    wanted: Arc<DueGroups>,
}

impl Liveness {
    pub fn new(suspects: Arc<Suspects>, wanted: Arc<DueGroups>) -> Self {
        Self { nodes: watch::Sender::new(Arc::default()), suspects, wanted }
    }

    /// Records a verdict; acts on it if it is news.
    pub fn set(&self, node: u64, alive: bool) {
        let changed = self.nodes.send_if_modified(|nodes| {
            let before = nodes.get(&node).copied();
            if before != Some(alive) {
                Arc::make_mut(nodes).insert(node, alive);
            }
            before.unwrap_or(false) != alive
        });
        if !changed {
            return;
        }
        if alive {
            tracing::info!(peer = node, "peer is alive");
        } else {
            tracing::info!(peer = node, "peer is down");
            self.suspects.lost(node);
        }
    }

    /// There is a new connection to a node. A new process leads nothing that the old one led.
    pub fn connected(&self, node: u64, new_process: bool) {
        if new_process {
            self.suspects.appeared(node);
        }
        self.wanted.connected(node);
    }

    /// A node that is no peer any more has no verdict; what it led needs another leader.
    pub fn forget(&self, node: u64) {
        self.set(node, false);
        self.nodes.send_if_modified(|nodes| Arc::make_mut(nodes).remove(&node).is_some());
    }

    pub fn alive(&self, node: u64) -> bool {
        self.nodes.borrow().get(&node).copied().unwrap_or(false)
    }

    pub fn watch(&self) -> watch::Receiver<Arc<BTreeMap<u64, bool>>> {
        self.nodes.subscribe()
    }
}
