//! Whether a replica serves as leader: one that has won its election applies first what was there before.

use std::time::Duration;

use quorate_raft::GroupHandle;
use tokio::time::{Instant, timeout_at};

/// How long a replica that is about to lead may take before whoever asks is sent away.
const READY_WAIT: Duration = Duration::from_secs(1);

/// Why a replica does not serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotServing {
    /// Another broker leads.
    Elsewhere,
    /// It was elected and is not ready in time, or nobody is elected.
    NotYet,
}

/// Waits a moment for a replica that has won its election and is about to serve; returns the term it leads in.
pub(crate) async fn ready(group: &GroupHandle) -> Result<u64, NotServing> {
    let me = group.node();
    let mut leadership = group.leadership();
    let deadline = Instant::now() + READY_WAIT;
    loop {
        let now = *leadership.borrow_and_update();
        if now.ready {
            return Ok(now.term);
        }
        if now.leader.is_some_and(|leader| leader != me) {
            return Err(NotServing::Elsewhere);
        }
        if !matches!(timeout_at(deadline, leadership.changed()).await, Ok(Ok(()))) {
            return Err(NotServing::NotYet);
        }
    }
}
