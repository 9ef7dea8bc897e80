//! A node: the handle of its owner, who starts and stops it. What its tasks hold on to is [`Core`].

mod calls;
mod disk;
mod drain;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::StreamExt;
use futures::stream;
use parking_lot::{Mutex, RwLock};
use quorate_storage::{Db, GroupId};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

use crate::apply::Holder;
use crate::config::NodeConfig;
use crate::core::Core;
use crate::error::Error;
use crate::group::{Group, GroupHandle};
use crate::machine::Machine;
use crate::options::GroupOptions;
use crate::platform::TcpListener;
use crate::status::GroupStatus;
use crate::transport::peer::Address;
use crate::{compare, disk_watch, elections, hand_over, maintenance, promise, server};

/// Groups stopped at the same time.
const STOPPING: usize = 64;

/// A node that runs Raft groups.
pub struct Node {
    core: Arc<Core>,
    address: SocketAddr,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    aborts: Vec<AbortHandle>,
}

impl Node {
    /// Starts a node: loads its address book, listens for peers and dials those it knows.
    ///
    /// # Errors
    /// [`Error::Io`] if the address cannot be listened on, [`Error::Storage`] or [`Error::Corrupt`]
    /// if the address book cannot be read.
    pub async fn start(config: NodeConfig, db: Arc<Db>) -> Result<Arc<Node>, Error> {
        let listener = TcpListener::bind(config.listen).await?;
        let address = listener.local_addr()?;
        let core = Arc::new(Core::load(config, db).await?);
        let mut tasks = vec![
            tokio::spawn(server::run(Arc::clone(&core), listener)),
            tokio::spawn(elections::run(Arc::clone(&core))),
            tokio::spawn(maintenance::run(Arc::clone(&core))),
            tokio::spawn(hand_over::run(Arc::clone(&core))),
            tokio::spawn(compare::run(Arc::clone(&core))),
            tokio::spawn(Arc::clone(&core.peers).keep_book()),
        ];
        // A simulated disk neither hangs nor fills.
        if !cfg!(feature = "simulation") {
            tasks.push(tokio::spawn(disk_watch::run(Arc::clone(&core))));
        }
        let aborts = tasks.iter().map(JoinHandle::abort_handle).collect();
        tracing::debug!(node = core.id(), %address, "listening for peers");
        Ok(Arc::new(Node { core, address, tasks: Mutex::new(tasks), aborts }))
    }

    pub(crate) fn shared_core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Id of this node.
    pub fn id(&self) -> u64 {
        self.core.id()
    }

    /// The address this node listens on, with the port that was picked if it was 0.
    pub fn listen_address(&self) -> SocketAddr {
        self.address
    }

    /// Sets where a peer is and which data directory it must have. Kept across restarts.
    pub fn set_peer(&self, id: u64, address: &str, directory_id: u128) {
        if id != self.id() {
            self.core
                .peers
                .set(id, Address { address: address.to_owned(), directory: directory_id });
        }
    }

    /// Refuses a peer from now on, ends its connections and stops dialling it.
    pub fn remove_peer(&self, id: u64) {
        self.core.peers.remove(id);
    }

    /// Where the peers in the address book are, for [`Node::call_address`].
    pub fn peer_addresses(&self) -> Vec<String> {
        self.core.peers.addresses()
    }

    /// Where a peer is registered.
    pub fn peer_address(&self, id: u64) -> Option<String> {
        self.core.peers.get(id)?.address().map(|it| it.address)
    }

    /// Why there is no connection to a peer, in words for an operator.
    pub fn peer_problem(&self, id: u64) -> Option<String> {
        self.core.peers.get(id)?.problem()
    }

    /// Whether a peer that this node reaches refuses to talk to it.
    pub fn turned_away(&self) -> bool {
        self.core.peers.turn_away()
    }

    /// What a peer's wall clock shows now, in milliseconds since 1970, as its last answer to a ping and this
    /// node's monotonic clock since then tell; `None` while there is no connection.
    pub fn peer_wall_ms(&self, id: u64) -> Option<i64> {
        self.core.peers.get(id)?.link()?.peer_wall_ms()
    }

    /// The failure detector's verdict on a node; this one is alive.
    pub fn alive(&self, id: u64) -> bool {
        self.core.alive(id)
    }

    /// Ends all connections to and from peers at once, without a word and for good. For a process
    /// that is about to end and may be held up at that.
    pub fn cut_off(&self) {
        self.stop_tasks();
    }

