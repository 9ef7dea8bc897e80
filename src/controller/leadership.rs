//! Handing a group's leadership to a named replica.
//!
//! Only the leader can, so a request goes to it, wherever it was made.

use std::time::Duration;

use bytes::Bytes;
use quorate_raft::Error;
use quorate_storage::GroupId;
use tokio::time::{Instant, sleep, timeout_at};

use super::Controller;
use super::calls::SET_LEADER;
use crate::metadata::{AdminError, decode, encode};

/// Between two looks at who leads.
const PAUSE: Duration = Duration::from_millis(50);

impl Controller {
    /// Makes `to` lead `group`; returns when this broker sees that it does.
    pub(super) async fn transfer(
        &self,
        group: GroupId,
        to: u64,
        deadline: Instant,
    ) -> Result<(), AdminError> {
        while Instant::now() < deadline {
            match self.metadata.leader(group) {
                Some(leader) if leader.id == to => return Ok(()),
                Some(leader) => match self.ask_transfer(leader.id, group, to, deadline).await {
                    Ok(()) => return self.wait_to_lead(group, to, deadline).await,
                    // The leader asked was deposed: look again. Other refusals are its word.
                    Err(AdminError::NoLeader) => {}
                    Err(error) => return Err(error),
                },
                None => {}
            }
            sleep(PAUSE).await;
        }
        Err(AdminError::NoLeader)
    }

    /// Hands over a leadership this broker has.
    pub(super) async fn transfer_here(&self, group: GroupId, to: u64) -> Result<(), AdminError> {
        self.replicas.transfer(group, to).await.map_err(|error| match error {
            Error::NotLeader { .. } | Error::NotOpen(_) | Error::Stopped => AdminError::NoLeader,
            error => AdminError::TransferFailed { to, reason: error.to_string() },
        })
    }

    async fn ask_transfer(
        &self,
        leader: u64,
        group: GroupId,
        to: u64,
        deadline: Instant,
    ) -> Result<(), AdminError> {
        if leader == self.node.id() {
            return self.transfer_here(group, to).await;
        }
        let body = Bytes::from(encode(&(group.0, to)));
        let patience = deadline.saturating_duration_since(Instant::now());
        match self.node.call(leader, SET_LEADER, body, patience).await {
            Ok(answer) => decode(&answer).unwrap_or(Err(AdminError::NoLeader)),
            Err(_) => Err(AdminError::NoLeader),
        }
    }

    async fn wait_to_lead(
        &self,
        group: GroupId,
        to: u64,
        deadline: Instant,
    ) -> Result<(), AdminError> {
        let mut changes = self.metadata.leaders().changes();
        let leads = || self.metadata.leader(group).is_some_and(|leader| leader.id == to);
        let shown = timeout_at(deadline, changes.wait_for(|_| leads())).await;
        // The old leader said it is done; this broker merely has not heard.
        drop(shown);
        Ok(())
    }
}
