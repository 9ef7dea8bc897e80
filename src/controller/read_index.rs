//! Up to where a replica has to have applied a group's log, so that a read of it misses nothing that was acknowledged.
//!
//! Raft's ReadIndex (§ 6.4) asked by a follower: the leader has a majority confirm that it leads and says how far it is. The
//! follower waits until it is as far, so it answers as the leader would, and the leader reads nothing for it.

use std::time::Duration;

use bytes::Bytes;
use quorate_storage::GroupId;
use tokio::time::timeout;

use super::Controller;
use super::calls::READ_INDEX;
use crate::metadata::{decode, encode};

/// How long the leader may take to hear from a majority, and to answer.
const WAIT: Duration = Duration::from_secs(2);

impl Controller {
    /// Returns an index that everything lies at or below that was acknowledged in the group before this call; `None` when
    /// no leader confirms one now.
    pub(crate) async fn read_index(&self, group: GroupId) -> Option<u64> {
        let leader = self.node.group(group)?.leadership().borrow().leader?;
        if leader == self.node.id() {
            return self.confirmed_index(group).await;
        }
        let body = Bytes::from(encode(&group.0));
        let answer = self.node.call(leader, READ_INDEX, body, WAIT).await.ok()?;
        decode(&answer).ok()?
    }

    /// The same, for a group that this broker leads.
    pub(super) async fn confirmed_index(&self, group: GroupId) -> Option<u64> {
        let group = self.node.group(group)?;
        timeout(WAIT, group.read_barrier()).await.ok()?.ok()?;
        Some(*group.applied().borrow())
    }
}
