//! A node that should not lead: it says so, and gives its leaderships away.
//!
//! There may be several reasons at a time (it stops, the cluster has fenced it, its clock is wrong); each is set and
//! withdrawn by whoever knows it. While there is one, the node hands over every group that somebody else can lead,
//! refuses to take any over, and campaigns behind all others. It still votes, follows, and leads what nobody else can: a
//! group with a poor leader is better than one without.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::node::{Core, HAND_OVER, Node};
use crate::transfer::hand_over;

/// Groups handed over at the same time.
const CONCURRENT: usize = 64;
/// Between two looks at what the node leads while it is draining, first and longest.
const LOOK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

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
}

/// Hands leaderships over whenever there is a reason, until the node stops.
pub(crate) async fn run(core: Arc<Core>) {
    let mut reasons = core.drain.reasons.subscribe();
    let mut pause = LOOK.0;
    loop {
        if reasons.wait_for(|reasons| !reasons.is_empty()).await.is_err() {
            return;
        }
        hand_over_all(&core).await;
        tokio::select! {
            _ = reasons.changed() => pause = LOOK.0,
            // Each attempt that fails stops its group's writes for a moment.
            () = sleep(pause) => pause = (pause * 2).min(LOOK.1),
        }
    }
}

/// Offers every group this node leads to those who could lead it, once.
pub(crate) async fn hand_over_all(core: &Arc<Core>) {
    let _alone = core.drain.handing.lock().await;
    let replicas = core.replicas();
    stream::iter(replicas.iter().filter(|replica| replica.shared.leads()))
        .for_each_concurrent(CONCURRENT, |replica| async {
            // A core that is stuck must not keep the others; what was begun goes on by itself.
            drop(timeout(HAND_OVER, hand_over(core, replica)).await);
        })
        .await;
}

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
