//! Whether the cluster holds this broker for fit to lead.
//!
//! A fenced broker may well lead partitions: it reaches enough of their replicas, and too few of the metadata
//! voters. Clients are not sent to it, so it gives those leaderships to replicas that are in service. It
//! learns that it is fenced from its own image, which may be out of date exactly then, and from every broker it
//! tells its leaderships to; the newest word counts.

use std::sync::Arc;
use std::time::Duration;

use quorate_raft::Node;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::metadata::Image;

/// The reason given to the node.
const FENCED: &str = "the cluster has fenced this broker";

/// How long that must last: a broker that has just started is fenced until it is heard, and nobody gains from moving
/// its leaderships away and back.
const LASTING: Duration = Duration::from_secs(1);

/// The newest word on whether this broker is fenced.
pub(crate) struct FencedStatus {
    node: Arc<Node>,
    /// The metadata index the word is as of, and the word.
    newest: watch::Sender<(u64, bool)>,
}

impl FencedStatus {
    pub(crate) fn new(node: Arc<Node>) -> Arc<Self> {
        Arc::new(Self { node, newest: watch::Sender::new((0, false)) })
    }

    /// Takes a word as of the metadata index `index`; an older one than the newest is ignored.
    pub(super) fn hear(&self, index: u64, fenced: bool) {
        self.newest.send_if_modified(|newest| {
            let changed = index >= newest.0 && fenced != newest.1;
            if index >= newest.0 {
                *newest = (index, fenced);
            }
            changed
        });
    }

    /// Follows this broker's own image and tells the node what is to be made of the words; runs until dropped.
    pub(crate) async fn run(self: Arc<Self>, images: watch::Receiver<Arc<Image>>) {
        tokio::join!(self.follow(images), self.tell());
    }

    async fn follow(&self, mut images: watch::Receiver<Arc<Image>>) {
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

    async fn tell(&self) {
        let mut newest = self.newest.subscribe();
        loop {
            let (_, fenced) = *newest.borrow_and_update();
            if fenced && timeout(LASTING, newest.changed()).await.is_ok() {
                continue;
            }
            self.node.drain(FENCED, fenced);
            // It ends with the sender, which is this.
            drop(newest.changed().await);
        }
    }
}
