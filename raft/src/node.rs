//! A node: the registry of its groups, and everything they share.
//!
//! [`Core`] is what the tasks of a node hold on to; [`Node`] is the handle of its owner, who starts
//! and stops it. Groups are opened a few at a time, because each reads its log's bounds from disk
//! and thousands at once would only queue up there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use parking_lot::{Mutex, RwLock};
use quorate_storage::{Db, GroupId, mutant};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{AbortHandle, JoinHandle};

use crate::apply::{Holder, StateMachine};
use crate::calls::CallHandler;
use crate::catch_up::CatchUp;
use crate::compare;
use crate::condition::Condition;
use crate::config::{NodeConfig, raft_config};
use crate::drain::{self, Drain};
use crate::elections::{self, Suspects};
use crate::error::Error;
use crate::failed_groups::FailedGroups;
use crate::failure::Liveness;
use crate::group::Group;
use crate::machine::Machine;
use crate::maintenance::{self, DueGroups};
use crate::peers::Peers;
use crate::platform::{TcpListener, process_id, spawn_blocking};
use crate::promise;
use crate::replica::{Replica, Shared};
use crate::stall::{self, DiskState};
use crate::status::GroupStatus;
use crate::store::LogStore;
use crate::transport::hello::{Hello, Versions};
use crate::transport::network::Factory;
use crate::transport::peer::{Address, Common};
use crate::transport::receive::Arriving;
use crate::transport::server;
use crate::types::Raft;

/// Groups opened at the same time.
const OPENING: usize = 32;
/// Groups stopped at the same time.
const STOPPING: usize = 64;
/// Groups that apply entries from the disk at the same time, about 2 MiB each.
const REPLAYS: usize = 32;
/// Longest time a node spends on handing its groups over before it stops.
pub(crate) const HAND_OVER: Duration = Duration::from_secs(5);

/// What the groups and tasks of a node share.
pub(crate) struct Core {
    pub config: NodeConfig,
    pub db: Arc<Db>,
    pub me: Hello,
    pub peers: Arc<Peers>,
    pub liveness: Arc<Liveness>,
    pub suspects: Arc<Suspects>,
    pub wanted: Arc<DueGroups>,
    pub drain: Drain,
    pub failed: Arc<FailedGroups>,
    /// Proposed bytes of all groups that are not applied yet.
    pub room: Arc<Semaphore>,
    pub handler: RwLock<Option<Arc<dyn CallHandler>>>,
    pub arriving: Arriving,
    /// How the node's own disk is, see `stall`.
    pub disk: watch::Sender<DiskState>,
    pub condition: AtomicU8,
    pub stalled_ms: AtomicU64,
    /// Ends all connections that were accepted.
    pub stop: watch::Sender<bool>,
    /// No group is opened any more.
    stopping: AtomicBool,
    catch_up: Arc<CatchUp>,
    replicas: RwLock<HashMap<u64, Arc<Replica>>>,
    /// Groups that are being opened, closed or deleted.
    reserved: Mutex<HashSet<u64>>,
    /// Groups that were open in this run of the process.
    ran: Mutex<HashSet<u64>>,
    /// A group left that set.
    released: Notify,
    opening: Semaphore,
    replays: Arc<Semaphore>,
}

impl Core {
    pub fn id(&self) -> u64 {
        self.config.node_id
    }

    pub fn alive(&self, id: u64) -> bool {
        id == self.config.node_id || self.liveness.alive(id)
    }

    pub fn replica(&self, group: u64) -> Option<Arc<Replica>> {
        self.replicas.read().get(&group).cloned()
    }

    pub fn replicas(&self) -> Vec<Arc<Replica>> {
        self.replicas.read().values().cloned().collect()
    }

    /// Reserves a group until the guard is dropped, so that opening and deleting cannot overlap.
    fn reserve(self: &Arc<Self>, group: GroupId) -> Option<Reserved> {
        let free = self.reserved.lock().insert(group.0);
        // Made only if it is ours: dropping a reservation gives the group free.
        free.then(|| Reserved { core: Arc::clone(self), group: group.0 })
    }

