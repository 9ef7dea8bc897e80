//! The replicas of one kind that are in use, each by its group.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use quorate_storage::GroupId;

/// Read by every request and written when a replica comes or goes; never locked across an await.
pub(crate) struct InUse<T>(RwLock<HashMap<GroupId, Arc<T>>>);

impl<T> Default for InUse<T> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<T> InUse<T> {
    pub(crate) fn get(&self, group: GroupId) -> Option<Arc<T>> {
        self.0.read().get(&group).map(Arc::clone)
    }

    /// Returns all of them, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<T>> {
        self.0.read().values().map(Arc::clone).collect()
    }

    pub(crate) fn insert(&self, group: GroupId, replica: T) {
        self.0.write().insert(group, Arc::new(replica));
    }

    /// Takes a replica out of use; requests in progress may hold it for longer.
    pub(crate) fn remove(&self, group: GroupId) -> Option<Arc<T>> {
        self.0.write().remove(&group)
    }

    /// Takes all of them out of use.
    pub(crate) fn remove_all(&self) -> Vec<Arc<T>> {
        std::mem::take(&mut *self.0.write()).into_values().collect()
    }
}
