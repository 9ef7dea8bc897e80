//! The metadata group as its leader sees it, for whoever asks any broker.

use std::time::Duration;

use bytes::Bytes;
use quorate_raft::Role;
use serde::{Deserialize, Serialize};

use super::Controller;
use super::calls::QUORUM;
use crate::metadata::{METADATA_GROUP, decode, encode};

/// Members of the metadata group and how far they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Quorum {
    pub(crate) leader: u64,
    pub(crate) term: u64,
    pub(crate) committed_index: Option<u64>,
    pub(crate) voters: Vec<QuorumMember>,
    /// Members without a vote: they copy the log.
    pub(crate) learners: Vec<QuorumMember>,
}

/// One member of the metadata group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QuorumMember {
    pub(crate) id: u64,
    /// The last index known to be in its log.
    pub(crate) matched_index: Option<u64>,
}

impl Controller {
    /// Returns what the leader of the metadata group knows of its members; `None` when none answers within `wait`.
    pub(crate) async fn quorum(&self, wait: Duration) -> Option<Quorum> {
        let leader = self.group.leadership().borrow().leader?;
        if leader == self.node.id() {
            return self.quorum_here();
        }
        let body = Bytes::from(encode(&()));
        decode(&self.node.call(leader, QUORUM, body, wait).await.ok()?).ok()?
    }

    /// The same of this broker, if it leads.
    pub(super) fn quorum_here(&self) -> Option<Quorum> {
        let me = self.node.id();
        let status = self.node.status(METADATA_GROUP).filter(|it| it.role == Role::Leader)?;
        let member = |id: &u64| {
            let follower = status.followers.iter().find(|follower| follower.id == *id);
            let told = follower.and_then(|follower| follower.matched_index);
            QuorumMember {
                id: *id,
                matched_index: if *id == me { status.last_index } else { told },
            }
        };
        Some(Quorum {
            leader: me,
            term: status.term,
            committed_index: status.committed_index,
            voters: status.voters.iter().map(member).collect(),
            learners: status.learners.iter().map(member).collect(),
        })
    }
}
