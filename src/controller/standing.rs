//! Whether the cluster holds this broker for fit to lead.
//!
//! A fenced broker may well lead partitions: it reaches enough of their replicas, and too few of the metadata
//! voters. Clients are not sent to it, so it gives those leaderships to replicas that are in service. It
//! learns that it is fenced from its own image, which may be out of date exactly then, and from every broker it
//! tells its leaderships to; the newest word counts.

use std::sync::Arc;

use parking_lot::Mutex;
use quorate_raft::Node;
use tokio::sync::watch;

use crate::metadata::Image;

/// The reason given to the node.
const FENCED: &str = "the cluster has fenced this broker";

/// The newest word on whether this broker is fenced.
pub(crate) struct Standing {
    node: Arc<Node>,
    /// The metadata index the word is as of.
    newest: Mutex<u64>,
}

impl Standing {
    pub(crate) fn new(node: Arc<Node>) -> Arc<Self> {
        Arc::new(Self { node, newest: Mutex::new(0) })
    }

    /// Takes a word as of the metadata index `index`; an older one than the newest is ignored.
    pub(super) fn hear(&self, index: u64, fenced: bool) {
        let mut newest = self.newest.lock();
        if index >= *newest {
            *newest = index;
            self.node.drain(FENCED, fenced);
        }
    }

    /// Follows this broker's own image; runs until dropped.
    pub(crate) async fn run(self: Arc<Self>, mut images: watch::Receiver<Arc<Image>>) {
        loop {
            let image = Arc::clone(&images.borrow_and_update());
            if let Some(broker) = image.brokers.get(&self.node.id()) {
                self.hear(image.applied, broker.fenced);
            }
            if images.changed().await.is_err() {
                return;
            }
        }
    }
}