    /// Waits until nobody else has the group reserved.
    async fn reserve_patiently(self: &Arc<Self>, group: GroupId) -> Reserved {
        loop {
            let released = self.released.notified();
            if let Some(reserved) = self.reserve(group) {
                return reserved;
            }
            released.await;
        }
    }

    async fn open(
        self: &Arc<Self>,
        group: GroupId,
        holder: Arc<dyn Holder>,
        preferred: Vec<u64>,
        leader_restore: bool,
    ) -> Result<Arc<Replica>, Error> {
        let _reserved = self.reserve(group).ok_or(Error::AlreadyOpen(group))?;
        if self.replica(group.0).is_some() {
            return Err(Error::AlreadyOpen(group));
        }
        if self.stopping.load(Ordering::Acquire) {
            return Err(Error::Stopped);
        }
        let _slot = self.opening.acquire().await.map_err(|_| Error::Stopped)?;
        let limits = &self.config.limits;
        if self.ran.lock().contains(&group.0) {
            promise::settle(&self.db.log(group)).await?;
        }
        let told = compare::resume(&self.db, group).await?;
        let log = self.db.log(group);
        let room = limits.group_inflight_bytes;
        let db = Arc::clone(&self.db);
        let promise = spawn_blocking(move || promise::load(&db, group)).await;
        let promised = match promise? {
            Some(promise) => promise::resume(&log, promise).await?,
            None => None,
        };
        let (me, own) = (self.id(), log.clone());
        let shared = Arc::new(Shared::new(group, me, preferred, own, room, promised));
        shared.states.set(told);
        let (machine_shared, wanted) = (Arc::clone(&shared), Arc::clone(&self.wanted));
        let (running, machine_runs) = watch::channel(());
        let load = move || StateMachine::load(machine_shared, holder, wanted, running);
        let machine = spawn_blocking(load).await?;
        let leader_restore = leader_restore || mutant::on("leader-restore");
        let config = Arc::new(raft_config(group.0, leader_restore));
        assert!(leader_restore || config.enable_leader_restore == Some(false), "see raft_config");
        let replays = Arc::clone(&self.replays);
        let store = LogStore::new(log, limits.append_bytes, replays);
        let network = Factory {
            peers: Arc::clone(&self.peers),
            shared: Arc::clone(&shared),
            catch_up: Arc::clone(&self.catch_up),
            limits: limits.clone(),
        };
        let raft = Raft::new(self.id(), config, network, store, machine)
            .await
            .map_err(|error| Error::Corrupt(format!("group {group} cannot start: {error}")))?;
        raft.runtime_config().elect(shared.may_lead());
        let replica = Arc::new(Replica { shared, raft, machine_runs });
        if !self.admit(&replica) {
            replica.stop().await;
            return Err(Error::Stopped);
        }
        self.ran.lock().insert(group.0);
        self.failed.remove(group);
        let (suspects, failed) = (Arc::clone(&self.suspects), Arc::clone(&self.failed));
        tokio::spawn(Arc::clone(&replica).follow(suspects, failed));
        Ok(replica)
    }

    /// Makes a replica known, unless the node stops: then nobody would stop this one.
    fn admit(&self, replica: &Arc<Replica>) -> bool {
        let mut replicas = self.replicas.write();
        if self.stopping.load(Ordering::Acquire) {
            return false;
        }
        replicas.insert(replica.shared.group.0, Arc::clone(replica));
        true
    }

    async fn close(self: &Arc<Self>, group: GroupId) {
        let replica = self.replicas.write().remove(&group.0);
        if let Some(replica) = replica {
            replica.stop().await;
        }
    }
}