    /// The failure detector's verdicts on all peers.
    pub fn liveness(&self) -> watch::Receiver<Arc<BTreeMap<u64, bool>>> {
        self.core.liveness.watch()
    }

    /// Opens a group: loads its newest checkpoint, starts it, and replays the log behind the
    /// checkpoint as far as it is committed. A vector as `options` is the order of preference of
    /// an ordinary group. A group that has nothing on disk waits to be initialized or to be sent the
    /// log by its leader.
    ///
    /// # Errors
    /// [`Error::AlreadyOpen`]; [`Error::Corrupt`] if what is on disk contradicts itself.
    pub async fn open<M: Machine>(
        self: &Arc<Self>,
        group: GroupId,
        machine: M,
        options: impl Into<GroupOptions>,
    ) -> Result<Group<M>, Error> {
        self.open_with(group, machine, options, false).await
    }

    /// [`Node::open`] with the unsafe leader restore, for the test that shows why it is off.
    #[doc(hidden)]
    pub async fn open_with<M: Machine>(
        self: &Arc<Self>,
        group: GroupId,
        machine: M,
        options: impl Into<GroupOptions>,
        leader_restore: bool,
    ) -> Result<Group<M>, Error> {
        let machine = Arc::new(RwLock::new(machine));
        let holder = Arc::clone(&machine) as Arc<dyn Holder>;
        let replica = self.core.open(group, holder, options.into(), leader_restore).await?;
        Ok(Group::new(GroupHandle::new(Arc::clone(&self.core), replica), machine))
    }

    /// A group that is open here.
    pub fn group(&self, group: GroupId) -> Option<GroupHandle> {
        Some(GroupHandle::new(Arc::clone(&self.core), self.core.replica(group.0)?))
    }

    /// Stops a group; its data stays. Proposals under way become indeterminate. One that is being
    /// opened or deleted is stopped after that.
    pub async fn close(&self, group: GroupId) {
        let _reserved = self.core.reserve_patiently(group).await;
        self.core.close(group).await;
    }

    /// Stops a group and deletes what it has on this node; durable when this returns. What others
    /// may still count on is kept, so that the group may be opened here again.
    ///
    /// # Errors
    /// [`Error::AlreadyOpen`] while it is being opened or deleted, [`Error::Stopped`] or
    /// [`Error::Storage`] if the database is closed meanwhile.
    pub async fn delete(&self, group: GroupId) -> Result<(), Error> {
        let _reserved = self.core.reserve(group).ok_or(Error::AlreadyOpen(group))?;
        self.core.close(group).await;
        promise::erase(&self.core.db, group).await?;
        self.core.ran.lock().remove(&group.0);
        self.core.failed.remove(group);
        Ok(())
    }

    /// The groups that ended by themselves, and why, until they are opened again or deleted. Such a group
    /// does nothing any more; it has to be closed before it can be opened.
    pub fn failed_groups(&self) -> watch::Receiver<Arc<BTreeMap<GroupId, String>>> {
        self.core.failed.watch()
    }

    /// Status of every open group.
    pub fn statuses(&self) -> Vec<GroupStatus> {
        let mut all: Vec<_> = self
            .core
            .replicas()
            .iter()
            .map(|replica| replica.status(|id| self.alive(id)))
            .collect();
        all.sort_by_key(|status| status.group);
        all
    }

    /// Status of one group, if it is open here.
    pub fn status(&self, group: GroupId) -> Option<GroupStatus> {
        Some(self.core.replica(group.0)?.status(|id| self.alive(id)))
    }

    /// Hands all leaderships over, as [`Node::hand_over`] does, then stops all groups and connections.
    /// The database stays open.
    pub async fn shutdown(&self) {
        self.core.stopping.store(true, Ordering::Release);
        // Connections stay until then: the heir's first words are what tells that it took over.
        self.hand_over().await;
        // Not those of before: one that was being opened may have come meanwhile.
        let replicas: Vec<_> = self.core.replicas.write().drain().map(|(_, it)| it).collect();
        stream::iter(&replicas)
            .for_each_concurrent(STOPPING, |replica| async move { replica.stop().await })
            .await;
        self.stop_tasks();
        let tasks = std::mem::take(&mut *self.tasks.lock());
        for task in tasks {
            // Cancelled is what it is meant to be.
            drop(task.await);
        }
    }

    fn stop_tasks(&self) {
        self.core.stop.send_replace(true);
        self.aborts.iter().for_each(AbortHandle::abort);
        self.core.peers.stop();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop_tasks();
    }
}
