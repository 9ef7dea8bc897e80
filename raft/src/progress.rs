//! How far the members of a group are, as its leader knows.

use std::time::Duration;

use openraft::RaftMetrics;

use crate::error::Error;
use crate::replica::Replica;
use crate::types::{LogId, TypeConfig};

/// A replica this many entries behind has caught up: the rest arrives while the change commits.
pub(crate) const CLOSE_ENTRIES: u64 = 64;
/// How often a learner's progress is looked at while nothing changes here.
pub(crate) const LOOK: Duration = Duration::from_millis(200);

pub(crate) type Metrics = RaftMetrics<TypeConfig>;

pub(crate) fn not_leader(replica: &Replica) -> Error {
    Error::NotLeader { leader: replica.shared.leader() }
}

pub(crate) fn leading(replica: &Replica) -> Result<Metrics, Error> {
    if replica.shared.closing() {
        return Err(Error::Stopped);
    }
    let metrics = replica.metrics();
    if metrics.state == openraft::ServerState::Leader {
        Ok(metrics)
    } else {
        Err(not_leader(replica))
    }
}

pub(crate) fn lag(metrics: &Metrics, id: u64) -> u64 {
    let last = metrics.last_log_index.unwrap_or(0);
    matched(metrics, id).map_or(u64::MAX, |matched| last.saturating_sub(matched))
}

/// The index of the last entry a follower is known to have.
pub(crate) fn matched(metrics: &Metrics, id: u64) -> Option<u64> {
    matched_id(metrics, id).map(|known| known.index)
}

/// The last entry a follower is known to have.
pub(crate) fn matched_id(metrics: &Metrics, id: u64) -> Option<LogId> {
    metrics.replication.as_ref().and_then(|all| *all.get(&id)?)
}
