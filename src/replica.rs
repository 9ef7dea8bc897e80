//! Hosting replicas of Raft groups, whatever the groups are for: open, bootstrap, move, transfer, close, delete.
//!
//! ```text
//!  controller ── what the image wants ──▶ Replicas ──▶ quorate_raft::Node
//!                                            │ the group, once open
//!                                            ▼
//!                            a Kind: its machine, and what runs beside it
//!                          (partition: readers, retention; metadata: the image)
//! ```
//!
//! A kind says which machine its groups have and takes each replica into use when it is open; all else is the same
//! for every kind and is here. So a new kind of group is one [`Kind`] and no second way to move a replica.

mod in_use;
mod keyed;
mod kind;
mod log_time;
mod metadata;
mod ready;
mod task;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::RwLock;
use quorate_raft::{Error, Group, GroupHandle, GroupOptions, Node};
use quorate_storage::GroupId;
use tokio::time::timeout;

use crate::metadata::{GroupKind, Image};

pub(crate) use in_use::InUse;
pub(crate) use keyed::read_keyed;
pub use kind::{AnyKind, Kind};
pub(crate) use log_time::LogTime;
pub(crate) use ready::{NotServing, ready};
pub(crate) use task::Task;

/// How long each less preferred replica waits longer for the group to be bootstrapped by another. Bootstrapping it
/// together is safe, but their elections would compete.
const TURN: Duration = Duration::from_secs(1);

/// All replicas of one broker.
pub struct Replicas {
    node: Arc<Node>,
    kinds: HashMap<GroupKind, Arc<dyn AnyKind>>,
    /// What the replicas in use are.
    open: RwLock<HashMap<GroupId, Arc<dyn AnyKind>>>,
}

/// A replica could not be opened. Trying again is safe.
#[derive(Debug, thiserror::Error)]
#[error("{kind} {name} (group {group}) cannot be opened")]
pub struct OpenError {
    pub kind: GroupKind,
    /// What an operator calls it, such as `orders-3`.
    pub name: String,
    pub group: GroupId,
    #[source]
    pub source: Error,
}

impl Replicas {
    /// Returns a registry in which nothing is open, for groups of the given kinds.
    pub fn new(node: Arc<Node>, kinds: Vec<Arc<dyn AnyKind>>) -> Arc<Self> {
        let kinds = kinds.into_iter().map(|kind| (kind.kind(), kind)).collect();
        Arc::new(Self { node, kinds, open: RwLock::default() })
    }

    /// Returns a replica that is open, without the type of its machine.
    pub fn get(&self, group: GroupId) -> Option<GroupHandle> {
        self.node.group(group)
    }

    /// Returns whether this broker leads the group and has applied an entry of its own term.
    pub fn leads(&self, group: GroupId) -> bool {
        self.get(group).is_some_and(|group| group.leadership().borrow().ready)
    }

    /// Opens a replica of a kind that is known here, and returns when its state is restored and it is in use.
    /// `preferred`: the brokers that hold it, the one that should lead first. A new group is not bootstrapped by this.
    pub async fn open<K: Kind>(
        &self,
        kind: &Arc<K>,
        group: GroupId,
        preferred: Vec<u64>,
        spec: K::Spec,
    ) -> Result<Group<K::Machine>, OpenError> {
        let options = GroupOptions { preferred, ..K::options() };
        let opened = match self.node.open(group, K::Machine::default(), options).await {
            Ok(opened) => opened,
            Err(source) => {
                return Err(OpenError { kind: K::KIND, name: K::name(&spec), group, source });
            }
        };
        kind.opened(opened.clone(), spec);
        self.open.write().insert(group, Arc::clone(kind) as Arc<dyn AnyKind>);
        Ok(opened)
    }

    /// Opens a replica that `image` places here; `None` when it places none, or one of a kind this broker does not know.
    pub fn open_placed(
        self: &Arc<Self>,
        image: &Image,
        group: GroupId,
    ) -> Option<BoxFuture<'static, Result<(), OpenError>>> {
        let (kind, info) = image.placed(group)?;
        let Some(known) = self.kinds.get(&kind) else {
            tracing::error!(group = group.0, %kind, "this release knows no groups of this kind");
            return None;
        };
        Arc::clone(known).open(Arc::clone(self), image, group, info.replicas.clone())
    }

    /// Lets a replica that is in use know what `image` says of its group.
    pub fn changed(&self, image: &Image, group: GroupId) {
        let kind = self.open.read().get(&group).map(Arc::clone);
        if let Some(kind) = kind {
            kind.changed(image, group);
        }
    }

    /// Gives a new group its first voters, or sees that another of them did. `me`, one of them, waits its turn.
    pub async fn bootstrap(&self, group: GroupId, voters: &[u64]) -> Result<(), Error> {
        let handle = self.get(group).ok_or(Error::NotOpen(group))?;
        let turn = voters.iter().position(|broker| *broker == self.node.id()).unwrap_or(0);
        let patience = TURN * u32::try_from(turn).unwrap_or(u32::MAX);
        let mut leadership = handle.leadership();
        let led = timeout(patience, leadership.wait_for(|it| it.leader.is_some())).await;
        if led.is_ok_and(|led| led.is_ok()) {
            return Ok(());
        }
        handle.initialize(voters.iter().copied().collect()).await
    }

    /// Makes `target` the voters of a group that this broker leads; see [`GroupHandle::change_voters`].
    pub async fn move_to(&self, group: GroupId, target: BTreeSet<u64>) -> Result<(), Error> {
        self.get(group).ok_or(Error::NotOpen(group))?.change_voters(target).await
    }

    /// Hands a leadership this broker has to another replica; see [`GroupHandle::transfer_leader`].
    pub async fn transfer(&self, group: GroupId, to: u64) -> Result<(), Error> {
        self.get(group).ok_or(Error::NotOpen(group))?.transfer_leader(to).await
    }

    /// Closes a replica and keeps its data. Requests in progress on it fail.
    pub async fn close(&self, group: GroupId) {
        self.out_of_use(group);
        self.node.close(group).await;
    }

    /// Closes a replica, if it is open, and deletes its data.
    pub async fn delete(&self, group: GroupId) -> Result<(), Error> {
        self.out_of_use(group);
        self.node.delete(group).await
    }

    /// Runs what the kinds have run beside their groups, until it is dropped.
    pub async fn run_beside(self: Arc<Self>) {
        let kinds = self.kinds.values().map(|kind| Arc::clone(kind).beside());
        futures::future::join_all(kinds).await;
    }

    fn out_of_use(&self, group: GroupId) {
        let kind = self.open.write().remove(&group);
        if let Some(kind) = kind {
            kind.closing(group);
        }
    }
}
