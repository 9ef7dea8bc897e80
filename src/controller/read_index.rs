//! Reads on a follower that miss nothing: the group's leader says up to which index everything is committed, once a majority
//! has confirmed that it still leads, and the follower waits until it has applied that (ReadIndex, Raft § 6.4).

use std::time::Duration;

use bytes::Bytes;
use quorate_raft::GroupHandle;
use quorate_storage::GroupId;
use tokio::time::{Instant, timeout_at};

use super::Controller;
use super::calls::READ_INDEX;
use crate::metadata::{AdminError, decode, encode};

/// How long a leader may take to hear from a majority.
const CONFIRM_MAX: Duration = Duration::from_secs(2);

impl Controller {
    /// Waits until this replica has everything that was acknowledged, anywhere, before the call, whoever leads.
    pub(crate) async fn read_index(
        &self,
        replica: &GroupHandle,
        deadline: Instant,
    ) -> Result<(), AdminError> {
        let leader = replica.leadership().borrow().leader.ok_or(AdminError::NoLeader)?;
        let index = if leader == self.node.id() {
            self.read_index_here(replica.id()).await?
        } else {
            let body = Bytes::from(encode(&replica.id().0));
            let patience = deadline.saturating_duration_since(Instant::now()).min(CONFIRM_MAX);
            let answer = self.node.call(leader, READ_INDEX, body, patience).await;
            let answer = answer.map_err(|_| AdminError::NoLeader)?;
            decode::<Result<u64, AdminError>>(&answer).unwrap_or(Err(AdminError::NoLeader))?
        };
        let mut applied = replica.applied();
        match timeout_at(deadline, applied.wait_for(|applied| *applied >= index)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(AdminError::NoLeader),
            Err(_) => Err(AdminError::Timeout),
        }
    }

    /// The same where this broker leads: returns an index at which everything is that was acknowledged before.
    pub(super) async fn read_index_here(&self, group: GroupId) -> Result<u64, AdminError> {
        let replica = self.replicas.get(group).ok_or(AdminError::NoLeader)?;
        let confirmed = tokio::time::timeout(CONFIRM_MAX, replica.read_barrier()).await;
        if !matches!(confirmed, Ok(Ok(()))) {
            return Err(AdminError::NoLeader);
        }
        let applied = *replica.applied().borrow();
        Ok(applied)
    }
}
