//! Reasons why a node should not lead, as its owner gives and withdraws them.

use tokio::time::timeout;

use super::Node;
use crate::hand_over::{HAND_OVER, hand_over_all};

impl Node {
    /// Adds (`stands`) or withdraws a reason why this node should not lead. While there is one it gives every
    /// leadership away that somebody else can take, now and later, takes none over, and campaigns behind
    /// all others; it votes and follows as before. Reasons are independent of each other.
    pub fn drain(&self, reason: &'static str, stands: bool) {
        self.shared_core().drain.set(reason, stands);
    }

    /// The reasons why this node should not lead.
    pub fn draining(&self) -> Vec<&'static str> {
        self.shared_core().drain.reasons()
    }

    /// Hands over all leaderships that others can take, within a few seconds, and leads only what nobody
    /// else can from now on. The groups stay open.
    pub async fn hand_over(&self) {
        self.drain("the broker stops", true);
        let handed_over = hand_over_all(self.shared_core());
        if timeout(HAND_OVER, handed_over).await.is_err() {
            tracing::info!("some groups were not handed over in time");
        }
    }
}
