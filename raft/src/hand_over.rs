//! Giving leaderships away while the node should not lead (`drain.rs`).

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use tokio::time::{sleep, timeout};

use crate::core::Core;
use crate::transfer::hand_over;

/// Groups handed over at the same time.
const CONCURRENT: usize = 64;
/// Between two looks at what the node leads while it is draining, first and longest.
const LOOK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Longest time a node spends on handing its groups over before it stops.
pub(crate) const HAND_OVER: Duration = Duration::from_secs(5);

/// Hands leaderships over whenever there is a reason, until the node stops.
pub(crate) async fn run(core: Arc<Core>) {
    let mut reasons = core.drain.watch();
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
    let _alone = core.drain.alone().await;
    let replicas = core.replicas();
    stream::iter(replicas.iter().filter(|replica| replica.shared.leads()))
        .for_each_concurrent(CONCURRENT, |replica| async {
            // A core that is stuck must not keep the others; what was begun goes on by itself.
            drop(timeout(HAND_OVER, hand_over(core, replica)).await);
        })
        .await;
}
