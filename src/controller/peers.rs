//! Keeping the node's address book as the image has it.

use std::collections::HashMap;
use std::sync::Arc;

use quorate_raft::Node;

use crate::metadata::Metadata;

/// Tells the node where each broker is, which directory it has, and who was removed; runs until dropped.
pub(crate) async fn follow_peers(node: Arc<Node>, metadata: Arc<Metadata>) {
    let mut images = metadata.watch();
    let mut told: HashMap<u64, (String, u128)> = HashMap::new();
    loop {
        let image = Arc::clone(&images.borrow_and_update());
        for broker in image.brokers.values().filter(|broker| broker.id != node.id()) {
            let now = (broker.peer.to_string(), broker.directory_id);
            if told.get(&broker.id) != Some(&now) {
                node.set_peer(broker.id, &now.0, now.1);
                told.insert(broker.id, now);
            }
        }
        // Also those it was not told of in this run: its book may remember them.
        for removed in &image.removed {
            node.remove_peer(*removed);
            told.remove(removed);
        }
        if images.changed().await.is_err() {
            return;
        }
    }
}
