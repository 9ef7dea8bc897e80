//! What makes the election driver look at groups: whoever notices it leaves word here.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use quorate_storage::GroupId;
use tokio::sync::Notify;

/// What gave rise to suspicion since the driver last looked.
#[derive(Default)]
pub(crate) struct Suspects {
    news: Mutex<News>,
    wake: Notify,
}

/// What became suspicious.
#[derive(Default)]
pub(crate) struct News {
    pub groups: BTreeSet<GroupId>,
    /// Nodes that died.
    pub lost: BTreeSet<u64>,
    /// Nodes that are there as new processes.
    pub appeared: BTreeSet<u64>,
}

impl Suspects {
    /// A group has no leader, or one that may be history.
    pub fn add(&self, group: GroupId) {
        self.news.lock().groups.insert(group);
        self.wake.notify_one();
    }

    /// A node died.
    pub fn lost(&self, node: u64) {
        self.news.lock().lost.insert(node);
        self.wake.notify_one();
    }

    /// A node is there as a new process.
    pub fn appeared(&self, node: u64) {
        self.news.lock().appeared.insert(node);
        self.wake.notify_one();
    }

    /// Waits for news.
    pub async fn changed(&self) {
        self.wake.notified().await;
    }

    /// Takes the news there are.
    pub fn take(&self) -> News {
        std::mem::take(&mut *self.news.lock())
    }
}
