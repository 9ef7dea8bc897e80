//! A node that should not lead, and why.
//!
//! There may be several reasons at a time (it stops, the cluster has fenced it, its clock is wrong); each is set and
//! withdrawn by whoever knows it. While there is one, the node hands over every group that somebody else can lead,
//! refuses to take any over, and campaigns behind all others. It still votes, follows, and leads what nobody else can: a
//! group with a poor leader is better than one without. Here are the reasons; `hand_over.rs` gives the leaderships away.

use std::collections::BTreeSet;

use tokio::sync::watch;

/// Why this node should not lead.
pub(crate) struct Drain {
    reasons: watch::Sender<BTreeSet<&'static str>>,
    /// Held while leaderships are handed over, so that nobody hands over the same ones.
    handing: tokio::sync::Mutex<()>,
}

impl Default for Drain {
    fn default() -> Self {
        let reasons = watch::Sender::new(BTreeSet::new());
        Self { reasons, handing: tokio::sync::Mutex::new(()) }
    }
}

impl Drain {
    /// Adds or withdraws a reason.
    pub fn set(&self, reason: &'static str, stands: bool) {
        let changed = self.reasons.send_if_modified(|reasons| {
            if stands { reasons.insert(reason) } else { reasons.remove(reason) }
        });
        if changed {
            tracing::info!(reason, stands, "whether this node should lead has changed");
        }
    }

    /// True while there is a reason.
    pub fn active(&self) -> bool {
        !self.reasons.borrow().is_empty()
    }

    pub fn reasons(&self) -> Vec<&'static str> {
        self.reasons.borrow().iter().copied().collect()
    }

    pub fn watch(&self) -> watch::Receiver<BTreeSet<&'static str>> {
        self.reasons.subscribe()
    }

    /// Waits until nobody else hands leaderships over.
    pub async fn alone(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.handing.lock().await
    }
}
