//! Removing a broker that is gone for good.
//!
//! The metadata log decides and takes the broker off the list. Everything else follows from the list,
//! however often somebody crashes in between: the metadata leader takes the broker's vote (`members.rs`),
//! every broker forgets its address and ends its connections (`peers.rs`, `gossip.rs`), and the broker
//! itself, should it come back, is refused and ends.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::Controller;
use crate::metadata::{AdminError, Request};

/// How long a removal that is agreed on is held back for the vote to be gone. A change of voters takes
/// milliseconds; one that takes longer waits for brokers, and the caller should know.
const VOTE_GONE: Duration = Duration::from_secs(10);
/// Between two looks when nothing is applied.
const LOOK: Duration = Duration::from_millis(50);

/// How far a removal that is agreed on has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// The metadata group counts on the broker no longer.
    pub finished: bool,
    /// The metadata group's voters, as far as this broker knows.
    pub voters: Vec<u64>,
}

impl Controller {
    /// Removes a broker from the cluster for ever. Returns once that is agreed on and, unless that takes
    /// long, the metadata group does without its vote.
    pub async fn remove_broker(
        &self,
        broker: u64,
        timeout: Duration,
    ) -> Result<Removal, AdminError> {
        let deadline = Instant::now() + timeout;
        self.submit(Request::RemoveBroker { broker }, deadline).await?;
        let wait = deadline.min(Instant::now() + VOTE_GONE);
        let finished = timeout_at(wait, self.until_no_member(broker)).await.is_ok();
        Ok(Removal { finished, voters: self.group().status().voters })
    }

    /// Waits until the metadata group's membership is committed without `broker`.
    async fn until_no_member(&self, broker: u64) {
        let mut applied = self.group().applied();
        loop {
            applied.borrow_and_update();
            let status = self.group().status();
            let members = [&status.voters, &status.learners];
            let counts = status.joint || members.iter().any(|ids| ids.contains(&broker));
            // A membership is in force when it is written; it cannot be taken back once it is applied.
            if !counts && status.applied_index >= status.last_index {
                return;
            }
            tokio::select! {
                _ = applied.changed() => {}
                () = sleep(LOOK) => {}
            }
        }
    }
}