/// A group nobody else may open, close or delete meanwhile.
struct Reserved {
    core: Arc<Core>,
    group: u64,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.core.reserved.lock().remove(&self.group);
        self.core.released.notify_waiters();
    }
}

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
        let core = Arc::new(Self::core(config, db).await?);
        let mut tasks = vec![
            tokio::spawn(server::run(Arc::clone(&core), listener)),
            tokio::spawn(elections::run(Arc::clone(&core))),
            tokio::spawn(maintenance::run(Arc::clone(&core))),
            tokio::spawn(drain::run(Arc::clone(&core))),
            tokio::spawn(compare::run(Arc::clone(&core))),
            tokio::spawn({
                let peers = Arc::clone(&core.peers);
                async move { peers.keep_book().await }
            }),
        ];
        // A simulated disk neither hangs nor fills.
        if !cfg!(feature = "simulation") {
            tasks.push(tokio::spawn(stall::run(Arc::clone(&core))));
        }
        let aborts = tasks.iter().map(JoinHandle::abort_handle).collect();
        tracing::debug!(node = core.id(), %address, "listening for peers");
        Ok(Arc::new(Node { core, address, tasks: Mutex::new(tasks), aborts }))
    }

    async fn core(config: NodeConfig, db: Arc<Db>) -> Result<Core, Error> {
        let me = Hello {
            versions: Versions::spoken(),
            cluster: config.cluster_id,
            node: config.node_id,
            directory: config.directory_id,
            incarnation: incarnation(),
            to: 0,
            address: config.advertised.clone(),
        };
        let suspects = Arc::new(Suspects::default());
        let wanted = Arc::new(DueGroups::default());
        let liveness = Arc::new(Liveness::new(Arc::clone(&suspects), Arc::clone(&wanted)));
        let common = Arc::new(Common {
            me: me.clone(),
            failure: config.failure.clone(),
            limits: config.limits.clone(),
            liveness: Arc::clone(&liveness),
        });
        let runtime = tokio::runtime::Handle::current();
        let book = Arc::clone(&db);
        let load = move || {
            let _in_runtime = runtime.enter();
            Peers::load(common, book)
        };
        let peers = spawn_blocking(load).await?;
        Ok(Core {
            me,
            peers: Arc::new(peers),
            liveness,
            suspects,
            wanted,
            drain: Drain::default(),
            failed: Arc::default(),
            room: Arc::new(Semaphore::new(config.limits.node_inflight_bytes)),
            handler: RwLock::new(None),
            arriving: Arriving::default(),
            disk: watch::Sender::new(DiskState::Fine),
            condition: AtomicU8::new(Condition::default().to_bits()),
            stalled_ms: AtomicU64::new(0),
            stop: watch::Sender::new(false),
            stopping: AtomicBool::new(false),
            catch_up: Arc::new(CatchUp::new(config.limits.catch_up_bytes_per_second)),
            replicas: RwLock::default(),
            reserved: Mutex::default(),
            ran: Mutex::default(),
            opening: Semaphore::new(OPENING),
            replays: Arc::new(Semaphore::new(REPLAYS)),
            released: Notify::new(),
            config,
            db,
        })
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

    /// How far a peer's wall clock is ahead of this node's, in milliseconds, as its last answer to a ping
    /// tells; `None` while there is no connection.
    pub fn clock_ahead_ms(&self, id: u64) -> Option<i64> {
        self.core.peers.get(id)?.link()?.clock_ahead_ms()
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
    /// checkpoint as far as it is committed. `preferred` lists the replicas in the order in which
    /// they should lead. A group that has nothing on disk waits to be initialized or to be sent the
    /// log by its leader.
    ///
    /// # Errors
    /// [`Error::AlreadyOpen`]; [`Error::Corrupt`] if what is on disk contradicts itself.
    pub async fn open<M: Machine>(
        self: &Arc<Self>,
        group: GroupId,
        machine: M,
        preferred: Vec<u64>,
    ) -> Result<Group<M>, Error> {
        self.open_with(group, machine, preferred, false).await
    }

    /// [`Node::open`] with the unsafe leader restore, for the test that shows why it is off.
    #[doc(hidden)]
    pub async fn open_with<M: Machine>(
        self: &Arc<Self>,
        group: GroupId,
        machine: M,
        preferred: Vec<u64>,
        leader_restore: bool,
    ) -> Result<Group<M>, Error> {
        let machine = Arc::new(RwLock::new(machine));
        let holder = Arc::clone(&machine) as Arc<dyn Holder>;
        let replica = self.core.open(group, holder, preferred, leader_restore).await?;
        Ok(Group::new(Arc::clone(&self.core), replica, machine))
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

/// A number no other run of a node has: the hasher's keys are random per process and per call.
fn incarnation() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(process_id());
    hasher.finish().max(1)
}
