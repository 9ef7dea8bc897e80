//! Groups whose core or machine ended by itself.
//!
//! A panic in a group ends the group's tasks and nothing else: nobody would notice but its clients. Such a
//! group is stopped at once, so that it does not go on as a leader that applies nothing, and is reported here
//! until it is opened again or deleted. What it had in memory is lost; its log and vote are as on disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_storage::GroupId;
use tokio::sync::watch;

/// Why each failed group failed.
pub(crate) struct FailedGroups {
    reasons: watch::Sender<Arc<BTreeMap<GroupId, String>>>,
}

impl Default for FailedGroups {
    fn default() -> Self {
        Self { reasons: watch::Sender::new(Arc::default()) }
    }
}

impl FailedGroups {
    pub fn add(&self, group: GroupId, reason: String) {
        tracing::error!(group = group.0, reason, "raft group failed");
        self.reasons.send_modify(|reasons| {
            Arc::make_mut(reasons).insert(group, reason);
        });
    }

    pub fn remove(&self, group: GroupId) {
        self.reasons.send_if_modified(|reasons| {
            reasons.contains_key(&group) && Arc::make_mut(reasons).remove(&group).is_some()
        });
    }

    pub fn watch(&self) -> watch::Receiver<Arc<BTreeMap<GroupId, String>>> {
        self.reasons.subscribe()
    }
}
